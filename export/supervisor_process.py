"""The process that makes files, one process a target, and ends those that take too long or too much memory.

Three kinds of process have a part in an export. `attar.export.isolate` starts this one as `python -m
attar.export.supervisor`, hands it a pickled `Job` on standard input, and reads one JSON line an event from its standard
output. This one imports torch, timm and the converters that several targets need, computes nothing, and forks a process
for each target (`attar.export.worker`): seconds of imports are paid once, and a crash costs one target. Where forking
after such imports is not safe (macOS), each target's process starts afresh.

Standard input is also the leash: when the caller is gone, however it ended, the pipe is closed, and every process
started here is killed with whatever it started itself.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from attar.errors import MissingExtra
from attar.export.capture_output import TAIL
from attar.export.formats import FORMATS
from attar.export.limits import Resolved
from attar.export.targets import Target
from attar.export.worker import Job, work
from attar.extras import require

FORKS = sys.platform == "linux"

_POLL = 0.1
"""Seconds between two looks at memory and time."""

Reply = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class _Running:
    target: Target
    process: BaseProcess
    deadline: float

    def kill(self) -> None:
        """End it, and whatever it started."""
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:  # nothing is left, or it is not yet a group of its own
            self.process.kill()
        self.process.join()


def main() -> None:
    """Read a job from standard input, do it, and report to standard output."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # nothing but events goes to the caller
    if FORKS:
        importlib.import_module("attar.export.convert_and_verify")
    try:
        job, limits = pickle.load(sys.stdin.buffer)
    except EOFError:  # the caller had nothing to do, or is gone
        return
    FORMATS.update(job.formats)
    if FORKS:
        _import_shared(job)
    supervise(job, limits, lambda event: print(json.dumps(event), file=events), sys.stdin.fileno())
    os._exit(0)  # taking torch down takes a second, and somebody waits


def _import_shared(job: Job) -> None:
    """Import the packages of formats that several targets have. One that fails tells so in each target's process."""
    for name, targets in Counter(target.format for target in job.targets).items():
        for package in FORMATS[name].needs if targets > 1 else ():
            with suppress(MissingExtra):
                require(package)


def supervise(job: Job, limits: Resolved, reply: Reply, leash: int) -> None:
    """Make every target of a job, `limits.workers` at a time.

    Replies `{"target"}` when one is started, and `{"target", "entry"}` or `{"target", "error", "kind"}` when it
    ended. Returns early, everything killed, when the file descriptor `leash` is closed at its other end.
    """
    context = multiprocessing.get_context("fork" if FORKS else "spawn")
    waiting = list(job.targets)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < limits.workers:
                running.append(_start(context, job, waiting.pop(0), limits.seconds))
                reply({"target": str(running[-1].target)})
            if leash in wait([leash, *(one.process.sentinel for one in running)], timeout=_POLL):
                return
            for one in list(running):
                ended = _ended(job, limits, one)
                if ended is not None:
                    running.remove(one)
                    reply({"target": str(one.target), **ended})
    finally:
        for one in running:
            one.kill()


def _start(context: Any, job: Job, target: Target, seconds: float) -> _Running:
    process = context.Process(target=work, args=(job, target, os.getpid()))
    process.start()
    return _Running(target, process, time.monotonic() + seconds)


def _ended(job: Job, limits: Resolved, one: _Running) -> dict[str, Any] | None:
    """What came of a process that has ended, by itself or because it went past a limit; None while it works."""
    problem = None
    if one.process.is_alive():
        if time.monotonic() > one.deadline:
            problem = f"it took longer than {limits.seconds:g} s and was ended (see --time-limit)"
        elif resident(one.process.pid or 0) > limits.memory:
            problem = f"it took more than {limits.memory / 1e9:.1f} GB of memory and was ended (see --memory-limit)"
        else:
            return None
    one.kill()
    if problem is None:
        if job.result(one.target).exists():
            result: dict[str, Any] = json.loads(job.result(one.target).read_text())
            return result
        problem = f"its process {_how(one.process.exitcode or 0)}"
    return {"error": f"the converter failed: {problem}\n{_tail(job.log(one.target))}".strip(), "kind": "GateError"}


def _how(exitcode: int) -> str:
    """How a process ended, in words."""
    if exitcode >= 0:
        return f"ended early with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    full = ". The system ends processes so when memory runs out" if -exitcode == signal.SIGKILL else ""
    return f"was killed by {name}{full}"


def _tail(log: Path) -> str:
    """The end of what a process printed, without the list of modules that Python adds to the stack of a crash."""
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace").partition("\n\nExtension modules:")[0]
    return text[-TAIL:].strip()


def resident(group: int) -> int:
    """Bytes of memory that the processes of a group hold now."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-axo", "pgid=,rss="], capture_output=True, text=True).stdout
        return 1024 * sum(int(rss) for pgid, rss in map(str.split, listed.splitlines()) if int(pgid) == group)
    pages = 0
    for process in Path("/proc").iterdir():  # `glob` fails where a process ends while it looks
        if not process.name.isdecimal():
            continue
        try:
            # proc(5): the second field is the program's name in parentheses, which may hold anything.
            fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group:
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
