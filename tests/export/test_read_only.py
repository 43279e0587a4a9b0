"""A read-only copy of a run, as on a share or an archive: its files are proven and compared all the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attar.export.manifest import NAME
from helpers.unprivileged import bound_by_permissions

for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

REPOSITORY = Path(__file__).parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def archive(exported: Path, bundle, shapes: Path) -> Iterator[Path]:
    """A run's folder and its photos, whose permissions let nobody write."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copytree(exported, root / "run/exports")
        shutil.copytree(bundle.path, root / "run/student")
        shutil.copytree(shapes, root / "photos")
        (root / "home").mkdir()
        for path in [root, *root.rglob("*")]:
            if path.name != "home":
                path.chmod(0o555 if path.is_dir() else 0o444)
        yield root
        for path in [root, *(each for each in root.rglob("*") if each.is_dir())]:
            path.chmod(0o755)


@pytest.fixture
def attar(archive: Path) -> Command:
    """Runs the command line as one whom permissions bind."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        home = str(archive / "home")
        environment = {**os.environ, "HOME": home, "XDG_CACHE_HOME": home, "TMPDIR": home}
        environment["PYTHONPATH"] = str(REPOSITORY)
        command = [sys.executable, "-m", "attar", *arguments, "--data", str(archive / "photos")]
        return subprocess.run(bound_by_permissions(command), cwd=home, env=environment, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_verify_proves_a_read_only_copy(archive: Path, attar: Command) -> None:
    before = (archive / "run/exports" / NAME).read_bytes()
    done = attar("verify", str(archive / "run"), "--max-drop", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert "read-only, so what was found is not written" in " ".join(done.stderr.split())
    assert len(json.loads(done.stdout)["files"]) == 8
    assert (archive / "run/exports" / NAME).read_bytes() == before


@pytest.mark.slow
def test_report_of_a_read_only_copy_goes_elsewhere(archive: Path, attar: Command) -> None:
    """Without --output it says so at once; with it nothing is written beside the files."""
    refused = attar("report", str(archive / "run"))
    assert refused.returncode == 2 and "--output" in refused.stderr, refused.stderr
    output = archive / "home/report.md"
    done = attar("report", str(archive / "run"), "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert "litert:int8" in output.read_text()
    assert {item.name for item in (archive / "run").iterdir()} == {"exports", "student"}
