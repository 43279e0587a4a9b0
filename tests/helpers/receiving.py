"""A running server of observations."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from attar.deploy.collect.cleaning import Cleaner
from attar.deploy.collect.server import make_app
from attar.deploy.collect.store import Store, opened
from attar.serving.http import make_config


@contextmanager
def receiving(folder: Path, port: int = 0) -> Iterator[tuple[int, Store]]:
    """Receive observations on loopback -> the port, and the open store."""
    with opened(folder, create=True) as store, Cleaner(2) as cleaner:
        listening = socket.create_server(("127.0.0.1", port))
        server = uvicorn.Server(make_config(make_app(store, cleaner)))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1], store
        finally:
            server.should_exit = True
            thread.join()
