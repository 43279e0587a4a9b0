"""A .pte file in ExecuTorch's runtime, whose Python package needs torch."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attar.export.runners.answers import FAMILIARITY, PROBABILITIES, WithAnswers, joined
from attar.extras import require, version

ABOUT = "about"
"""The method that returns what a program says of itself, JSON in UTF-8 as a uint8 tensor."""


class ExecuTorchRunner(WithAnswers):
    """A .pte file in ExecuTorch's runtime with XNNPACK: a `Runner` and a `Session` of `attar.export.runners`.

    Args:
        path: the file.
        threads: of the process's one pool, which every program shares; None: as many as it has.
    """

    partitions: dict[str, Any] | None = None

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if threads is not None:
            use_threads(threads)
        # The program keeps no copy of the file's content, and this object keeps the program.
        self._content = Path(path).read_bytes()
        self._program = require("executorch.runtime").Runtime.get().load_program(self._content)
        self._forward = self._program.load_method("forward")
        self._image: Any = None

    @property
    def evaluator(self) -> str:
        """What computes it."""
        return f"ExecuTorch {version('executorch')} with XNNPACK"

    @property
    def labels(self) -> tuple[str, ...]:
        """From the method `about`."""
        return tuple(self._about["labels"])

    @property
    def preprocessing(self) -> dict[str, Any]:
        """From the method `about`."""
        return dict(self._about["preprocessing"])

    @property
    def signature(self) -> dict[str, Any]:
        """Of the method `forward`, whose input and outputs have no names."""
        told: dict[str, Any] = {
            "input": {"name": "image", "shape": list(self.shape), "dtype": "uint8"},
            "output": {"name": PROBABILITIES, "shape": [1, len(self.labels)], "dtype": "float32"},
        }
        if self._forward.metadata.num_outputs() > 1:
            told["familiarity"] = {"name": FAMILIARITY, "shape": [1, 1], "dtype": "float32"}
        return told

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """As `WithAnswers` has it."""
        outputs = (self._forward.execute([require("torch").from_numpy(np.array(image[None]))]) for image in pixels)
        return np.concatenate([joined([each.numpy() for each in one]) for one in outputs])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return tuple(self._forward.metadata.input_tensor_meta(0).sizes())

    def set_input(self, image: np.ndarray) -> None:
        """Keep the image for the next run."""
        self._image = require("torch").from_numpy(image)

    def infer(self) -> None:
        """Run the program."""
        self._forward.execute([self._image])

    def close(self) -> None:
        """Free the program."""
        self._forward = self._program = None

    @cached_property
    def _about(self) -> dict[str, Any]:
        [text] = self._program.load_method(ABOUT).execute([])
        return dict(json.loads(bytes(text.numpy())))


def use_threads(threads: int) -> Any:
    """Give the process's pool a number of threads -> the runtime's library.

    Resizing the pool under a program that is loaded crashes the process, so it is done for the first of the files that
    take turns, and the others find it as they want it.
    """
    library = require("executorch.extension.pybindings.portable_lib")
    if library._threadpool_get_thread_count() != threads:
        library._unsafe_reset_threadpool(threads)
    return library
