"""`attar` without a process of its own, which takes seconds to load torch."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from attar.cli import main

Attar = Callable[..., tuple[int, str, str]]
"""Words of a command -> exit code, output, messages."""


def in_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Attar:
    """What runs a command here; what libraries print is heard too (`capfd`)."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attar", *map(str, words)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run
