"""A static host of a phone's app and of a release folder, which can offer another state of that folder at any time."""

from __future__ import annotations

import http.server
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
TYPES |= {".html": "text/html", ".css": "text/css", ".webmanifest": "application/manifest+json", ".png": "image/png"}


@dataclass(frozen=True)
class Cut:
    """A response that ends in the middle of what its header promises."""

    content: bytes


@dataclass(frozen=True)
class Endless:
    """A response that begins so and has no end."""

    content: bytes


Answer = bytes | Cut | Endless | None
"""What the host says about a file; None: there is none."""
State = Mapping[str, Answer]
"""A release folder: name -> answer."""


def state_of(folder: Path) -> dict[str, Answer]:
    """What a release folder has now."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@dataclass
class Host:
    """`/site/` is the app, `/models/` the release folder, `GET /offer/7` makes the 7th of `states` what is seen.

    Attributes:
        site: the app.
        states: what the release folder may be.
        offered: what it is.
        asked: names of the release folder that were asked for, in their order.
        sent: bytes of each of these that were sent whole.
        away: whether the release folder cannot be reached.
    """

    site: Path
    states: list[State] = field(default_factory=list)
    offered: State = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    away: bool = False
    url: str = ""

    def answer(self, path: str) -> tuple[Answer, str]:
        """What it says about an address, and the type."""
        place, _, name = path.lstrip("/").partition("/")
        if place == "offer":
            self.offered = self.states[int(name)]
            return b"", "text/plain"
        if place == "models":
            self.asked.append(name)
            answer = None if self.away else self.offered.get(name)
            self.sent[name] += len(answer) if isinstance(answer, bytes) else 0
            return answer, "application/octet-stream"
        file = self.site / (name or "index.html")
        if place != "site" or not file.is_file():
            return None, ""
        return file.read_bytes(), TYPES.get(file.suffix, "application/octet-stream")


@contextmanager
def hosting(host: Host) -> Iterator[Host]:
    """Serve it on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer, kind = host.answer(self.path.partition("?")[0])
            with suppress(ConnectionError):
                self.say(answer, kind)

        def say(self, answer: Answer, kind: str) -> None:
            if answer is None:
                self.send_error(404)
                return
            content = answer if isinstance(answer, bytes) else answer.content
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-cache")
            if not isinstance(answer, Endless):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if isinstance(answer, Cut) else content)
            while isinstance(answer, Endless):
                self.wfile.write(bytes(65536))

        def log_message(self, *about: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host.url = f"http://127.0.0.1:{server.server_address[1]}/site/"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
