"""Logits of many classes as the most probable ones and the mass of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from attar import teachers
from attar.data.photos import DataSpec, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student
from attar.distill.cache import TeacherCache
from attar.distill.losses import objective_of
from attar.distill.teacher_outputs import fill_cache
from attar.distill.topk_logits import BOUND, TopK, choose, divergence
from attar.errors import InputError
from attar.recipe import DistillSpec

CLASSES = 1_200
ABOUT = {"teacher": "t", "data": "d", "views": "v", "shape": (6, CLASSES)}


def sure(photos: int, classes: int = CLASSES, seed: int = 0) -> np.ndarray:
    """Outputs of a teacher that knows: a few likely classes, the others far behind."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(photos, classes))
    for row in logits:
        row[rng.choice(classes, 5, replace=False)] += rng.uniform(8, 16, size=5)
    return logits.astype(np.float32)


@given(st.integers(20, 3_000), st.sampled_from([1, 8, 16]), st.floats(0.1, 20), st.integers(0, 99))
def test_what_is_read_keeps_the_largest_and_the_mass_of_the_rest(classes: int, k: int, scale: float, seed: int) -> None:
    logits = (scale * np.random.default_rng(seed).normal(size=(3, classes))).astype(np.float32)
    packing = TopK(k, classes, temperature=1.0)
    read = packing.unpack(packing.pack(logits))
    exact, kept = log_softmax(logits.astype(np.float64), axis=1), np.argsort(-logits, axis=1)[:, :k]
    assert read.shape == logits.shape and read.dtype == np.float32
    # Half precision has 11 bits.
    assert np.allclose(np.take_along_axis(read, kept, 1), np.take_along_axis(exact, kept, 1), rtol=1e-3, atol=1e-4)
    others = np.ones_like(read, dtype=bool)
    np.put_along_axis(others, kept, False, axis=1)
    for row, real, rest in zip(read, np.exp(exact), others):
        assert len(set(row[rest].tolist())) == 1
        assert np.isclose(np.exp(row[rest].astype(np.float64)).sum(), real[rest].sum(), rtol=0.02, atol=1e-6)


def test_packed_bytes_are_the_dtype(tmp_path: Path) -> None:
    assert TopK(16, 10_000, 1.0).dtype.itemsize == 16 * 4 + 2
    assert TopK(16, 100_000, 1.0).dtype.itemsize == 16 * 6 + 2


