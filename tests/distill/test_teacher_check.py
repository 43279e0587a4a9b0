"""There is a warning for a useless teacher, and none for a weak but honest one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from attar import teachers
from attar.data.photos import DataSpec, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student, quantization_aware
from attar.distill.teacher_check import problem
from attar.errors import InputError
from attar.recipe import DistillSpec, ProbeSpec


def answers_of(rng: np.random.Generator, labels: np.ndarray, classes: int, accuracy: float) -> np.ndarray:
    """Right with this probability, otherwise a random class."""
    return np.where(rng.random(len(labels)) < accuracy, labels, rng.integers(classes, size=len(labels)))


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(classes))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "photos"), [(2, 60), (2, 2000), (10, 200), (1000, 5000)])
@pytest.mark.parametrize("accuracy", [0.35, 0.95])
def test_a_teacher_that_knows_something_is_let_through(classes: int, photos: int, accuracy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=photos)
    assert problem(answers_of(rng, labels, classes, accuracy), labels, names(classes)) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "photos"), [(2, 2000), (10, 500), (100, 3000), (1000, 5000)])
def test_answers_at_random_are_told_of(classes: int, photos: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=photos)
    text = problem(rng.integers(classes, size=photos), labels, names(classes))
    assert text and "next to nothing" in text and "attar teach" in text


def test_one_answer_for_everything_is_told_of_though_most_photos_are_of_that_class() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [900, 50, 50]))
    text = problem(np.zeros(1000, dtype=int), labels, names(3))
    assert text and "90.0%, and answering at random would give 90.0%" in text


@pytest.mark.parametrize("accuracy", [0.6, 1.0])
@pytest.mark.parametrize(("classes", "photos"), [(3, 60), (10, 500), (1000, 5000)])
def test_classes_in_another_order_are_told_of(classes: int, photos: int, accuracy: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(classes, size=photos)
    predicted = np.roll(np.arange(classes), 1)[answers_of(rng, labels, classes, accuracy)]
    text = problem(predicted, labels, names(classes))
    assert text and "another order" in text
    assert classes > photos / 10 or "'class 0' where the photo shows 'class 1'" in text


def test_two_classes_that_are_swapped_among_ten() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(10, size=3000)
    predicted = labels.copy()
    predicted[labels == 3], predicted[labels == 7] = 7, 3
    text = problem(predicted, labels, names(10))
    assert text and "2 classes renamed" in text and "'class 7' where the photo shows 'class 3'" in text


VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}


def test_a_student_of_a_teacher_in_another_order_is_refused_before_it_is_trained(shapes: Path, tmp_path: Path) -> None:
    photos: Photos = read_photos(DataSpec(str(shapes)))
    views = ViewPolicy(crop_area=(0.9, 1.0), color=0.0, count=1)
    probe = ProbeSpec(name="vit_tiny_patch16_224", pretrained=False, options=VIT, crop=1.0)
    good = teachers.load(teachers.teach(photos, probe, tmp_path / "good"))
    with torch.no_grad():  # as if the folders had been sorted otherwise
        good.network.head.weight.copy_(good.network.head.weight.roll(1, 0))
        good.network.head.bias.copy_(good.network.head.bias.roll(1, 0))
    wrong = teachers.save(good, tmp_path / "wrong", labels=photos.labels)
    spec = DistillSpec(
        name="mobilenetv4_conv_small_035", pretrained=False, size=32, epochs=1, batch_size=12, head_width=32
    )
    with pytest.raises(InputError, match=r"wrong: the teacher's classes are in another order.*'circle'.*check_teacher"):
        distill_student(photos, spec, tmp_path / "student", teacher=wrong, views=views)
    assert not (tmp_path / "student").exists() and not (tmp_path / "student.training.pt").exists()
    forced = spec.model_copy(update={"check_teacher": False})
    student = distill_student(photos, forced, tmp_path / "student", teacher=wrong, views=views)
    assert student.labels == photos.labels
    with pytest.raises(InputError, match="in another order"):
        quantization_aware(student, photos, spec, tmp_path / "integers", teacher=wrong, views=views)
