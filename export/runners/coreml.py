"""An .mlpackage in Core ML itself, on a Mac, and in attar's evaluator of its programs, anywhere."""

from __future__ import annotations

import json
import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attar.errors import InputError
from attar.export.runners.answers import FAMILIARITY, WithAnswers, joined
from attar.extras import require

if TYPE_CHECKING:
    from attar.export.mil import Program

COMPUTE_UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
"""What Core ML can be told to run on (`coremltools.ComputeUnit`)."""

_MANY = 100
"""Images from which on evaluating shows a progress bar."""


class ReferenceRunner(WithAnswers):
    """A Core ML file evaluated by attar's reference evaluator, on any machine (`attar.export.mil`)."""

    evaluator = "attar Core ML reference evaluator"
    partitions = None

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load a file; `threads` are torch's own number of them by default."""
        import torch

        spec, self.program = _read(path)
        self.labels = _labels(spec, self.program, path)
        self.preprocessing = _preprocessing(spec)
        self.signature = _signature(spec, self.program)
        self._threads = threads or torch.get_num_threads()

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """As `WithAnswers` has it, in the order of `labels`."""
        from attar.inference import to_tensor

        _, channels, height, width = self.program.shape
        check_pixels(pixels, (1, height, width, channels))
        images = to_tensor(pixels).unsqueeze(1)
        if not len(images):
            return np.zeros((0, len(self.labels) + len(self.program.outputs) - 1), np.float32)
        title = "Core ML, evaluated" if len(images) > _MANY else None
        results = self.program.evaluate_batch(images, self._threads, title)
        return joined([result.squeeze(1).numpy() for result in results])


class CoreMLRunner(WithAnswers):
    """A Core ML file run by Core ML itself on one of `COMPUTE_UNITS` (macOS only): a `Runner` and a `Session`.

    `infer` is Core ML's `predict`, which hands the image over by itself.
    """

    partitions = None

    def __init__(self, path: Path, unit: str = "ALL") -> None:
        ct = require("coremltools")
        self._path, self._unit = path, unit
        with quiet():
            self._model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit[unit])
        (self._input,) = self._model.get_spec().description.input
        self._given: dict[str, Any] = {}

    @property
    def evaluator(self) -> str:
        """What computes it."""
        return f"Core ML {self._unit}, macOS {platform.mac_ver()[0]}"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """From the classifier and the metadata, which must agree."""
        return _labels(self._spec, self._program, self._path)

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """From the metadata."""
        return _preprocessing(self._spec)

    @cached_property
    def signature(self) -> dict[str, Any]:
        """As a caller sees it."""
        return _signature(self._spec, self._program)

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """As `WithAnswers` has it, in the order of `labels`."""
        check_pixels(pixels, self.shape)
        name = self._spec.description.predictedProbabilitiesName
        rows = []
        for image in pixels:
            self.set_input(image[None])
            result = self._model.predict(self._given)
            more = [float(result[FAMILIARITY].item())] if FAMILIARITY in result else []
            rows.append([*(result[name][label] for label in self.labels), *more])
        return np.asarray(rows, np.float32).reshape(len(rows), len(self.labels) + len(self._program.outputs) - 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        kind = self._input.type.imageType
        return 1, int(kind.height), int(kind.width), 3

    def set_input(self, image: np.ndarray) -> None:
        """Keep the image for the next run."""
        from PIL import Image

        self._given = {self._input.name: Image.fromarray(image[0])}

    def infer(self) -> None:
        """Run the model."""
        self._model.predict(self._given)

    def close(self) -> None:
        """Free the model."""
        self._model = None

    @property
    def compiled(self) -> str:
        """Path of the file as this Mac compiled it, for `MLComputePlan`."""
        return str(self._model.get_compiled_model_path())

    @cached_property
    def _opened(self) -> tuple[Any, Program]:
        return _read(self._path)

    @property
    def _spec(self) -> Any:
        return self._opened[0]

    @property
    def _program(self) -> Program:
        return self._opened[1]


def _read(path: Path) -> tuple[Any, Program]:
    """A file's specification, and its program."""
    from attar.export.mil import read_program

    spec, weights = read_spec(path)
    return spec, read_program(spec, weights, str(path))


def read_spec(path: Path) -> tuple[Any, Path]:
    """A file's specification, and the folder of its weights."""
    if not path.is_dir():
        raise InputError(f"{path}: no such Core ML file (an .mlpackage is a folder). Export it again.")
    with quiet():
        ct = require("coremltools")
        try:
            model = ct.models.MLModel(str(path), skip_model_load=True)
            return model.get_spec(), Path(model.weights_dir)
        except Exception as error:  # a damaged package meets C++ and protobuf readers that raise anything
            raise InputError(f"{path}: not readable as a Core ML file ({error}). Export it again.") from error


def _preprocessing(spec: Any) -> dict[str, Any]:
    """What the metadata says of it."""
    return dict(json.loads(spec.description.metadata.userDefined.get("attar.preprocessing") or "{}"))


def _labels(spec: Any, program: Program, path: Path) -> tuple[str, ...]:
    """The classifier's labels, which the metadata must repeat."""
    if not program.labels:
        raise InputError(f"{path}: holds no class labels. Export it again with attar.")
    stated = spec.description.metadata.userDefined.get("attar.labels")
    if stated and tuple(json.loads(stated)) != program.labels:
        raise InputError(f"{path}: the classifier's labels differ from those in its metadata. Export it again.")
    return program.labels


def _signature(spec: Any, program: Program) -> dict[str, Any]:
    """Input and outputs as a caller sees them: pixels in, a probability of each class out, and the familiarity."""
    _, channels, height, width = program.shape
    more = {FAMILIARITY: {"name": FAMILIARITY, "shape": [1, 1], "dtype": "float32"}}
    return {
        "input": {"name": program.input, "shape": [1, height, width, channels], "dtype": "uint8"},
        "output": {
            "name": spec.description.predictedProbabilitiesName,
            "shape": [1, len(program.labels)],
            "dtype": "float32",
        },
        **(more if len(program.outputs) > 1 else {}),
    }


def check_pixels(pixels: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse images that are not uint8 of a file's `shape`, (1, H, W, C)."""
    _, height, width, channels = shape
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, channels):
        raise InputError(
            f"images of shape {pixels.shape} and type {pixels.dtype}: the file takes uint8 (N, {height}, {width}, "
            f"{channels})."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the remarks of coremltools and torch (an untested version, no Core ML on this system) from the user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
