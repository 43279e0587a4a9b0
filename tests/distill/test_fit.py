"""The one function that trains students."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from attar import teachers
from attar.data.photos import DataSpec, read_photos
from attar.data.store import PhotoStore
from attar.data.views import ViewPolicy
from attar.distill import distill_student
from attar.recipe import DistillSpec


def test_the_photos_of_teacher_and_student_are_not_in_memory_together(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[PhotoStore]] = []
    begin = PhotoStore.__init__

    def watched(self: PhotoStore, *arguments: Any) -> None:
        gc.collect()
        assert not [each for each in made if each() is not None], "photos of an earlier store are still there"
        made.append(weakref.ref(self))
        begin(self, *arguments)

    photos = read_photos(DataSpec(str(shapes)))
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 3, options=options)
    bundle = teachers.save(teacher, tmp_path / "teacher", labels=photos.labels)
    monkeypatch.setattr(PhotoStore, "__init__", watched)
    spec = DistillSpec(
        name="mobilenetv4_conv_small_035",
        pretrained=False,
        size=32,
        epochs=1,
        batch_size=12,
        head_width=8,
        check_teacher=False,
    )
    distill_student(photos, spec, tmp_path / "student", teacher=bundle, views=ViewPolicy(count=1))
    assert len(made) == 2
