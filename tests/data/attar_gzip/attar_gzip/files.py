"""The format: an .onnx file, compressed by gzip. A format's module has `convert` and `open_runner`."""

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from attar.bundle import Bundle
from attar.export import onnx
from attar.export.runners import Runner
from attar.students import Student


def convert(student: Student, bundle: Bundle, precision: str, calibration: np.ndarray, destination: Path) -> None:
    """Write `destination`. `calibration`: uint8 photos (N, H, W, 3), for precisions that need ranges."""
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "model.onnx"
        onnx.convert(student, bundle, precision, calibration, plain)
        destination.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))


def open_runner(path: Path, threads: int = 1) -> Runner:
    """Load a file. See `attar.export.runners`."""
    with TemporaryDirectory() as folder:
        return onnx.open_runner(unpacked(path, folder), threads)


def unpacked(path: Path, folder: str) -> Path:
    """The plain file, in a folder."""
    plain = Path(folder) / "model.onnx"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain
