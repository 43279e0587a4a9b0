"""Distilling a small student from a small teacher, for real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attar import students, teachers
from attar.bundle import Bundle, read_bundle
from attar.data.photos import DataSpec, Photos, load_pixels, read_photos
from attar.data.store import PhotoStore
from attar.data.views import ViewLoader, ViewPolicy
from attar.distill import distill_student
from attar.distill.teacher_outputs import fill_cache
from attar.errors import InputError
from attar.files import sha256
from attar.inference import predict, to_tensor
from attar.provenance import data_of
from attar.recipe import DistillSpec, FinetuneSpec, validate
from attar.students.fit_familiarity import familiarity_of, give_familiarity
from attar.temperature import Calibration
from attar.train import evaluation

VIEWS = ViewPolicy(crop_area=(0.7, 1.0), count=2)
TEACHER = FinetuneSpec(
    name="vit_tiny_patch16_224",
    pretrained=False,
    crop=1.0,
    epochs=2,
    batch_size=12,
    lr=1e-3,
    layer_decay=1.0,
    options={"img_size": 48, "patch_size": 12, "embed_dim": 48, "depth": 2, "num_heads": 2},
)
STUDENT = DistillSpec(
    name="mobilenetv4_conv_small_035",
    pretrained=False,
    size=32,
    crop=1.0,
    epochs=2,
    batch_size=12,
    head_width=64,
    check_teacher=False,  # two epochs teach a teacher little
)


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="module")
def teacher(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return teachers.teach(photos, TEACHER, tmp_path_factory.mktemp("t") / "teacher", views=VIEWS)


def test_the_temperature_is_in_the_weights(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same training with and without: the logits differ by just that factor."""
    found = []
    for temperature in (1.0, 1.6):
        known = Calibration(temperature, len(photos.val), 0.2, 0.1)
        monkeypatch.setattr(evaluation, "calibrate", lambda *_, known=known: known)
        bundle = distill_student(photos, STUDENT, tmp_path / str(temperature), views=VIEWS)
        assert bundle.metrics["calibration"] == known.to_json() and bundle.metrics["ece"] == 0.1
        pixels = load_pixels(photos.val, bundle.preprocessing)
        with torch.no_grad():
            found.append(students.load(bundle)(to_tensor(pixels)))
    assert torch.allclose(found[0], 1.6 * found[1], rtol=1e-4, atol=1e-5)
    assert torch.equal(found[0].argmax(1), found[1].argmax(1))


def test_a_recipe_asks_for_a_familiarity(photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"student.familiarity: 'mahalanobi' is no score .* Did you mean 'mahalanobis'"
    ):
        distill_student(photos, STUDENT.model_copy(update={"familiarity": "mahalanobi"}), tmp_path / "none")
    spec = STUDENT.model_copy(update={"familiarity": "mahalanobis"})
    bundle = distill_student(photos, spec, tmp_path / "student", views=VIEWS)
    student = students.load(bundle)
    assert student.familiarity is not None and student.familiarity.name == "mahalanobis"
    pixels = load_pixels(photos.val, bundle.preprocessing)
    familiarity = familiarity_of(student, pixels)
    assert familiarity.shape == (len(photos.val),) and 0 <= familiarity.min() < familiarity.max() <= 1
    assert np.median(familiarity) == pytest.approx(0.95, abs=1e-3)
    plain = distill_student(photos, STUDENT, tmp_path / "without", views=VIEWS)
    without = students.load(plain)
    with torch.no_grad():
        assert torch.equal(student(to_tensor(pixels)), without(to_tensor(pixels)))
    given = give_familiarity(plain, "mahalanobis", photos, tmp_path / "given")
    np.testing.assert_allclose(familiarity_of(students.load(given), pixels), familiarity, atol=1e-4)
    few = replace(photos, val=photos.val[::2])
    fewer = give_familiarity(plain, "mahalanobis", few, tmp_path / "few").state_dict()
    differing = [name for name, value in given.state_dict().items() if not torch.equal(value, fewer[name])]
    assert differing == ["familiarity.border", "familiarity.slope"], "all else is of training photos alone"
    after = distill_student(photos, STUDENT, tmp_path / "after", views=VIEWS, start=bundle)
    assert students.load(after).familiarity is None