def test_the_smallest_k_within_the_bound_is_chosen() -> None:
    logits = sure(64)
    chosen = choose(logits, temperature=1.0)
    assert chosen is not None and chosen.divergence <= BOUND
    half = TopK(chosen.k // 2, CLASSES, 1.0)
    assert chosen.k == 8 or divergence(logits, half.unpack(half.pack(logits)), 1.0) > BOUND
    # An independent formula of the same divergence.
    read = chosen.unpack(chosen.pack(logits))
    p, q = softmax(logits.astype(np.float64), axis=1), softmax(read.astype(np.float64), axis=1)
    assert np.isclose(chosen.divergence, (p * np.log(p / q)).sum(1).mean(), rtol=1e-6)


def test_a_tail_that_matters_is_not_packed() -> None:
    logits = np.random.default_rng(0).normal(size=(64, CLASSES)) * 4
    assert choose(logits, temperature=4.0) is None


def batches(view: int) -> Iterator[dict[str, np.ndarray]]:
    logits = sure(6, seed=view)
    yield {"logits": logits[:4]}
    yield {"logits": logits[4:]}


def packed(folder: Path, temperature: float = 1.0) -> TeacherCache:
    cache = TeacherCache(folder, **ABOUT)
    cache.pack(sure(32), temperature)
    assert cache.packing
    return cache


def test_a_cache_of_many_classes_is_packed_as_promised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = packed(tmp_path / "c")
    promised = cache.bytes_to_build(range(2))
    cache.build(range(2), batches)
    assert "most probable of 1,200 classes" in capsys.readouterr().err
    assert promised == sum(np.load(path).nbytes for path in (tmp_path / "c").glob("*.npy")) < 2 * 6 * CLASSES
    again = TeacherCache(tmp_path / "c", **ABOUT)  # says itself how it is packed
    assert again.begun and again.packing == cache.packing and again.missing(range(3)) == [2]
    index = np.array([5, 0])
    assert again.logits(1, index).shape == (2, CLASSES)
    assert divergence(sure(6, seed=1)[index], again.logits(1, index), 1.0) < 2 * BOUND
    again.build([2], batches)
    assert again.logits(2, index).argmax(1).tolist() == sure(6, seed=2)[index].argmax(1).tolist()


def test_few_classes_are_not_packed(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path / "c", teacher="t", data="d", views="v", shape=(6, 1_000))
    cache.pack(sure(32, 1_000), 1.0)
    assert cache.packing is None and cache.bytes_to_build([0]) == 6 * 1_000 * 2


def test_a_higher_temperature_than_it_was_packed_for_is_refused(tmp_path: Path) -> None:
    cache = packed(tmp_path / "c", temperature=1.0)
    cache.build([0], batches)
    cache.serve(1.0)
    with pytest.raises(InputError, match=r"losses up to temperature 1; this one has 3\. Choose another folder"):
        TeacherCache(tmp_path / "c", **ABOUT).serve(3.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 3.0),
        ({"temperature": 2.0}, 2.0),
        ({"losses": [{"name": "dist"}, {"name": "dkd"}]}, 4.0),
        ({"losses": [{"name": "crd"}]}, 1.0),  # its temperature is not of logits
    ],
)
def test_a_goal_knows_the_temperature_it_reads_logits_at(settings: dict, expected: float) -> None:
    assert objective_of(DistillSpec.model_validate(settings)).temperature == expected


def test_a_student_learns_from_packed_answers(shapes: Path, tmp_path: Path) -> None:
    photos = read_photos(DataSpec(str(shapes)))
    photos = replace(photos, labels=(*photos.labels, *(f"class {n}" for n in range(CLASSES - len(photos.labels)))))
    options = {"img_size": 32, "patch_size": 16, "embed_dim": 48, "depth": 1, "num_heads": 2}
    torch.manual_seed(0)
    teacher = teachers.create_teacher("vit_tiny_patch16_224", CLASSES, options=options)
    classifier = teacher.network.get_classifier()  # type: ignore[operator]
    with torch.no_grad():  # sure of itself
        classifier.weight.mul_(50)
    bundle = teachers.save(teacher, tmp_path / "teacher", labels=photos.labels)
    views, folder = ViewPolicy(count=1), tmp_path / "cache"
    spec = DistillSpec(
        name="mobilenetv4_conv_small_035",
        pretrained=False,
        size=32,
        epochs=1,
        batch_size=12,
        temperature=1.0,
        head_width=32,
        check_teacher=False,
    )
    distill_student(photos, spec, tmp_path / "student", teacher=bundle, views=views, cache=folder)
    about = {"data": photos.fingerprint, "views": views.fingerprint, "shape": (len(photos.train), CLASSES)}
    cache = TeacherCache(folder, teacher=bundle.fingerprint, **about)
    assert cache.packing and cache.packing.temperature == 1.0 and not cache.missing([0])
    hotter = spec.model_copy(update={"temperature": 2.0})
    with pytest.raises(InputError, match="losses up to temperature 1; this one has 2"):
        distill_student(photos, hotter, tmp_path / "hot", teacher=bundle, views=views, cache=folder)
    whole = fill_cache(bundle, photos, views, tmp_path / "hot-cache", epochs=1, temperature=30.0)
    assert whole.packing is None  # at this temperature nothing small will do
    everyone = np.arange(len(photos.train))
    assert divergence(whole.logits(0, everyone), cache.logits(0, everyone), 1.0) <= BOUND
