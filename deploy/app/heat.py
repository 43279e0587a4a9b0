"""The file that an app runs: the exported one, which also gives its feature map where its graph has one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from attar.data.images import read_rgb
from attar.errors import GateError
from attar.export.capture_output import captured
from attar.export.manifest import FileEntry
from attar.export.tflite.maps import with_map
from attar.extras import require


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
    made = with_map(content) if entry.target.startswith("litert:") else None
    if made is None:
        return content, None
    images = [np.asarray(read_rgb(each))[None] for each in golden]
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / path.name
        other.write_bytes(made[0])
        if any(not np.array_equal(one, two) for one, two in zip(_answers(path, images), _answers(other, images))):
            raise GateError(f"{path}: with its feature map as a second output it answers otherwise.")
    return made[0], asdict(made[1])


def _answers(path: Path, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    with captured():
        interpreter = require("ai_edge_litert.interpreter").Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    [taken], given = interpreter.get_input_details(), interpreter.get_output_details()[0]
    answers = []
    for image in images:
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"]).copy())
    return answers
