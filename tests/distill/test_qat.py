"""Training on for integers: the rounding is that of the integer file, and what comes out is a plain student."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attar import students
from attar.bundle import Bundle
from attar.data.photos import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.data.views import ViewPolicy
from attar.distill import fit as module
from attar.distill import quantization_aware
from attar.distill.qat import QuantizationAware, RoundedActivation, RoundedWeights
from attar.errors import InputError
from attar.files import sha256
from attar.inference import predict, to_tensor
from attar.recipe import DistillSpec

VIEWS = ViewPolicy(crop_area=(0.7, 1.0), count=2)
SPEC = DistillSpec(name="ignored", epochs=20, lr=1e-2, batch_size=12)
FAMILIES = ["mobilenetv2_035", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "tf_efficientnet_lite0"]


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="module")
def parent(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A student whose norms have seen its photos."""
    from attar.preprocessing import Preprocessing

    torch.manual_seed(0)
    student = students.create_student("mobilenetv4_conv_small_035", len(photos.labels), head_width=64)
    pixels = to_tensor(load_pixels(photos.train, Preprocessing(32)))
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(student(pixels), torch.from_numpy(labels_of(photos.train)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for norm in (norm for norm in student.modules() if isinstance(norm, torch.nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches: of this one
    with torch.no_grad():
        student(pixels)
    path = tmp_path_factory.mktemp("parent") / "student"
    return students.save(student.eval(), path, labels=photos.labels, preprocessing=Preprocessing(32))


@given(arrays.arrays(np.float32, (3, 4, 3, 3), elements=st.floats(-10, 10, width=32, allow_subnormal=False)))
def test_weights_are_rounded_to_127_steps_of_each_channel(values: np.ndarray) -> None:
    weight = torch.from_numpy(values).requires_grad_()
    rounded = RoundedWeights()(weight)
    step = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12) / 127
    steps = rounded.detach() / step[:, None, None, None]
    assert (steps - steps.round()).abs().max() < 1e-2 and steps.abs().max() <= 127.01
    assert ((rounded - weight).abs() <= 0.501 * step[:, None, None, None]).all()
    rounded.sum().backward()
    assert (weight.grad == 1).all()


def test_the_factor_of_a_norm_does_not_change_the_integers() -> None:
    """So the norm need not be folded into the convolution first."""
    weight, factor = torch.randn(8, 4, 3, 3), torch.rand(8, 1, 1, 1) + 0.1
    torch.testing.assert_close(RoundedWeights()(weight * factor), RoundedWeights()(weight) * factor)


def test_a_range_follows_training_and_stays_in_evaluation() -> None:
    rounded, ramp = RoundedActivation(), torch.linspace(-1, 3, 1000)
    out = rounded(ramp)
    assert (rounded.low, rounded.high) == (-1, 3) and len(out.unique()) == 256
    assert (out - ramp).abs().max() <= 0.51 * 4 / 255 and (out == 0).any()
    for _ in range(500):
        rounded(2 * ramp)
    assert rounded.high == pytest.approx(6, abs=1e-2)
    assert rounded.eval()(100 * ramp).max() == pytest.approx(6, abs=0.05) and rounded.high == pytest.approx(6, abs=1e-2)
    positive = RoundedActivation(positive=True)
    assert positive(ramp).min() == 0 and len(positive(ramp).unique()) == 256


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_rounded_near_itself_and_comes_back_plain(family: str) -> None:
    torch.manual_seed(0)
    student = students.create_student(family, 5).train()
    images = torch.randint(0, 256, (8, 3, 64, 64))
    with torch.no_grad():
        for _ in range(30):
            student(images)
        want = student.eval()(images)
        aware = QuantizationAware(copy.deepcopy(student)).train()
        aware(images)
        rounded = aware.eval()(images)
    kinds = [type(m) for m in aware.modules() if isinstance(m, RoundedActivation)]
    assert len(kinds) > 20
    error = (rounded - want).norm() / (want - want.mean()).norm()
    assert 1e-4 < error < 0.35
    for key, value in aware.plain().state_dict().items():
        assert torch.equal(value, student.state_dict()[key]), key


def test_norms_keep_their_statistics_and_weights_learn(parent: Bundle) -> None:
    aware = QuantizationAware(students.load(parent)).train()
    before = copy.deepcopy(aware.plain().state_dict())
    optimizer = torch.optim.SGD(aware.parameters(), lr=0.1)
    aware(torch.randint(0, 256, (4, 3, 32, 32))).square().mean().backward()
    optimizer.step()
    changed = {key for key, value in aware.plain().state_dict().items() if not torch.equal(value, before[key])}
    assert not any("running" in key or "tracked" in key for key in changed)
    assert sum(key.endswith("weight") for key in changed) > 40


def test_a_run_that_is_cut_off_ends_in_the_same_weights(
    parent: Bundle, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SPEC.model_copy(update={"checkpoint_seconds": 0.0})
    bundle = quantization_aware(parent, photos, spec, tmp_path / "a", views=VIEWS)
    assert bundle.provenance["quantization_aware"]["parent"]["fingerprint"] == parent.fingerprint
    assert len(bundle.metrics["history"]) == 2 and bundle.preprocessing == parent.preprocessing
    assert bundle.provenance["recipe"]["student"]["name"] == parent.name
    students.load(bundle)

    made, steps = module.loss_function, 0

    def cut_off(*arguments: object) -> object:
        loss_of = made(*arguments)

        def counted(*batch: object) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if steps == 5:
                raise KeyboardInterrupt
            return loss_of(*batch)

        return counted

    monkeypatch.setattr(module, "loss_function", cut_off)
    with pytest.raises(KeyboardInterrupt):
        quantization_aware(parent, photos, spec, tmp_path / "b", views=VIEWS)
    monkeypatch.undo()
    assert (tmp_path / "b.training.pt").is_file() and not (tmp_path / "b").exists()
    again = quantization_aware(parent, photos, spec, tmp_path / "b", views=VIEWS)
    assert sha256(again.path / "model.safetensors") == sha256(bundle.path / "model.safetensors")
    assert sha256(again.path / "model.safetensors") != sha256(parent.path / "model.safetensors")


def test_its_best_epoch_is_kept_if_asked_for(parent: Bundle, photos: Photos, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"select": "best", "epochs": 30})  # three of them for integers
    bundle = quantization_aware(parent, photos, spec, tmp_path / "best", views=VIEWS)
    assert len(bundle.metrics["history"]) == 3 and bundle.provenance["recipe"]["student"]["select"] == "best"


def test_photos_of_other_classes_are_refused(parent: Bundle, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for folder in shapes.iterdir():
        (tmp_path / "photos" / folder.name.upper()).symlink_to(folder)
    with pytest.raises(InputError, match="classes"):
        quantization_aware(parent, read_photos(DataSpec(str(tmp_path / "photos"))), SPEC, tmp_path / "s")


@pytest.mark.slow
def test_the_simulation_harms_as_much_as_the_integer_file(parent: Bundle, photos: Photos, tmp_path: Path) -> None:
    for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
        pytest.importorskip(package)
    from attar.export.capture_output import captured
    from attar.export.litert import ByPlan, open_runner
    from attar.export.plan import QuantizationPlan
    from attar.export.recovery import divergence

    pixels = load_pixels(photos.train, parent.preprocessing)
    student = students.load(parent)
    with captured():
        ByPlan(student, parent, "int8", pixels).write(QuantizationPlan("whole"), tmp_path / "int8.tflite")
        integer = open_runner(tmp_path / "int8.tflite").predict(pixels)
    aware = QuantizationAware(copy.deepcopy(student)).train()
    with torch.no_grad():
        aware(to_tensor(pixels))
    simulated, plain = predict(aware, pixels), predict(student, pixels)
    # Not bit for bit: one value that is rounded the other way changes the rounding of all that follow.
    assert 0.25 < divergence(plain, simulated) / divergence(plain, integer) < 4
