"""Teachers: any timm model, local weights, the hybrid ViT, both ways of fitting."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from attar import teachers
from attar.data.photos import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.data.views import ViewPolicy
from attar.errors import InputError
from attar.inference import predict
from attar.recipe import FinetuneSpec, ProbeSpec
from attar.teachers.create import preprocessing_of
from attar.train.evaluation import evaluate

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
            "hybrid_vit",
            1,
            {"backbone": "mobilenetv3_small_050", "img_size": 64, "embed_dim": 48, "depth": 1, "num_heads": 2},
        ),
    ],
)
def test_the_map_of_a_vit_is_its_patch_tokens(name: str, prefix: int, options: dict[str, object]) -> None:
    """Laid out as the image, before the final norm, without class, distillation and register tokens."""
    teacher = teachers.create_teacher(name, 5, options=options).eval()
    images = torch.randint(0, 256, (2, 3, teacher.size, teacher.size), dtype=torch.uint8)
    tokens = []
    teacher.network.blocks[-1].register_forward_hook(lambda *about: tokens.append(about[-1]))
    answers = teacher.outputs(images)
    n, d, h, w = answers["feature_map"].shape
    assert tokens[0].shape == (n, prefix + h * w, d)
    assert torch.equal(answers["feature_map"].flatten(2).transpose(1, 2), tokens[0][:, prefix:])
    assert answers["mid_features"].shape[-2:] == ((h, w) if name != "hybrid_vit" else (2 * h, 2 * w))
    assert torch.equal(answers["logits"], teacher(images))
    assert torch.equal(answers["pooled"], teacher.features(images))


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet10t", "convnext_atto"])
def test_the_map_of_a_convolutional_teacher_is_its_last_one(name: str) -> None:
    teacher = teachers.create_teacher(name, 5).eval()
    images = torch.randint(0, 256, (1, 3, teacher.size, teacher.size), dtype=torch.uint8)
    answers = teacher.outputs(images)
    assert answers["feature_map"].ndim == 4
    assert torch.equal(answers["feature_map"], teacher.network.forward_features(teacher.normalized(images)))
    assert answers["mid_features"].shape[-1] in (
        2 * answers["feature_map"].shape[-1],
        2 * answers["feature_map"].shape[-1] - 1,
    )
    assert torch.equal(answers["logits"], teacher(images))
    assert torch.equal(answers["pooled"], teacher.features(images))


def test_a_teacher_without_a_map_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 5, options=SMALL)
    monkeypatch.delattr(type(teacher.network), "forward_intermediates")
    with pytest.raises(InputError, match=r"vit_tiny.*no feature map.*need only logits"):
        teacher.outputs(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))


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


@pytest.mark.parametrize("backbone", ["mobilenetv2_050", "mobilenetv3_small_050", "resnet10t"])
def test_hybrid_has_no_layers_behind_its_feature_map(tmp_path: Path, backbone: str) -> None:
    """They would cost time and memory, and ranks that share a training refuse weights without gradients."""
    options = {"backbone": backbone, "feature": 2, "img_size": 64, "embed_dim": 32, "depth": 1, "num_heads": 2}
    teacher = teachers.create_teacher("hybrid_vit", 2, options=options)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    teacher(images).sum().backward()
    assert [name for name, weights in teacher.named_parameters() if weights.grad is None] == []
    assert teacher.network.patch_embed.grid_size == (8, 8)
    teachers.save(teacher, tmp_path / "bundle", labels=["a", "b"])
    assert torch.equal(teachers.load(tmp_path / "bundle")(images), teacher.eval()(images))


def test_a_hybrids_bundle_with_more_layers_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As attar 0.1 wrote them."""
    options = {"backbone": "mobilenetv2_050", "feature": 2, "img_size": 64, "embed_dim": 32, "depth": 1, "num_heads": 2}
    teacher = teachers.create_teacher("hybrid_vit", 2, options=options).eval()
    backbone = teacher.network.patch_embed.backbone
    used, whole = backbone.blocks, timm.create_model("mobilenetv2_050", features_only=True).blocks
    backbone.blocks = torch.nn.Sequential(*used, *whole[len(used) :])
    teachers.save(teacher, tmp_path / "bundle", labels=["a", "b"])
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    loaded = teachers.load(tmp_path / "bundle")
    assert torch.equal(loaded(images), teacher(images))
    assert len(loaded.network.patch_embed.backbone.blocks) == len(used) < len(whole)


