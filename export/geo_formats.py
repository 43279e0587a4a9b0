"""The prior of place and season in LiteRT, ONNX and Core ML: converters, and what runs their files anywhere.

Every file takes `where`, float32 (1, 3): latitude and longitude in degrees, and the day of the year (0: not known). It
gives `prior`, float32 (1, labels): how likely each label is met there and then, in [0, 1]. ONNX files take any number
of rows. Weights are stored in half precision. Sines and cosines are computed in single precision: in half precision
180 degrees would be known to an eighth of a degree only.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar.errors import InputError
from attar.export.capture_output import captured
from attar.export.litert import with_weights
from attar.export.mil.passes import checked_once
from attar.export.mil.program import read_program
from attar.export.onnx import OPSET, halve_weights
from attar.export.tflite import graph, metadata
from attar.extras import require
from attar.geo.prior import GeoPrior

WHERE, PRIOR = "where", "prior"
"""Names of the input and the output."""
ABOUT = "attar"
"""The key of a file's own facts in ONNX's and Core ML's metadata."""
LAYERS = ("linear", "relu", "add", "sigmoid")
"""Core ML operators that compute in half precision: all but those that put place and day on circles."""

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class GeoFormat:
    """One format of the prior.

    Attributes:
        file: its name in the prior's folder.
        needs: optional packages, of which versions are noted.
        convert: writes the file: (prior in evaluation mode, what the file says of itself, destination).
        predict: what a file answers to places and days, float32 (N, 3) -> float32 (N, labels).
        facts: what a file says of itself.
    """

    file: str
    needs: tuple[str, ...]
    convert: Callable[[GeoPrior, Facts, Path], None]
    predict: Callable[[Path, np.ndarray], np.ndarray]
    facts: Callable[[Path], dict[str, Any]]


def _convert_litert(model: GeoPrior, facts: Facts, destination: Path) -> None:
    edge = require("litert_torch").convert(model, (torch.zeros(1, 3),))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.tflite"
        edge.export(str(path))
        tree = graph.read(with_weights(path.read_bytes(), "fp16"))
    graph.name_inputs(tree, [WHERE])
    graph.name_outputs(tree, [PRIOR])
    destination.write_bytes(metadata.with_files(graph.write(tree), facts["labels"], facts))


def _predict_litert(path: Path, where: np.ndarray) -> np.ndarray:
    interpreter = require("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=1)
    run = interpreter.get_signature_runner()
    return np.concatenate([run(**{WHERE: row[None]})[PRIOR] for row in where])


def _convert_onnx(model: GeoPrior, facts: Facts, destination: Path) -> None:
    require("onnxscript")
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 3),),
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=[WHERE],
        output_names=[PRIOR],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where in whose folders each operator's source stands
    proto = program.model_proto
    halve_weights(proto)
    proto.metadata_props.add(key=ABOUT, value=json.dumps(facts, ensure_ascii=False))
    destination.write_bytes(proto.SerializeToString())


def _session(path: Path) -> Any:
    return require("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _predict_onnx(path: Path, where: np.ndarray) -> np.ndarray:
    answers: np.ndarray = _session(path).run([PRIOR], {WHERE: where})[0]
    return answers


@checked_once()
def _convert_coreml(model: GeoPrior, facts: Facts, destination: Path) -> None:
    ct = require("coremltools")
    with torch.no_grad():
        exported = torch.export.export(model, (torch.zeros(1, 3),)).run_decompositions({})
    converted = ct.convert(
        exported,
        convert_to="mlprogram",
        inputs=[ct.TensorType(name=WHERE, shape=(1, 3), dtype=np.float32)],
        outputs=[ct.TensorType(name=PRIOR, dtype=np.float32)],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_type in LAYERS),
        skip_model_load=True,
    )
    converted.user_defined_metadata[ABOUT] = json.dumps(facts, ensure_ascii=False)
    converted.save(str(destination))


def _spec(path: Path) -> tuple[Any, Path]:
    model = require("coremltools").models.MLModel(str(path), skip_model_load=True)
    return model.get_spec(), Path(model.weights_dir)


def _predict_coreml(path: Path, where: np.ndarray) -> np.ndarray:
    program = read_program(*_spec(path), str(path))
    [answers] = program.evaluate_batch(torch.from_numpy(where)[:, None])
    result: np.ndarray = answers[:, 0].numpy()
    return result


FORMATS: dict[str, GeoFormat] = {
    "litert": GeoFormat(
        "geo.tflite", ("litert-torch", "ai-edge-litert"), _convert_litert, _predict_litert, metadata.read_about
    ),
    "onnx": GeoFormat(
        "geo.onnx",
        ("onnx", "onnxruntime"),
        _convert_onnx,
        _predict_onnx,
        lambda path: json.loads(_session(path).get_modelmeta().custom_metadata_map[ABOUT]),
    ),
    "coreml": GeoFormat(
        "geo.mlpackage",
        ("coremltools",),
        _convert_coreml,
        _predict_coreml,
        lambda path: json.loads(_spec(path)[0].description.metadata.userDefined[ABOUT]),
    ),
}
"""Format -> how its file is made and run."""


def answers_of(kind: str, path: Path, where: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """What a prior's file answers to places and days, float32 (N, 3) -> float32 (N, labels); and its facts.

    Raises:
        InputError: it does not load or run.
        MissingExtra: its format's packages are not installed.
    """
    for package in FORMATS[kind].needs:
        require(package.replace("-", "_"))
    try:
        with captured():  # runtimes say which delegates they make
            return FORMATS[kind].predict(path, where), FORMATS[kind].facts(path)
    except Exception as error:  # runtimes raise anything on a damaged file
        raise InputError(
            f"{path}: does not load or run ({str(error).partition(chr(10))[0]}). Make it again."
        ) from error
