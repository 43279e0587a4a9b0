"""A server of an app's folder, for this machine and for phones nearby. Any other static host does as well."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from attar.console import say
from attar.extras import require
from attar.serving.addresses import address_of, is_loopback, listen, show_code
from attar.serving.connections import App, Scope
from attar.serving.http import make_server

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".webp": "image/webp",
}


def make_app(folder: Path) -> App:
    """The ASGI application: the files that the folder holds now, and nothing else."""
    require("starlette")
    from starlette.responses import FileResponse, PlainTextResponse

    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files[""] = folder / "index.html"

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path = files.get(scope["path"].removeprefix("/"))
        if path is None or scope["method"] not in ("GET", "HEAD"):
            await PlainTextResponse("No such file.", 404)(scope, receive, send)
            return
        kind = _TYPES.get(path.suffix, "application/octet-stream")
        headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
        await FileResponse(path, media_type=kind, headers=headers)(scope, receive, send)

    return app


def serve(folder: Path, *, host: str, port: int, certificate: Path | None, key: Path | None) -> None:
    """Serve an app until Ctrl-C.

    Raises:
        InputError: the address cannot be had, or the certificate is none.
        MissingExtra: starlette, uvicorn or segno is not installed.
    """
    for module in ("starlette", "uvicorn", "segno"):
        require(module)
    with listen(host, port) as listening:
        server = make_server(make_app(folder), certificate, key, lifespan="off")
        scheme = "https" if certificate else "http"
        url = f"{scheme}://{address_of(host)}:{listening.getsockname()[1]}/"
        if is_loopback(host):
            say(f"Open on this machine: {url}")
            say("A phone on the same network cannot reach that: give --host 0.0.0.0 and a --certificate.")
        else:
            say(f"Scan, or open on any device of this network: {url}")
            show_code(url)
            if not certificate:
                say("Without HTTPS phones give no camera and keep nothing for offline use: add --certificate.")
        say("Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
