"""An .onnx or .ort file in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attar.export.runners.answers import FAMILIARITY, WithAnswers, joined
from attar.extras import require, version


class WithMetadata:
    """What a runner reads in the metadata_props of an ONNX graph, which a subclass gives as `_about`."""

    _about: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """From the metadata."""
        return tuple(json.loads(self._about.get("labels", "[]")))

    @property
    def preprocessing(self) -> dict[str, Any]:
        """From the metadata."""
        return dict(json.loads(self._about.get("preprocessing", "{}")))


class OnnxRunner(WithMetadata, WithAnswers):
    """An .onnx or .ort file in ONNX Runtime on the CPU: a `Runner` and a `Session` of `attar.export.runners`.

    Args:
        path: the file, or its content.
        threads: of one operator; operators run one after another.
        profile: where to write the runtime's own profile, the beginning of a file's path.
    """

    partitions: dict[str, Any] | None = None

    def __init__(self, path: Path | bytes, threads: int = 1, profile: Path | None = None) -> None:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads that spin after an inference would slow down the next file that takes its turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        self._session = runtime.InferenceSession(
            path if isinstance(path, bytes) else str(path), options, providers=["CPUExecutionProvider"]
        )
        [self._input] = self._session.get_inputs()
        self._feed: dict[str, np.ndarray] = {}

    @property
    def evaluator(self) -> str:
        """What computes it."""
        return f"ONNX Runtime {version('onnxruntime')}, CPU"

    @property
    def signature(self) -> dict[str, Any]:
        """Of the graph's one input, and its outputs."""
        outputs = map(_about, self._given)
        return {"input": _about(self._input), **dict(zip(("output", "familiarity"), outputs))}

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """As `WithAnswers` has it."""
        name = self._input.name
        given = [each.name for each in self._given]
        batches = (self._session.run(given, {name: pixels[s : s + 32]}) for s in range(0, len(pixels), 32))
        return np.concatenate([joined(outputs) for outputs in batches])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input; a batch of any size is run with one image."""
        return tuple(side if isinstance(side, int) else 1 for side in self._input.shape)

    def set_input(self, image: np.ndarray) -> None:
        """Keep the image for the next run."""
        self._feed = {self._input.name: image}

    def infer(self) -> None:
        """Run the graph."""
        self._session.run(None, self._feed)

    def end_profiling(self) -> Path:
        """Stop profiling -> the file with the events."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the session."""
        self._session = None

    @property
    def _given(self) -> list[Any]:
        """The probabilities, and the familiarity; not the feature map of an app's file."""
        first, *others = self._session.get_outputs()
        return [first, *(each for each in others if each.name == FAMILIARITY)]

    @property
    def _about(self) -> dict[str, str]:  # type: ignore[override]
        return dict(self._session.get_modelmeta().custom_metadata_map)


def _about(value: Any) -> dict[str, Any]:
    dtype = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}.get(value.type, value.type)
    return {"name": value.name, "shape": list(value.shape), "dtype": dtype}
