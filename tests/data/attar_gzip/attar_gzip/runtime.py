"""The runtime that times these files. See `attar.benchmarks.runtimes.Runtime` and `Session`."""

from pathlib import Path
from tempfile import TemporaryDirectory

from attar.benchmarks.runtimes import Session, onnx
from attar_gzip.files import unpacked

NAME = "ONNX Runtime (CPU), from gzip"
version, preload = onnx.version, onnx.preload


def load(path: str, threads: int) -> Session:
    """Unpack and load a file: both count as loading."""
    with TemporaryDirectory() as folder:
        return onnx.load(str(unpacked(Path(path), folder)), threads)
