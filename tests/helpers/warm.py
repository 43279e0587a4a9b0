"""Exports of a test session without what only repeats: imports, and the same conversion of the same student.

Every export starts a process that spends five seconds of processor time on imports. Here that process is forked from
one that imported the same packages once. It runs the same code (`python -m MODULE`), with the same pipes, environment
and process group. And `attar.export.artifact_cache` keeps its files for the session: one folder for all exports, by
the fingerprint of the student, as in one export.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attar.export import artifact_cache, supervisor

if TYPE_CHECKING:  # the process that exports has no use for it
    import pytest

PACKAGES = ("attar.export.convert_and_verify", "litert_torch", "coremltools", "onnxscript")
"""What is imported beforehand. ONNX Runtime is not: it must be imported by `attar.extras.require`."""

START, KEPT_IN = supervisor.start, artifact_cache.kept_in

_context = get_context("forkserver")
_context.set_forkserver_preload(list(PACKAGES))


def use(patch: pytest.MonkeyPatch, conversions: Path) -> None:
    """Let exports of this process begin warm, and keep conversions in a folder."""
    patch.setattr(supervisor, "start", partial(WarmProcess, conversions))
    patch.setattr(artifact_cache, "kept_in", _always(conversions))


def leave(patch: pytest.MonkeyPatch) -> None:
    """Let exports do what they do for users."""
    patch.setattr(supervisor, "start", START)
    patch.setattr(artifact_cache, "kept_in", KEPT_IN)


def _always(conversions: Path) -> Callable[[Path], AbstractContextManager[None]]:
    @contextmanager
    def kept_in(folder: Path) -> Generator[None]:
        with KEPT_IN(conversions):
            yield

    return kept_in


class WarmProcess:
    """The part of `subprocess.Popen` that `attar.export.supervisor` uses."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self, conversions: Path, module: str, errors: IO[bytes], environment: dict[str, str]) -> None:
        """Its standard input and output are pipes; what it says to standard error goes into `errors`."""
        reads, to_write = os.pipe()
        to_read, writes = os.pipe()
        files = tuple(DupFd(number) for number in (reads, writes, errors.fileno()))
        self._process: BaseProcess = _context.Process(
            target=_become, args=(conversions, module, files, environment, str(Path.cwd()))
        )
        self._process.start()
        os.close(reads)
        os.close(writes)
        self.stdin, self.stdout = os.fdopen(to_write, "wb"), os.fdopen(to_read, "rb")

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid or 0

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a warm process", timeout or 0)
        return self._process.exitcode


def _become(conversions: Path, module: str, files: tuple[Any, ...], environment: dict[str, str], folder: str) -> None:
    artifact_cache.kept_in = _always(conversions)
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file.detach(), number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR may be another one
    os.chdir(folder)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
