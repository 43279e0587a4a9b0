"""`attar run` on a folder that changed, and `--continue-from`, for real."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from attar.bundle import read_bundle
from attar.data.photolist import read_list
from helpers import warm
from helpers.pictures import draw

ROOT = Path(__file__).parents[2]
RECIPE = """
data: {path: PHOTOS}
teacher:
  {name: vit_tiny_patch16_224, pretrained: false, crop: 1.0, epochs: 2, batch_size: 8,
   options: {img_size: 32, patch_size: 16, embed_dim: 24, depth: 1, num_heads: 2}}
student:
  {name: mobilenetv4_conv_small_035, pretrained: false, head_width: 32, size: 32, crop: 1.0, epochs: 2, batch_size: 8,
   check_teacher: false}
targets: [onnx:fp32]
max_drop: 100
bench: {seconds: 0.2}
"""

pytestmark = pytest.mark.slow


def attar(*words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(warm.attar(*words), capture_output=True, text=True, env=environment, timeout=500)


def test_more_photos_and_a_new_class(tmp_path: Path) -> None:
    photos, recipe = tmp_path / "photos", tmp_path / "recipe.yaml"

    def add(shape: str, numbers: range, label: str | None = None) -> None:
        (photos / (label or shape)).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            draw(shape, number).save(photos / (label or shape) / f"{number}.png")

    for shape in ("circle", "square"):
        add(shape, range(8))
    recipe.write_text(RECIPE.replace("PHOTOS", str(photos)))
    old, new = tmp_path / "old", tmp_path / "new"
    first = attar("run", recipe, "--output", old)
    assert first.returncode == 0, first.stderr
    add("circle", range(20, 26))
    add("cross", range(8))
    (photos / "square" / "3.png").unlink()

    refused = attar("run", recipe, "--output", old)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    said = " ".join(refused.stderr.split())
    assert "14 added (circle/20.png, circle/21.png, circle/22.png, ...), 1 removed (square/3.png)" in said
    assert f"add --continue-from {old} and choose another --output" in said

    done = attar("run", recipe, "--output", new, "--continue-from", old, "--json")
    assert done.returncode == 0, done.stderr
    assert "New classes: cross" in done.stderr
    assert "Against negative flips: ldi" in done.stderr and "for 2 of 3 classes" in done.stderr
    data = json.loads(done.stdout)["data"]
    assert data["photos_per_class"] == {"circle": 14, "square": 7, "cross": 8}
    before, now = ({e[3]: e[2] for e in read_list(each / "photos.json")} for each in (old, new))
    assert all(now[digest] == side for digest, side in before.items() if digest in now)
    for kind in ("teacher", "student"):
        about = read_bundle(new / kind).provenance["continued_from"]
        assert about["fingerprint"] == read_bundle(old / kind).fingerprint
        assert read_bundle(new / kind).labels == ("circle", "cross", "square")

    alone = attar("run", recipe, "--output", tmp_path / "alone", "--set", "student.flips={name: ldi}")
    assert alone.returncode == 2 and "--continue-from RUN" in alone.stderr and not (tmp_path / "alone").exists()

    old.rename(tmp_path / "gone")
    new.rename(tmp_path / "moved")
    again = attar("verify", tmp_path / "moved")
    assert again.returncode == 0 and "other photos" not in " ".join(again.stderr.split()), again.stderr
