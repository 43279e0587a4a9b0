"""Teachers: any timm model, local weights, the hybrid ViT, both ways of fitting."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import teachers
from attar.data import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.errors import InputError
from attar.evaluation import evaluate
from attar.inference import predict
from attar.recipe import TeachSpec
from attar.views import ViewPolicy
from teachers.create import preprocessing_of

SMALL = {"img_size": 48, "patch_size": 12, "embed_dim": 48, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


def test_a_teacher_normalizes_and_resizes_its_own_way() -> None:
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 5, options=SMALL).eval()
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    config = timm.data.resolve_model_data_config(teacher.network)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert torch.allclose(teacher(images), teacher.network((images / 255 - mean) / std), atol=1e-5)
    assert teacher(images.repeat_interleave(2, 2).repeat_interleave(2, 3)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "prefix", "options"),
    [
        ("vit_tiny_patch16_224", 1, SMALL),
        ("vit_small_patch14_reg4_dinov2", 5, {**SMALL, "patch_size": 14, "img_size": 42}),
        ("deit_tiny_distilled_patch16_224", 2, {**SMALL, "patch_size": 16}),
        ("vit_base_patch16_siglip_224", 0, {**SMALL, "patch_size": 16}),
        (
            "hybrid_vit", 1,
            {"backbone": "mobilenetv3_small_050", "img_size": 64, "embed_dim": 48, "depth": 1, "num_heads": 2},
        ),
    ],
)  # fmt: skip
def test_the_map_of_a_vit_is_its_patch_tokens(name: str, prefix: int, options: dict[str, object]) -> None:
    """Laid out as the image, before the final norm, without class, distillation and register tokens."""
    teacher = teachers.create_teacher(name, 5, options=options).eval()
    images = torch.randint(0, 256, (2, 3, teacher.size, teacher.size), dtype=torch.uint8)
    tokens = []
    teacher.network.blocks[-1].register_forward_hook(lambda *about: tokens.append(about[-1]))
    answers = teacher.answers(images)
    n, d, h, w = answers["map"].shape
    assert tokens[0].shape == (n, prefix + h * w, d)
    assert torch.equal(answers["map"].flatten(2).transpose(1, 2), tokens[0][:, prefix:])
    assert answers["middle"].shape[-2:] == ((h, w) if name != "hybrid_vit" else (2 * h, 2 * w))
    assert torch.equal(answers["logits"], teacher(images))
    assert torch.equal(answers["pooled"], teacher.features(images))


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet10t", "convnext_atto"])
def test_the_map_of_a_convolutional_teacher_is_its_last_one(name: str) -> None:
    teacher = teachers.create_teacher(name, 5).eval()
    images = torch.randint(0, 256, (1, 3, teacher.size, teacher.size), dtype=torch.uint8)
    answers = teacher.answers(images)
    assert answers["map"].ndim == 4
    assert torch.equal(answers["map"], teacher.network.forward_features(teacher.normalized(images)))
    assert answers["middle"].shape[-1] in (2 * answers["map"].shape[-1], 2 * answers["map"].shape[-1] - 1)
    assert torch.equal(answers["logits"], teacher(images))
    assert torch.equal(answers["pooled"], teacher.features(images))


def test_a_teacher_without_a_map_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 5, options=SMALL)
    monkeypatch.delattr(type(teacher.network), "forward_intermediates")
    with pytest.raises(InputError, match=r"vit_tiny.*no feature map.*need only logits"):
        teacher.answers(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_local_weights_with_another_classifier(suffix: str, tmp_path: Path) -> None:
    source = timm.create_model("vit_tiny_patch16_224", num_classes=7, **SMALL)
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(source.state_dict(), path)
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 5, checkpoint=path, options=SMALL)
    assert torch.equal(teacher.network.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)
    same = teachers.create_teacher("vit_tiny_patch16_224", 7, checkpoint=path, options=SMALL)
    assert torch.equal(same.network.head.weight, source.head.weight)


def test_hybrid_takes_the_pretrained_backbone(tmp_path: Path) -> None:
    backbone = timm.create_model("tf_efficientnet_lite0")
    save_file(backbone.state_dict(), tmp_path / "w.safetensors")
    options = {"img_size": 64, "embed_dim": 32, "depth": 1, "num_heads": 2}
    teacher = teachers.create_teacher("hybrid_vit", 2, checkpoint=tmp_path / "w.safetensors", options=options).eval()
    assert torch.equal(teacher.network.patch_embed.backbone.conv_stem.weight, backbone.conv_stem.weight)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    teachers.save(teacher, tmp_path / "bundle", labels=["a", "b"])
    assert torch.equal(teachers.load(tmp_path / "bundle")(images), teacher(images))
    assert preprocessing_of(teacher).size == 64


def test_fitting_writes_a_bundle_that_evaluates_the_same(photos: Photos, tmp_path: Path) -> None:
    spec = TeachSpec(
        name="vit_tiny_patch16_224", pretrained=False, options=SMALL, crop=1.0,
        epochs=8, batch_size=12, lr=2e-3, layer_decay=1.0,
    )  # fmt: skip
    bundle = teachers.teach(photos, spec, tmp_path / "teacher", views=ViewPolicy(crop_area=(0.8, 1.0), count=4))
    again = evaluate(teachers.load(bundle), photos, bundle.preprocessing, "again")
    assert again["top1"] == bundle.metrics["top1"] > 0.45  # chance is 1/3
    assert bundle.kind == "teacher" and bundle.labels == photos.labels


def test_a_probe_solves_the_classifier_and_nothing_else(photos: Photos, tmp_path: Path) -> None:
    spec = TeachSpec(name="vit_tiny_patch16_224", pretrained=False, options=SMALL, crop=1.0, method="probe")
    probed = teachers.load(teachers.teach(photos, spec, tmp_path / "teacher", seed=4))
    torch.manual_seed(4)
    fresh = teachers.create_teacher(spec.name, 3, options=SMALL, crop=1.0)
    changed = [name for name, t in fresh.state_dict().items() if not torch.equal(t, probed.state_dict()[name])]
    assert changed == ["network.head.weight", "network.head.bias"]
    pixels = load_pixels(photos.train, preprocessing_of(probed))
    right = predict(probed, pixels).argmax(1) == labels_of(photos.train)
    assert right.mean() > 0.7  # chance is 1/3


def test_a_probe_of_two_classes(shapes: Path, tmp_path: Path) -> None:
    for name in ("circle", "cross"):
        (tmp_path / "two" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "two" / name).symlink_to(shapes / name)
    photos = read_photos(DataSpec(str(tmp_path / "two")))
    spec = TeachSpec(name="vit_tiny_patch16_224", pretrained=False, options=SMALL, crop=1.0, method="probe")
    probed = teachers.load(teachers.teach(photos, spec, tmp_path / "teacher"))
    right = predict(probed, load_pixels(photos.train, preprocessing_of(probed))).argmax(1) == labels_of(photos.train)
    assert right.mean() > 0.75  # chance is 1/2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_smal_patch16_224", {}, "vit_small_patch16_224"),
        ("vit_tiny_patch16_224", {"patchsize": 4}, "does not work with the options"),
        ("hybrid_vit", {"dept": 2}, "unknown option 'dept'"),
        ("hybrid_vit", {"backbone": "efficientnet_lite00"}, "efficientnet_lite0"),
    ],
)
def test_wrong_names_and_options(name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        teachers.create_teacher(name, 3, options=options)
