"""The teacher's passes through torch.compile: the same answers, or none of it and a message."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from attar import teachers
from attar.data.photos import DataSpec, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student
from attar.distill.cache import TeacherCache
from attar.distill.teacher_outputs import fill_cache
from attar.recipe import DistillSpec

OPTIONS = {"img_size": 48, "patch_size": 12, "embed_dim": 32, "depth": 1, "num_heads": 2}
VIEWS = ViewPolicy(count=1)
KINDS = ("logits", "attention")


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


def answered(photos: Photos, folder: Path, *, compile: bool) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 3, options=OPTIONS)
    bundle = teachers.save(teacher, folder / f"teacher-{compile}", labels=photos.labels)
    cache: TeacherCache = fill_cache(
        bundle, photos, VIEWS, folder / f"cache-{compile}", epochs=1, kinds=KINDS, compile=compile
    )
    return cache.outputs(0, np.arange(len(photos.train)), KINDS)


def test_compiled_answers_are_the_same(
    photos: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced as always, but run without generating C++ code, which takes half a minute here.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    plain, fast = (answered(photos, tmp_path, compile=compile) for compile in (False, True))
    printed = capsys.readouterr().err
    assert "Compiling the teacher" in printed and "does not work" not in printed
    for kind in KINDS:
        assert np.abs(plain[kind] - fast[kind]).max() < 0.02 * np.abs(plain[kind]).max()
        assert plain[kind].std() > 0


def test_without_a_compiler_the_teacher_runs_all_the_same(
    photos: Photos, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*args: object, **more: object) -> object:
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", lambda function: no_compiler)
    plain, fast = (answered(photos, tmp_path, compile=compile) for compile in (False, True))
    printed = " ".join(capsys.readouterr().err.split())
    assert "torch.compile does not work here (no C++ compiler). The teacher runs without it." in printed
    assert all(np.array_equal(plain[kind], fast[kind]) for kind in KINDS)


def test_the_recipe_asks_for_it(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function: asked.append(function.__name__) or function)
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 3, options=OPTIONS)
    bundle = teachers.save(teacher, tmp_path / "teacher", labels=photos.labels)
    spec = DistillSpec(
        name="mobilenetv4_conv_small_035",
        pretrained=False,
        size=32,
        epochs=1,
        batch_size=18,
        head_width=32,
        check_teacher=False,
    )
    distill_student(photos, spec, tmp_path / "without", teacher=bundle, views=VIEWS)
    assert not asked
    distill_student(
        photos, spec.model_copy(update={"compile_teacher": True}), tmp_path / "with", teacher=bundle, views=VIEWS
    )
    assert asked == ["outputs", "forward"]
