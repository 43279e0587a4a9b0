"""Recipes with several losses, mixed views and photos without labels, trained for real on a few photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from attar import students, teachers
from attar.bundle import Bundle
from attar.data.photos import DataSpec, Photos, labels_of, read_photos
from attar.data.store import PhotoStore
from attar.data.views import ViewLoader, ViewPolicy
from attar.distill import distill_student, quantization_aware
from attar.distill.cache import TeacherCache
from attar.distill.losses import LOSSES, objective_of
from attar.distill.losses.base import attention_map, whitened
from attar.distill.losses.beyond import Residual
from attar.distill.module import DistillationModule
from attar.errors import InputError
from attar.files import sha256
from attar.recipe import DistillSpec, FinetuneSpec, read_recipe

VIEWS = ViewPolicy(crop_area=(0.7, 1.0), count=2)
MIXED = replace(VIEWS, mixup=0.8, cutmix=1.0)
TEACHER = FinetuneSpec(
    name="vit_tiny_patch16_224",
    pretrained=False,
    crop=1.0,
    epochs=1,
    batch_size=12,
    lr=1e-3,
    layer_decay=1.0,
    options={"img_size": 48, "patch_size": 12, "embed_dim": 48, "depth": 2, "num_heads": 2},
)
STUDENT = {
    "name": "mobilenetv4_conv_small_035",
    "pretrained": False,
    "size": 32,
    "crop": 1.0,
    "epochs": 2,
    "batch_size": 12,
    "head_width": 32,
    "checkpoint_seconds": 0.0,
    "check_teacher": False,  # one epoch teaches it little
}
TWO = [{"name": "dkd", "weight": 0.7, "beta": 2.0}, {"name": "feature", "weight": 0.5}]


def spec(**student: object) -> DistillSpec:
    return DistillSpec(**{**STUDENT, **student})


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="module")
def teacher(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return teachers.teach(photos, TEACHER, tmp_path_factory.mktemp("t") / "teacher", views=VIEWS)


@pytest.fixture(scope="module")
def cache(photos: Photos, teacher: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The answers that `TWO` needs, made by training a first student; the second is in each test."""
    folder = tmp_path_factory.mktemp("c")
    distill_student(photos, spec(losses=TWO), folder / "first", teacher=teacher, views=VIEWS, cache=folder / "cache")
    return folder


def weights(bundle: Bundle | Path) -> str:
    return sha256((bundle.path if isinstance(bundle, Bundle) else bundle) / "model.safetensors")


