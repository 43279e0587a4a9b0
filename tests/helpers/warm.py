"""Commands and exports of a test session without what only repeats.

Every `attar` command spends four to nine seconds of processor time on imports, and every export five. Here their
processes are forked from one that imported the same packages once (helpers/warm_server.py). They run the same code
(`python -m MODULE`), with standard files, environment and folder of their own; the caller holds a small process that
stands for them (helpers/warm_client.py). And `attar.export.artifact_cache` keeps its files for the session: one folder
for all exports, by the fingerprint of the student, as in one export.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from attar.children import environment, module_command
from attar.export import artifact_cache, supervisor
from helpers import warm_client

SERVES = sys.platform == "linux"
"""Elsewhere, forking after such imports is not safe; there everything starts as for users."""

KEPT_IN = artifact_cache.kept_in

_shared: Path | None = None
"""The folder of the test session, which all of its test processes share: socket of the server, kept files."""
_leash: socket.socket | None = None
"""The server ends when all leashes are closed, as they are when their processes end."""


def session(shared: Path) -> None:
    """Say which folder the test session has."""
    global _shared
    _shared = shared
    (shared / "conversions").mkdir(exist_ok=True)


def begin() -> None:
    """Let exports of this process begin warm, and keep all conversions in the session's folder."""
    assert _shared
    supervisor.module_command = command
    artifact_cache.kept_in = _kept_in
    artifact_cache._folder.set(_shared / "conversions")


def leave() -> None:
    """Let exports do what they do for users."""
    supervisor.module_command, artifact_cache.kept_in = module_command, KEPT_IN
    artifact_cache._folder.set(None)


@contextmanager
def _kept_in(folder: Path) -> Generator[None]:
    assert _shared
    with KEPT_IN(_shared / "conversions"):
        yield


def attar(*words: object) -> list[str]:
    """The command line of `attar words...`."""
    return command("attar", *words)


def command(module: str, *words: object) -> list[str]:
    """The command line of `python -m module words...`. The session's server is started if need be."""
    if not SERVES:
        return module_command(module, *words)
    assert _shared
    _ensure_server(_shared)
    return [sys.executable, "-I", "-S", warm_client.__file__, str(_shared), module, *map(str, words)]


def _ensure_server(shared: Path) -> None:
    global _leash
    if _leash:
        return
    with FileLock(shared / "warm.lock"):
        if not (shared / "warm").exists():
            _start_server(shared)
        _leash = warm_client.connected(str(shared))
        _leash.sendall(warm_client.NUMBER.pack(0))


def _start_server(shared: Path) -> None:
    """Start it and wait for it. It has a session of its own: Ctrl-C is for the tests."""
    calm = environment(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
    with (shared / "warm.log").open("wb") as log:
        server = subprocess.Popen(
            module_command("helpers.warm_server", shared), stdout=log, stderr=log, env=calm, start_new_session=True
        )
    while not (shared / "warm").exists():
        if server.poll() is not None:
            raise RuntimeError(f"the warm server did not start\n{(shared / 'warm.log').read_text()}")
        time.sleep(0.05)
