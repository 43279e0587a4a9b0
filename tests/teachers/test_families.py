"""Families of ViTs, small and random: each trains, is cached, answers, and takes weights made for another size."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from attar import teachers
from attar.bundle import Bundle
from attar.data.photos import DataSpec, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student
from attar.errors import InputError
from attar.recipe import DistillSpec, FinetuneSpec
from attar.teachers.families import FAMILIES as FAMILIES_NAMED
from attar.teachers.families import needs_of

VIEWS = ViewPolicy(crop_area=(0.8, 1.0), count=1)
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
FAMILIES = {
    "vit_tiny_patch16_224": {**SMALL, "img_size": 64},
    "deit_tiny_distilled_patch16_224": {**SMALL, "img_size": 64},
    "deit3_small_patch16_224": {**SMALL, "img_size": 64},
    "vit_small_patch14_dinov2": {**SMALL, "img_size": 56},
    "vit_small_patch14_reg4_dinov2": {**SMALL, "img_size": 56},
    "vit_small_patch16_dinov3": {**SMALL, "img_size": 64},
    "eva02_tiny_patch14_224": {**SMALL, "img_size": 56},
    "beit_base_patch16_224": {**SMALL, "img_size": 64},
    "vit_base_patch16_clip_224": {**SMALL, "img_size": 64},
    "vit_base_patch16_siglip_224": {**SMALL, "img_size": 64},
}
"""Architecture -> its options, at another size than its own."""
HYBRID = {"vit_tiny_r_s16_p8_224": {**SMALL, "img_size": 64}}
FIVE = [{"name": name} for name in ("kd", "feature", "hint", "rkd", "attention")]


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


def images(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def fitted(name: str, photos: Photos, output: Path, **more: object) -> Bundle:
    spec = FinetuneSpec(
        name=name, pretrained=False, options=(FAMILIES | HYBRID)[name], epochs=1, batch_size=18, crop=1.0, **more
    )
    return teachers.teach(photos, spec, output, views=VIEWS)


@pytest.mark.parametrize("name", [*FAMILIES, *HYBRID])
def test_it_trains_and_a_student_learns_every_kind_of_answer(name: str, photos: Photos, tmp_path: Path) -> None:
    bundle = fitted(name, photos, tmp_path / "teacher")
    torch.manual_seed(0)
    fresh = teachers.create_teacher(name, 3, options=(FAMILIES | HYBRID)[name]).state_dict()
    last = teachers.load(bundle).state_dict()
    assert any(not torch.equal(fresh[key], last[key]) for key in fresh if key.startswith("network.blocks.0."))
    how = DistillSpec(
        name="mobilenetv4_conv_small_035",
        pretrained=False,
        size=32,
        epochs=1,
        batch_size=18,
        head_width=32,
        losses=FIVE,
        check_teacher=False,
    )
    student = distill_student(photos, how, tmp_path / "s", teacher=bundle, views=VIEWS, cache=tmp_path / "cache")
    assert student.provenance["teacher"]["fingerprint"] == bundle.fingerprint
    kinds = {path.name.split(".")[1] for path in (tmp_path / "cache").glob("view-00000.*.npy")}
    assert kinds == {"feature_map", "mid_features", "pooled", "attention"}


@pytest.mark.parametrize("name", FAMILIES)
def test_it_prepares_images_as_its_weights_were_trained(name: str) -> None:
    teacher = teachers.create_teacher(name, 3, options=FAMILIES[name]).eval()
    config = timm.models.get_pretrained_cfg(name)
    assert teacher.size == FAMILIES[name]["img_size"] != config.input_size[-1]
    assert teacher.architecture["mean"] == list(config.mean) and teacher.architecture["std"] == list(config.std)
    assert teacher.architecture["crop"] == config.crop_pct
    larger = images(2 * teacher.size)
    own = functional.interpolate(larger.float(), (teacher.size, teacher.size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    assert torch.allclose(teacher(larger), teacher.network((own / 255 - mean) / std), atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_local_file_made_for_another_size_is_resampled(name: str, tmp_path: Path) -> None:
    """As timm does for weights of the hub, whose way of loading is taken as the reference."""
    large = FAMILIES[name]
    patch = 14 if "patch14" in name else 16
    small = {**large, "img_size": 3 * patch}
    torch.manual_seed(0)
    source = timm.create_model(name, num_classes=5, **small)
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    teacher = teachers.create_teacher(name, 5, checkpoint=path, options=large).eval()
    overlay = {"file": str(path), "num_classes": 5}
    reference = timm.create_model(name, num_classes=5, pretrained=True, pretrained_cfg_overlay=overlay, **large).eval()
    mine, theirs = teacher.network.state_dict(), reference.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert torch.equal(mine["blocks.1.norm1.weight"], source.state_dict()["blocks.1.norm1.weight"])
    if "pos_embed" in mine:
        prefix = mine["pos_embed"].shape[1] - 16
        resampled = resample_abs_pos_embed(source.pos_embed, [4, 4], num_prefix_tokens=prefix)
        assert torch.allclose(mine["pos_embed"], resampled, atol=1e-6)


def test_the_names_of_clips_authors_are_understood(tmp_path: Path) -> None:
    """A file as OpenAI's own code saves it: `visual.` before the names, and the projection as a plain matrix."""
    name, options = "vit_base_patch16_clip_224.openai", {**SMALL, "img_size": 64}
    torch.manual_seed(0)
    state = timm.create_model(name, num_classes=48, **options).state_dict()
    renamed = {"visual.proj": state["head.weight"].T, "visual.class_embedding": state["cls_token"].flatten()}
    renamed["visual.positional_embedding"] = state["pos_embed"][0]
    renamed["visual.conv1.weight"] = state["patch_embed.proj.weight"]
    parts = {
        "norm_pre": "ln_pre",
        "norm": "ln_post",
        "blocks": "transformer.resblocks",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "qkv": "in_proj",
        "proj": "out_proj",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    for key, value in state.items():
        if key.startswith(("blocks.", "norm")):
            words = [parts.get(word, word) for word in key.split(".")]
            renamed[f"visual.{'.'.join(words)}".replace("in_proj.", "in_proj_")] = value
    path = tmp_path / "clip.safetensors"
    save_file({key: value.contiguous() for key, value in renamed.items()}, path)
    teacher = teachers.create_teacher(name, 48, checkpoint=path, options=options)
    assert all(torch.equal(value, state[key]) for key, value in teacher.network.state_dict().items())


def test_weights_of_another_width_are_still_named(tmp_path: Path) -> None:
    source = timm.create_model("vit_tiny_patch16_224", embed_dim=32, depth=2, num_heads=2, img_size=48)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors: weights of another architecture"):
        teachers.create_teacher(
            "vit_tiny_patch16_224",
            5,
            checkpoint=tmp_path / "weights.safetensors",
            options=FAMILIES["vit_tiny_patch16_224"],
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_is_torchs_fused_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is flash attention where the hardware has it."""
    teacher = teachers.create_teacher(name, 3, options=FAMILIES[name]).eval()
    calls = []
    fused = functional.scaled_dot_product_attention
    monkeypatch.setattr(
        functional, "scaled_dot_product_attention", lambda *args, **more: calls.append(1) or fused(*args, **more)
    )
    teacher(images(teacher.size))
    assert len(calls) == 2 + ("siglip" in name)  # a block each, and SigLIP's pool


def test_what_a_teacher_needs_is_counted_as_it_is_used() -> None:
    """Against what torch's allocator tells its profiler of a real pass, where attention is fused too."""
    (needs,) = needs_of(["vit_tiny_patch16_224"], batch=4)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    assert needs.parameters == sum(p.numel() for p in network.parameters())
    assert needs.weights_bytes == 4 * needs.parameters
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        network(torch.zeros(4, 3, 224, 224))
    events = sorted(
        (event.start_ns(), event.nbytes())
        for event in profiled.profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    most = max(accumulate(size for _, size in events))
    assert 0.8 * most < needs.batch_bytes < 1.2 * most
    (larger,) = needs_of(["vit_tiny_patch16_224"], size=448, batch=4)
    assert larger.size == 448 and 3.5 < larger.batch_bytes / needs.batch_bytes < 4.5


def test_every_family_that_is_named_exists() -> None:
    assert all(timm.is_model(name) for names in FAMILIES_NAMED.values() for name in names)
    with pytest.raises(InputError, match=r"no such timm model.*vit_tiny_patch16_224"):
        list(needs_of(["vit_tiny_patch16_24"]))
    with pytest.raises(InputError, match=r"vit_tiny_patch16_224.*cannot be had at 8 pixels"):
        list(needs_of(["vit_tiny_patch16_224"], size=8))
