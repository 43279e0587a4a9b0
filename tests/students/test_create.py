"""Students: the head's size and shapes, the folded normalization, and the way to disk and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.layers import HardSwish
from torch import nn

from attar.bundle import write_bundle
from attar.errors import InputError
from attar.preprocessing import MEAN, STD, Preprocessing
from attar.students import DWSConvHead, create_student, load, save
from attar.students.fold import fold_normalization

NAMES = ("mobilenetv2_035", "mobilenetv3_small_050", "tf_efficientnet_lite0", "tf_mobilenetv3_small_minimal_100")
SMALL = "mobilenetv4_conv_small_035"


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def images(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_head_saves_what_it_is_for() -> None:
    """At 10,000 classes: 14.0 of 15.3 M parameters in the stock head, 5.6 of 6.9 M in ours."""
    name = "mobilenetv4_conv_small"
    body = timm.create_model(name, num_classes=0)
    stock = timm.create_model(name, num_classes=10_000)
    ours = create_student(name, 10_000)
    below = parameters(body) - parameters(body.conv_head) - parameters(body.norm_head)
    millions = [parameters(stock), parameters(stock) - below, parameters(ours), parameters(ours) - below]
    assert [round(count / 1e6, 1) for count in millions] == [15.3, 14.0, 6.9, 5.6]


@pytest.mark.parametrize(("side", "kernel"), [(1, 3), (2, 5), (7, 3), (7, 1)])
def test_head_shapes(side: int, kernel: int) -> None:
    head = DWSConvHead(24, 11, width=16, kernel_size=kernel)
    assert head(torch.rand(3, 24, side, side)).shape == (3, 11)
    expected = 24 * kernel**2 + 2 * 24 + 24 * 16 + 2 * 16 + 16 * 11 + 11
    assert parameters(head) == expected


@pytest.mark.parametrize("head", ["dwsconv", "stock"])
@pytest.mark.parametrize("name", ["mobilenetv2_035", "mobilenetv3_small_050", SMALL])
def test_answers_are_those_of_a_plain_pass_and_its_parts(name: str, head: str) -> None:
    student = create_student(name, 5, head=head, head_width=16).eval()
    answers = student.outputs(images(side=96))
    assert torch.equal(answers["logits"], student(images(side=96)))
    assert torch.equal(student.network.get_classifier()(answers["pooled"]), answers["logits"])
    assert torch.equal(student.network.forward_head(answers["feature_map"]), answers["logits"])
    assert answers["feature_map"].shape[-2:] == (3, 3) and answers["mid_features"].shape[-2:] == (6, 6)
    # Dropout too is drawn once, and the same.
    student.train()
    torch.manual_seed(0)
    plain = student(images(4, 96))
    torch.manual_seed(0)
    assert torch.equal(student.outputs(images(4, 96))["logits"], plain)


def test_head_quantizes_cleanly_and_drops_only_in_training() -> None:
    head = DWSConvHead(8, 4, dropout=0.5)
    features = torch.rand(2, 8, 5, 5)
    head.eval()
    assert torch.equal(head(features), head(features))
    assert not torch.equal(head.train()(features), head.train()(features))


# --- folding -------------------------------------------------------------------------------------

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def stem(bias: bool) -> nn.Sequential:
    torch.manual_seed(3)
    conv = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=bias)
    bn = nn.BatchNorm2d(6)
    nn.init.normal_(bn.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(bn.running_var, 0.5, 2)  # type: ignore[arg-type]
    return nn.Sequential(conv, bn).eval()


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in IMAGENET)
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_folding_is_exact_away_from_the_border(bias: bool) -> None:
    pixels = images(2, 17).float()
    before = stem(bias)(normalized(pixels))
    folded = stem(bias)
    fold_normalization(folded, *IMAGENET)
    after = folded((pixels - MEAN) / STD)
    assert torch.allclose(after[..., 1:-1, 1:-1], before[..., 1:-1, 1:-1], atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-2)  # the border's zero means another colour now


@torch.no_grad()
def test_folding_makes_padding_mean_pixel_128() -> None:
    """On the old range, a photo framed with pixel 128 and no padding gives what the folded stem gives."""
    pixels = images(1, 16).float()
    framed = nn.functional.pad(pixels, (1, 1, 1, 1), value=128.0)
    old, folded = stem(False), stem(False)
    fold_normalization(folded, *IMAGENET)
    before = old[1](nn.functional.conv2d(normalized(framed), old[0].weight, stride=2))  # type: ignore[arg-type]
    assert torch.allclose(folded((pixels - MEAN) / STD), before, atol=1e-5)


@torch.no_grad()
def test_a_pretrained_backbone_is_folded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = timm.create_model("mobilenetv3_small_050", num_classes=4).eval()
    torch.save(backbone.state_dict(), tmp_path / "w.pth")
    student = create_student("mobilenetv3_small_050", 4, head="stock", checkpoint=tmp_path / "w.pth").eval()
    fresh = create_student("mobilenetv3_small_050", 4, head="stock")
    config = backbone.pretrained_cfg
    mean, std = (torch.tensor(config[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    # One even colour has no border: frame the old network's input so that its padding is that colour.
    even = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    old_stem = backbone.bn1(backbone.conv_stem((even / 255 - mean) / std))
    new_stem = student.network.bn1(student.network.conv_stem((even.float() - MEAN) / STD))  # type: ignore[operator]
    assert torch.allclose(new_stem[..., 2:-2, 2:-2], old_stem[..., 2:-2, 2:-2], atol=1e-5)
    assert torch.equal(student.network.classifier.weight, backbone.classifier.weight)  # type: ignore[union-attr]
    assert not torch.equal(fresh.network.conv_stem.weight, student.network.conv_stem.weight)  # type: ignore[union-attr]


# --- creation, saving, loading -------------------------------------------------------------------


@pytest.mark.parametrize("head", ["dwsconv", "stock"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_round_trip_of_every_family(tmp_path: Path, name: str, head: str) -> None:
    student = create_student(name, 3, head=head, head_width=32)
    student.train()(images(4))  # moves the running statistics
    student.eval()
    bundle = save(student, tmp_path / "b", labels=("a", "b", "c"), preprocessing=Preprocessing(64))
    logits = student(images())
    assert logits.shape == (2, 3) and logits.dtype == torch.float32 and torch.isfinite(logits).all()
    for again in (load(bundle), load(str(tmp_path / "b"))):
        assert not again.training and again.architecture == student.architecture
        assert torch.equal(again(images()), logits)


@torch.no_grad()
def test_the_network_takes_the_contracts_range() -> None:
    student = create_student(SMALL, 3).eval()
    assert torch.equal(student(images()), student.network((images().float() - 128) / 128))


@pytest.mark.slow
@torch.no_grad()
def test_the_hybrid_works_too() -> None:
    student = create_student("mobilenetv4_hybrid_medium", 3).eval()
    assert student(images(1, 96)).shape == (1, 3)


def test_unknown_names_come_with_close_matches() -> None:
    with pytest.raises(InputError, match=r"mobilenetv3_smal_100.*Did you mean 'mobilenetv3_small_100'"):
        create_student("mobilenetv3_smal_100", 2)
    with pytest.raises(InputError, match=r"no such weights.*Did you mean 'lamb_in1k'"):
        create_student("mobilenetv3_small_050.lamb_in1", 2)
    assert create_student("mobilenetv3_small_050.lamb_in1k", 2).architecture["num_classes"] == 2


@pytest.mark.parametrize("bad", [{"head": "huge"}, {"head_width": 0}, {"drop_rate": 1.0}, {"num_classes": 0}])
def test_values_out_of_range(bad: dict[str, object]) -> None:
    with pytest.raises(InputError):
        create_student(SMALL, **{"num_classes": 2, **bad})  # type: ignore[arg-type]


def test_labels_must_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 labels for a student of 3 classes"):
        save(create_student(SMALL, 3), tmp_path / "b", labels=("a", "b"), preprocessing=Preprocessing(64))
    assert not (tmp_path / "b").exists()


def test_loading_what_is_no_student(tmp_path: Path) -> None:
    student = create_student(SMALL, 2)
    rest = {"labels": ("a", "b"), "preprocessing": Preprocessing(64)}
    teacher = write_bundle(
        tmp_path / "t", kind="teacher", architecture=student.architecture, state_dict=student.state_dict(), **rest
    )
    for given in (teacher, tmp_path / "t"):
        with pytest.raises(InputError, match="holds a teacher"):
            load(given)
    for architecture in ({**student.architecture, "num_classes": 3}, {"name": SMALL}):
        other = write_bundle(
            tmp_path / "s", kind="student", architecture=architecture, state_dict=student.state_dict(), **rest
        )
        with pytest.raises(InputError, match="do not fit the architecture"):
            load(other)


# --- activation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_relu_students_have_no_other_activation(tmp_path: Path, name: str) -> None:
    student = create_student(name, 3, head_width=32, activation="relu")
    curved = (nn.Hardswish, HardSwish, nn.GELU, nn.SiLU, nn.ReLU6)
    assert not [module for module in student.modules() if isinstance(module, curved)]
    bundle = save(student.eval(), tmp_path / "b", labels=("a", "b", "c"), preprocessing=Preprocessing(64))
    assert bundle.architecture["activation"] == "relu"
    assert torch.equal(load(bundle)(images()), student(images()))


def test_relu_is_another_function_and_a_wrong_activation_is_named() -> None:
    torch.manual_seed(0)
    stock = create_student("mobilenetv3_small_050", 3).eval()
    relu = create_student("mobilenetv3_small_050", 3, activation="relu").eval()
    relu.load_state_dict(stock.state_dict())
    assert not torch.allclose(relu(images()), stock(images()), rtol=1e-2)
    with pytest.raises(InputError, match="swish"):
        create_student(SMALL, 3, activation="swish")


def test_a_bundle_that_names_no_activation_is_stock(tmp_path: Path) -> None:
    student = create_student("mobilenetv3_small_050", 3).eval()
    del student.architecture["activation"]
    bundle = save(student, tmp_path / "b", labels=("a", "b", "c"), preprocessing=Preprocessing(64))
    assert torch.equal(load(bundle)(images()), student(images()))


def test_a_stock_head_of_few_classes_begins_with_logits_near_zero() -> None:
    """timm's own first weights depend on the number of classes alone: logits of +-10 here."""
    torch.manual_seed(0)
    student = create_student("mobilenetv4_conv_small", 2, head="stock").train()
    assert student(images()).abs().mean() < 1
    assert timm.create_model("mobilenetv4_conv_small", num_classes=2).train()(images() / 128 - 1).abs().mean() > 3
