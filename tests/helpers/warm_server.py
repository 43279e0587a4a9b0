"""A process that has imported what is slow to import, and forks a process for each request: see helpers/warm.py.

`python warm_server.py SHARED`. A request is a connection to the Unix socket `warm` in that folder, made by
helpers/warm_client.py: the length of the request with the three standard files attached, then the request. The answer
is the number of the process, then its exit code once it has ended. Whoever closes the connection earlier has it killed.
A connection without files is a leash: the server ends when the last leash is closed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from helpers.warm_client import NUMBER

PACKAGES = ("attar.export.convert_and_verify", "litert_torch", "coremltools", "onnxscript", "sklearn.linear_model")
"""What is imported beforehand. ONNX Runtime is not: it must be imported by `attar.extras.require`."""

MADE_ANEW = ("attar", "rich", "typer", "helpers")
"""Packages that each process imports itself: consoles look at the environment when they are made."""


def main() -> None:
    """Serve until nobody is left."""
    for package in PACKAGES:
        importlib.import_module(package)
    gc.freeze()  # what is never touched again stays shared with every child
    path = Path(sys.argv[1]) / "warm"
    os.chdir(path.parent)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("warm.new")
        listening.listen(64)
        Path("warm.new").rename("warm")  # it is there only once it answers
        request = _Server(listening).serve()
    if request:  # this is the child
        _end(_run(*request))


class _Server:
    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._watched = selectors.DefaultSelector()
        self._leashes: set[socket.socket] = set()
        self._running: dict[int, tuple[int, socket.socket]] = {}
        """By the file descriptor of a process: its number, and who asked for it."""

    def serve(self) -> tuple[Any, ...] | None:
        """Answer. Returns a request in the process forked for it, and None when all leashes are closed."""
        self._watched.register(self._listening, selectors.EVENT_READ)
        while True:
            for key, _ in self._watched.select():
                if key.fileobj is self._listening:
                    if request := self._accept():
                        self._watched.close()
                        return request
                elif key.fd in self._running:
                    self._ended(key.fd)
                elif key.data:
                    self._killed(key)
                else:
                    self._watched.unregister(key.fileobj)
                    self._leashes.remove(key.fileobj)  # type: ignore[arg-type]
                    if not self._leashes:
                        return None

    def _accept(self) -> tuple[Any, ...] | None:
        connection, _ = self._listening.accept()
        message, files, _, _ = socket.recv_fds(connection, NUMBER.size, 3)
        if not files:
            self._leashes.add(connection)
            self._watched.register(connection, selectors.EVENT_READ)
            return None
        with connection.makefile("rb") as rest:
            request: tuple[Any, ...] = marshal.loads(rest.read(NUMBER.unpack(message)[0]))
        number = os.fork()
        if not number:
            for one in (connection, *self._leashes, *(asked for _, asked in self._running.values())):
                one.close()
            for standard, file in enumerate(files):
                os.dup2(file, standard)
                os.close(file)
            return request
        for file in files:
            os.close(file)
        process = os.pidfd_open(number)
        self._running[process] = number, connection
        self._watched.register(process, selectors.EVENT_READ)
        self._watched.register(connection, selectors.EVENT_READ, number)
        with suppress(BrokenPipeError):
            connection.send(NUMBER.pack(number))
        return None

    def _ended(self, process: int) -> None:
        number, connection = self._running.pop(process)
        code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        self._watched.unregister(process)
        os.close(process)
        with suppress(KeyError):  # it was killed
            self._watched.unregister(connection)
        with connection, suppress(BrokenPipeError):
            connection.send(NUMBER.pack(code))

    def _killed(self, key: selectors.SelectorKey) -> None:
        self._watched.unregister(key.fileobj)
        os.kill(key.data, signal.SIGKILL)


def _run(shared: str, module: str, words: list[str], environment: dict[str, str], folder: str) -> int:
    """Be the process that was asked for; returns its exit code."""
    os.setsid()
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR may be another one
    os.chdir(folder)
    if not module.startswith("attar.export"):
        for name in [name for name in sys.modules if name.partition(".")[0] in MADE_ANEW]:
            del sys.modules[name]
    from helpers import warm

    warm.session(Path(shared))
    warm.begin()
    named = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [folder, *(place for place in named if place not in sys.path)]
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> None:
    """End as Python does, but for taking down what was imported, which takes a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
