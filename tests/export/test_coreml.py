"""Core ML files: written from real students, read back from disk, and run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import students
from attar.bundle import Bundle
from attar.errors import InputError
from attar.files import sha256
from attar.inference import predict, to_tensor
from attar.preprocessing import Preprocessing
from export import coreml

ct = pytest.importorskip("coremltools")

LABELS = ("sunflower", "große Klette", "雛菊", "oak", "pine")
SIDE = 64


def pictures(count: int, side: int = SIDE) -> np.ndarray:
    """Smooth random pictures, uint8 (N, side, side, 3), that use the whole range."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return (fine * 255).round().byte().permute(0, 2, 3, 1).numpy()


@torch.no_grad()
def lively(network: torch.nn.Module, side: int = SIDE) -> None:
    """Give random weights the batch statistics and the spread of logits that a trained network has."""
    torch.manual_seed(0)
    network.train()
    batch = (to_tensor(pictures(32, side)).float() - 128) / 128
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network(batch)
    logits = network.eval()(batch)
    classifier = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    classifier.bias.sub_(logits.mean(0))
    for parameter in (classifier.weight, classifier.bias):
        parameter.mul_(2.0 / logits.std(0).mean())


def student_of(name: str, path: Path, head: str = "dwsconv", side: int = SIDE) -> tuple[students.Student, Bundle]:
    torch.manual_seed(1)
    student = students.create_student(name, len(LABELS), head=head)
    lively(student.network, side)
    return student, students.save(student.eval(), path, labels=LABELS, preprocessing=Preprocessing(side))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[students.Student, Bundle]:
    return student_of("mobilenetv3_small_050", tmp_path_factory.mktemp("student") / "bundle")


@pytest.fixture(scope="module")
def fp16(small, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exports") / "coreml-fp16.mlpackage"
    coreml.convert(*small, "fp16", pictures(4), path)
    return path


def test_the_file_gives_what_the_student_gives(small, fp16):
    images = pictures(20)
    want, found = predict(small[0], images), coreml.open_runner(fp16).predict(images)
    assert found.dtype == np.float32 and found.shape == want.shape
    assert len(set(want.argmax(1))) > 1
    assert cosines(found, want).min() >= 0.9999
    np.testing.assert_allclose(found.sum(1), 1, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("mobilenetv2_050", "stock"),
        ("mobilenetv3_large_075", "stock"),
        ("mobilenetv4_conv_small_035", "dwsconv"),
        ("mobilenetv4_hybrid_medium", "dwsconv"),
        ("tf_efficientnet_lite0", "dwsconv"),
    ],
)
def test_every_family_in_half_precision(name, head, tmp_path):
    student, bundle = student_of(name, tmp_path / "bundle", head)
    path = tmp_path / "coreml-fp16.mlpackage"
    coreml.convert(student, bundle, "fp16", pictures(4), path)
    images = pictures(6)
    assert cosines(coreml.open_runner(path, threads=2).predict(images), predict(student, images)).min() >= 0.9999


@pytest.mark.parametrize(
    ("precision", "cosine", "share"), [("w8", 0.999, 0.7), ("lut4", 0.97, 0.75), ("fp32", 0.999999, 2.2)]
)
def test_other_precisions(small, fp16, precision, cosine, share, tmp_path):
    path = tmp_path / f"coreml-{precision}.mlpackage"
    coreml.convert(*small, precision, pictures(4), path)
    images = pictures(8)
    found = coreml.open_runner(path).predict(images)
    assert cosines(found, predict(small[0], images)).min() >= cosine
    weights = "Data/com.apple.CoreML/weights/weight.bin"
    assert (path / weights).stat().st_size < share * (fp16 / weights).stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
def test_a_vision_transformer(target, tmp_path):
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5, depth=2).eval()
    with torch.no_grad():
        vit.head.weight.mul_(50)
    exported = torch.export.export(coreml._Classifier(vit).eval(), (torch.zeros(1, 3, 32, 32),)).run_decompositions({})
    model = ct.convert(
        exported, convert_to="mlprogram", minimum_deployment_target=getattr(ct.target, target), skip_model_load=True,
        inputs=[ct.ImageType(name="image", shape=(1, 3, 32, 32), scale=1 / 128, bias=[-1.0] * 3)],
        classifier_config=ct.ClassifierConfig(list(LABELS)),
    )  # fmt: skip
    model.save(str(tmp_path / "vit.mlpackage"))
    runner = coreml.open_runner(tmp_path / "vit.mlpackage")
    images = pictures(5, 32)
    with torch.no_grad():
        want = vit((to_tensor(images).float() - 128) / 128).softmax(1).numpy()
    assert ("scaled_dot_product_attention" in runner.program.operators) == (target == "iOS18")
    assert cosines(runner.predict(images), want).min() >= 0.9999