def test_fitting_writes_a_bundle_that_evaluates_the_same(photos: Photos, tmp_path: Path) -> None:
    spec = FinetuneSpec(
        name="vit_tiny_patch16_224",
        pretrained=False,
        options=SMALL,
        crop=1.0,
        epochs=8,
        batch_size=12,
        lr=2e-3,
        layer_decay=1.0,
    )
    bundle = teachers.teach(photos, spec, tmp_path / "teacher", views=ViewPolicy(crop_area=(0.8, 1.0), count=4))
    again = evaluate(teachers.load(bundle), photos, bundle.preprocessing, "again")
    assert again["top1"] == bundle.metrics["top1"] > 0.45  # chance is 1/3
    assert bundle.kind == "teacher" and bundle.labels == photos.labels


def test_a_probe_solves_the_classifier_and_nothing_else(photos: Photos, tmp_path: Path) -> None:
    spec = ProbeSpec(name="vit_tiny_patch16_224", pretrained=False, options=SMALL, crop=1.0)
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
    spec = ProbeSpec(name="vit_tiny_patch16_224", pretrained=False, options=SMALL, crop=1.0)
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


# --- what a photo that is not square becomes -----------------------------------------------------

CROP_MODES = [
    ("eva_large_patch14_336.in22k_ft_in1k", "squash"),
    ("eva02_base_patch14_448.mim_in22k_ft_in22k_in1k", "squash"),
    ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "crop"),
]


@pytest.mark.parametrize(("name", "fit"), CROP_MODES)
def test_evaluation_takes_photos_as_timms_weights_do(name: str, fit: str, tmp_path: Path) -> None:
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    small = {"embed_dim": 48, "depth": 1, "num_heads": 2} | ({"img_size": 56} if "eva" in name else {})
    teacher = teachers.create_teacher(name, 3, options=small)
    config = resolve_model_data_config(teacher.network) | {"input_size": (3, teacher.size, teacher.size)}
    how = preprocessing_of(teacher)
    assert how.fit == fit
    photo = Image.effect_noise((301, 200), 80).convert("RGB")
    timms = create_transform(**config, is_training=False, normalize=False)(photo)
    assert torch.equal(torch.from_numpy(how(photo)), timms.permute(1, 2, 0))
    saved = teachers.save(teacher, tmp_path / "t", labels=["a", "b", "c"])
    assert preprocessing_of(teachers.load(saved)) == saved.preprocessing == how


def test_timms_border_pads_with_its_mean() -> None:
    padded = [each for each in timm.list_pretrained() if timm.get_pretrained_cfg(each).crop_mode == "border"]
    assert padded and {timm.get_pretrained_cfg(each).crop_mode for each in timm.list_pretrained()} == {
        "center",
        "squash",
        "border",
    }
    about = {"name": "x", "size": 40, "crop": 1.0, "interpolation": "bicubic", "fit": "pad", "fill": [124, 116, 104]}
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 3, options=SMALL, fit="pad")
    mean = timm.data.resolve_model_data_config(teacher.network)["mean"]
    assert preprocessing_of(teacher).fill == tuple(round(255 * value) for value in mean)
    teacher.architecture |= about
    assert preprocessing_of(teacher).fill == (124, 116, 104)


def test_a_teacher_of_0_1_keeps_its_pixels() -> None:
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 3, options=SMALL)
    for key in ("fit", "fill"):  # which 0.1 did not write
        del teacher.architecture[key]
    assert preprocessing_of(teacher).geometry == 1


def test_a_teacher_that_takes_no_squares(tmp_path: Path) -> None:
    """It sees the same square images as others, distorted to its shape, in training as in evaluation."""
    options = {**SMALL, "img_size": [48, 72], "patch_size": 12}
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 3, options=options).eval()
    assert (teacher.size, teacher.shape) == (72, (48, 72))
    images = torch.randint(0, 256, (2, 3, 72, 72), dtype=torch.uint8)
    resized = torch.nn.functional.interpolate(images.float(), (48, 72), mode="bilinear", antialias=True)
    assert torch.allclose(teacher(images), teacher.network((resized - teacher.mean) / teacher.std), atol=1e-5)
    assert teacher.outputs(images)["feature_map"].shape[-2:] == (4, 6)
    again = teachers.load(teachers.save(teacher, tmp_path / "t", labels=["a", "b", "c"]))
    assert again.shape == (48, 72) and torch.allclose(again.eval()(images), teacher(images))
