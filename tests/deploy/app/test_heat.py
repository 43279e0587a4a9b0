"""Where the model looked: the file's second output, against torch, and the page's map against Python's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser

from attar import students
from attar.data.photos import DataSpec, read_photos
from attar.deploy.app import site as sites
from attar.deploy.app.heat import mapped
from attar.deploy.app.site import SITE
from attar.export import onnx_maps
from attar.export.activation_map import FEATURE_MAP
from attar.export.export import export_student
from attar.export.manifest import read_manifest
from attar.export.tflite import maps
from helpers.browser import faults, visit, when
from helpers.once import made_once
from helpers.phone_app import ask, isolated
from helpers.pictures import draw
from helpers.small import DROP, make_student

pytestmark = pytest.mark.slow

SIDE = 96
"""Pixels: the map has 3 x 3 cells."""
LIKE = {
    "litert:fp32": 0.99999,
    "litert:fp16": 0.9999,
    "litert:dyn8": 0.99,
    "litert:int8": 0.9,
    "onnx:fp32": 0.99999,
    "onnx:fp16": 0.9999,
    "onnx:int8": 0.9,
}
"""Target -> how much its map is like the student's: correlation over the nine cells."""
WITH_MAP = {".tflite": maps.with_map, ".onnx": onnx_maps.with_map}


@pytest.fixture(scope="module")
def run(shapes: Path, shared: Path) -> Path:
    """`student/` and `exports/`."""

    def make(folder: Path) -> None:
        photos = read_photos(DataSpec(str(shapes)))
        student = make_student("mobilenetv3_small_050", photos, folder / "student", side=SIDE)
        export_student(student, list(LIKE), folder / "exports", photos=photos, max_drop=DROP)

    return made_once(shared / "heat", make)


def file_of(target: str) -> str:
    return target.replace(":", "-") + {"litert": ".tflite", "onnx": ".onnx"}[target.partition(":")[0]]


def outputs(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """All outputs of a file for one image, by their names; the map as (1, height, width, channels)."""
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path))
        return dict(interpreter.get_signature_runner()(image=image))
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"image": image})))
    return found | {name: found[name].transpose(0, 2, 3, 1) for name in names if name == FEATURE_MAP}


def of_torch(run: Path, image: np.ndarray) -> np.ndarray:
    """Class activation maps (height, width, classes) of the student itself."""
    student: Any = students.load(run / "student")
    network = student.network
    kept: list[torch.Tensor] = []
    network.head.bn2.register_forward_hook(lambda _module, _inputs, output: kept.append(torch.relu(output)))
    with torch.no_grad():
        student.eval()(torch.from_numpy(image.copy()).permute(0, 3, 1, 2))
    weights = network.head.classifier.weight.detach()
    return torch.einsum("chw,kc->hwk", kept[0][0], weights).numpy()


@pytest.mark.parametrize("target", LIKE)
def test_a_files_map_is_the_students_and_its_answers_are_as_before(run: Path, tmp_path: Path, target: str) -> None:
    path = run / "exports" / file_of(target)
    image = np.asarray(draw("cross", 5).convert("RGB").resize((SIDE, SIDE)))[None]
    made = WITH_MAP[path.suffix](path.read_bytes())
    assert made
    content, where = made
    (tmp_path / path.name).write_bytes(content)
    before, after = outputs(path, image), outputs(tmp_path / path.name, image)
    assert set(after) == {"probabilities", FEATURE_MAP} and after[FEATURE_MAP].shape[1:] == (3, 3, where.channels)
    assert np.array_equal(before["probabilities"], after["probabilities"])
    weights = np.frombuffer(content, where.kind, 3 * where.channels, where.offset).reshape(3, -1).astype(np.float32)
    found, expected = after[FEATURE_MAP][0] @ weights.T, of_torch(run, image)
    for label in range(3):
        likeness = np.corrcoef(found[..., label].ravel(), expected[..., label].ravel())[0, 1]
        assert likeness > LIKE[target], (label, likeness)


def test_a_head_that_mixes_after_the_pool_and_a_map_of_one_cell_have_none(exports: Path) -> None:
    """32 pixels are one cell."""
    for entry in read_manifest(exports).files:
        if entry.target.startswith(("litert:", "onnx:")):
            content, where = mapped(exports / entry.file, entry, [])
            assert where is None and content == (exports / entry.file).read_bytes()


@pytest.mark.parametrize("target", ["litert:int8", "litert:fp16", "onnx:int8"])
def test_an_answer_that_is_tapped_shows_pythons_map(
    browser: Browser, run: Path, installed: None, serving: Callable[[Path], str], tmp_path: Path, target: str
) -> None:
    sites.write_site(run / "exports", tmp_path / "site", target=target)
    [model, *_] = json.loads((tmp_path / "site" / SITE).read_text())["models"]
    page = visit(browser, serving(tmp_path / "site"))
    isolated(page)
    path = tmp_path / "cross.png"
    draw("cross", 5).convert("RGB").resize((SIDE, SIDE)).save(path)
    label = ask(page, path)
    page.get_by_role("button", name=label).first.click()
    when(page, "!document.getElementById('seen').hidden && document.getElementById('seen').hasAttribute('aria-label')")
    told = page.locator("#seen").get_attribute("aria-label") or ""
    assert told.startswith(f"Where the model looked for {label}: most at ") and not faults(page)
    cells = page.evaluate(
        """async (map) => {
          const { activation, weightsOf } = await import(new URL("heat.js", location));
          const { openSite } = await import(new URL("files.js", location));
          const { openModel } = await import(new URL("classify.js", location));
          const { pixelsOfFile } = await import(new URL("decode.js", location));
          const { squaring } = await import(new URL("square.js", location));
          const { about, bytes } = await openSite(document.querySelector("meta[name=site]").content);
          const model = await openModel(about, bytes, () => {});
          const { data, width, height } = await pixelsOfFile(await (await fetch("golden/0.png")).blob());
          await model.classify(squaring(about.square)(data, width, height, 4));
          const file = await bytes(about.models[0].file);
          return Array.from(activation(model.features(), weightsOf(file, map, 1), map));
        }""",
        model["map"],
    )
    image = np.asarray(Image.open(tmp_path / "site" / "golden" / "0.png").convert("RGB"))[None]
    served = tmp_path / "site" / model["file"]
    weights = np.frombuffer(served.read_bytes(), model["map"]["kind"], 3 * 512, model["map"]["offset"]).reshape(3, -1)
    expected = np.maximum(0, outputs(served, image)[FEATURE_MAP][0] @ weights[1].astype(np.float32)).ravel()
    assert np.abs(np.array(cells) - expected / max(expected.max(), 1e-9)).max() < 0.05
    page.get_by_role("button", name=label).first.click()
    assert page.locator("#seen").is_hidden() and page.locator("#photo").is_visible()
