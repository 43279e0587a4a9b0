"""Training needs no package of the export side, and the command line needs neither until a command runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layers import HEAVY, ROOT


def run(code: str, *words: object) -> None:
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {HEAVY} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
"""As if the heavy packages were not installed. Names set to None in `sys.modules` would only look so: libraries ask
there which packages are in use."""


def test_the_training_side_imports_without_the_export_packages() -> None:
    run(f"{WITHOUT}\nfrom attar import teachers, students, distill, geo, export")


@pytest.mark.parametrize("name", ["pyarrow", "onnx"])
def test_a_package_that_is_taken_away_is_gone(name: str) -> None:
    run(f"{WITHOUT}\nimport importlib.util\nassert importlib.util.find_spec({name!r}) is None")


TRAINING = """
from pathlib import Path
from attar.data.photos import DataSpec, read_photos
from attar.recipe import DistillSpec, FinetuneSpec
from attar.distill import distill_student
from attar.teachers import teach
photos, output = read_photos(DataSpec(sys.argv[1])), Path(sys.argv[2])
vit = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
spec = FinetuneSpec(name="vit_tiny_patch16_224", pretrained=False, options=vit, epochs=1, batch_size=8)
teacher = teach(photos, spec, output / "teacher")
spec = DistillSpec(name="mobilenetv3_small_050", pretrained=False, size=32, epochs=1, batch_size=8,
                   check_teacher=False)
distill_student(photos, spec, output / "student", teacher=teacher)
"""


@pytest.mark.slow
def test_the_training_side_trains_without_the_export_packages(shapes: Path, tmp_path: Path) -> None:
    run(WITHOUT + TRAINING, shapes, tmp_path)
    assert (tmp_path / "student" / "model.safetensors").is_file()


def test_importing_attar_and_its_command_line_loads_no_torch() -> None:
    run("import sys, attar, attar.cli; assert not {'torch', 'timm', 'sklearn'} & set(sys.modules)")
