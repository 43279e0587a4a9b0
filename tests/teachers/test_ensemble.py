"""Ensembles: probabilities averaged, each member with its own pixels, one bundle that stands for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attar import teachers
from attar.bundle import Bundle, read_bundle
from attar.data.photos import DataSpec, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student
from attar.distill.cache import TeacherCache
from attar.errors import InputError
from attar.files import write_json
from attar.recipe import DistillSpec, EnsembleSpec, ProbeSpec, validate
from attar.teachers.create import preprocessing_of

SMALL = {"patch_size": 12, "embed_dim": 32, "depth": 1, "num_heads": 2}
MEMBERS = {
    "vit": ("deit_tiny_patch16_224", {**SMALL, "img_size": 48}, 0.9),
    "siglip": ("vit_base_patch16_siglip_224", {**SMALL, "img_size": 36}, 0.95),
}


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="module")
def members(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Two probed teachers of other sizes and normalizations."""
    folder = tmp_path_factory.mktemp("members")
    made = {}
    for name, (architecture, options, crop) in MEMBERS.items():
        spec = ProbeSpec(name=architecture, pretrained=False, options=options, crop=crop)
        made[name] = teachers.teach(photos, spec, folder / name)
    return made


@pytest.fixture(scope="module")
def both(photos: Photos, members: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return join(photos, tmp_path_factory.mktemp("both") / "both", *members.values(), weights=(3.0, 1.0))


def join(photos: Photos, output: Path, *bundles: Bundle, weights: tuple[float, ...] = ()) -> Bundle:
    spec = EnsembleSpec(members=tuple(str(bundle.path) for bundle in bundles), weights=weights)
    return teachers.teach(photos, spec, output)


def images(size: int = 48) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, size, size), dtype=np.uint8))


def test_the_weighted_mean_of_probabilities(both: Bundle, members: dict[str, Bundle]) -> None:
    one, other = (teachers.load(members[name]) for name in MEMBERS)
    means = [teacher.mean.flatten().tolist() for teacher in (one, other)]
    assert (one.size, other.size) == (48, 36) and means[0] != means[1]
    expected = 0.75 * one(images()).softmax(1) + 0.25 * other(images()).softmax(1)
    ensemble = teachers.load(both)
    assert torch.allclose(ensemble(images()).exp(), expected, atol=1e-6)
    assert torch.allclose(ensemble(images()).softmax(1), expected, atol=1e-6)
    assert not torch.allclose(one(images()).softmax(1), other(images()).softmax(1), atol=1e-2)


def test_the_member_with_the_largest_images_says_how_photos_are_prepared(both: Bundle) -> None:
    preprocessing = preprocessing_of(teachers.load(both))
    assert (preprocessing.size, preprocessing.crop) == (48, 0.9) and both.preprocessing == preprocessing


def test_extreme_answers_stay_finite(both: Bundle) -> None:
    ensemble = teachers.load(both)
    for member in ensemble.members:
        with torch.no_grad():
            member.network.get_classifier().weight.mul_(1e4)
    assert torch.isfinite(ensemble(images())).all()


def test_the_bundle_holds_and_names_its_members(
    both: Bundle, members: dict[str, Bundle], photos: Photos, tmp_path: Path
) -> None:
    assert both.kind == "teacher" and both.name == "ensemble" and both.labels == photos.labels
    listed = [(about["name"], about["fingerprint"], about["weight"]) for about in both.provenance["members"]]
    assert listed == [(b.name, b.fingerprint, w) for b, w in zip(members.values(), (0.75, 0.25))]
    moved = shutil.copytree(both.path, tmp_path / "moved")
    assert torch.equal(teachers.load(moved)(images()), teachers.load(both)(images()))
    assert read_bundle(moved).fingerprint == both.fingerprint


def test_other_weights_are_another_teacher(
    both: Bundle, members: dict[str, Bundle], photos: Photos, tmp_path: Path
) -> None:
    equal = join(photos, tmp_path / "equal", *members.values())
    assert equal.architecture["weights"] == [0.5, 0.5] and equal.fingerprint != both.fingerprint
    nested = join(photos, tmp_path / "nested", both, equal)
    expected = (teachers.load(both)(images()).exp() + teachers.load(equal)(images()).exp()) / 2
    assert torch.allclose(teachers.load(nested)(images()).exp(), expected, atol=1e-6)


