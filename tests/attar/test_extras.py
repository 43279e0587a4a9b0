"""Optional packages: a missing one is named with the extra that installs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from attar.errors import InputError, MissingExtra
from attar.extras import OPTIONAL, Optional, require, version

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("optional", OPTIONAL, ids=lambda o: o.module)
def test_missing_package(optional: Optional, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, optional.module, None)
    with pytest.raises(MissingExtra) as caught:
        require(optional.module)
    assert isinstance(caught.value, InputError) and caught.value.exit_code == 2
    for part in (optional.distribution, optional.enables, f'pip install "attar[{optional.extra}]"'):
        assert part in str(caught.value)


def test_broken_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise OSError('libx.so: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "jinja2", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtra, match=r"does not load.*libx"):
        require("jinja2")


def test_every_extra_brings_what_it_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for optional in OPTIONAL:
        wanted = project["optional-dependencies"][optional.extra]
        assert any(line.startswith(optional.distribution) for line in wanted), optional


def test_version() -> None:
    assert version("pytest") == pytest.__version__
    assert version("no-such-distribution") is None


def test_what_must_be_kept_apart_is_hidden_while_the_other_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As coremltools and TensorFlow: it imports what it finds, and the two crash in one process."""
    (tmp_path / "finder_of_others.py").write_text("try:\n    import other\nexcept ImportError:\n    other = None\n")
    (tmp_path / "other.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("attar.extras._KEPT_APART", {"finder_of_others": "other"})
    assert require("finder_of_others").other is None
    assert "other" not in sys.modules
    assert require("other").__name__ == "other"


def test_onnx_runtime_keeps_no_number_of_its_user(tmp_path: Path) -> None:
    """By itself it writes a device's id and a database of its uses into the user's cache, as soon as it is imported."""
    code = (
        "import attar.extras\n"
        "runtime = attar.extras.require('onnxruntime')\n"
        "runtime.SessionOptions(), runtime.get_available_providers()"
    )
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    done = subprocess.run([sys.executable, "-c", code], env={**unset, "HOME": str(tmp_path)}, cwd=ROOT, timeout=300)
    assert done.returncode == 0 and not list(tmp_path.rglob("*"))
