"""Names and options of architectures, from a user or from a file that came from anyone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from attar import students, teachers
from attar.bundle import read_bundle
from attar.errors import InputError
from attar.files import read_json, write_json
from attar.preprocessing import Preprocessing
from attar.students.create import create_student, save
from attar.teachers.create import create_teacher
from attar.teachers.create import save as save_teacher

FOREIGN = ["hf-hub:evil/x", "hf_hub:evil/x", "local-dir:/etc", "no_such_model", 7, None, ["x"]]


def edited(bundle: Path, copy: Path, **changes: Any) -> Path:
    """A copy of a bundle with another architecture."""
    shutil.copytree(bundle, copy)
    about = read_json(copy / "bundle.json")
    about["architecture"] |= changes
    del about["sha256"]  # whoever means harm would make it fit
    write_json(copy / "bundle.json", about)
    return copy


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "bundle"
    save(create_student("mobilenetv3_small_050", 3), path, labels=["a", "b", "c"], preprocessing=Preprocessing(32))
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "bundle"
    save_teacher(create_teacher("test_vit", 3), path, labels=["a", "b", "c"])
    return path


@pytest.mark.parametrize("name", FOREIGN)
def test_a_students_bundle_cannot_name_another_source(name: Any, student: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bundle"):
        students.load(edited(student, tmp_path / "copy", name=name))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_teachers_bundle_cannot_name_another_source(name: Any, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bundle"):
        teachers.load(edited(teacher, tmp_path / "copy", name=name))
    with pytest.raises(InputError, match="bundle"):
        teachers.load(edited(teacher, tmp_path / "hybrid", name="hybrid_vit", options={"backbone": name}))


@pytest.mark.parametrize(
    "options",
    [
        {"pretrained": True},
        {"checkpoint_path": "weights.pt"},
        {"pretrained_cfg": {"hf_hub_id": "evil/x"}},
        {"pretrained_cfg_overlay": {"file": "x"}},
        {"cache_dir": "x"},
        {"no_such": 1},
        {"img_size": [32, 48, 3]},
        5,
    ],
)
def test_a_teachers_bundle_cannot_carry_such_options(options: Any, teacher: Path, tmp_path: Path) -> None:
    copy = edited(teacher, tmp_path / "copy", options=options)
    assert read_bundle(copy).kind == "teacher"
    with pytest.raises(InputError, match="bundle"):
        teachers.load(copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_chans": 1}, "in_chans: 1"),
        ({"img_size": [96, 128, 3]}, "img_size"),
        ({"img_size": [96, 120]}, "96"),
        ({"img_size": 97}, "divisible by patch size"),
        ({"img_size": "96"}, "img_size"),
        ({"embed_dim": 65, "num_heads": 4}, "embed_dim"),
        ({"act_layer": "no_such"}, "act_layer"),
        ({"global_pool": ""}, "logits"),
        ({"size": 96}, "Did you mean 'img_size'"),
        ({"image_size": 96}, "Did you mean 'img_size'"),
        ({"num_classes": 7}, "not an option"),
    ],
)
def test_options_are_tried_before_anything_starts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        create_teacher("test_vit", 3, options=options)
    assert "\n" not in str(caught.value)


def test_options_that_work_still_do() -> None:
    assert create_teacher("test_vit", 3, options={"img_size": 96}).size == 96
