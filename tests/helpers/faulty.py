"""A way to a web server on which requests go wrong as they do on real ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("503", "cut", "short", "whole", "reset", "stall")
"""An answer of 503; a body that ends early; one that is short and says so; all of the file where a part was asked for;
a closed connection; no answer for seconds."""
STALLS = 3.0  # seconds


class Faulty:
    """The server before the real one. `faults` are what comes over the next requests for content, the first first."""

    def __init__(self, behind: str) -> None:
        self.faults: list[str] = []
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and range of every request."""
        self.down = False
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                faulty.asked.append((self.command, self.path, self.headers.get("Range", "")))
                if faulty.down:
                    self.close_connection = True
                    return
                connection = HTTPConnection(behind)
                fault = faulty.faults.pop(0) if faulty.faults and self.headers.get("Range") else ""
                if fault == "whole":
                    del self.headers["Range"]
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection.request(self.command, self.path, content, dict(self.headers.items()))
                answer = connection.getresponse()
                body = answer.read()
                if fault == "stall":
                    time.sleep(STALLS)
                if fault in ("reset", "stall"):
                    self.close_connection = True
                    return
                if fault == "503":
                    body = b""
                sent = body[: len(body) // 2] if fault in ("cut", "short") else body
                self.send_response(503 if fault == "503" else answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", str(len(sent)) if fault == "short" else length)
                self.end_headers()
                self.wfile.write(sent)
                self.close_connection = fault == "cut"

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Faulty]:
        """Serve for as long as this lasts."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
