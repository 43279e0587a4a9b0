"""A package from outside adds a format, a runtime, a loss and a head; all four go through `attar run`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "data" / "attar_gzip"
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
RECIPE = """
views: {crop_area: [0.7, 1.0], count: 2}
teacher:
  name: vit_tiny_patch16_224
  pretrained: false
  options: {img_size: 32, patch_size: 8, embed_dim: 24, depth: 1, num_heads: 2}
  epochs: 1
student: {name: mobilenetv4_conv_small_035, pretrained: false, size: 32, epochs: 1, check_teacher: false}
max_drop: 100
bench: {seconds: 0.1, quick: true}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder), str(PACKAGE)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    return folder


def python(installed: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"}
    return subprocess.run([sys.executable, *map(str, words)], env=environment, capture_output=True, text=True)


def test_all_four_go_through_a_run(installed: Path, shapes: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    lines = block.splitlines()
    settings = [line.strip() for line in lines if line.startswith("  ")]
    student = ", ".join(settings)
    recipe = RECIPE.replace("check_teacher: false}", f"check_teacher: false, {student}}}") + lines[-1]
    (tmp_path / "recipe.yaml").write_text(recipe)
    done = python(
        installed, "-m", "attar", "run", tmp_path / "recipe.yaml", "--data", shapes, "-o", tmp_path / "r", "--json"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(rows) == {"teacher", "student", "gzip:fp32", "gzip:int8", "onnx:fp32"}
    assert rows["gzip:fp32"]["latency"]["runtime"].startswith("ONNX Runtime (CPU), from gzip")
    bundle = json.loads((tmp_path / "r" / "student" / "bundle.json").read_text(encoding="utf-8"))
    assert bundle["architecture"]["head"] == "linear"
    assert bundle["provenance"]["recipe"]["student"]["losses"][0]["name"] == "logits"
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "--format-gzip: #8a5a00" in page and "lus signs: ONNX, compressed" in page

    without = python(Path(os.devnull), "-m", "attar", "predict", tmp_path / "r" / "student", shapes / "circle")
    assert without.returncode == 2 and "'linear' is no head" in without.stderr


@pytest.mark.parametrize("first", ["attar_gzip", "attar_gzip.files", "attar.benchmarks.runtimes", "attar.export"])
def test_the_order_of_imports_does_not_matter(installed: Path, first: str) -> None:
    code = f"import {first}; from attar.export.targets import parse_targets; print(*parse_targets(['gzip:all']))"
    done = python(installed, "-c", code)
    assert done.stdout.split() == ["gzip:fp32", "gzip:int8"], done.stderr


def test_the_page_shows_the_package() -> None:
    files = sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".toml"))
    assert len(files) == 6
    for path in files:
        assert f"\n{path.read_text(encoding='utf-8')}```" in PAGE, f"docs/extending.md: {path.name} differs"
