"""Registries: entry points are read once, when first needed, and a bad one is named with its package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attar.errors import InputError
from attar.plugins import classes, instances


class Base:
    """What the entries are."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place that is searched for packages."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def add(place: Path, name: str, module: str, content: str, *, entry: str = "added") -> None:
    """As pip installs a package with one entry point in `attar.test`."""
    (place / f"{module}.py").write_text(content)
    folder = place / f"{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[attar.test]\n{entry} = {module}:THING\n")


def test_what_is_registered_is_there_after_our_own(package: Path) -> None:
    add(package, "good", "good_module", "THING = 7\n")
    registry = instances("attar.test", int, {"own": 1})
    assert "good_module" not in sys.modules, "nothing is imported before it is asked for"
    assert dict(registry) == {"own": 1, "added": 7} and "added" in registry and len(registry) == 2
    assert dict(instances("attar.nothing", int, {"own": 1})) == {"own": 1}


def test_classes_are_held_against_their_base(package: Path) -> None:
    add(package, "sub", "sub_module", f"from {__name__} import Base\nclass THING(Base): pass\n")
    monkey = sys.modules[__name__]
    assert issubclass(classes("attar.test", monkey.Base, {})["added"], Base)


@pytest.mark.parametrize(
    ("content", "entry", "message"),
    [
        ("THING = 'seven'\n", "added", "'seven', not an instance of int"),
        ("import attar_no_such_package\n", "added", "does not load .ModuleNotFoundError"),
        ("THINK = 7\n", "added", "does not load .AttributeError"),
        ("raise SystemError('x')\n", "added", "does not load .SystemError: x"),
        ("THING = 7\n", "own", "has a name that is taken"),
        ("THING = 7\n", "Own thing", "not made of a-z"),
    ],
)
def test_a_bad_entry_is_named_with_its_package(package: Path, content: str, entry: str, message: str) -> None:
    add(package, "bad-package", f"bad_{abs(hash((content, entry)))}", content, entry=entry)
    registry = instances("attar.test", int, {"own": 1})
    for _ in range(2):  # and not once only
        with pytest.raises(InputError, match=f"bad-package: its entry point '{entry}' in attar.test.*{message}"):
            dict(registry)