def test_a_student_bundle_from_end_to_end(photos: Photos, teacher: Bundle, tmp_path: Path) -> None:
    bundle = distill_student(photos, STUDENT, tmp_path / "student", teacher=teacher, views=VIEWS, seed=3)
    assert bundle.labels == photos.labels and bundle.provenance["teacher"]["fingerprint"] == teacher.fingerprint
    assert bundle.provenance["data"]["fingerprint"] == photos.fingerprint and bundle.provenance["seed"] == 3
    calibration = bundle.metrics["calibration"]
    assert calibration["images"] == len(photos.val) and bundle.metrics["ece"] == calibration["after"]
    student = students.load(bundle)
    pixels = load_pixels(photos.val, bundle.preprocessing)
    right = predict(student, pixels).argmax(1) == [photo.label for photo in photos.val]
    assert right.mean() == pytest.approx(bundle.metrics["top1"])
    assert not list(tmp_path.glob("*.training.pt"))


def test_the_same_seed_gives_the_same_weights_and_the_teacher_changes_them(
    photos: Photos, teacher: Bundle, tmp_path: Path
) -> None:
    def weights(name: str, **options: object) -> str:
        bundle = distill_student(photos, STUDENT, tmp_path / name, views=VIEWS, cache=tmp_path / "cache", **options)
        return sha256(bundle.path / "model.safetensors")

    first = weights("a", teacher=teacher)
    assert first == weights("b", teacher=teacher.path)
    assert first != weights("c", teacher=None)
    assert first != weights("d", teacher=teacher, seed=1)


def test_a_bundle_says_all_it_takes_to_make_it_again(photos: Photos, teacher: Bundle, tmp_path: Path) -> None:
    bundle = distill_student(photos, STUDENT, tmp_path / "a", teacher=teacher, views=VIEWS, seed=3)
    about = read_bundle(tmp_path / "a").provenance
    assert about["teacher"]["fingerprint"] == teacher.fingerprint and about["computed_on"]["ranks"] == 1
    assert about["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0] and about["command"]
    recipe = validate(about["recipe"], "provenance")
    again = read_photos(data_of(about))
    assert again.fingerprint == about["data"]["fingerprint"]
    made = distill_student(
        again, recipe.student, tmp_path / "b", teacher=teacher, views=recipe.views, seed=about["seed"]
    )
    assert sha256(made.path / "model.safetensors") == sha256(bundle.path / "model.safetensors")


def test_stored_answers_are_the_teachers_own(photos: Photos, teacher: Bundle, tmp_path: Path) -> None:
    cache = fill_cache(teacher, photos, VIEWS, tmp_path / "cache", epochs=9)
    assert cache.missing(range(2)) == []
    model = teachers.load(teacher)
    store = PhotoStore(photos.train, model.size)
    loader = ViewLoader(store, np.zeros(len(store), dtype=np.int64), VIEWS, size=48, batch_size=7, seed=0)
    for batch in loader.in_order(1):
        with torch.inference_mode():
            live = model(batch.images).numpy()
        assert np.allclose(cache.logits(1, batch.index), live, atol=0.05)


def test_a_teacher_of_other_classes_is_refused_before_training(
    photos: Photos, teacher: Bundle, shapes: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "photos"
    renamed.mkdir()
    for folder in shapes.iterdir():
        (renamed / folder.name.upper()).symlink_to(folder)
    other = read_photos(DataSpec(str(renamed)))
    with pytest.raises(InputError, match=r"CIRCLE.*attar teach"):
        distill_student(other, STUDENT, tmp_path / "student", teacher=teacher, views=VIEWS)
    assert not (tmp_path / "student").exists()


def test_a_students_bundle_is_no_teacher(photos: Photos, tmp_path: Path) -> None:
    student = distill_student(photos, STUDENT, tmp_path / "s", views=VIEWS)
    with pytest.raises(InputError, match="holds a student"):
        distill_student(photos, STUDENT, tmp_path / "s2", teacher=student.path, views=VIEWS)
    with pytest.raises(InputError, match="holds a student"):
        read_bundle(student.path, "teacher")
