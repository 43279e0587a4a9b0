"""Keeping what an earlier student has right: what takes part, what is refused, and that it is trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from attar import students
from attar.bundle import Bundle
from attar.cli.pipeline import check
from attar.data.photos import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.data.views import Batch, ViewPolicy
from attar.distill import distill_student, quantization_aware
from attar.distill.champion import DEFAULT, Champion, FlipLoss, require_champion, with_flips
from attar.distill.fit import loss_function
from attar.distill.losses import objective_of
from attar.distill.losses.base import UNKNOWN
from attar.distill.module import DistillationModule
from attar.errors import InputError
from attar.files import sha256
from attar.inference import to_tensor
from attar.recipe import DistillSpec, LossPart, read_recipe, write_recipe
from attar.train.warm_start import warm_start
from helpers.small import make_student

NAME = "mobilenetv4_conv_small_035"
VIEWS = ViewPolicy(crop_area=(0.7, 1.0), count=2)
LDI = LossPart(name="ldi", weight=0.5)
SPEC = DistillSpec(
    name=NAME, pretrained=False, size=32, crop=1.0, epochs=2, batch_size=12, checkpoint_seconds=0.0, flips=LDI
)


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="module")
def champion(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A student of the photos, whose classes stand in another order, with one that is gone in the place of another."""
    labels = (photos.labels[1], photos.labels[0], "gone")
    return make_student(NAME, photos, tmp_path_factory.mktemp("champion") / "student", labels=labels)


# --- what takes part -----------------------------------------------------------------------------


def test_classes_that_both_know_are_matched_by_name(photos: Photos, champion: Bundle) -> None:
    images = to_tensor(load_pixels(photos.val, champion.preprocessing))
    raw = students.load(champion)(images).detach()
    challenger = ("new", photos.labels[0], photos.labels[2], photos.labels[1])
    kept = Champion(champion, challenger)(images)
    torch.testing.assert_close(kept, raw[:, [1, 0]])
    assert not kept.requires_grad

    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    answers, labels = kept[:3], torch.tensor([1, 0, UNKNOWN])  # known, new, without a label
    own = logits[:, [1, 3]]
    loss = FlipLoss(
        LossPart(name="focal", weight=2.0, alpha=0.5, beta=3.0, distance="logits"), challenger, champion.labels
    )
    apart = (own - answers).square().mean(1)
    weight = 0.5 + 3.0 * torch.tensor([float(answers[0].argmax() == 0), 0.0, 0.0])
    torch.testing.assert_close(loss(logits, answers, labels), 2 * (weight * apart).mean())
    moved = logits.clone()
    moved[:, [0, 2]] += 50
    assert loss(moved, answers, labels) == loss(logits, answers, labels), "classes the champion does not know are free"
    assert not loss.state_dict(), "a checkpoint has nothing more in it"


def test_the_champion_sees_views_of_another_size_at_its_own(photos: Photos, champion: Bundle) -> None:
    """Doubled pixels, halved again, are the same photo."""
    images = to_tensor(load_pixels(photos.val, champion.preprocessing))
    flat = images[:, :, ::32, ::32].expand(-1, -1, 32, 32)
    ask = Champion(champion, photos.labels)
    torch.testing.assert_close(ask(flat.repeat_interleave(2, 2).repeat_interleave(2, 3)), ask(flat))
    assert ask(images.repeat_interleave(2, 2).repeat_interleave(2, 3)).shape == (len(images), 2)


def test_the_loss_is_added_to_that_of_labels_and_to_that_of_a_teacher(photos: Photos, champion: Bundle) -> None:
    images = to_tensor(load_pixels(photos.train[:12], champion.preprocessing))
    labels = torch.from_numpy(labels_of(photos.train[:12]))
    student = students.create_student(NAME, 3, head_width=8).eval()
    flips, ask = FlipLoss(LDI, photos.labels, champion.labels), Champion(champion, photos.labels)
    alone = DistillationModule(student, None, size=32, teacher={}, flips=flips)
    batch = Batch(images, labels, np.arange(12), np.zeros(12, dtype=np.int64))
    ours = loss_function(objective_of(SPEC), None, ask)(alone, batch)
    logits = student(images)
    gap = logits[:, :2] - students.load(champion)(images)[:, [1, 0]]
    added = 0.5 * gap.square().mean()
    torch.testing.assert_close(ours, functional.cross_entropy(logits, labels) + added)

    soft = {"logits": torch.randn(12, 3)}
    taught = DistillationModule(student, objective_of(SPEC), size=32, teacher={"logits": (3,)}, flips=flips)
    torch.testing.assert_close(taught(images, labels, soft, ask(images)), taught(images, labels, soft) + added)
    ours.backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
    mixed = functional.one_hot(labels, 3).float()
    torch.testing.assert_close(alone(images, mixed, None, ask(images)), alone(images, labels, None, ask(images)))


