"""`attar collect` and `attar review` as commands that run, and are killed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import warm
from helpers.ports import free_port

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "OMP_NUM_THREADS": "1"}


def attar(*words: object, code: int = 0) -> Any:
    """Run a command to its end -> what it printed as JSON; of an error its message."""
    done = subprocess.run(warm.attar(*words, "--json"), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


@dataclass
class Running:
    process: subprocess.Popen[str]
    said: str = ""

    def hears(self, text: str) -> str:
        """What it has said up to a text."""
        assert self.process.stderr
        while text not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        return self.said


@contextmanager
def running(*words: object) -> Iterator[Running]:
    process = subprocess.Popen(
        warm.attar(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def known_port(folder: Path) -> int:
    """A port at which the server of a folder has listened once, so that invitations name it, and can again."""
    port = free_port()
    with running("collect", folder, "--port", port) as server:
        assert f"http://127.0.0.1:{port}" in server.hears("Ctrl-C")
    return port
