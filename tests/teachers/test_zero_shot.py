"""Zero-shot teachers: cosines with text, classes found by name, bad files named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from attar import teachers
from attar.data.photos import DataSpec, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student
from attar.errors import InputError
from attar.recipe import DistillSpec, TeachSpec, ZeroShotSpec, validate
from attar.teachers.zero_shot import read_text_embeddings

CLIP, SIGLIP = "vit_base_patch16_clip_224.openai", "vit_base_patch16_siglip_224"
SMALL = {"img_size": 48, "patch_size": 12, "embed_dim": 32, "depth": 1, "num_heads": 2}
CLASSES = ("circle", "cross", "square")
DIM = {CLIP: 512, SIGLIP: 32}
"""CLIP's tower ends with a projection; SigLIP's ends with its attention pool."""


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Image towers with random weights, as files."""
    folder = tmp_path_factory.mktemp("towers")
    torch.manual_seed(7)  # not that of `teach`, whose random weights would be these
    for name in DIM:
        save_file(timm.create_model(name, **SMALL).state_dict(), folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in DIM}


def text(dim: int, prompts: int = 2, classes: tuple[str, ...] = CLASSES) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(prompts, dim, generator=generator) for name in classes}


def spec(name: str, towers: dict[str, Path], embeddings: Path, **more: object) -> TeachSpec:
    return ZeroShotSpec(name=name, checkpoint=str(towers[name]), options=SMALL, text_embeddings=str(embeddings), **more)


@pytest.mark.parametrize("name", [CLIP, SIGLIP])
def test_logits_are_scaled_cosines(name: str, towers: dict[str, Path], photos: Photos, tmp_path: Path) -> None:
    prompts = text(DIM[name])
    save_file(dict(reversed(prompts.items())), tmp_path / "text.safetensors")
    how = spec(name, towers, tmp_path / "text.safetensors", logit_scale=50.0, logit_bias=-3.0)
    bundle = teachers.teach(photos, how, tmp_path / "teacher")
    teacher = teachers.load(bundle)

    images = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    tower = timm.create_model(name, checkpoint_path=str(towers[name]), **SMALL).eval()
    config = timm.data.resolve_model_data_config(tower)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    seen = tower((images / 255 - mean) / std)
    means = [functional.normalize(prompts[c], dim=1).mean(0) for c in CLASSES]
    cosines = functional.cosine_similarity(seen[:, None], torch.stack(means)[None], dim=2)
    assert torch.allclose(teacher(images), 50 * cosines - 3, atol=1e-3)
    assert float(cosines.detach().std()) > 0.005

    answers = teacher.outputs(images)
    assert torch.equal(answers["logits"], teacher(images))
    assert torch.allclose(answers["pooled"], functional.normalize(seen, dim=1), atol=1e-5)
    assert answers["feature_map"].shape == (5, 32, 4, 4)
    assert bundle.labels == CLASSES and bundle.name == name

    with torch.autocast("cpu", torch.bfloat16):  # cosines are not rounded, whatever the tower is
        half = teacher.outputs(images)
    assert half["logits"].dtype == torch.float32
    assert torch.allclose(half["logits"], 50 * half["pooled"] @ teacher.network.text.T - 3, atol=1e-3)


def test_a_student_learns_from_it(towers: dict[str, Path], photos: Photos, tmp_path: Path) -> None:
    save_file(text(512), tmp_path / "text.safetensors")
    bundle = teachers.teach(photos, spec(CLIP, towers, tmp_path / "text.safetensors"), tmp_path / "teacher")
    losses = [{"name": "kd"}, {"name": "feature"}, {"name": "rkd"}, {"name": "attention"}]
    how = DistillSpec(
        name="mobilenetv4_conv_small_035",
        pretrained=False,
        size=32,
        epochs=1,
        batch_size=12,
        head_width=32,
        losses=losses,
        check_teacher=False,
    )
    student = distill_student(photos, how, tmp_path / "s", teacher=bundle, views=ViewPolicy(count=1))
    assert student.provenance["teacher"]["fingerprint"] == bundle.fingerprint


def test_both_kinds_of_file_give_the_same_by_name(tmp_path: Path) -> None:
    prompts = text(6)
    save_file(prompts, tmp_path / "text.safetensors")
    order = ("square", "circle", "cross")
    np.save(tmp_path / "text.npy", np.stack([prompts[name].numpy() for name in order]))
    (tmp_path / "text.txt").write_text("\n".join(order) + "\n")
    one, other = (read_text_embeddings(tmp_path / f"text.{kind}", CLASSES) for kind in ("safetensors", "npy"))
    assert torch.equal(one, other) and torch.allclose(one.norm(dim=1), torch.ones(3))
    backwards = read_text_embeddings(tmp_path / "text.npy", CLASSES[::-1])
    assert torch.equal(backwards, one.flip(0))


