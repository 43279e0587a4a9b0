"""`attar retrain --unlabelled`: unreviewed photos are trained on, and what the person said of them is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from attar.bundle import read_bundle
from attar.deploy.collect.store import opened
from helpers.collecting import attar
from helpers.field import Field, as_sent, divided

pytestmark = pytest.mark.slow

TEACHER = {
    "name": "vit_tiny_patch16_224",
    "pretrained": False,
    "epochs": 1,
    "options": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2},
}
STUDENT = {
    "name": "mobilenetv4_conv_small_035",
    "pretrained": False,
    "head_width": 32,
    "size": 32,
    "epochs": 1,
    "check_teacher": False,
}


def test_a_wrong_label_goes_nowhere(tmp_path: Path) -> None:
    base, new = divided(tmp_path, ("0", "1"), own=12, new=3)
    recipe = {"data": {"path": str(base)}, "teacher": TEACHER, "student": STUDENT, "max_drop": 100}
    (tmp_path / "first.yaml").write_text(yaml.safe_dump({**recipe, "targets": ["onnx:fp32"]}))
    attar("run", tmp_path / "first.yaml", "--output", tmp_path / "one", "--quick")
    with opened(tmp_path / "people", create=True) as store:
        store.invite("Ana")
        field = Field(store, ("0", "1"))
        ids = [field.send(as_sent(path), "Ana", "1" if label == "0" else "0") for path, label in new]
    words = ["retrain", tmp_path / "one", "--observations", tmp_path / "people", "--output", tmp_path / "two"]
    words += ["--share", 0.5, "--quick", "--unlabelled", "--without", ids[0]]
    assert "Add --set student.label_weight=0" in attar(*words, code=2)
    assert not (tmp_path / "two").exists()
    told = attar(*words, "--set", "student.label_weight=0")["retrain"]
    assert told["unlabelled"] == sorted(ids[1:]) and not told["train"] and not told["val"]
    student = read_bundle(tmp_path / "two" / "student", "student")
    data = student.provenance["data"]
    assert data["added_unlabelled_photos"] == sorted(f"unlabelled/photos/{id}.jpg" for id in ids[1:])
    assert data["unlabelled"]["photos"] == len(ids) - 1 and "added_photos" not in data
    before = read_bundle(tmp_path / "one" / "student").provenance["data"]
    assert data["fingerprint"] == before["fingerprint"]  # of all photos that have a label
