"""What the tests share: small real photo folders, and a cache folder of their own."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

# Before torch loads: on a busy machine, spinning threads make everything many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a process for each core already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from helpers import skips, warm
from helpers.once import made_once
from helpers.pictures import SHAPES, draw

# coremltools imports TensorFlow where there is one, and the two crash beside torch: see attar.extras. A test that wants
# TensorFlow's opinion of a file takes this away.
sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]
# The emulated NPU is asked about every ONNX file where it is installed, which takes seconds. A test that wants it takes
# this away.
os.environ["ATTAR_NPU"] = "0"

# On a busy machine any example may take longer than the fifth of a second that Hypothesis allows.
settings.register_profile("busy", settings(), deadline=None)
settings.load_profile("busy")


ORDER = ("e2e", "tests", "export", "students")
"""Folders whose files take longest go first, so that at the end all processes have something to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folders = [*ORDER, *sorted({item.path.parent.name for item in items} - {*ORDER})]
    items.sort(key=lambda item: folders.index(item.path.parent.name))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Each test meets the same random numbers of torch, whichever tests its process has run before."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    skips.refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """As above, for a file that skips as a whole."""
    report = yield
    skips.refuse(report)
    return report


_set_aside_at = 0
"""How many modules were loaded when what lives was last set aside."""


def pytest_collection_finish() -> None:
    _set_aside()


def pytest_runtest_logfinish() -> None:
    _set_aside()


def _set_aside() -> None:
    """Keep full garbage collections short: what modules define lives until the end and is up to a million objects.

    Converters make for dozens of collections, of which each took 0.2 to 0.4 seconds.
    """
    global _set_aside_at
    if len(sys.modules) > _set_aside_at + 50:
        gc.collect()  # else garbage would be kept too
        gc.freeze()
        _set_aside_at = len(sys.modules)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep attar's memory of checked photos out of the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the test session, which all of its processes share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(autouse=True, scope="session")
def warm_exports(shared: Path) -> Generator[None]:
    """Exports without what only repeats (helpers/warm.py); a test that wants them as users have them takes `cold`."""
    warm.session(shared)
    warm.begin()
    yield
    warm.leave()


@pytest.fixture
def cold(warm_exports: None) -> Generator[None]:
    """Exports import and convert everything themselves, as for users."""
    warm.leave()
    yield
    warm.begin()


@pytest.fixture(scope="session")
def shapes(shared: Path) -> Path:
    """A folder of three classes, 16 photos each."""
    return made_once(shared / "shapes", _draw_shapes)


@pytest.fixture(scope="session")
def runtimes(shared: Path) -> Any:
    """The browser's runtimes (`attar.export.web.assets.Assets`), as `attar lab --install` leaves them."""
    from attar.errors import InputError
    from attar.export.web import assets

    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    try:
        return assets.find(made_once(shared / "runtimes", assets.install))
    except InputError as error:
        pytest.skip(str(error))


def _draw_shapes(root: Path) -> None:
    for shape in SHAPES:
        (root / shape).mkdir(parents=True)
        for number in range(16):
            draw(shape, number).save(root / shape / f"{number}.png")
