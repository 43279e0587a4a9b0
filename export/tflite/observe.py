"""What the activations of a float .tflite file are on calibration images."""

from __future__ import annotations

import warnings

import numpy as np

from attar.export import ranges
from attar.extras import require


def observe(content: bytes, images: np.ndarray) -> dict[str, ranges.Activation]:
    """Every activation of a float .tflite file with one input, by name, over normalized images (N, H, W, 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that intermediate tensors need memory
        interpreter = require("ai_edge_litert.interpreter").Interpreter(
            model_content=content, experimental_preserve_all_tensors=True, num_threads=1
        )
    interpreter.allocate_tensors()
    [image] = interpreter.get_input_details()
    made = {image["index"], *(index for op in interpreter._get_ops_details() for index in op["outputs"])}
    watched = [d for d in interpreter.get_tensor_details() if d["dtype"] is np.float32 and d["index"] in made]
    seen: dict[str, list[ranges.Activation]] = {tensor["name"]: [] for tensor in watched}
    for one in images:
        interpreter.set_tensor(image["index"], one[None])
        interpreter.invoke()
        for tensor in watched:
            seen[tensor["name"]].append(ranges.of_image(interpreter.get_tensor(tensor["index"]), len(images)))
    return {name: ranges.joined(parts) for name, parts in seen.items()}
