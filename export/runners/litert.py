"""A .tflite file in LiteRT's interpreter, or in another with the same methods."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attar.export.runners.answers import FAMILIARITY, WithAnswers, joined
from attar.export.tflite import metadata
from attar.extras import require, version


class LiteRTRunner(WithAnswers):
    """A .tflite file in LiteRT's interpreter with XNNPACK: a `Runner` and a `Session` of `attar.export.runners`.

    Args:
        path: the file.
        threads: of the interpreter.
        interpreter: class of the interpreter; TensorFlow's own has the same methods as LiteRT's.
    """

    def __init__(self, path: Path, threads: int = 1, interpreter: Any = None) -> None:
        self._path = path
        interpreter = interpreter or require("ai_edge_litert.interpreter").Interpreter
        self._interpreter = interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        [self._input] = self._interpreter.get_input_details()

    @property
    def evaluator(self) -> str:
        """What computes it."""
        return f"LiteRT {version('ai-edge-litert')} with XNNPACK"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """From the label file inside."""
        return metadata.read_labels(self._path)

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """From the metadata."""
        return dict(metadata.read_about(self._path).get("preprocessing", {}))

    @property
    def signature(self) -> dict[str, Any]:
        """Of the interpreter's one input, and its outputs."""
        return {"input": _about(self._input), **dict(zip(("output", "familiarity"), map(_about, self._outputs)))}

    @cached_property
    def partitions(self) -> dict[str, Any]:
        """How XNNPACK divided the graph."""
        return _partitions(self._interpreter._get_ops_details())

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """As `WithAnswers` has it."""
        rows = np.empty((len(pixels), sum(int(each["shape"][-1]) for each in self._outputs)), np.float32)
        for row, image in zip(rows, pixels):
            self.set_input(image[None])
            self.infer()
            row[:] = joined([self._interpreter.get_tensor(each["index"]) for each in self._outputs])[0]
        return rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return tuple(int(side) for side in self._input["shape"])

    def set_input(self, image: np.ndarray) -> None:
        """Copy the image into the input tensor."""
        self._interpreter.set_tensor(self._input["index"], image)

    def infer(self) -> None:
        """Run the graph."""
        self._interpreter.invoke()

    def output(self) -> np.ndarray:
        """The probabilities that the last inference gave."""
        values: np.ndarray = self._interpreter.get_tensor(self._outputs[0]["index"])
        return values

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None

    @cached_property
    def _outputs(self) -> list[dict[str, Any]]:
        """The probabilities, and the familiarity; not the feature map of an app's file."""
        first, *others = self._interpreter.get_output_details()
        return [first, *(each for each in others if each["name"] == FAMILIARITY)]


def _about(details: dict[str, Any]) -> dict[str, Any]:
    shape = [int(side) for side in details["shape"]]
    return {"name": details["name"], "shape": shape, "dtype": np.dtype(details["dtype"]).name}


def _partitions(operators: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How the delegate divided the graph: the number of its partitions, and the operators it left out.

    The interpreter lists every operator of the file, then a DELEGATE for each partition. An operator is inside a
    partition if what it makes is made by a DELEGATE or is nobody's business outside: neither read by one nor left
    to an operator outside. So outside are those whose output a DELEGATE reads, or that make the graph's end.
    """
    delegates = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
    others = [operator for operator in operators if operator["op_name"] != "DELEGATE"]
    made = {int(tensor) for operator in delegates for tensor in operator["outputs"]}
    needed = {int(tensor) for operator in delegates for tensor in operator["inputs"]}
    needed |= _ends(others)
    outside = []
    for operator in reversed(others):
        outputs = {int(tensor) for tensor in operator["outputs"]}
        if not delegates or outputs & (needed - made):
            outside.append(operator["op_name"])
            needed |= {int(tensor) for tensor in operator["inputs"]}
    return {"delegated": len(delegates), "outside": outside[::-1]}


def _ends(operators: Sequence[dict[str, Any]]) -> set[int]:
    """Tensors that no operator reads: the graph's outputs."""
    read = {int(tensor) for operator in operators for tensor in operator["inputs"]}
    return {int(tensor) for operator in operators for tensor in operator["outputs"]} - read
