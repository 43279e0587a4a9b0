"""Run a .tflite file on images in a Python of its own: `python interpret.py MODEL IMAGES.npy ANSWERS.npy KERNELS`.

Imports nothing of attar, because that Python may be an emulated ARM's, with NumPy and an interpreter and nothing else.
KERNELS: `reference` takes TensorFlow's interpreter with its reference kernels, `optimized` LiteRT's with XNNPACK.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def interpreter_of(model: str, kernels: str) -> Any:
    """The model in an interpreter with one thread."""
    if kernels == "reference":
        import tensorflow

        lite = tensorflow.lite
        kind = lite.experimental.OpResolverType.BUILTIN_REF  # neither optimized kernels nor delegates
        return lite.Interpreter(model, num_threads=1, experimental_op_resolver_type=kind)
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model, num_threads=1)


def main(model: str, images: str, answers: str, kernels: str) -> None:
    """Images: uint8 (N, H, W, 3); answers: float32 (N, classes), and one column more with a second output."""
    interpreter = interpreter_of(model, kernels)
    interpreter.allocate_tensors()
    [taken], given = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in np.load(images):
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        rows.append(np.concatenate([interpreter.get_tensor(each["index"])[0] for each in given]))
    np.save(answers, np.stack(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
