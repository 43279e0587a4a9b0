"""The second output of files: how familiar a photo is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from attar import students
from attar.bundle import Bundle
from attar.data.photos import Photos, load_pixels
from attar.errors import GateError
from attar.export import coreml, familiar, litert, onnx
from attar.export.capture_output import captured
from attar.export.manifest import read_manifest, write_manifest
from attar.export.runners import open_runner
from attar.export.tflite import graph
from attar.export.tflite.layers import kind_of
from attar.export.verify import student_reference, verify
from attar.extras import require
from attar.files import sha256
from attar.inference import to_tensor
from attar.preprocessing import MEAN, STD
from attar.students.familiarity import SCORES, Familiarity, Known
from helpers.familiar import FILES, familiar_exports, familiar_photos, familiar_student
from helpers.imported import module_of
from helpers.small import DROP

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def many(shared: Path) -> Photos:
    return familiar_photos(shared)


@pytest.fixture(scope="module")
def known(shared: Path) -> Bundle:
    return familiar_student(shared)


@pytest.fixture(scope="module")
def made(shared: Path) -> Path:
    return familiar_exports(shared)


@pytest.fixture
def exports(made: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(made, tmp_path / "exports"))


def test_every_file_gives_what_its_student_does(made: Path, known: Bundle, many: Photos) -> None:
    reference = student_reference(known, many, 1000)
    assert reference.familiarity is not None and reference.familiarity.std() > 0.05
    entries = read_manifest(made).files
    assert [entry.target for entry in entries] == FILES
    for entry in entries:
        answers = open_runner(made / entry.file).answers(reference.pixels)
        assert answers.shape == (len(reference.pixels), 4)
        error = np.abs(answers[:, 3] - reference.familiarity)
        assert error.mean() < 0.05, entry.target
        np.testing.assert_array_equal(open_runner(made / entry.file).predict(reference.pixels), answers[:, :3])
        assert entry.signature["familiarity"]["name"] == "familiarity"


def test_the_threshold_of_each_file_refuses_a_twentieth(made: Path, known: Bundle, many: Photos) -> None:
    reference = student_reference(known, many, 1000)
    for entry in read_manifest(made).files:
        promise = entry.decision["familiar"]
        familiarity = open_runner(made / entry.file).answers(reference.pixels)[:, 3]
        refused = (familiarity < promise["threshold"]).sum()
        assert 0 <= refused <= 0.05 * (len(many.val) + 1) and promise["images"] == len(many.val)
        assert set(entry.verification["familiarity"]) == {"auroc", "student_auroc", "rank_correlation"}


def test_a_file_for_a_phone_stays_in_one_part(made: Path) -> None:
    for entry in read_manifest(made).files:
        if entry.target.startswith("litert:"):
            assert entry.partitions == {"delegated": 1, "outside": []}, entry.target


def test_it_is_proven_again(exports: Path, known: Bundle, many: Photos) -> None:
    assert len(verify(exports, bundle=known, photos=many, max_drop=DROP).files) == len(FILES)


@pytest.mark.parametrize("operator", ["Neg", "Constant"])
@pytest.mark.parametrize("target", ["onnx:fp32"])
def test_a_file_whose_familiarity_is_broken_fails(
    exports: Path, known: Bundle, many: Photos, target: str, operator: str
) -> None:
    library = require("onnx")
    manifest = read_manifest(exports)
    [entry] = [entry for entry in manifest.files if entry.target == target]
    model = library.load(exports / entry.file)
    [last] = [node for node in model.graph.node if "familiarity" in node.output]
    assert last.op_type == "Sigmoid"
    name = "broken"
    scale = library.numpy_helper.from_array(np.float32(-1.0 if operator == "Neg" else 0.0), "factor")
    model.graph.initializer.append(scale)
    place = list(model.graph.node).index(last)
    model.graph.node.insert(place, library.helper.make_node("Mul", [last.input[0], "factor"], [name]))
    last.input[0] = name
    library.save(model, exports / entry.file)
    changed = replace(entry, sha256=sha256(exports / entry.file), bytes=(exports / entry.file).stat().st_size)
    write_manifest(manifest.with_file(changed), exports)
    with pytest.raises(GateError, match="its familiarity is another than its student's"):
        verify(exports, bundle=known, photos=many, max_drop=DROP)


class Small(nn.Module):
    """A network of one convolution, with timm's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 80, 3, stride=4)
        self.classifier = nn.Linear(80, 3)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(images))

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = features.mean((2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_in_the_operators_of_every_format(bundle: Bundle, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    network = Small()
    rng = np.random.default_rng(0)
    pixels = (rng.random((300, 1, 1, 3)) * rng.integers(0, 256, (300, 32, 32, 3))).astype(np.uint8)
    with torch.no_grad():
        pooled = network.forward_head(network.forward_features((to_tensor(pixels).float() - MEAN) / STD), True)
        logits = network.classifier(pooled)
        known = Known(logits, pooled, logits.argmax(1), network.classifier.weight, network.classifier.bias)
        fitted = Familiarity.fitted(name, known, [(logits, pooled)])
        expected = fitted(logits, pooled).flatten().numpy()
    student = students.Student(network, {"num_classes": 3}, fitted).eval().requires_grad_(False)
    assert expected.std() > 0.02
    own = replace(bundle, weights_sha256=name)  # by which tests share conversions
    for module, suffix in ((litert, "tflite"), (onnx, "onnx"), (coreml, "mlpackage")):
        path = tmp_path / f"file.{suffix}"
        with captured():
            module.convert(student, own, "fp32", pixels, path)
            runner = open_runner(path)
            answers = runner.answers(pixels[:50])
        np.testing.assert_allclose(answers[:, 3], expected[:50], atol=1e-3, err_msg=path.name)
        assert runner.partitions in (None, {"delegated": 1, "outside": []}), name
        assert "softmax" in operators(path), "whole: its parts would be computed in integers in an integer file"


def operators(path: Path) -> set[str]:
    """What a file is made of, in small letters."""
    if path.suffix == ".onnx":
        return {node.op_type.lower() for node in require("onnx").load(path).graph.node}
    if path.suffix == ".mlpackage":
        return {step.operator for step in coreml.open_runner(path).program.steps}
    model = graph.read(path.read_bytes())
    return {kind_of(model, operator).lower() for operator in model.subgraphs[0].operators}


@pytest.mark.parametrize("module", [litert, onnx])
def test_in_integer_files_it_stays_float(known: Bundle, many: Photos, tmp_path: Path, module: ModuleType) -> None:
    path = tmp_path / ("file.tflite" if module is litert else "file.onnx")
    reference = student_reference(known, many, 1000)
    with captured():
        module.convert(students.load(known), known, "int8", load_pixels(many.train, known.preprocessing), path)
        runner = open_runner(path)
        familiarity = runner.answers(reference.pixels)[:, 3]
    assert spearmanr(familiarity, reference.familiarity).statistic > 0.3
    assert len(np.unique(familiarity)) > 0.8 * len(familiarity)  # integers would have few values
    assert runner.partitions in (None, {"delegated": 1, "outside": []})


@pytest.mark.parametrize("name", ["classify_litert.py", "classify_onnx.py"])
def test_the_python_snippets_give_it_and_refuse_what_is_less_familiar(
    exports: Path, many: Photos, known: Bundle, name: str
) -> None:
    path, listing = exports / "snippets" / name, json.loads((exports / "golden/golden.json").read_text())
    snippet = module_of(path)
    golden = listing["files"][snippet.MODEL.name]
    with captured():
        told = [snippet.answer(np.asarray(Image.open(exports / "golden" / each["file"]))) for each in listing["images"]]
    assert [familiarity for _, familiarity in told] == pytest.approx(golden["familiarity"][: len(told)], abs=1e-5)
    np.testing.assert_allclose([row for row, _ in told], golden["probabilities"], atol=1e-6)
    assert pytest.approx(golden["decision"]["familiar"]["threshold"], rel=1e-5) == snippet.KNOWN

    def says(threshold: float) -> str:
        text = path.read_text().replace(f"KNOWN = {snippet.KNOWN}", f"KNOWN = {threshold}")
        other = path.with_name(f"other-{threshold}.py")
        other.write_text(text)
        command = [sys.executable, str(other), str(many.val[0].path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and len(done.stdout.splitlines()) == len(known.labels), done.stderr
        return done.stderr

    assert "Perhaps none of these" in says(1.5) and "Perhaps none of these" not in says(-0.5)


def test_the_snippet_for_javascript_gives_it(made: Path, node: Path) -> None:
    listing = json.loads((made / "golden/golden.json").read_text())
    images = [np.asarray(Image.open(made / "golden" / each["file"])) for each in listing["images"]]
    shutil.copy(made / "snippets/classify_onnx.mjs", node)
    (node / "pixels.json").write_text(json.dumps([image.ravel().tolist() for image in images]))
    (node / "run.mjs").write_text(
        f"""import fs from "node:fs";
        import {{ load, KNOWN }} from "./classify_onnx.mjs";
        const classify = await load(new Uint8Array(fs.readFileSync({json.dumps(str(made / "onnx-fp32.onnx"))})));
        const told = [];
        for (const pixels of JSON.parse(fs.readFileSync("pixels.json")))
          told.push((await classify(Uint8Array.from(pixels))).familiarity);
        console.log(JSON.stringify([KNOWN, told]));"""
    )
    done = subprocess.run(["node", "run.mjs"], cwd=node, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    threshold, told = json.loads(done.stdout)
    golden = listing["files"]["onnx-fp32.onnx"]
    assert told == pytest.approx(golden["familiarity"][: len(told)], abs=1e-5)
    assert threshold == pytest.approx(golden["decision"]["familiar"]["threshold"], rel=1e-5)


def test_too_few_photos_have_no_threshold() -> None:
    found = familiar.fit(np.linspace(0, 1, 18), np.zeros(3))
    assert found["threshold"] is None and "18 photos cannot show" in found["reason"] and "19 can" in found["reason"]
    assert familiar.fit(np.linspace(0.1, 1, 19), np.zeros(3))["threshold"] == pytest.approx(0.1)
    familiar.prove(found, np.zeros(5))


def test_a_broken_promise_is_told() -> None:
    rng = np.random.default_rng(0)
    promise = familiar.fit(rng.random(400), np.zeros(3))
    familiar.prove(promise, rng.random(400))
    with pytest.raises(GateError, match="refused as unfamiliar, not 5%"):
        familiar.prove(promise, rng.random(400) ** 2)


def test_a_student_without_gives_no_second_output(exported: Path, bundle: Bundle, photos: Photos) -> None:
    pixels = load_pixels(photos.val, bundle.preprocessing)
    for entry in read_manifest(exported).files:
        assert open_runner(exported / entry.file).answers(pixels).shape[1] == 3
        assert "familiarity" not in entry.signature and "familiar" not in entry.decision
