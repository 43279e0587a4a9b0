"""Making one file: convert into a temporary sibling, prove it there, and only then give it its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from attar.export.capture_output import captured
from attar.export.decision import PRECISION
from attar.export.formats import FORMATS
from attar.export.manifest import FileEntry
from attar.export.recovery import RANKED, RealFiles, quietly, recover
from attar.export.targets import Target
from attar.export.verify import Reference, check
from attar.files import replacing, sha256
from attar.inference import predict
from attar.students import Student


def make(
    target: Target,
    model: Student,
    reference: Reference,
    calibration: np.ndarray,
    output: Path,
    max_drop: float,
    precision: float = PRECISION,
) -> FileEntry:
    """Write a target's file into the folder `output`, once it computes what its student does.

    Args:
        target: the file to write.
        model: the student, in evaluation mode.
        reference: the student's answers on validation images.
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        output: the exports folder.
        max_drop: points of top-1 that the file may lose against its student. Of formats that quantize by plan
            (`attar.export.recovery`), tools are tried until it does not.
        precision: of the answers that the file is to be sure of.

    Raises:
        GateError: the converter failed, or the file diverges; nothing is left on disk.
    """

    def gate(path: Path) -> FileEntry:
        with captured():
            return check(path, target, reference, max_drop, precision=precision)

    made_of = (model, reference.bundle, target.precision, calibration)
    with replacing(output / target.file) as temporary:
        # Runtimes go by the suffix, which the temporary name keeps.
        if target.precision in getattr(target.module, "BY_PLAN", ()):
            by_plan = quietly(target.module.ByPlan, *made_of, **target.options)
            chosen = calibration[:: -(-len(calibration) // RANKED)]
            files = RealFiles(by_plan, gate, temporary, reference, images=chosen, answers=predict(model, chosen))
            entry = recover(files, may_keep_float=target.precision.endswith("+fp"), remedy=_remedy(target))
        else:
            quietly(target.module.convert, *made_of, temporary, **target.options)
            entry = gate(temporary)
    return replace(entry, file=target.file, sha256=sha256(output / target.file))


def _remedy(target: Target) -> str:
    """What to export instead of an integer file that only passes with layers in float."""
    precisions = FORMATS[target.format].precisions
    finer = [name for name in (f"{target.precision}+fp", "w8a16") if name in precisions and name != target.precision]
    floats = [name for name in ("fp16", "fp32") if name in precisions][:1]
    return "export " + " or ".join(str(replace(target, precision=name)) for name in finer or floats)
