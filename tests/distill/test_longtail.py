"""Few photos of some classes: what a balanced loss of the labels changes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attar import students, teachers
from attar.data.photos import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.data.store import PhotoStore
from attar.data.views import ViewLoader, ViewPolicy
from attar.distill import distill_student
from attar.distill.module import DistillationModule
from attar.errors import InputError
from attar.files import sha256
from attar.inference import predict
from attar.recipe import DistillSpec, FinetuneSpec, ProbeSpec, read_recipe
from helpers.pictures import draw

VIEWS = ViewPolicy(crop_area=(0.9, 1.0), color=0.0, count=4)
STUDENT = {
    "name": "mobilenetv4_conv_small_035",
    "pretrained": False,
    "size": 32,
    "crop": 1.0,
    "epochs": 14,
    "batch_size": 24,
    "lr": 3e-3,
    "head_width": 64,
    "ema": 0.9,
    "drop_rate": 0.0,
}
TRAINED = {"circle": 120, "cross": 8, "square": 40}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Many circles, some squares, eight crosses; as many of each to validate."""
    root = tmp_path_factory.mktemp("imbalanced")
    for shape, count in TRAINED.items():
        for split, numbers in (("train", range(count)), ("val", range(1000, 1040))):
            (root / split / shape).mkdir(parents=True)
            for number in numbers:
                draw(shape, number, 32).save(root / split / shape / f"{number}.png")
    return read_photos(DataSpec(str(root)))


@pytest.mark.slow
def test_balancing_finds_the_rare_class(photos: Photos, tmp_path: Path) -> None:
    def recall(balance: str) -> np.ndarray:
        bundle = distill_student(photos, DistillSpec(**STUDENT, balance=balance), tmp_path / balance, views=VIEWS)
        predicted = predict(students.load(bundle), load_pixels(photos.val, bundle.preprocessing)).argmax(1)
        labels = labels_of(photos.val)
        return np.array([(predicted[labels == c] == c).mean() for c in range(3)])

    plain, adjusted, weighted = (recall(balance) for balance in ("none", "logit_adjusted", "class_balanced"))
    rare = photos.labels.index("cross")
    # Seeds, processors and numbers of threads train other students: the rare class gained 20 to 65 points, 40 to 67.
    assert adjusted[rare] >= plain[rare] + 0.1 and weighted[rare] >= plain[rare] + 0.2
    assert adjusted.mean() >= plain.mean() + 0.05 and weighted.mean() >= plain.mean() + 0.05


def test_balance_and_mixed_views_change_training_of_student_and_teacher(shapes: Path, tmp_path: Path) -> None:
    photos = read_photos(DataSpec(str(shapes)))
    photos = Photos(photos.spec, photos.labels, photos.train[:30], photos.val, fingerprint=photos.fingerprint)
    mixed = ViewPolicy(count=1, mixup=0.8)

    def student(balance: str) -> str:
        spec = DistillSpec(**{**STUDENT, "epochs": 1, "batch_size": 15}, balance=balance)
        return sha256(distill_student(photos, spec, tmp_path / balance, views=mixed).path / "model.safetensors")

    assert len({student(balance) for balance in ("none", "class_balanced", "logit_adjusted")}) == 3

    vit = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    how = {"name": "vit_tiny_patch16_224", "pretrained": False, "options": vit, "epochs": 1, "batch_size": 15}

    def teacher(balance: str) -> str:
        bundle = teachers.teach(photos, FinetuneSpec(**how, balance=balance), tmp_path / f"t-{balance}", views=mixed)
        return sha256(bundle.path / "model.safetensors")

    assert teacher("none") != teacher("logit_adjusted")


def test_a_student_without_labels_and_a_probe_are_not_balanced(shapes: Path, tmp_path: Path) -> None:
    from attar.cli.pipeline import check

    given = [f"data.path={shapes}", "student.balance=logit_adjusted", "student.weight=1.0"]
    with pytest.raises(InputError, match=r"student\.balance: logit_adjusted.*label_weight above 0"):
        check(read_recipe(None, given))
    check(read_recipe(None, [*given, "student.label_weight=0.5"]))
    photos = read_photos(DataSpec(str(shapes)))
    with pytest.raises(InputError, match=r"teacher\.balance: class_balanced.*finetune"):
        teachers.teach(photos, ProbeSpec(balance="class_balanced"), tmp_path / "t")


# --- repeated views ------------------------------------------------------------------------------


def test_repeated_views_train_from_the_cache_and_resume_exactly(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first of four steps; the teacher's answers are those to each image's own view."""
    photos = read_photos(DataSpec(str(shapes)))
    vit = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    how = FinetuneSpec(name="vit_tiny_patch16_224", pretrained=False, options=vit, epochs=1, batch_size=18)
    teacher = teachers.teach(photos, how, tmp_path / "teacher", views=ViewPolicy(count=2, repeats=2))
    spec = DistillSpec(**{**STUDENT, "epochs": 2, "batch_size": 18, "checkpoint_seconds": 0.0}, check_teacher=False)
    views = ViewPolicy(count=4, repeats=2)
    arguments = {"teacher": teacher, "cache": tmp_path / "cache"}
    whole = distill_student(photos, spec, tmp_path / "a", views=views, **arguments)
    assert len(list((tmp_path / "cache").glob("view-*.npy"))) == 2  # what two epochs show

    model, forward, steps = teachers.load(teacher), DistillationModule.forward, 0
    shown = ViewLoader(PhotoStore(photos.train, 32), labels_of(photos.train), views, size=32, batch_size=18, seed=0)
    drawn = iter([*shown.epoch(0), *shown.epoch(1)])

    def cut_off(self: DistillationModule, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise KeyboardInterrupt
        with torch.inference_mode():
            live = model(next(drawn).images)  # the student's size is the teacher's here
        torch.testing.assert_close(rest[1]["logits"], live, atol=0.02, rtol=0.02)
        return forward(self, images, *rest)

    monkeypatch.setattr(DistillationModule, "forward", cut_off)
    with pytest.raises(KeyboardInterrupt):
        distill_student(photos, spec, tmp_path / "b", views=views, **arguments)
    monkeypatch.undo()
    again = distill_student(photos, spec, tmp_path / "b", views=views, **arguments)
    assert sha256(again.path / "model.safetensors") == sha256(whole.path / "model.safetensors")
    plain = distill_student(photos, spec, tmp_path / "c", views=ViewPolicy(count=4), **arguments)
    assert sha256(plain.path / "model.safetensors") != sha256(whole.path / "model.safetensors")
    with pytest.raises(InputError, match=r"views\.repeats"):
        distill_student(photos, spec, tmp_path / "d", views=ViewPolicy(count=4, repeats=4), teacher=teacher)
    assert not (tmp_path / "d.teacher-cache").exists()
