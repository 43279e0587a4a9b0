"""The server of warm processes (helpers/warm_server.py): whoever asks it for a process gets what Python would give."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import warm, warm_client

ROOT = Path(__file__).parents[1]
SERVER = "from helpers import warm_server; warm_server.PACKAGES = (); warm_server.main()"
MODULE = """
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore Ctrl-C
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("OWN"), sys.stdin.read(), os.getpid()]), flush=True)
print("to the other", file=sys.stderr)
if "wait" in sys.argv:
    time.sleep(600)
if "fail" in sys.argv:
    1 / 0
sys.exit({"words": "in words"}.get(sys.argv[1], 3))
"""

pytestmark = pytest.mark.skipif(not warm.SERVES, reason="forking is safe on Linux only")


@dataclass
class Served:
    """A server that has imported nothing, and the leash that keeps it."""

    shared: Path
    server: subprocess.Popen[bytes]
    leash: socket.socket

    def start(self, folder: Path, *words: str) -> subprocess.Popen[str]:
        """A process of `MODULE`."""
        (folder / "told.py").write_text(MODULE)
        command = [sys.executable, "-I", "-S", warm_client.__file__, str(self.shared), "told", *words]
        environment = {**os.environ, "OWN": "a value", "PYTHONPATH": str(folder)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    shared = tmp_path_factory.mktemp("shared")
    (shared / "conversions").mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(shared)], env=environment)
    while not (shared / "warm").exists():
        assert server.poll() is None
        time.sleep(0.02)
    with warm_client.connected(str(shared)) as leash:
        leash.sendall(warm_client.NUMBER.pack(0))
        yield Served(shared, server, leash)
    assert server.wait() == 0  # without a leash it ends


def gone(number: int, seconds: float = 300) -> bool:
    """Whether a process ends, before `MODULE` does by itself."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{number}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not Path(f"/proc/{number}").exists()


def test_files_words_environment_folder_and_exit_code_are_the_callers(served: Served, tmp_path: Path) -> None:
    process = served.start(tmp_path, "a word", "ü", "")
    out, err = process.communicate("what was typed")
    words, folder, own, typed, number = json.loads(out)
    assert (words, folder, own, typed) == (["a word", "ü", ""], str(tmp_path), "a value", "what was typed")
    assert err == "to the other\n" and process.returncode == 3 and gone(number)


@pytest.mark.parametrize(("how", "said"), [("words", "in words"), ("fail", "ZeroDivisionError")])
def test_an_error_is_told_and_is_exit_code_1(served: Served, tmp_path: Path, how: str, said: str) -> None:
    process = served.start(tmp_path, how)
    _, err = process.communicate("")
    assert said in err and process.returncode == 1


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_both(served: Served, tmp_path: Path, which: signal.Signals) -> None:
    process = served.start(tmp_path, "wait")
    assert process.stdin and process.stdout and process.stderr
    process.stdin.close()
    number = json.loads(process.stdout.readline())[-1]
    process.send_signal(which)
    assert gone(number) and number != process.pid
    err = process.stderr.read()
    if which is signal.SIGINT:  # Python makes an exception of it
        assert process.wait() == 1 and "KeyboardInterrupt" in err
    else:
        assert process.wait() == -which
    process.stdout.close()
    process.stderr.close()