def test_a_batch_gives_what_single_images_give(fp16):
    runner = coreml.open_runner(fp16)
    images = pictures(19)
    singles = np.concatenate([runner.predict(images[i : i + 1]) for i in range(len(images))])
    # Convolutions of another batch size add up in another order: a unit in the last place of fp16, now and then.
    np.testing.assert_allclose(runner.predict(images), singles, atol=2e-3)
    assert runner.predict(images[:0]).shape == (0, len(LABELS))


def test_the_file_explains_itself(small, fp16):
    _, bundle = small
    runner = coreml.open_runner(fp16)
    assert runner.labels == LABELS
    assert runner.signature["input"] == {"name": "image", "shape": [1, SIDE, SIDE, 3], "dtype": "uint8"}
    assert runner.signature["output"]["shape"] == [1, len(LABELS)]
    description = coreml._read(fp16)[0].description
    metadata = dict(description.metadata.userDefined)
    assert json.loads(metadata["attar.labels"]) == list(LABELS)
    assert json.loads(metadata["attar.preprocessing"]) == bundle.preprocessing.to_json()
    assert metadata["attar.bundle"] == bundle.fingerprint
    assert bundle.name in description.metadata.shortDescription
    assert description.input[0].type.imageType.width == SIDE
    assert all(feature.shortDescription for feature in [*description.input, *description.output])


@pytest.mark.parametrize("precision", ["w8", "lut4"])
def test_weights_are_the_same_in_a_second_export(small, precision, tmp_path):
    digests = set()
    for name in ("a.mlpackage", "b.mlpackage"):
        coreml.convert(*small, precision, pictures(4), tmp_path / name)
        digests.add(sha256(tmp_path / name / "Data/com.apple.CoreML/weights"))
    assert len(digests) == 1


def test_a_changed_weight_changes_the_result(fp16, tmp_path):
    path = tmp_path / "changed.mlpackage"
    shutil.copytree(fp16, path)
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    # The last blob is the classifier's: make its weights zero, a long run of fp16 numbers.
    content[-2 * 512 :] = bytes(2 * 512)
    weights.write_bytes(content)
    images = pictures(3)
    before, after = (coreml.open_runner(p).predict(images) for p in (fp16, path))
    assert np.abs(before - after).max() > 1e-3


def test_damaged_and_wrong_files_are_refused(fp16, tmp_path):
    with pytest.raises(InputError, match="no such Core ML file"):
        coreml.open_runner(tmp_path / "none.mlpackage")
    path = tmp_path / "cut.mlpackage"
    shutil.copytree(fp16, path)
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.mlpackage"):
        coreml.open_runner(path)
    weights.write_bytes(whole)
    model = path / "Data/com.apple.CoreML/model.mlmodel"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut\.mlpackage"):
        coreml.open_runner(path)


def test_wrong_input_is_refused(small, fp16, tmp_path):
    with pytest.raises(InputError, match="the file takes uint8"):
        coreml.open_runner(fp16).predict(pictures(2, 32))
    with pytest.raises(InputError, match="choose one of fp32"):
        coreml.convert(*small, "int3", pictures(4), tmp_path / "x.mlpackage")
    assert list(tmp_path.iterdir()) == []


def test_opening_a_file_is_silent(fp16):
    script = f"from pathlib import Path; from export.coreml import open_runner; open_runner(Path({str(fp16)!r}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_one_dimensional_clusters_are_k_means():
    from sklearn.cluster import KMeans

    weights = np.random.default_rng(0).standard_normal((4, 200)).astype(np.float32)
    table, places = coreml.cluster(weights, 16)
    assert table.shape == (16,) and places.dtype == np.uint8 and places.max() <= 15
    error = ((table[places] - weights.reshape(-1)) ** 2).sum()
    best = KMeans(16, n_init=20, random_state=0).fit(weights.reshape(-1, 1)).inertia_
    assert error <= 1.05 * best
    # Few distinct values are kept as they are.
    table, places = coreml.cluster(np.array([[1.0, -2.0, 1.0, 0.5]], np.float32), 16)
    np.testing.assert_allclose(table[places], [1.0, -2.0, 1.0, 0.5], atol=1e-6)
