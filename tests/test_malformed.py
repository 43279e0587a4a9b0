"""A thousand malformed inputs go through every reader: no traceback, no hang, no memory without bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.malformed import READERS

EACH = 63
"""Inputs of each kind; sixteen kinds make more than a thousand."""
PEAK = 1_500_000_000
"""Memory that a process may take, bytes."""


@pytest.mark.parametrize("kind", READERS)
def test_malformed_input_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        str(Path(__file__).parent / "helpers" / "malformed.py"),
        kind,
        str(EACH),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert not outcome["wrong"], f"{len(outcome['wrong'])} of {EACH}; the first: {outcome['wrong'][0]}"
    assert len(READERS) * EACH > 1000 and outcome["refused"] and outcome["refused"] + outcome["read"] == EACH
    assert outcome["peak"] < PEAK
