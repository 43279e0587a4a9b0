"""The file that an app runs: the exported one, which also gives its feature map where its graph has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from attar.data.images import read_rgb
from attar.errors import GateError
from attar.export import onnx_maps
from attar.export.capture_output import captured
from attar.export.manifest import FileEntry
from attar.export.runners.onnx import OnnxRunner
from attar.export.tflite import maps
from attar.extras import require

_WITH_MAP = {"litert": maps.with_map, "onnx": onnx_maps.with_map}


def mapped(path: Path, entry: FileEntry, golden: Sequence[Path]) -> tuple[bytes, dict[str, Any] | None]:
    """What the app is given of an exported file -> its content, and where its activation map is; None: it has none.

    Args:
        path: the file, as it was verified.
        entry: what the manifest says of it.
        golden: photos as the file takes them, of the exports folder.

    Raises:
        GateError: with the second output the file answers otherwise than without.
    """
    content = path.read_bytes()
    form = entry.target.partition(":")[0]
    made = _WITH_MAP[form](content)
    if made is None:
        return content, None
    answers = _of_onnx if form == "onnx" else _of_litert
    images = [np.asarray(read_rgb(each))[None] for each in golden]
    if any(not np.array_equal(one, two) for one, two in zip(answers(content, images), answers(made[0], images))):
        raise GateError(f"{path}: with its feature map as a second output it answers otherwise.")
    return made[0], asdict(made[1])


def _of_onnx(content: bytes, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    runner = OnnxRunner(content)
    return [runner.predict(image) for image in images]


def _of_litert(content: bytes, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    with captured():
        interpreter = require("ai_edge_litert.interpreter").Interpreter(model_content=content)
        interpreter.allocate_tensors()
    [taken], given = interpreter.get_input_details(), interpreter.get_output_details()[0]
    answers = []
    for image in images:
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"]).copy())
    return answers