# --- training ------------------------------------------------------------------------------------


def fitted(photos: Photos, output: Path, champion: Bundle | None, **changes: Any) -> Bundle:
    spec = SPEC.model_copy(update=changes)
    return distill_student(photos, spec, output, views=VIEWS, start=champion)


def test_a_cut_off_training_ends_in_the_same_weights_and_knows_its_champion(
    photos: Photos, champion: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(photos, tmp_path / "a", champion)
    forward, steps = DistillationModule.forward, 0

    def cut_off(self: DistillationModule, *arguments: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return forward(self, *arguments)

    monkeypatch.setattr(DistillationModule, "forward", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fitted(photos, tmp_path / "b", champion)
    monkeypatch.undo()
    for other in ({"flips": LossPart(name="ldi", weight=0.4)}, {"flips": None}):
        with pytest.raises(InputError, match="checkpoint"):
            fitted(photos, tmp_path / "b", champion, **other)
    again = fitted(photos, tmp_path / "b", champion)
    assert sha256(again.path / "model.safetensors") == sha256(whole.path / "model.safetensors")
    without = fitted(photos, tmp_path / "c", champion, flips=None)
    assert sha256(without.path / "model.safetensors") != sha256(whole.path / "model.safetensors")
    assert whole.provenance["recipe"]["student"]["flips"] == {"name": "ldi", "weight": 0.5}
    assert without.provenance["recipe"]["student"]["flips"] is None


def test_parts_of_a_batch_add_up_to_it(photos: Photos, champion: Bundle) -> None:
    """As `accumulate` and ranks share a batch out: the mean of two halves is the whole."""
    images = to_tensor(load_pixels(photos.train[:12], champion.preprocessing))
    batch = Batch(images, torch.from_numpy(labels_of(photos.train[:12])), np.arange(12), np.zeros(12, dtype=np.int64))
    module = DistillationModule(
        students.create_student(NAME, 3, head_width=8).eval(),
        None,
        size=32,
        teacher={},
        flips=FlipLoss(LDI, photos.labels, champion.labels),
    )
    loss_of = loss_function(objective_of(SPEC), None, Champion(champion, photos.labels))
    halves = [loss_of(module, part) for part in batch.split(2)]
    torch.testing.assert_close(sum(halves) / 2, loss_of(module, batch))


@pytest.mark.parametrize("name", ["focal", "ldi"])
def test_a_strong_loss_keeps_the_champions_answers(name: str, photos: Photos, champion: Bundle) -> None:
    """A student begins with its champion's weights, and is trained on its answers, of which a third is turned."""
    images = to_tensor(load_pixels(photos.train, champion.preprocessing))
    ask = Champion(champion, photos.labels[:2])
    two = labels_of(photos.train) < 2
    images = images[torch.from_numpy(two)]
    before = ask(images).argmax(1).numpy()
    turned = np.where(np.arange(len(before)) % 3 == 0, 1 - before, before)
    batch = Batch(images, torch.from_numpy(turned), np.arange(len(before)), np.zeros(len(before), dtype=np.int64))

    def kept(part: LossPart) -> float:
        student = students.create_student(NAME, 2)
        warm_start(student, student.network, photos.labels[:2], champion)
        module = DistillationModule(
            student.eval(), None, size=32, teacher={}, flips=FlipLoss(part, photos.labels[:2], champion.labels)
        )
        loss_of, optimizer = loss_function(objective_of(SPEC), None, ask), torch.optim.AdamW(student.parameters(), 1e-3)
        for _ in range(25):
            optimizer.zero_grad()
            loss_of(module, batch).backward()
            optimizer.step()
        return float((student(images).argmax(1).numpy() == before).mean())

    assert kept(LossPart(name=name, weight=0.0)) < 0.8, "or there is nothing to keep"
    assert kept(LossPart(name=name, weight=10.0)) > 0.95


def test_training_on_for_integers_keeps_them_too(photos: Photos, tmp_path: Path) -> None:
    parent = make_student(NAME, photos, tmp_path / "parent", steps=2)
    champion = make_student(NAME, photos, tmp_path / "champion", seed=1, steps=2)
    how = {"views": VIEWS}
    with pytest.raises(InputError, match=r"student\.flips: there is no earlier student.*--champion BUNDLE"):
        quantization_aware(parent, photos, SPEC, tmp_path / "none", **how)
    kept = quantization_aware(parent, photos, SPEC, tmp_path / "kept", champion=champion, **how)
    plain = quantization_aware(parent, photos, SPEC.model_copy(update={"flips": None}), tmp_path / "plain", **how)
    assert sha256(kept.path / "model.safetensors") != sha256(plain.path / "model.safetensors")
    assert kept.provenance["champion"]["fingerprint"] == champion.fingerprint


# --- recipes -------------------------------------------------------------------------------------


def test_auto_is_the_default_loss_where_there_is_a_champion(
    photos: Photos, champion: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    auto = SPEC.model_copy(update={"flips": "auto"})
    assert with_flips(auto, champion, photos.labels, taught=True).flips == DEFAULT
    assert f"{DEFAULT.name}, weight {DEFAULT.weight:g}, for 2 of 3 classes" in capsys.readouterr().err
    blind = auto.model_copy(update={"label_weight": 0.0})
    assert with_flips(blind, champion, photos.labels, taught=False).flips == DEFAULT
    capsys.readouterr()
    for spec, labels in ((auto, ("x", "y")), (blind, photos.labels), (auto.model_copy(update={"fit": "pad"}), "ab")):
        assert with_flips(spec, champion, labels, taught=True).flips is None
        assert "Nothing is done against negative flips" in capsys.readouterr().err
    assert with_flips(SPEC.model_copy(update={"flips": None}), champion, photos.labels, taught=True).flips is None
    assert not capsys.readouterr().err
    require_champion(auto, None)


def test_a_recipe_that_says_nothing_of_flips_is_written_as_before() -> None:
    recipe = read_recipe(None, ["data.path=x"])
    assert "flips" not in write_recipe(recipe)
    assert "flips: null" in write_recipe(read_recipe(None, ["data.path=x", "student.flips=null"]))
    given = read_recipe(None, ["data.path=x", "student.flips={name: focal, weight: 2, beta: 1}"])
    assert given.student.flips == LossPart(name="focal", weight=2, beta=1) and given.fingerprint != recipe.fingerprint
    assert read_recipe(None, ["data.path=x", "student.flips=auto"]).fingerprint == recipe.fingerprint


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("focal", r"student\.flips: Input should be a valid dictionary"),
        ("{weight: 2}", r"student\.flips\.name: is missing"),
        ("{name: ldi, weight: -1}", r"student\.flips\.weight: .*greater than or equal to 0"),
        ("{name: fcal}", r"student\.flips: loss 'fcal' is unknown.*Did you mean 'focal'"),
        ("{name: ldi, tp: 3}", r"student\.flips: loss 'ldi' has no option 'tp' .*Did you mean 'top'"),
        ("{name: crd}", r"student\.flips: loss 'crd' reads more than the champion's logits.*focal, ldi"),
    ],
)
def test_a_wrong_loss_is_named_before_anything_starts(value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        check(read_recipe(None, [f"data.path={tmp_path}", f"student.flips={value}"]))


def test_without_a_champion_or_with_one_unlike_the_recipe_it_is_refused(
    photos: Photos, champion: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"student\.flips: there is no earlier student.*--continue-from RUN"):
        distill_student(photos, SPEC, tmp_path / "s", views=VIEWS)
    with pytest.raises(InputError, match=r"student\.flips: .* has no class in common with the photos"):
        with_flips(SPEC, champion, ("x", "y"), taught=True)
    with pytest.raises(InputError, match=r"fit: crop, and the recipe has fit: pad\. Set student\.fit=crop"):
        with_flips(SPEC.model_copy(update={"fit": "pad"}), champion, photos.labels, taught=True)
    compares = SPEC.model_copy(update={"flips": LossPart(name="dist"), "batch_size": 2})
    with pytest.raises(InputError, match="compares photos with each other"):
        distill_student(photos, compares, tmp_path / "s", views=VIEWS, start=champion)
    assert not (tmp_path / "s").exists()
