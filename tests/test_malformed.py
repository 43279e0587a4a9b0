"""A thousand malformed inputs go through every reader: no traceback, no hang, no memory without bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.malformed import READERS

EACH = 63
"""Inputs of each kind; sixteen kinds make more than a thousand."""
PEAK = 1_500_000_000
"""Memory that a process may take, bytes."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By kind: what its process says."""
    script = Path(__file__).parent / "helpers" / "malformed.py"
    command = [sys.executable, "-P", str(script), str(EACH), str(tmp_path_factory.mktemp("malformed"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"kind"')]
    return {each["kind"]: each | {"stderr": done.stderr[-3000:]} for each in told}


@pytest.mark.parametrize("kind", READERS)
def test_malformed_input_is_refused_in_words(kind: str, outcomes: dict[str, Any]) -> None:
    outcome = outcomes[kind]
    assert not outcome["wrong"], (
        f"{len(outcome['wrong'])} of {EACH}; the first: {outcome['wrong'][0]}\n{outcome['stderr']}"
    )
    assert len(READERS) * EACH > 1000 and outcome["refused"] and outcome["refused"] + outcome["read"] == EACH
    assert outcome["peak"] < PEAK
