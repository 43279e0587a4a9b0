"""The training loop: its schedule, its exact resume, and what it refuses."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from timm.optim import param_groups_weight_decay
from torch import nn
from torch.nn import functional

from attar.data.photos import DataSpec, labels_of, read_photos
from attar.data.store import PhotoStore
from attar.data.views import Batch, ViewLoader, ViewPolicy
from attar.errors import GateError, InputError
from attar.recipe import TrainSpec
from attar.train import batchnorm, loop
from attar.train.checkpoints import Checkpoints, discard
from attar.train.loop import learning_rate, scheduled, train, undecayed

ROOT = Path(__file__).parents[3]
SPEC = TrainSpec(epochs=3, batch_size=8, lr=0.01, checkpoint_seconds=0)


class Tiny(nn.Module):
    """Convolution, batch norm, dropout: everything whose state a resume must bring back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.conv(images.float() / 255)))
        return self.fc(self.drop(x.mean((2, 3))))


@pytest.fixture(scope="module")
def loader(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> ViewLoader:
    photos = read_photos(DataSpec(str(shapes)))
    store = PhotoStore(photos.train, 32)
    return ViewLoader(store, labels_of(photos.train), ViewPolicy(), size=32, batch_size=8, seed=5)


@pytest.fixture(params=[False, True], ids=["read at once", "read late"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are read when the step is done, as on a CPU, or one step later, as on a GPU."""
    monkeypatch.setattr(loop, "reads_late", lambda where: request.param)


def cross_entropy(model: nn.Module, batch: Batch) -> torch.Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels)


def weights(model: nn.Module) -> bytes:
    return b"".join(t.contiguous().numpy().tobytes() for t in model.state_dict().values())


class Killed(Exception):
    pass


def dying(after: int) -> Callable[[nn.Module, Batch], torch.Tensor]:
    steps = 0

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > after:
            raise Killed
        return cross_entropy(model, batch)

    return loss_of


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("stop", [1, 4, 5, 8, 11])
def test_resuming_after_any_step_gives_the_same_weights(stop: int, loader: ViewLoader, tmp_path: Path) -> None:
    whole = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    with pytest.raises(Killed):
        train(Tiny(), SPEC, loader, dying(after=stop), seed=1, checkpoint=tmp_path / "b.pt")
    torch.manual_seed(999)  # a new process starts with other random numbers
    resumed = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt")
    assert weights(resumed.model) == weights(whole.model)


def test_another_seed_gives_other_weights(loader: ViewLoader, tmp_path: Path) -> None:
    one = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    two = train(Tiny(), SPEC, loader, cross_entropy, seed=2, checkpoint=tmp_path / "b.pt")
    assert weights(one.model) != weights(two.model)


def test_the_result_is_the_average_in_evaluation_mode(loader: ViewLoader, tmp_path: Path) -> None:
    averaged = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    plain = train(
        Tiny(), SPEC.model_copy(update={"ema": 0.0}), loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt"
    )
    assert not averaged.model.training and weights(averaged.model) != weights(plain.model)


def test_training_lowers_the_loss(loader: ViewLoader, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"epochs": 40, "lr": 0.05, "checkpoint_seconds": 100.0})
    history = train(Tiny(), spec, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt").history
    assert len(history) == 40 and history[-1]["loss"] < 0.9 * history[0]["loss"]


def test_a_checkpoint_of_another_run_is_refused_and_kept(loader: ViewLoader, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.pt.*another run"):
        train(Tiny(), SPEC, loader, cross_entropy, seed=2, checkpoint=path)
    with pytest.raises(InputError, match="another run"):
        train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path, identity="other photos")
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(loader: ViewLoader, tmp_path: Path) -> None:
    path, before = tmp_path / "a.pt", tmp_path / "a.pt.1"
    whole = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)
    steps = [torch.load(file, weights_only=True)["step"] for file in (path, before)]
    assert steps == [SPEC.epochs * loader.steps, SPEC.epochs * loader.steps - 1]
    path.write_bytes(path.read_bytes()[:1000])
    again = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)
    assert weights(again.model) == weights(whole.model) and again.history == whole.history


def test_damaged_checkpoints_are_named(loader: ViewLoader, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)
    for file in (path, tmp_path / "a.pt.1"):
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"a\.pt.*damaged"):
        train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=path)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_checkpoints_are_kept_and_discarded_together(keep: int, loader: ViewLoader, tmp_path: Path) -> None:
    path, others = tmp_path / "a.pt", tmp_path / "a.pt.png"
    others.write_text("mine")
    train(Tiny(), SPEC.model_copy(update={"keep": keep}), loader, cross_entropy, seed=1, checkpoint=path)
    assert {p.name for p in tmp_path.iterdir()} == {"a.pt", "a.pt.png", *(f"a.pt.{i}" for i in range(1, keep))}
    discard(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt.png"]


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_weights(shapes: Path, tmp_path: Path) -> None:
    """SIGKILL, up to ten times, mostly while a checkpoint is being written; with the best epoch kept."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "killed.py"), str(shapes), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["killed"] == outcome["whole"] and len(outcome["whole"]["history"]) == 8
    assert len(set(outcome["steps"])) >= 3 and outcome["steps"] == sorted(outcome["steps"]), outcome["steps"]


@pytest.mark.usefixtures("reading")
def test_an_epochs_mean_loss_survives_a_resume_in_its_middle(loader: ViewLoader, tmp_path: Path) -> None:
    whole = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    with pytest.raises(Killed):
        train(Tiny(), SPEC, loader, dying(after=6), seed=1, checkpoint=tmp_path / "b.pt")
    resumed = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt")
    assert resumed.history == whole.history and loader.steps == 4


def test_the_best_epoch_is_kept_only_if_asked_for(loader: ViewLoader, tmp_path: Path) -> None:
    scores = iter([0.2, 0.9, 0.9])
    seen: list[bytes] = []

    def validate(model: nn.Module) -> float:
        assert not model.training
        seen.append(weights(model))
        return next(scores)

    spec = SPEC.model_copy(update={"select": "best"})
    best = train(Tiny(), spec, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt", validate=validate)
    assert weights(best.model) == seen[1] != seen[2]
    assert [entry["top1"] for entry in best.history] == [0.2, 0.9, 0.9]
    last = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt", validate=validate)
    assert weights(last.model) == seen[2] and len(seen) == 3


@pytest.mark.usefixtures("reading")
def test_parts_of_a_batch_add_up_to_the_batch(loader: ViewLoader, tmp_path: Path) -> None:
    def losses(accumulate: int) -> list[float]:
        model = Tiny()
        model.bn, model.drop = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        spec = SPEC.model_copy(update={"accumulate": accumulate})
        path = tmp_path / f"{accumulate}.pt"
        return [entry["loss"] for entry in train(model, spec, loader, cross_entropy, seed=1, checkpoint=path).history]

    assert losses(4) == pytest.approx(losses(1), rel=1e-5)
    with pytest.raises(InputError, match="accumulate"):
        losses(3)


def test_sharding_one_process_is_refused(loader: ViewLoader, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"shard": True})
    with pytest.raises(InputError, match="torchrun"):
        train(Tiny(), spec, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")


@pytest.mark.usefixtures("reading")
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(loader: ViewLoader, tmp_path: Path) -> None:
    steps = 0

    def breaks(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return cross_entropy(model, batch) * (float("nan") if steps >= 6 else 1)

    spec = SPEC.model_copy(update={"clip": 0.0})
    with pytest.raises(
        GateError, match=r"step 6: .*their loss is not \(view 1 of photos \d+.*lower lr.*clip: 1\.0.*a\.pt"
    ):
        train(Tiny(), spec, loader, breaks, seed=1, checkpoint=tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert state["step"] == 5 and all(torch.isfinite(t).all() for t in state["model"].values())


def test_a_step_that_is_read_late_leaves_the_weights_that_it_began_with(
    loader: ViewLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 7 is under way when the loss of step 6 is read."""
    monkeypatch.setattr(loop, "reads_late", lambda where: True)
    model, steps = Tiny(), 0

    def breaks(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return cross_entropy(model, batch) * (float("nan") if steps == 6 else 1)

    spec = SPEC.model_copy(update={"clip": 0.0, "checkpoint_seconds": 1000.0, "epochs": 1})
    loader = ViewLoader(loader.store, loader.labels, loader.policy, size=32, batch_size=4, seed=5)
    with pytest.raises(GateError, match=r"step 6: .*computed once more, everything is finite"):
        train(model, spec, loader, breaks, seed=1, checkpoint=tmp_path / "a.pt")
    assert steps > 7
    whole = Tiny()
    with pytest.raises(Killed):
        train(whole, spec, loader, dying(after=5), seed=1, checkpoint=tmp_path / "b.pt")
    assert all(torch.equal(own, other) for own, other in zip(model.parameters(), whole.parameters()))


def test_losses_that_are_read_late_are_the_same(
    loader: ViewLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the rounding of the fused optimizer."""
    one = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt").history
    monkeypatch.setattr(loop, "reads_late", lambda where: True)
    two = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt").history
    assert [entry["loss"] for entry in one] == pytest.approx([entry["loss"] for entry in two], rel=1e-5)
    assert len(one) == len(two) == SPEC.epochs


@pytest.mark.usefixtures("reading")
def test_a_module_that_overflows_is_named(loader: ViewLoader, tmp_path: Path) -> None:
    model = Tiny()
    model.fc.register_forward_hook(lambda module, inputs, output: output * float("inf"))
    with pytest.raises(GateError, match=r"step 1: .*the output of fc \(Linear\)"):
        train(model, SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")


@pytest.mark.usefixtures("reading")
def test_a_weight_that_became_infinite_is_named(loader: ViewLoader, tmp_path: Path) -> None:
    steps = 0

    def leaps(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 3:
            model.fc.weight.data[0, 0] = float("inf")  # type: ignore[operator,union-attr,index]
        return cross_entropy(model, batch)

    with pytest.raises(GateError, match=r"step 3: .*the weights fc\.weight are not finite .*too large"):
        train(Tiny(), SPEC, loader, leaps, seed=1, checkpoint=tmp_path / "a.pt")


@pytest.mark.usefixtures("reading")
def test_a_gradient_that_is_not_finite_is_named(loader: ViewLoader, tmp_path: Path) -> None:
    def root(model: nn.Module, batch: Batch) -> torch.Tensor:
        return cross_entropy(model, batch) + model.fc.bias.abs().mul(0).sum().sqrt()  # type: ignore[operator,union-attr]

    with pytest.raises(GateError, match=r"step 1: .*the loss is finite, and its gradient for fc\.bias is not"):
        train(Tiny(), SPEC, loader, root, seed=1, checkpoint=tmp_path / "a.pt")


@pytest.mark.usefixtures("reading")
def test_divergence_is_told_long_before_the_end(loader: ViewLoader, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"epochs": 400, "checkpoint_seconds": 100.0})
    steps = 0

    def climbs(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return cross_entropy(model, batch) + max(0, steps - 60) / 10

    with pytest.raises(GateError, match=r"step \d+: the loss diverged: 1\.\d+ at the start.*lower lr"):
        train(Tiny(), spec, loader, climbs, seed=1, checkpoint=tmp_path / "a.pt")
    assert 160 < steps < 220


def test_the_schedule_warms_up_then_falls_as_a_cosine() -> None:
    spec = TrainSpec(lr=2.0, warmup=0.1)
    rates = [learning_rate(spec, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0 and rates[55] == pytest.approx(1.0) and rates[99] < 0.002
    assert rates[77] == pytest.approx(1 + math.cos(math.pi * 67 / 90))


def test_the_model_that_is_kept_is_remeasured_and_training_is_not_changed_by_it(
    loader: ViewLoader, tmp_path: Path
) -> None:
    pixels = next(loader.epoch(0)).images.permute(0, 2, 3, 1).numpy()
    remeasured = train(
        Tiny(),
        SPEC,
        loader,
        cross_entropy,
        seed=1,
        checkpoint=tmp_path / "a.pt",
        remeasure=lambda model: batchnorm.remeasure(model, pixels),
    ).model
    moving = train(Tiny(), SPEC, loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt").model
    differing = {n for n, t in moving.state_dict().items() if not torch.equal(t, remeasured.state_dict()[n])}
    assert differing == {"bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    batchnorm.remeasure(moving, pixels)
    assert torch.equal(moving.bn.running_var, remeasured.bn.running_var)


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_select_best_looks_at_remeasured_models_and_resumes_to_the_same_bits(
    ema: float, loader: ViewLoader, tmp_path: Path
) -> None:
    pixels = next(loader.epoch(0)).images.permute(0, 2, 3, 1).numpy()
    spec = SPEC.model_copy(update={"select": "best", "ema": ema})
    looked: list[float] = []

    def fit(name: str, loss_of: Callable[[nn.Module, Batch], torch.Tensor]) -> nn.Module:
        def validate(model: nn.Module) -> float:
            looked.append(float(model.bn.running_mean.sum()))
            return len(looked) / 100

        return train(
            Tiny(),
            spec,
            loader,
            loss_of,
            seed=1,
            checkpoint=tmp_path / name,
            validate=validate,
            remeasure=lambda model: batchnorm.remeasure(model, pixels),
        ).model

    whole = fit("a.pt", cross_entropy)
    assert looked[-1] == float(whole.bn.running_mean.sum()), "kept as it was evaluated"
    again = Tiny()
    again.load_state_dict(whole.state_dict())
    batchnorm.remeasure(again, pixels)
    assert torch.equal(again.bn.running_mean, whole.bn.running_mean)
    with pytest.raises(Killed):
        fit("b.pt", dying(after=loader.steps + 1))
    assert weights(fit("b.pt", cross_entropy)) == weights(whole)


def test_few_photos_get_more_epochs_unless_the_recipe_names_them() -> None:
    assert (TrainSpec().epochs, TrainSpec().min_steps) == (30, 1000)
    assert scheduled(TrainSpec(), 5).epochs == 200 and scheduled(TrainSpec(), 100).epochs == 30
    given = TrainSpec(epochs=6)
    assert given.min_steps == 0 and scheduled(given, 5).epochs == 6
    assert TrainSpec.model_validate(TrainSpec().model_dump()) == TrainSpec(), "what was written means the same"
    assert TrainSpec.model_validate(given.model_dump()) == given
    assert scheduled(TrainSpec(epochs=6, min_steps=100), 5).epochs == 20


def test_every_flipped_bit_of_a_checkpoint_is_refused_or_changes_nothing(loader: ViewLoader, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(Killed):
        train(Tiny(), SPEC, loader, dying(after=3), seed=1, checkpoint=path)
    whole, kept = path.read_bytes(), torch.load(path, weights_only=True)
    key, random = kept.pop("key"), torch.Generator().manual_seed(0)
    refused = 0
    for bit in torch.randint(8 * len(whole), (400,), generator=random).tolist():
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            state = Checkpoints(path, key, 1).newest()
        except InputError:
            refused += 1
            continue
        assert state is not None and state.pop("key") == key
        assert _same(state, kept), f"bit {bit}"
    assert refused == 400


def _same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    return one == other


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_a_checkpoint_and_the_run_continues_to_the_same_weights(
    number: int, loader: ViewLoader, tmp_path: Path
) -> None:
    spec = SPEC.model_copy(update={"checkpoint_seconds": 1000.0})
    whole = train(Tiny(), spec, loader, cross_entropy, seed=1, checkpoint=tmp_path / "a.pt")
    steps = 0

    def interrupted(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 2:
            os.kill(os.getpid(), number)
        return cross_entropy(model, batch)

    handlers = signal.getsignal(number)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(Tiny(), spec, loader, interrupted, seed=1, checkpoint=tmp_path / "b.pt")
    assert signal.getsignal(number) is handlers
    assert torch.load(tmp_path / "b.pt", weights_only=True)["step"] == 2, "the step under way was finished"
    resumed = train(Tiny(), spec, loader, cross_entropy, seed=1, checkpoint=tmp_path / "b.pt")
    assert weights(resumed.model) == weights(whole.model)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050"])
def test_what_timm_wants_without_weight_decay_has_none(name: str) -> None:
    inner = timm.create_model(name, num_classes=3)
    named = getattr(inner, "no_weight_decay", set)()
    model = nn.Sequential(inner)
    others, decayed = param_groups_weight_decay(model, 0.05, no_weight_decay_list=undecayed(model))
    place = {id(p): n for n, p in inner.named_parameters()}
    without = {place[id(p)] for p in others["params"]}
    assert {n for n, p in inner.named_parameters() if p.ndim <= 1 or n in named} == without
    assert len(decayed["params"]) + len(others["params"]) == len(place)
