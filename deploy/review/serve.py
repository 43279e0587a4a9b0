"""`attar review`: serve the page, and ask the teacher about new photos meanwhile."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attar.benchmarks.predict import Model, open_model
from attar.console import say
from attar.deploy.collect.store import opened
from attar.deploy.review.opinions import ask, name_of
from attar.deploy.review.queue import Queue
from attar.errors import AttarError
from attar.extras import require
from attar.files import sha256
from attar.runfolder import RunFolder
from attar.serving.addresses import address_of, is_loopback, listen, show_code
from attar.serving.http import make_server, own_names

_EVERY_SECONDS = 5.0
"""How often new photos are looked for."""


def review(
    folder: Path,
    *,
    teacher: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve the page of reviewers until Ctrl-C.

    Args:
        folder: what `attar collect` keeps.
        teacher: a run, whose teacher is asked; or a bundle, or an exported file.
        host: address to listen on; 0.0.0.0 for all of this machine's.
        port: 0 for any free one.
        certificate: PEM file; with one the page is served by HTTPS.
        key: its private key, if not in the same file.

    Raises:
        InputError: nothing was collected there, no such teacher, or the address cannot be had.
        MissingExtra: starlette, uvicorn or segno is not installed.
    """
    for module in ("starlette", "uvicorn", "segno"):
        require(module)
    from attar.deploy.review.server import make_app

    with opened(folder) as store:
        path = _teacher_of(teacher) if teacher else None
        model = open_model(path) if path else None
        name = name_of(model, sha256(path)) if model and path else ""
        token = secrets.token_urlsafe(16)
        app = make_app(store, Queue(store, name), model.labels if model else (), token, own_names())
        with listen(host, port) as listening, _asking(folder, model, name):
            server = make_server(app, certificate, key)
            scheme = "https" if certificate else "http"
            _show(f"{scheme}://{address_of(host)}:{listening.getsockname()[1]}/{token}/", host)
            with contextlib.suppress(KeyboardInterrupt):
                server.run(sockets=[listening])


def _teacher_of(path: Path) -> Path:
    run = RunFolder(path)
    return run.teacher if (path / "run.json").is_file() and run.teacher.is_dir() else path


def _show(url: str, host: str) -> None:
    say(f"Open on this machine: {url}" if is_loopback(host) else f"Scan, or open on any device of this network: {url}")
    if not is_loopback(host):
        show_code(url)
    say("Anyone who has this address can see the photos and decide. Ctrl-C ends the review.")


@contextmanager
def _asking(folder: Path, model: Model | None, name: str) -> Iterator[None]:
    """Ask the model about photos as they come, in a thread with a connection of its own."""
    ending = threading.Event()

    def work() -> None:
        try:
            with opened(folder) as store:
                while model and not ending.is_set():
                    if count := ask(store, model, name, lambda: not ending.is_set()):
                        say(f"The teacher was asked about {count:,} photos.")
                    ending.wait(_EVERY_SECONDS)
        except AttarError as error:
            say(f"The teacher is asked no more: {error}")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
