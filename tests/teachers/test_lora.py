"""Low-rank adapters: only they and the classifier learn, and merged they are an ordinary teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from attar import teachers
from attar.data.photos import DataSpec, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.errors import InputError
from attar.recipe import LoraSpec, TeachSpec
from attar.teachers.adapters import adapt, merge
from attar.teachers.teacher import Teacher

SMALL = {"img_size": 48, "patch_size": 12, "embed_dim": 48, "depth": 2, "num_heads": 2}
VIEWS = ViewPolicy(crop_area=(0.8, 1.0), count=2)
EVA = {**SMALL, "mlp_ratio": 2.0}


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


def spec(**more: object) -> TeachSpec:
    about = {
        "name": "vit_tiny_patch16_224",
        "pretrained": False,
        "options": SMALL,
        "lora_rank": 4,
        "epochs": 2,
        "batch_size": 12,
        "lr": 1e-2,
    }
    return LoraSpec(**{**about, **more})


def adapted(name: str = "vit_tiny_patch16_224", options: dict | None = None, **more: bool) -> Teacher:
    """A teacher whose adapters do something: at first they add nothing."""
    torch.manual_seed(0)
    teacher = teachers.create_teacher(name, 3, options=options or SMALL).eval()
    adapt(teacher, 4, 8.0, **more)
    for parameter in teacher.parameters():
        if parameter.requires_grad and parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.2)
    return teacher


def images(size: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", SMALL),
        ("eva02_tiny_patch14_224", EVA),
        ("beit_base_patch16_224", SMALL),  # multiplies with its fused weight itself
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 32, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4},
        ),
    ],
)
def test_merged_is_unmerged(name: str, options: dict) -> None:
    teacher = adapted(name, options, mlp=True)
    pixels = images(teacher.size)
    with torch.no_grad():
        before = teacher(pixels)
        merge(teacher)
        assert torch.allclose(teacher(pixels), before, atol=1e-4 * float(before.abs().max()))
        plain = teachers.create_teacher(name, 3, options=options).eval()
        assert {name: t.shape for name, t in teacher.state_dict().items()} == {
            name: t.shape for name, t in plain.state_dict().items()
        }
        assert not torch.allclose(plain(pixels), before, atol=1e-2)


def test_adapters_add_a_scaled_matrix_of_low_rank_and_nothing_at_first() -> None:
    torch.manual_seed(0)
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 3, options=SMALL).eval()
    before = teacher(images())
    qkv = teacher.network.blocks[1].attn.qkv
    first = qkv.weight.detach().clone()
    adapt(teacher, 4, 8.0)
    assert torch.equal(teacher(images()), before)
    low = qkv.parametrizations.weight[0]
    nn.init.normal_(low.up)
    added = (qkv.weight - first).detach()
    assert torch.allclose(added, 8.0 / 4 * low.up.detach() @ low.down.detach(), atol=1e-5)
    assert torch.linalg.matrix_rank(added, rtol=1e-4) == 4


@pytest.mark.parametrize(("mlp", "layers"), [(False, ["qkv", "proj"]), (True, ["qkv", "proj", "fc1", "fc2"])])
def test_only_adapters_and_the_classifier_are_trained(mlp: bool, layers: list[str]) -> None:
    teacher = adapted(mlp=mlp)
    trained = {name for name, parameter in teacher.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if "parametrizations" not in name} == {"network.head.weight", "network.head.bias"}
    assert {name.split(".")[4] for name in trained if "parametrizations" in name} == set(layers)
    assert sum(parametrize.is_parametrized(module) for module in teacher.modules()) == 2 * len(layers)


def test_training_moves_adapted_matrices_and_leaves_the_rest(photos: Photos, tmp_path: Path) -> None:
    bundle = teachers.teach(photos, spec(), tmp_path / "teacher", views=VIEWS, seed=3)
    torch.manual_seed(3)
    first = teachers.create_teacher("vit_tiny_patch16_224", 3, options=SMALL).state_dict()
    last = teachers.load(bundle).state_dict()
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    expected = {f"network.blocks.{b}.attn.{layer}.weight" for b in range(2) for layer in ("qkv", "proj")}
    assert changed == expected | {"network.head.weight", "network.head.bias"}
    added = last["network.blocks.0.attn.qkv.weight"] - first["network.blocks.0.attn.qkv.weight"]
    assert torch.linalg.matrix_rank(added, rtol=1e-3) == 4
    assert bundle.provenance["lora"] == {"matrices": 4, "trained_weights": 2 * 4 * (48 + 144 + 48 + 48) + 3 * 49}
    losses = [entry["loss"] for entry in bundle.metrics["history"]]
    assert len(losses) == 2 and losses[1] < losses[0]


def test_interrupted_it_continues_to_the_same_weights(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = teachers.teach(photos, spec(checkpoint_seconds=0.0), tmp_path / "whole", views=VIEWS)
    entropy, steps = functional.cross_entropy, 0

    def until_the_fifth(*args: Any, **more: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        return entropy(*args, **more)

    monkeypatch.setattr(functional, "cross_entropy", until_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        teachers.teach(photos, spec(checkpoint_seconds=0.0), tmp_path / "cut", views=VIEWS)
    assert (tmp_path / "cut.training.pt").is_file()
    again = teachers.teach(photos, spec(checkpoint_seconds=0.0), tmp_path / "cut", views=VIEWS)
    assert again.weights_sha256 == whole.weights_sha256
    assert steps == 5 + 6 - 4


def test_the_statistics_of_a_hybrids_backbone_stay(photos: Photos, tmp_path: Path) -> None:
    options = {"backbone": "mobilenetv3_small_050", "img_size": 64, "embed_dim": 48, "depth": 1, "num_heads": 2}
    bundle = teachers.teach(photos, spec(name="hybrid_vit", options=options, epochs=1), tmp_path / "t", views=VIEWS)
    torch.manual_seed(0)
    first = teachers.create_teacher("hybrid_vit", 3, options=options).state_dict()
    last = teachers.load(bundle).state_dict()
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], last[name]) for name in first if "running" in name)
    assert not torch.equal(first["network.blocks.0.attn.qkv.weight"], last["network.blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"name": "mobilenetv3_small_050", "options": {}}, "mobilenetv3_small_050.*no attention layers.*finetune"),
        ({"lora_rank": 48}, r"lora_rank: 48 is no lower than that of blocks.0.attn.qkv, \(144, 48\)"),
        ({"shard": True}, "teacher.shard: .*Set teacher.shard to false"),
    ],
)
def test_what_cannot_be_adapted_is_said_before_training(
    more: dict, message: str, photos: Photos, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        teachers.teach(photos, spec(**more), tmp_path / "teacher")
