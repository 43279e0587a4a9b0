"""An app and photos, served as a page that tells what it computes of each photo."""

from __future__ import annotations

import base64
import json
import queue
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.studies.browsers.launch import Browser, started
from attar.deploy.app.serve import make_app
from attar.deploy.app.site import INDEX, SITE
from attar.errors import GateError
from attar.files import sha256
from attar.serving.connections import App, Scope
from attar.serving.http import make_server

HERE = Path(__file__).parent
_SECONDS = 600
"""How long a browser may take for one photo, or to start."""


@dataclass
class Told:
    """What a browser computed.

    Attributes:
        about: its user agent, the runtime and the file that it chose, and what it said on the way.
        squares: photo -> what its model is given, uint8 of shape (size, size, 3).
        answers: photo -> probabilities, if a way of running the model was right there.
        errors: photo -> why it could not be read.
    """

    about: dict[str, Any] = field(default_factory=dict)
    squares: dict[str, np.ndarray] = field(default_factory=dict)
    answers: dict[str, np.ndarray] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def prepare(site: Path, photos: Sequence[Path], folder: Path) -> Path:
    """The folder to serve: an app that `attar app` wrote, the photos, and the page that asks about them."""
    shutil.copytree(site, folder)
    (folder / "photos").mkdir()
    for path in photos:
        shutil.copyfile(path, folder / "photos" / path.name)
    (folder / "photos.json").write_text(json.dumps([path.name for path in photos]))
    shutil.copyfile(HERE / "parity.js", folder / "parity.js")
    imports = (
        (site / INDEX).read_text(encoding="utf-8").partition('<script type="importmap">')[2].partition("</script>")[0]
    )
    page = (HERE / "parity.html").read_text(encoding="utf-8")
    page = page.replace("__IMPORTMAP__", imports).replace("__SITE__", sha256(site / SITE))
    (folder / "parity.html").write_text(page, encoding="utf-8")
    return folder


def ask(browser: Browser, folder: Path, size: int) -> Told:
    """What a browser computes of every photo of a prepared folder.

    Raises:
        InputError: the browser is not installed.
        GateError: it said nothing for ten minutes, or that it could not go on.
    """
    told = Told()
    with _serving(folder) as (url, heard), started(browser, f"{url}parity.html"):
        while True:
            try:
                what, value = heard.get(timeout=_SECONDS)
            except queue.Empty:
                raise GateError(f"{browser.name} said nothing for {_SECONDS} seconds.") from None
            if what == "ended":
                break
            _take(told, what, value, size)
    if "error" in value:
        raise GateError(f"{browser.name}: {value['error']}")
    return told


def _take(told: Told, what: str, value: dict[str, Any], size: int) -> None:
    if what == "begun":
        told.about = value
    elif "error" in value:
        told.errors[value["name"]] = value["error"]
    else:
        square = np.frombuffer(base64.b64decode(value["square"]), np.uint8).reshape(size, size, 3)
        told.squares[value["name"]] = square
        if value["answers"] is not None:
            told.answers[value["name"]] = np.array(value["answers"], np.float32)


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, queue.Queue[tuple[str, dict[str, Any]]]]]:
    """The folder at an address of this machine, and what the page posts there."""
    heard: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(_listening(make_app(folder), heard), lifespan="off")
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/", heard
        finally:
            server.should_exit = True
            thread.join()


def _listening(files: App, heard: queue.Queue[tuple[str, dict[str, Any]]]) -> App:
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            body = await Request(scope, receive).body()
            heard.put((scope["path"].rpartition("/")[2], json.loads(body)))
            await PlainTextResponse("")(scope, receive, send)
        else:
            await files(scope, receive, send)

    return app
