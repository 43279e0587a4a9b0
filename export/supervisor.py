"""Making files in processes of their own, where a converter can do no harm: the caller's side.

See `attar.export.supervisor_process` for the processes. What a converter prints, and how it dies, stays there.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from attar.children import environment, module_command
from attar.console import say
from attar.errors import AttarError, GateError, InputError, MissingExtra
from attar.export.capture_output import TAIL
from attar.export.limits import Limits
from attar.export.manifest import FileEntry
from attar.export.targets import Target
from attar.export.worker import Job

_KINDS: dict[str, type[AttarError]] = {kind.__name__: kind for kind in (GateError, InputError, MissingExtra)}


def start(module: str, errors: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start `python -m module` between two pipes; what it says to standard error goes into a file."""
    return subprocess.Popen(
        module_command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the caller, who closes the pipe
    )


class Supervisor:
    """The process that makes files; a context, at whose end nothing of it is left.

    Start it early: it imports torch while the caller reads photos.
    """

    def __init__(self, limits: Limits, targets: int, temporary: Path | None = None) -> None:
        """`temporary` is a folder for the temporary files of all its processes; the caller removes it."""
        self._limits = limits.resolved(targets)
        self._temporary = temporary
        self._busy = False

    def __enter__(self) -> Supervisor:
        threads = str(max(1, (os.cpu_count() or 1) // self._limits.workers))
        own = {"TMPDIR": str(self._temporary.absolute())} if self._temporary else {}
        self._errors = tempfile.TemporaryFile()
        module = "attar.export.supervisor_process"
        self._process = start(module, self._errors, {"OMP_NUM_THREADS": threads, **environment(**own)})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._busy:  # it has processes to end
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def make(self, job: Job) -> Iterator[tuple[Target, FileEntry | AttarError]]:
        """Do a job; yields each target with its entry, or the error, as it is done."""
        assert self._process.stdin and self._process.stdout
        self._busy = True
        with suppress(BrokenPipeError):  # it ended already; why, its output tells
            pickle.dump((job, self._limits), self._process.stdin)
            self._process.stdin.flush()
        left = {str(target): target for target in job.targets}
        started = 0
        for line in self._process.stdout:
            event: dict[str, Any] = json.loads(line)
            target = left[event["target"]]
            if "entry" in event:
                yield left.pop(str(target)), FileEntry(**event["entry"])
            elif "error" in event:
                yield left.pop(str(target)), _KINDS.get(event["kind"], GateError)(event["error"])
            else:
                started += 1
                say(f"  {started}/{len(job.targets)} {target}")
        for target in left.values():
            yield target, GateError(f"the process that makes files ended too early\n{self._last_words()}".strip())

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-TAIL:].decode(errors="replace").strip()
