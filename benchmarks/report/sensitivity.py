"""What each layer loses by being integer: measured layer by layer, kept beside the report, shown by it.

`attar export -t litert:int8+fp` finds it out where a file needs layers in float (`attar.export.recovery`). For a
student whose integers are accurate nobody has asked yet: `attar report RUN --sensitivity` does, and keeps the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.report.comparison import Sensitivity
from attar.bundle import Bundle
from attar.data.photos import Photos, load_pixels
from attar.errors import InputError
from attar.export.plan import ByPlan, QuantizationPlan
from attar.files import read_json, write_json

FILE = "sensitivity.json"
SCHEMA = 1
TARGET = "litert:int8"


def sensitivity_of(entries: Sequence[Any], student: Bundle, output: Path) -> Sensitivity | None:
    """What is known of a student's layers: from `measure`, or from its files' own search for layers to keep float."""
    path = output / FILE
    if path.is_file():
        stored = read_json(path)
        if isinstance(stored, dict) and stored.get("schema") == SCHEMA and stored.get("student") == student.fingerprint:
            return _checked(path, stored)
    for entry in entries:
        if (entry.recovery or {}).get("layers"):
            return Sensitivity(
                str(entry.target), "the search for layers that stay float", tuple(entry.recovery["layers"])
            )
    return None


def measure(student: Bundle, photos: Photos, entries: Sequence[Any], output: Path) -> Path:
    """Make each layer alone integer, look how far the answers move, and write `output/sensitivity.json`.

    As `attar.export.recovery.scan`, on the same calibration photos, with the ranges and weights of the `litert:int8`
    file if there is one. It takes a second or two for each layer.

    Raises:
        MissingExtra: LiteRT's converter or quantizer is not installed.
        InputError: too few training photos, or the folder cannot be written.
    """
    from attar import students
    from attar.export.capture_output import captured
    from attar.export.export import BATCH, CALIBRATION
    from attar.export.litert import ByPlan
    from attar.export.recovery import RANKED, scan
    from attar.export.verify import spread
    from attar.inference import predict

    calibration = load_pixels(spread(photos.train, CALIBRATION), student.preprocessing, "Reading training photos")
    if len(calibration) < BATCH:
        raise InputError(f"--sensitivity: {len(calibration)} training photos, and ranges need at least {BATCH}.")
    model = students.load(student)
    chosen = calibration[:: -(-len(calibration) // RANKED)]
    with captured():
        by_plan = ByPlan(model, student, "int8", calibration)
    answers = predict(model, chosen)
    files = _Distances(by_plan, chosen, answers)
    plan = QuantizationPlan(**_plan_of(entries))
    whole = files.divergence(plan)
    layers = [{"layer": each.layer, "score": each.score} for each in scan(files, plan)]
    path = output / FILE
    write_json(
        path,
        {
            "schema": SCHEMA,
            "student": student.fingerprint,
            "target": TARGET,
            "photos": len(chosen),
            "whole": whole,
            "layers": layers,
        },
    )
    return path


def _checked(path: Path, stored: dict[str, Any]) -> Sensitivity:
    try:
        scores = {str(each["layer"]): float(each["score"]) for each in stored["layers"]}
        layers = tuple({"layer": layer, "score": score} for layer, score in scores.items())
        photos, whole = int(stored["photos"]), float(stored["whole"])
        if not np.isfinite([whole, *scores.values()]).all():
            raise ValueError("a number that is not finite")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error!r}). Remove it, and measure again with --sensitivity.") from error
    return Sensitivity(str(stored["target"]), f"a scan on {photos} calibration photos", layers, whole)


def _plan_of(entries: Sequence[Any]) -> dict[str, Any]:
    """How the file of `TARGET` was made, by the manifest; nothing where it is not told."""
    entry = next((each for each in entries if str(each.target) == TARGET and each.recovery), None)
    return {**entry.recovery["tries"][-1]["plan"], "keep_float": ()} if entry else {}


class _Distances:
    """`attar.export.recovery.Distances` of a format's files."""

    def __init__(self, by_plan: ByPlan, images: np.ndarray, answers: np.ndarray) -> None:
        self.layers = by_plan.layers
        self._by_plan, self._images, self._answers = by_plan, images, answers

    def divergence(self, plan: QuantizationPlan) -> float:
        from attar.export.recovery import divergence, quietly

        return divergence(self._answers, quietly(self._by_plan.predict, plan, self._images))
