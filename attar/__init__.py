"""attar: distil a large vision teacher into a phone-sized student, export it, prove it, measure it.

The top-level folders of the repository are the architecture, and each is a subpackage of this one name: `attar.export`
is the folder `export/`. This folder holds what all of them share (photos, the preprocessing contract, the bundle,
metrics, the recipe, the training loop) and, on top, the command line (`attar.cli`).

What a script needs is here, each name loaded when it is first asked for:

    photos = attar.read_photos("photos/")
    teacher = attar.teach(photos, attar.FinetuneSpec(name="vit_small_patch16_224"), "runs/mine/teacher")

Importing `attar` is instant: it loads no torch and no converter.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attar.benchmarks.latency.measure import bench as bench
    from attar.benchmarks.predict import predict as predict
    from attar.benchmarks.report.compare import compare as compare
    from attar.benchmarks.report.report import write_report as write_report
    from attar.bundle import read_bundle as read_bundle
    from attar.cli.pipeline import run as run
    from attar.data.photos import DataSpec as DataSpec
    from attar.data.photos import read_photos as read_photos
    from attar.distill.distill import distill_student as distill_student
    from attar.export.export import export_student as export_student
    from attar.export.verify import verify as verify
    from attar.recipe import DistillSpec as DistillSpec
    from attar.recipe import EnsembleSpec as EnsembleSpec
    from attar.recipe import FinetuneSpec as FinetuneSpec
    from attar.recipe import LoraSpec as LoraSpec
    from attar.recipe import ProbeSpec as ProbeSpec
    from attar.recipe import ZeroShotSpec as ZeroShotSpec
    from attar.recipe import read_recipe as read_recipe
    from attar.teachers.fit import teach as teach

__version__ = "0.1.0"

if not (Path(__file__).parent / "export").is_dir():  # in a clone the other folders stand beside this one, not inside it
    __path__.append(str(Path(__file__).parents[1]))

_PUBLIC = {
    "DataSpec": "attar.data.photos",
    "DistillSpec": "attar.recipe",
    "EnsembleSpec": "attar.recipe",
    "FinetuneSpec": "attar.recipe",
    "LoraSpec": "attar.recipe",
    "ProbeSpec": "attar.recipe",
    "ZeroShotSpec": "attar.recipe",
    "bench": "attar.benchmarks.latency.measure",
    "compare": "attar.benchmarks.report.compare",
    "distill_student": "attar.distill.distill",
    "export_student": "attar.export.export",
    "predict": "attar.benchmarks.predict",
    "read_bundle": "attar.bundle",
    "read_photos": "attar.data.photos",
    "read_recipe": "attar.recipe",
    "run": "attar.cli.pipeline",
    "teach": "attar.teachers.fit",
    "verify": "attar.export.verify",
    "write_report": "attar.benchmarks.report.report",
}
"""Name -> the module that has it."""


def __getattr__(name: str) -> Any:
    """One of the public names, loaded now."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'attar' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """The public names, for whoever looks around."""
    return [*globals(), *_PUBLIC]