STUDENT = {
    "name": "mobilenetv4_conv_small_035",
    "pretrained": False,
    "size": 32,
    "epochs": 1,
    "batch_size": 12,
    "head_width": 32,
    "check_teacher": False,
}


def test_a_student_learns_from_it_through_the_cache(both: Bundle, photos: Photos, tmp_path: Path) -> None:
    views = ViewPolicy(count=1)
    student = distill_student(
        photos, DistillSpec(**STUDENT), tmp_path / "s", teacher=both, views=views, cache=tmp_path / "c"
    )
    assert student.provenance["teacher"]["fingerprint"] == both.fingerprint
    assert student.provenance["teacher"]["members"] == [architecture for architecture, *_ in MEMBERS.values()]
    about = json.loads((tmp_path / "c" / "cache.json").read_text())
    cache = TeacherCache(
        tmp_path / "c",
        teacher=both.fingerprint,
        data=about["data"],
        views=views.fingerprint,
        shape=(len(photos.train), 3),
    )
    stored = cache.logits(0, np.arange(len(photos.train)))
    assert np.allclose(np.exp(stored).sum(1), 1, atol=5e-3)


def test_features_are_refused_before_training(both: Bundle, photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"deit_tiny_patch16_224, vit_base.*logits only"):
        distill_student(photos, DistillSpec(**STUDENT, loss="feature"), tmp_path / "s", teacher=both)


def relabelled(labels: Callable[[list[str]], list[str]], bundle: Bundle, output: Path) -> Bundle:
    shutil.copytree(bundle.path, output)
    document = json.loads((output / "bundle.json").read_text())
    del document["sha256"]
    write_json(output / "bundle.json", {**document, "labels": labels(document["labels"])})
    return read_bundle(output)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda labels: labels[::-1], r"odd: this member.*them in another order"),
        (lambda labels: [*labels[:2], "star"], r"odd: this member.*other classes \('square', 'star'\)"),
    ],
)
def test_members_with_other_labels_are_named(
    labels: Callable[[list[str]], list[str]], message: str, members: dict[str, Bundle], photos: Photos, tmp_path: Path
) -> None:
    odd = relabelled(labels, members["vit"], tmp_path / "odd")
    with pytest.raises(InputError, match=message):
        join(photos, tmp_path / "both", members["siglip"], odd)
    assert not (tmp_path / "both").exists()


def test_a_member_from_other_photos_is_told_of(
    members: dict[str, Bundle], photos: Photos, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    join(read_photos(DataSpec(str(shapes), seed=5)), tmp_path / "both", *members.values())
    printed = "".join(capsys.readouterr().err.split())  # it is wrapped
    assert all(f"members0/{name}:madefromotherphotos" in printed for name in MEMBERS)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"method": "ensemble"}, "teacher.members: is missing, and a recipe of method ensemble needs it"),
        ({"members": ["a", "b"]}, "members belongs to method ensemble"),
        ({"method": "ensemble", "members": ["a", "b"], "weights": [1]}, "1 weights for 2 members"),
        ({"method": "ensemble", "members": ["a", "b"], "weights": [1, 0]}, "weights of an ensemble are positive"),
    ],
)
def test_recipes_that_do_not_fit(teacher: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate({"teacher": teacher}, "recipe")


def test_a_teacher_that_is_kept_answers_as_before_and_is_measured_anew(
    photos: Photos, members: dict[str, Bundle], shapes: Path, tmp_path: Path
) -> None:
    before = members["vit"]
    other = read_photos(DataSpec(str(shapes), seed=1))
    spec = ProbeSpec(name=MEMBERS["vit"][0], pretrained=False, options=MEMBERS["vit"][1], crop=MEMBERS["vit"][2])
    kept = teachers.keep(other, spec, tmp_path / "kept", before)
    assert torch.equal(teachers.load(kept)(images()), teachers.load(before)(images()))
    assert kept.provenance["kept"]["fingerprint"] == before.fingerprint
    assert kept.provenance["data"]["fingerprint"] == other.fingerprint
    assert kept.metrics["images"] == len(other.val)
    fewer = replace(other, labels=other.labels[:-1])
    with pytest.raises(InputError, match="knows other classes than the photos have"):
        teachers.keep(fewer, spec, tmp_path / "other", before)
    assert not (tmp_path / "other").exists()
