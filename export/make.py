"""Making one file: convert into a temporary sibling, prove it there, and only then give it its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attar.errors import AttarError, GateError
from attar.files import replacing, sha256
from export.manifest import FileEntry
from export.noise import captured
from export.targets import Target
from export.verify import Reference, check
from students import Student


def make(
    target: Target, model: Student, known: Reference, calibration: np.ndarray, output: Path, max_drop: float
) -> FileEntry:
    """Write a target's file into the folder `output`, once it computes what its student does.

    Args:
        target: the file to write.
        model: the student, in evaluation mode.
        known: the student's answers on validation images.
        calibration: uint8 training images (N, H, W, 3) that int8 ranges are taken from.
        output: the exports folder.
        max_drop: points of top-1 that the file may lose against its student.

    Raises:
        GateError: the converter failed, or the file diverges; nothing is left on disk.
    """
    with replacing(output / target.file) as temporary:
        # Runtimes go by the suffix, which the temporary name keeps.
        try:
            with captured() as noise:
                target.module.convert(model, known.bundle, target.precision, calibration, temporary)
        except AttarError:
            raise
        except Exception as error:
            raise GateError(f"the converter failed: {error}\n{noise.tail}") from error
        with captured():
            entry = check(temporary, target, known, max_drop)
    return FileEntry(**{**vars(entry), "file": target.file, "sha256": sha256(output / target.file)})
