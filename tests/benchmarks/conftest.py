"""One small real run that the tests of this folder share: photos, teacher, student, files, records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from attar.benchmarks.latency.measure import bench
from attar.benchmarks.latency.record import Record
from attar.benchmarks.report.compare import compare
from attar.benchmarks.report.comparison import READY, Comparison
from attar.bundle import Bundle
from attar.data.photos import DataSpec, Photos, read_photos
from attar.export.export import export_student
from attar.preprocessing import Preprocessing
from attar.students import create_student
from attar.students import save as save_student
from attar.teachers import create_teacher
from attar.teachers import save as save_teacher

TARGETS = ["litert:fp32", "onnx:fp32"]


@dataclass(frozen=True)
class Small:
    """The pieces of one run."""

    folder: Path
    photos: Photos
    teacher: Bundle
    student: Bundle
    exports: Path
    records: list[Record]
    comparison: Comparison


@pytest.fixture(scope="session")
def small(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Untrained models: their answers are as good as any for checking what is computed from them."""
    folder = tmp_path_factory.mktemp("run")
    photos = read_photos(DataSpec(str(shapes), val_fraction=0.5))
    torch.manual_seed(1)
    teacher = save_teacher(
        create_teacher(
            "vit_tiny_patch16_224", 3, options={"img_size": 32, "patch_size": 8, "depth": 1, "embed_dim": 48}
        ),
        folder / "teacher",
        labels=photos.labels,
    )
    student = save_student(
        create_student("mobilenetv3_small_050", 3),
        folder / "student",
        labels=photos.labels,
        preprocessing=Preprocessing(32),
    )
    export_student(student, TARGETS, folder / "exports", photos=photos)
    records = bench(folder / "exports", seconds=0.2)
    comparison = compare(folder / "exports", bundle=student.path, teacher=teacher.path, photos=photos)
    assert not comparison.readiness.ready  # it is untrained; most tests are about the report of a student that is not
    comparison = replace(comparison, readiness=READY)
    return Small(folder, photos, teacher, student, folder / "exports", records, comparison)
