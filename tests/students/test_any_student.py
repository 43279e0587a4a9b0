"""One student of every family: what it computes, what is saved of it, and its way to a phone."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from attar.errors import InputError
from attar.preprocessing import MEAN, STD, Preprocessing
from attar.students import FAMILIES, Student, check_size, create_student, divide_logits, load, reparameterized, save
from attar.students.families import family_of
from attar.students.fold import first_convolutions, fold_normalization
from attar.students.rewrites import phone_safe

SMALLEST = {
    "MobileNetV1": "mobilenetv1_100",
    "MobileNetV2": "mobilenetv2_035",
    "MobileNetV3": "mobilenetv3_small_050",
    "MobileNetV4": "mobilenetv4_conv_small_035",
    "EfficientNet-Lite": "efficientnet_lite0",
    "EfficientNet": "efficientnet_b0",
    "MnasNet": "mnasnet_small",
    "TinyNet": "tinynet_e",
    "LCNet": "lcnet_035",
    "FBNet": "fbnetc_100",
    "HardCoRe-NAS": "hardcorenas_a",
    "MixNet": "mixnet_s",
    "RegNet": "regnety_002",
    "ResNet": "resnet10t",
    "GhostNet": "ghostnet_050",
    "GhostNetV2": "ghostnetv2_100",
    "GhostNetV3": "ghostnetv3_050",
    "RepVGG": "repvgg_a0",
    "RepViT": "repvit_m0_9",
    "MobileOne": "mobileone_s0",
    "FastViT": "fastvit_t8",
    "EdgeNeXt": "edgenext_xx_small",
    "EfficientFormer": "efficientformer_l1",
    "EfficientFormerV2": "efficientformerv2_s0",
    "EfficientViT (MIT)": "efficientvit_b0",
    "EfficientViT (MSRA)": "efficientvit_m0",
    "MobileViT": "mobilevit_xxs",
    "MobileViTV2": "mobilevitv2_050",
    "TinyViT": "tiny_vit_5m_224",
    "ConvNeXt": "convnext_atto",
    "ConvNeXtV2": "convnextv2_atto",
    "StarNet": "starnet_s050",
    "SwiftFormer": "swiftformer_xs",
}
FIXED = {"EfficientFormer": 224, "EfficientFormerV2": 224}
"""Families whose attention has one size; the others are tried with 64 pixels."""
BRANCHED = ("GhostNetV3", "RepVGG", "RepViT", "MobileOne", "FastViT", "EfficientViT (MSRA)", "TinyViT")


def size_of(family: str) -> int:
    return FIXED.get(family, 64)


def head_of(family: str) -> str:
    return "stock" if family == "EfficientFormer" else "dwsconv"


def images(family: str, count: int = 2) -> torch.Tensor:
    seed = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size_of(family), size_of(family)), dtype=torch.uint8, generator=seed)


@torch.no_grad()
def moved(student: Student, family: str) -> Student:
    """A student whose norms do something."""
    torch.manual_seed(1)
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = None
    student.train()(images(family, 4))
    return student.eval()


def away(one: torch.Tensor, two: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((one - two).abs().max() / two.abs().max())


def test_every_family_has_a_member_here_and_each_is_of_its_own() -> None:
    assert list(SMALLEST) == list(FAMILIES)
    assert {family: family_of(name) for family, name in SMALLEST.items()} == {family: family for family in SMALLEST}


@pytest.mark.parametrize(("family", "pattern"), [(family, each) for family, many in FAMILIES.items() for each in many])
def test_every_pattern_names_models_of_timm_and_of_one_family(family: str, pattern: str) -> None:
    names = [name for name in timm.list_models() if fnmatch(name, pattern)]
    assert names and {family_of(name) for name in names} == {family}


@pytest.mark.parametrize("family", SMALLEST)
def test_it_is_saved_and_loaded_with_nothing_unused(tmp_path: Path, family: str) -> None:
    student = create_student(SMALLEST[family], 3, head=head_of(family), head_width=32)
    student(images(family)).sum().backward()
    assert [name for name, each in student.named_parameters() if each.grad is None] == []
    bundle = save(student.eval(), tmp_path / "b", labels=("a", "b", "c"), preprocessing=Preprocessing(size_of(family)))
    with torch.no_grad():
        assert torch.equal(load(bundle)(images(family)), student(images(family)))


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for family in SMALLEST for head in sorted({"stock", head_of(family)})]
)
@torch.no_grad()
def test_the_parts_of_an_answer_belong_together(family: str, head: str) -> None:
    student = moved(create_student(SMALLEST[family], 3, head=head, head_width=32), family)
    outputs = student.outputs(images(family))
    assert away(outputs["logits"], student(images(family))) < 1e-5
    assert outputs["feature_map"].ndim == outputs["mid_features"].ndim == 4 and outputs["pooled"].ndim == 2
    assert outputs["mid_features"].shape[-1] > outputs["feature_map"].shape[-1]
    assert divide_logits(student, 1.7, size_of(family))
    assert away(1.7 * student(images(family)), outputs["logits"]) < 1e-5


@pytest.mark.parametrize("family", SMALLEST)
@torch.no_grad()
def test_joining_branches_and_rewriting_for_phones_change_nothing(family: str) -> None:
    student = moved(create_student(SMALLEST[family], 3, head=head_of(family), head_width=32), family)
    joined = reparameterized(student)
    fewer = sum(p.numel() for p in joined.parameters()) < sum(p.numel() for p in student.parameters())
    assert fewer == (family in BRANCHED)
    normalized = (images(family).double() - MEAN) / STD  # joined in single precision, computed in double
    expected = student.double().network(normalized)
    network = joined.double().network
    assert away(network(normalized), expected) < 1e-3
    assert away(phone_safe(network)(normalized), network(normalized)) < 1e-9


@pytest.mark.parametrize("family", SMALLEST)
@torch.no_grad()
def test_pretrained_weights_see_the_photo_as_they_did(family: str) -> None:
    """On one even colour, away from the border, whose zeros mean another colour now."""
    backbone = timm.create_model(SMALLEST[family], num_classes=3).eval()
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    stems = first_convolutions(backbone)
    assert (len(stems) > 1) == (family in ("RepVGG", "MobileOne", "FastViT"))
    pixels = torch.full((1, 3, 64, 64), 200.0)
    old_input = (pixels / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    before = through(backbone, stems, old_input)
    fold_normalization(backbone, mean, std)
    for old, new in zip(before, through(backbone, stems, (pixels - MEAN) / STD)):
        middle = slice(4, -4)
        assert torch.allclose(new[..., middle, middle], old[..., middle, middle], atol=1e-4)


def through(backbone: nn.Module, stems: list[str], image: torch.Tensor) -> list[torch.Tensor]:
    """What each convolution of the image makes of it, with its batch norm if it has no bias."""
    modules = dict(backbone.named_modules())
    ordered = [each for each in modules.values() if isinstance(each, nn.Conv2d | nn.BatchNorm2d)]
    made = []
    for stem in (modules[name] for name in stems):
        norm = ordered[ordered.index(stem) + 1]  # type: ignore[arg-type]
        made.append(stem(image) if stem.bias is not None else nn.BatchNorm2d.forward(norm, stem(image)))  # type: ignore[arg-type]
    return made


# --- what does not work --------------------------------------------------------------------------


def test_a_size_that_a_student_does_not_take_is_said_before_any_work() -> None:
    student = create_student("efficientformerv2_s0", 3)
    check_size(student, 224)
    with pytest.raises(
        InputError, match=r"efficientformerv2_s0: does not work on images of 96 pixels.*made it for 224"
    ):
        check_size(student, 96)
    assert student.training


def test_a_student_without_a_feature_map_needs_its_own_head() -> None:
    check_size(create_student("efficientformer_l1", 3, head="stock"), 224)
    with pytest.raises(InputError, match=r"take student\.head: stock"):
        check_size(create_student("efficientformer_l1", 3), 224)


def test_a_model_of_no_family_is_tried_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    student = create_student("fasternet_t0", 3, head_width=32)
    assert "of no family that attar was tested with" in " ".join(capsys.readouterr().err.split())
    check_size(student, 64)
    create_student("mobilenetv3_small_050", 3)
    assert capsys.readouterr().err == ""