@pytest.fixture
def no_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher cannot run."""

    def refuse(*_: object) -> None:
        raise AssertionError("the teacher ran")

    monkeypatch.setattr(teachers, "load", refuse)


def test_a_second_student_never_runs_the_teacher_and_is_the_same(
    photos: Photos, teacher: Bundle, cache: Path, tmp_path: Path, no_teacher: None
) -> None:
    two = spec(losses=TWO)
    second = distill_student(photos, two, tmp_path / "s", teacher=teacher, views=VIEWS, cache=cache / "cache")
    assert weights(second) == weights(cache / "first")
    other = distill_student(photos, two, tmp_path / "o", teacher=teacher, views=VIEWS, cache=cache / "cache", seed=1)
    assert weights(other) != weights(second)
    with pytest.raises(AssertionError, match="the teacher ran"):
        rkd = spec(losses=[{"name": "rkd"}])
        distill_student(photos, rkd, tmp_path / "r", teacher=teacher, views=VIEWS, cache=cache / "cache")


def test_projectors_stay_behind(photos: Photos, cache: Path) -> None:
    plain = students.create_student(STUDENT["name"], len(photos.labels), head_width=32).state_dict()
    assert set(load_file(cache / "first" / "model.safetensors")) == set(plain)
    assert not (cache / "first.training.pt").exists()


@pytest.mark.parametrize("step", [1, 4])
def test_killed_and_started_again_it_ends_in_the_same_weights(
    step: int, photos: Photos, teacher: Bundle, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the losses learn is checkpointed too: a projector that began anew would change the student."""
    arguments = {"teacher": teacher, "views": VIEWS, "cache": cache / "cache"}
    forward, steps = DistillationModule.forward, 0

    def cut_off(self: DistillationModule, *inputs: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > step:
            raise KeyboardInterrupt
        return forward(self, *inputs)

    monkeypatch.setattr(DistillationModule, "forward", cut_off)
    with pytest.raises(KeyboardInterrupt):
        distill_student(photos, spec(losses=TWO), tmp_path / "s", **arguments)
    monkeypatch.undo()
    stored = torch.load(tmp_path / "s.training.pt", weights_only=True)
    assert stored["step"] == step and any(key.startswith("projectors.") for key in stored["model"])
    assert weights(distill_student(photos, spec(losses=TWO), tmp_path / "s", **arguments)) == weights(cache / "first")


def test_a_checkpoint_of_other_losses_is_refused(
    photos: Photos, teacher: Bundle, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"teacher": teacher, "views": VIEWS, "cache": cache / "cache"}
    monkeypatch.setattr(students, "save", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        distill_student(photos, spec(losses=TWO), tmp_path / "s", **arguments)
    with pytest.raises(InputError, match="another run"):
        distill_student(photos, spec(losses=TWO[:1]), tmp_path / "s", **arguments)


def test_every_loss_trains(photos: Photos, teacher: Bundle, tmp_path: Path) -> None:
    everything = [{"name": name, "weight": 0.1} for name in LOSSES]
    bundle = distill_student(photos, spec(losses=everything), tmp_path / "s", teacher=teacher, views=VIEWS)
    assert all(np.isfinite(epoch["loss"]) for epoch in bundle.metrics["history"])
    assert [part["name"] for part in bundle.provenance["recipe"]["student"]["losses"]] == list(LOSSES)
    kinds = {path.name.split(".")[1] for path in (tmp_path / "s.teacher-cache").glob("view-00000.*.npy")}
    assert kinds == {"feature_map", "mid_features", "attention", "pooled"}


def test_beyond_is_fitted_to_the_teachers_features_of_the_training_photos(
    photos: Photos, teacher: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, seen = Residual.fit, []

    def recorded(self: Residual, features: torch.Tensor, labels: torch.Tensor) -> float:
        seen.append((features, labels))
        return fit(self, features, labels)

    monkeypatch.setattr(Residual, "fit", recorded)
    once = spec(losses=[{"name": "kd"}, {"name": "beyond"}], epochs=1)
    distill_student(photos, once, tmp_path / "s", teacher=teacher, views=VIEWS)
    [(features, labels)] = seen
    stored = np.load(tmp_path / "s.teacher-cache" / "view-00000.pooled.npy")
    assert np.array_equal(features, stored.astype(np.float32)) and features.shape == (len(photos.train), 48)
    assert np.array_equal(labels, labels_of(photos.train))
    assert "% lies beyond the classes" in capsys.readouterr().err


def test_training_for_integers_takes_several_losses(
    photos: Photos, teacher: Bundle, cache: Path, tmp_path: Path, no_teacher: None
) -> None:
    bundle = quantization_aware(
        cache / "first", photos, spec(losses=TWO), tmp_path / "q", teacher=teacher, views=VIEWS, cache=cache / "cache"
    )
    assert weights(bundle) != weights(cache / "first")
    students.load(bundle)


def test_stored_answers_are_the_teachers_own(photos: Photos, teacher: Bundle, tmp_path: Path) -> None:
    """To mixed views as well: drawn again here, in another order and batch."""
    every = spec(losses=[{"name": name} for name in ("kd", "rkd", "feature", "hint", "attention")], epochs=1)
    distill_student(photos, every, tmp_path / "s", teacher=teacher, views=MIXED)
    stored = TeacherCache(
        tmp_path / "s.teacher-cache",
        teacher=teacher.fingerprint,
        data=photos.fingerprint,
        views=MIXED.fingerprint,
        shape=(len(photos.train), len(photos.labels)),
    )
    model = teachers.load(teacher)
    store = PhotoStore(photos.train, model.size)
    loader = ViewLoader(store, np.zeros(len(store), dtype=np.int64), MIXED, size=48, batch_size=7, seed=5)
    for batch in loader.epoch(0):
        with torch.inference_mode():
            live = model.outputs(batch.images)
        live["attention"] = attention_map(live["feature_map"])
        live |= {kind: whitened(live[kind]) for kind in ("feature_map", "mid_features")}
        for kind, answer in stored.outputs(0, batch.index, objective_of(every).kinds).items():
            assert np.allclose(answer, live[kind].numpy(), atol=0.06), kind


def test_mixed_views_train_by_mixed_labels(photos: Photos, teacher: Bundle, tmp_path: Path) -> None:
    arguments = {"teacher": teacher, "views": MIXED, "cache": tmp_path / "cache"}
    first = distill_student(photos, spec(losses=TWO), tmp_path / "a", **arguments)
    assert weights(first) == weights(distill_student(photos, spec(losses=TWO), tmp_path / "b", **arguments))
    student = students.create_student(STUDENT["name"], 3, head_width=32).eval()
    images, shares = torch.randint(0, 256, (4, 3, 32, 32)), torch.rand(4, 3)
    loss = DistillationModule(student, None, size=32, teacher={})(images, shares)
    expected = -(shares * torch.log_softmax(student(images), 1)).sum(1).mean()
    torch.testing.assert_close(loss, expected)
    with pytest.raises(InputError, match="another view policy"):
        distill_student(
            photos, spec(losses=TWO), tmp_path / "c", teacher=teacher, views=VIEWS, cache=tmp_path / "cache"
        )


def test_the_loss_is_the_weighted_sum(photos: Photos) -> None:
    torch.manual_seed(0)
    student = students.create_student(STUDENT["name"], 3, head_width=32).eval()
    objective = objective_of(
        spec(losses=[{"name": "kd", "weight": 0.5}, {"name": "hard", "weight": 2}], label_weight=0.25)
    )
    images, labels = torch.randint(0, 256, (4, 3, 32, 32)), torch.tensor([0, 2, 1, 1])
    soft = {"logits": torch.randn(4, 3)}
    logits = student(images)
    parts = [
        torch.nn.functional.cross_entropy(logits, labels),
        9
        * torch.nn.functional.kl_div(
            torch.log_softmax(logits / 3, 1), torch.softmax(soft["logits"] / 3, 1), reduction="batchmean"
        ),
        torch.nn.functional.cross_entropy(logits, soft["logits"].argmax(1)),
    ]
    distillation_module = DistillationModule(student, objective, size=32, teacher={"logits": (3,)})
    loss = distillation_module(images, labels, soft)
    torch.testing.assert_close(loss, 0.25 * parts[0] + 0.5 * parts[1] + 2 * parts[2])
    assert torch.equal(distillation_module(images), logits)


# --- without labels ------------------------------------------------------------------------------


@pytest.fixture
def more(shapes: Path, tmp_path: Path) -> Path:
    """Photos without labels: mirrored ones, in one folder."""
    folder = tmp_path / "more"
    folder.mkdir()
    for path in sorted(shapes.glob("*/1?.png")):
        Image.open(path).rotate(90).save(folder / f"{path.parent.name[:2]}-{path.name}")
    return folder


def test_labels_are_never_read(photos: Photos, teacher: Bundle, more: Path, tmp_path: Path) -> None:
    """Not even by the losses that would use them."""
    student = spec(losses=[{"name": "dkd"}, {"name": "crd"}], label_weight=0, epochs=1)
    wide = read_photos(replace(photos.spec, unlabelled=str(more)))
    arguments = {"teacher": teacher, "views": MIXED, "cache": tmp_path / "cache"}
    bundle = distill_student(wide, student, tmp_path / "a", **arguments)
    about = bundle.provenance["data"]["unlabelled"]
    assert about == {"path": str(more), "photos": 18, "fingerprint": wide.unlabelled_fingerprint}
    wrong = replace(wide, train=tuple(replace(photo, label=0) for photo in wide.train))
    assert weights(distill_student(wrong, student, tmp_path / "b", **arguments)) == weights(bundle)
    narrow = distill_student(photos, student, tmp_path / "c", teacher=teacher, views=MIXED)
    assert weights(narrow) != weights(bundle) and narrow.provenance["data"]["unlabelled"] is None
    with pytest.raises(InputError, match="another photos"):
        distill_student(photos, student, tmp_path / "d", **arguments)


def test_photos_without_labels_and_a_student_that_needs_them(
    photos: Photos, teacher: Bundle, more: Path, tmp_path: Path
) -> None:
    wide = read_photos(replace(photos.spec, unlabelled=str(more)))
    with pytest.raises(InputError, match=r"more: .*no labels.*weight 0\.3\. Set student\.label_weight=0"):
        distill_student(wide, spec(), tmp_path / "s", teacher=teacher)
    with pytest.raises(InputError, match=r"more: .*without a teacher"):
        distill_student(wide, spec(weight=1.0), tmp_path / "s")
    with pytest.raises(InputError, match="all have weight 0"):
        distill_student(photos, spec(weight=0.0, label_weight=0.0), tmp_path / "s", teacher=teacher)
    assert not (tmp_path / "s").exists() and not (tmp_path / "s.teacher-cache").exists()


def test_a_run_finds_it_before_the_teacher_is_fitted(shapes: Path, more: Path, tmp_path: Path) -> None:
    from attar.cli.pipeline import check

    given = [f"data.path={shapes}", f"data.unlabelled={more}", "student.name=mobilenetv3_small_050"]
    with pytest.raises(InputError, match="label_weight=0"):
        check(read_recipe(None, given))
    check(read_recipe(None, [*given, "student.label_weight=0"]))
    with pytest.raises(InputError, match="loss 'dk' is unknown"):
        check(read_recipe(None, [*given, "student.losses=[{name: dk}]"]))


def test_a_cache_of_another_teacher_is_refused(photos: Photos, cache: Path, tmp_path: Path) -> None:
    other = teachers.teach(photos, TEACHER.model_copy(update={"lr": 2e-3}), tmp_path / "teacher", views=VIEWS)
    with pytest.raises(InputError, match="another teacher"):
        distill_student(photos, spec(losses=TWO), tmp_path / "s", teacher=other, views=VIEWS, cache=cache / "cache")
