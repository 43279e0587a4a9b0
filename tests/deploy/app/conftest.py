"""A small student's files, as an app, and a browser."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from attar.data.photos import DataSpec, read_photos
from attar.deploy.app import site as sites
from attar.deploy.app.serve import make_app
from attar.export.export import export_student
from attar.export.web.assets import Assets
from attar.serving.http import make_server
from helpers.browser import browsing, chromium
from helpers.once import made_once
from helpers.small import DROP, make_student, train_on

FLAGS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def exports(shapes: Path, shared: Path) -> Path:
    """`litert:int8`, `litert:fp32` and `onnx:int8` of one student."""

    def make(folder: Path) -> None:
        photos = read_photos(DataSpec(str(shapes)))
        student = make_student("mobilenetv3_small_050", photos, folder / "student")
        targets = ["litert:int8", "litert:fp32", "onnx:int8"]
        export_student(student, targets, folder / "exports", photos=photos, max_drop=DROP)

    return made_once(shared / "app", make) / "exports"


@pytest.fixture(scope="session")
def tuned(exports: Path, shapes: Path, shared: Path) -> Path:
    """`litert:int8` of that student after three more steps of training."""

    def make(folder: Path) -> None:
        photos = read_photos(DataSpec(str(shapes)))
        student = train_on(exports.parent / "student", photos, folder / "student")
        export_student(student, ["litert:int8"], folder / "exports", photos=photos, max_drop=DROP)

    return made_once(shared / "tuned", make) / "exports"


@pytest.fixture
def installed(runtimes: Assets, monkeypatch: pytest.MonkeyPatch) -> None:
    """`write_site` finds the runtimes."""
    monkeypatch.setattr(sites, "find", lambda: runtimes)


@pytest.fixture(scope="session")
def written(exports: Path, runtimes: Assets, shared: Path) -> Path:
    """The app of those files. Tests only read it."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sites, "find", lambda: runtimes)
            sites.write_site(exports, folder, name="Shapes")

    return made_once(shared / "site", make)


@pytest.fixture
def site(written: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(written, tmp_path / "site"))


@pytest.fixture
def serving() -> Iterator[Callable[[Path], str]]:
    """Serve a folder -> its address."""
    running = []

    def begin(folder: Path) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        server = make_server(make_app(folder), lifespan="off")
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"

    yield begin
    for server, thread in running:
        server.should_exit = True
        thread.join()


@contextmanager
def _chromium() -> Iterator[Browser]:
    chromium()
    with browsing(*FLAGS) as browser:
        yield browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with a camera that shows a test picture."""
    with _chromium() as browser:
        yield browser
