"""The linear probe: features once, the strength chosen on training photos alone, the optimum reached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attar import teachers
from attar.data.photos import DataSpec, Photo, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.recipe import ProbeSpec, TeachSpec
from attar.teachers.context import FitContext
from attar.teachers.linear_probe import HELD_OUT, features_of, held_out, probe, solve
from attar.teachers.teacher import Teacher

SPEC = ProbeSpec(
    name="vit_tiny_patch16_224",
    pretrained=False,
    crop=1.0,
    options={"img_size": 48, "patch_size": 12, "embed_dim": 48, "depth": 1, "num_heads": 2},
)


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


def context(photos: Photos, output: Path, spec: TeachSpec = SPEC) -> FitContext:
    torch.manual_seed(0)
    return FitContext(photos, spec, ViewPolicy(), 0, output)


def blobs(count: int, classes: int, width: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = 3 * rng.standard_normal((classes, width))
    return (centres[labels] + noise * rng.standard_normal((count, width))).astype(np.float32), labels


def test_the_network_runs_once_for_each_photo(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0
    features = Teacher.features

    def counted(self: Teacher, images: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(images)
        return features(self, images)

    monkeypatch.setattr(Teacher, "features", counted)
    probe(context(photos, tmp_path / "teacher"))
    assert seen == len(photos.train)
    again = probe(context(photos, tmp_path / "teacher"))  # as after an interruption: all are there
    assert seen == len(photos.train)
    bundle = teachers.teach(photos, SPEC, tmp_path / "teacher")
    assert bundle.provenance["probe"] == again.about["probe"]
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


def test_features_of_other_photos_are_not_taken(photos: Photos, tmp_path: Path) -> None:
    one = context(photos, tmp_path / "teacher")
    assert one.features != context(replace(photos, fingerprint="other"), tmp_path / "teacher").features
    other = SPEC.model_copy(update={"checkpoint": "other.safetensors"})
    assert one.features != context(photos, tmp_path / "teacher", other).features
    first = features_of(one.create(), photos.train, one.features)
    assert np.array_equal(features_of(one.create(), photos.train, one.features), first)


def test_validation_photos_choose_nothing(photos: Photos, tmp_path: Path) -> None:
    swapped = replace(photos, val=tuple(Photo(photo.path, (photo.label + 1) % 3) for photo in photos.val))
    bundles = [teachers.teach(p, SPEC, tmp_path / name) for name, p in (("a", photos), ("b", swapped))]
    assert bundles[0].weights_sha256 == bundles[1].weights_sha256
    assert bundles[0].metrics["top1"] != bundles[1].metrics["top1"]


def test_a_fifth_of_each_class_is_held_out_and_never_its_only_photo() -> None:
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 2, 3], [1, 2, 50, 7]))
    held = np.bincount(labels[held_out(labels)], minlength=4)
    assert held.tolist() == [0, 1, 50 // HELD_OUT, 2]
    assert not held_out(np.arange(6)).any()


def test_one_photo_a_class_is_solved_too() -> None:
    features, labels = blobs(4, 4, 8, 0.1)
    weight, bias, about = solve(features, labels)
    assert about == {"l2": 0.1, "held_out": 0, "held_out_loss": None}
    assert ((features @ weight.T + bias).argmax(1) == labels).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_penalized_optimum_is_reached(classes: int) -> None:
    """At the optimum the mean gradient of the cross-entropy is what the penalty pulls back, in standardized units."""
    features, labels = blobs(120, classes, 6, 8.0)
    weight, bias, about = solve(features, labels)
    wide = features.astype(np.float64)
    standard = (wide - wide.mean(0)) / wide.std(0)
    logits = wide @ weight.T + bias
    shares = np.exp(logits - logits.max(1, keepdims=True))
    error = shares / shares.sum(1, keepdims=True) - np.eye(classes)[labels]
    pull = about["l2"] * weight * wide.std(0) * (2 if classes == 2 else 1)  # one logit there, split over both rows
    assert np.abs(error.T @ standard / len(labels) + pull).max() < 2e-3
    assert np.abs(pull).max() > 0.01
    assert np.abs(error.mean(0)).max() < 2e-3


def test_the_strength_follows_the_photos_held_out() -> None:
    easy, hard = (solve(*blobs(120, 3, 40, noise))[2] for noise in (0.5, 40.0))
    assert hard["l2"] >= 1 > easy["l2"]
    assert easy["held_out_loss"] < 0.1 < np.log(3) * 0.8 < hard["held_out_loss"]
