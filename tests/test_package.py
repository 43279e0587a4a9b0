"""What is installed: one name, no study, and README's example from Python, whatever stands beside the user's script."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.search(r"From Python:\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
SHORT = {
    'attar.FinetuneSpec(name="vit_small_patch16_224")': (
        'attar.FinetuneSpec(name="vit_tiny_patch16_224", pretrained=False, epochs=1, min_steps=0, batch_size=8, '
        'options={"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2})'
    ),
    'attar.DistillSpec(name="mobilenetv4_conv_small")': (
        'attar.DistillSpec(name="mobilenetv4_conv_small_035", pretrained=False, size=32, epochs=1, min_steps=0, '
        "batch_size=8, check_teacher=False)"
    ),
    "photos=photos)\n\nattar.bench": "photos=photos, max_drop=100)\n\nattar.bench",
    "seconds=10": "seconds=0.1, quick=True",
}
"""What the test changes in README's example: models that train in seconds without a network, and no gate."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel, made from the source distribution as package indexes do it."""
    sources = tmp_path_factory.mktemp("sources") / "attar"
    left = shutil.ignore_patterns(".git", ".venv*", "build", "dist", "runs", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, sources, ignore=left)
    output = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(sources)],
        check=True,
        capture_output=True,
    )
    return output


def test_a_wheel_has_one_name_and_no_study(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"attar"}
    assert not [name for name in names if "studies" in name or "tests" in name]
    folders = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert {
        "cli",
        "data",
        "train",
        "teachers",
        "students",
        "distill",
        "geo",
        "export",
        "benchmarks",
        "deploy",
    } <= folders
    kept = [path for path in ROOT.glob("*/**/*") if path.is_file() and path.suffix != ".pyc"]
    ours = {
        "/".join(parts if parts[0] == "attar" else ("attar", *parts))
        for parts in (path.relative_to(ROOT).parts for path in kept)
        if parts[0] in ("attar", *folders) and "studies" not in parts and "__pycache__" not in parts
    }
    assert ours - set(names) == set()


def test_a_source_distribution_has_what_the_tests_need(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"Makefile", "constraints.txt", "recipes/few-photos.yaml", "tests/test_package.py", "LICENSE"} <= names


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with attar installed, and with everything that attar needs from the environment of the tests."""
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder, symlinks=True)
    program = folder / "bin" / "python"
    places = [place for place in sys.path if place.endswith("site-packages")]
    (own,) = folder.glob("lib/python*/site-packages")
    # After attar's own place: the tests' environment has an attar of its own.
    (own / "zz_base.pth").write_text("\n".join(places) + "\n")
    (wheel,) = built.glob("*.whl")
    how = [str(wheel)] if request.param == "wheel" else ["--editable", str(ROOT)]
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed", *how]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(program), *install], check=True, capture_output=True)
    return program


def beside_decoys(folder: Path, python: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that lies beside files and a folder with the names of attar's folders."""
    (folder / "mine.py").write_text(script)
    for name in ("export", "distill", "teachers", "students"):
        (folder / f"{name}.py").write_text("raise SystemExit('the user has a file of this name')\n")
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "__init__.py").write_text("raise SystemExit('and a folder of this one')\n")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run([str(python), "mine.py"], cwd=folder, env=clean, capture_output=True, text=True)


def test_every_name_of_readmes_example_is_found_beside_decoys(python: Path, tmp_path: Path) -> None:
    assert BLOCK is not None
    names = sorted(set(re.findall(r"attar\.\w+", BLOCK[1])))
    assert len(names) > 8
    done = beside_decoys(tmp_path, python, f"import attar\nprint({', '.join(names)})\n")
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("python", ["wheel"], indirect=True)
def test_readmes_example_runs_beside_decoys(python: Path, shapes: Path, tmp_path: Path) -> None:
    assert BLOCK is not None
    script = BLOCK[1]
    for long, short in SHORT.items():
        assert script.count(long) == 1, long
        script = script.replace(long, short)
    shutil.copytree(shapes, tmp_path / "photos")
    done = beside_decoys(tmp_path, python, script)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
    assert (tmp_path / "runs" / "mine" / "benchmarks.jsonl").is_file()


def test_a_script_beside_a_clone_finds_the_installed_one(python: Path, tmp_path: Path) -> None:
    (tmp_path / "attar" / "attar").mkdir(parents=True)
    (tmp_path / "attar" / "attar" / "__init__.py").write_text("")
    (tmp_path / "mine.py").write_text("from attar import __version__, read_photos\nprint(__version__)\n")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([str(python), "mine.py"], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_the_citation_has_the_version() -> None:
    from attar import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
