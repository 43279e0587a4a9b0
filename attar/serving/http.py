"""uvicorn, within the bounds of `connections`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from attar.errors import InputError
from attar.extras import require
from attar.serving.connections import LARGEST_HEAD, App, Bounds, Connections


def make_config(app: App, *, bounds: Bounds = Bounds(), **more: Any) -> Any:  # noqa: B008 (it is frozen)
    """uvicorn's configuration that serves the application within these bounds; `more` is uvicorn's own."""
    uvicorn = require("uvicorn")
    connections = Connections(bounds)
    # h11, whatever else is installed: it bounds the head of a request that comes in pieces.
    return uvicorn.Config(
        connections.watching(app),
        http=connections.protocol(),
        h11_max_incomplete_event_size=LARGEST_HEAD,
        ws="none",
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=3,
        server_header=False,
        proxy_headers=False,
        **more,
    )


def make_server(app: App, certificate: Path | None = None, key: Path | None = None, **more: Any) -> Any:
    """uvicorn's server of an application; `run(sockets=[...])` serves until Ctrl-C. `more` is uvicorn's own.

    Args:
        app: the application.
        certificate: PEM file; with one the server speaks HTTPS.
        key: its private key, if not in the same file.

    Raises:
        InputError: the certificate is none, or has another key.
        MissingExtra: uvicorn is not installed.
    """
    uvicorn = require("uvicorn")
    config = make_config(
        app, ssl_certfile=str(certificate) if certificate else None, ssl_keyfile=str(key) if key else None, **more
    )
    try:
        config.load()
    except OSError as error:  # an SSLError is one
        raise InputError(f"{certificate}: no certificate with its key, both as PEM ({error}).") from error
    return uvicorn.Server(config)


def own_names() -> set[str]:
    """What others on the network may call this machine."""
    name = socket.gethostname().lower()
    return {name, f"{name}.local"}
