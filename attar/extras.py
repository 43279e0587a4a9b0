"""Optional packages: what each enables, which extra brings it, and importing it late and quietly."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

from attar.errors import MissingExtra


@dataclass(frozen=True)
class Optional:
    """An optional package: its import name, its distribution, the extra that installs it, its use.

    `machines`: names of the processors that it is for, as `platform.machine()` has them; empty if it is for all.
    """

    module: str
    distribution: str
    extra: str
    enables: str
    machines: tuple[str, ...] = ()


OPTIONAL = (
    Optional("litert_torch", "litert-torch", "litert", "export to LiteRT/TFLite"),
    Optional("ai_edge_quantizer", "ai-edge-quantizer", "litert", "litert:fp16, w8, dyn8, int8"),
    Optional("ai_edge_litert", "ai-edge-litert", "litert", "verify and benchmark LiteRT files"),
    Optional(
        "tensorflow", "tensorflow", "reference", "a second opinion on LiteRT files: TensorFlow's reference kernels"
    ),
    Optional("coremltools", "coremltools", "coreml", "export to Core ML and verify it without a Mac"),
    Optional("onnx", "onnx", "onnx", "export to ONNX"),
    Optional("onnxscript", "onnxscript", "onnx", "export to ONNX"),
    Optional("onnxruntime", "onnxruntime", "onnx", "verify and benchmark ONNX files"),
    Optional(
        "onnxruntime_qnn",
        "onnxruntime-qnn",
        "qnn",
        "export to QNN, and run ONNX files on an emulated NPU",
        ("x86_64", "AMD64"),
    ),
    Optional("executorch", "executorch", "executorch", "export to ExecuTorch, verify and benchmark it"),
    Optional("torchao", "torchao", "executorch", "executorch:int8"),
    Optional("lightning_fabric", "lightning-fabric", "ranks", "training by several processes (torchrun)"),
    Optional("tensorboard", "tensorboard", "logs", "curves of a training in TensorBoard"),
    Optional("mlflow", "mlflow", "mlflow", "curves of a training in MLflow"),
    Optional("wandb", "wandb", "wandb", "curves of a training in Weights & Biases"),
    Optional("pyarrow", "pyarrow", "datasets", "photos in Arrow and parquet files (Hugging Face datasets)"),
    Optional("s3fs", "s3fs", "s3", "photos at s3://"),
    Optional("gcsfs", "gcsfs", "gs", "photos at gs://"),
    Optional("fsspec", "fsspec", "web", "photos at an address"),
    Optional("aiohttp", "aiohttp", "web", "photos at https://"),
    Optional("huggingface_hub", "huggingface-hub", "hub", "photos at hf://"),
    Optional("pillow_heif", "pillow-heif", "heic", "HEIC photos, as iPhones take them"),
    Optional("h3", "h3", "geo", "holding out places (attar geo)"),
    Optional("cryptography", "cryptography", "release", "signing releases (attar publish)"),
    Optional("cleanlab", "cleanlab", "retrain", "finding wrong labels (attar retrain)"),
    Optional("starlette", "starlette", "lab", "measuring in browsers (attar lab)"),
    Optional("uvicorn", "uvicorn", "lab", "measuring in browsers (attar lab)"),
    Optional("segno", "segno", "lab", "the QR code of attar lab"),
    Optional("jinja2", "jinja2", "report", "report.html"),
    Optional("matplotlib", "matplotlib", "report", "the picture in the report"),
)
"""What `attar doctor` lists."""

_KEPT_APART = {"coremltools": "tensorflow"}
"""coremltools imports TensorFlow where there is one, and the process then ends in a segmentation fault when torch loads
triton. It is for converting TensorFlow models, which attar never does."""


def require(module: str) -> ModuleType:
    """Import an optional package, or raise `MissingExtra` naming the extra to install.

    `module` may be a submodule.
    """
    top = module.partition(".")[0]
    # ONNX Runtime would count its uses, under a number that it keeps in the user's cache from its import on. What
    # writes ONNX files may import it, so this stands before them too.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with _hidden(_KEPT_APART.get(top)):
            return importlib.import_module(module)
    except Exception as error:  # a broken installation raises more than ImportError
        raise _missing(module, f"is not installed or does not load ({error})") from error


@contextmanager
def _hidden(module: str | None) -> Iterator[None]:
    """Make a module that is not imported yet look as if it were not installed."""
    if module is None or module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def require_installed(module: str) -> None:
    """Raise `MissingExtra` unless an optional package is installed; does not import it."""
    if not is_installed(module):
        raise _missing(module, "is not installed")


def is_installed(module: str) -> bool:
    """Whether an optional package is installed; does not import it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module blocked in sys.modules
        return False


def _missing(module: str, problem: str) -> MissingExtra:
    top = module.partition(".")[0]
    optional = next((item for item in OPTIONAL if item.module == top), None)
    if optional is None:
        return MissingExtra(f'{top} {problem}. Install it with: pip install "attar[all]"')
    if optional.machines and platform.machine() not in optional.machines:
        return MissingExtra(
            f"{optional.distribution} is for {' and '.join(optional.machines)}, and this processor is "
            f"{platform.machine()}; it is needed for: {optional.enables}. Do that on a Linux or Windows machine of "
            f"that kind."
        )
    return MissingExtra(
        f"{optional.distribution} {problem}; it is needed for: {optional.enables}. "
        f'Install it with: pip install "attar[{optional.extra}]"'
    )


def version(distribution: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