def test_one_prompt_a_class_and_half_precision(tmp_path: Path) -> None:
    prompts = {name: values[0].half() for name, values in text(6).items()}
    save_file(prompts, tmp_path / "text.safetensors")
    rows = read_text_embeddings(tmp_path / "text.safetensors", CLASSES)
    assert torch.allclose(rows[1], functional.normalize(prompts["cross"].float(), dim=0), atol=1e-6)


def test_an_accent_is_one_class_whichever_system_wrote_it(tmp_path: Path) -> None:
    save_file({"rose\u0301": torch.ones(4), "lis": -torch.ones(4)}, tmp_path / "text.safetensors")
    assert read_text_embeddings(tmp_path / "text.safetensors", ["lis", "ros\u00e9"]).shape == (2, 4)


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        values = text(512)
        change(values)
        save_file(values, folder / "text.safetensors")
        return folder / "text.safetensors"

    return write


def rows(array: object, names: str | None, pickled: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "text.npy", array, allow_pickle=pickled)
        if names is not None:
            (folder / "text.txt").write_text(names)
        return folder / "text.npy"

    return write


def cut(folder: Path) -> Path:
    path = tensors(lambda values: None)(folder)
    path.write_bytes(path.read_bytes()[:500])
    return path


def other_suffix(folder: Path) -> Path:
    (folder / "text.csv").write_text("circle,1,2\n")
    return folder / "text.csv"


NAMES = "circle\ncross\nsquare\n"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (tensors(lambda values: values.pop("cross")), r"without the photos' classes 'cross' \(1 of 2 in the file, 3"),
        (tensors(lambda values: values.update(star=torch.ones(512))), r"classes that no photo has: 'star'"),
        (tensors(lambda values: values["cross"][0].fill_(float("nan"))), r"of 'cross' is zero, infinite or NaN"),
        (tensors(lambda values: values["cross"][1].zero_()), r"of 'cross' is zero, infinite or NaN"),
        (tensors(lambda values: values.update(cross=torch.ones(7))), r"all of one length"),
        (tensors(lambda values: values.update(cross=torch.ones(1, 1, 512))), r"all of one length"),
        (tensors(lambda values: values.update(text(256))), r"text_embeddings: .*of 256 numbers.*have 512"),
        (rows(np.ones((3, 512)), None), r"text\.npy: needs an array.*text\.txt"),
        (rows(np.ones((4, 512)), NAMES), r"shape \(4, 512\), and text\.txt has 3 names"),
        (rows(np.ones((3, 512)), "circle\ncross\ncross\n"), r"text\.txt: names 'cross' more than once"),
        (rows(np.array([{"a": 1}], dtype=object), NAMES, pickled=True), r"text\.npy: needs an array of numbers"),
        (cut, r"text\.safetensors: not a whole safetensors file"),
        (other_suffix, r"text\.csv: text embeddings are a \.safetensors file"),
        (lambda folder: folder / "none.npy", r"none\.npy: no such file"),
    ],
)
def test_a_bad_file_is_named(
    write: Callable[[Path], Path], message: str, towers: dict[str, Path], photos: Photos, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        teachers.teach(photos, spec(CLIP, towers, write(tmp_path)), tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_a_tower_without_weights_or_projection_is_refused(
    towers: dict[str, Path], photos: Photos, tmp_path: Path
) -> None:
    path = tensors(lambda values: None)(tmp_path)
    random = spec(CLIP, towers, path).model_copy(update={"checkpoint": None, "pretrained": False})
    with pytest.raises(InputError, match=r"zero-shot teacher is not trained here.*teacher.checkpoint"):
        teachers.teach(photos, random, tmp_path / "teacher")
    headless = timm.create_model(CLIP, num_classes=0, **SMALL).state_dict()
    save_file(headless, tmp_path / "headless.safetensors")
    with pytest.raises(InputError, match=r"headless\.safetensors: weights of another architecture: 2 of .*head\.bias"):
        teachers.teach(photos, spec(CLIP, {CLIP: tmp_path / "headless.safetensors"}, path), tmp_path / "teacher")
    classifier = timm.create_model("vit_base_patch16_clip_224", **SMALL)  # without a tag: fitted to classes
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    fitted = spec(CLIP, {CLIP: tmp_path / "classifier.safetensors"}, path)
    fitted = fitted.model_copy(update={"name": "vit_base_patch16_clip_224"})
    with pytest.raises(InputError, match=r"of 512 numbers.*have 1000.*vit_base_patch16_clip_224\.laion2b"):
        teachers.teach(photos, fitted, tmp_path / "teacher")


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"method": "zero_shot"}, "teacher.text_embeddings: is missing, and a recipe of method zero_shot needs it"),
        ({"text_embeddings": "text.npy"}, "text_embeddings belongs to method zero_shot"),
    ],
)
def test_recipes_that_do_not_fit(teacher: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate({"teacher": teacher}, "recipe")
