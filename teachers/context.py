"""What every method of fitting a teacher is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attar.bundle import Bundle
from attar.data.photos import Photos
from attar.data.views import ViewPolicy
from attar.files import digest_of
from attar.recipe import TeachSpec
from attar.teachers.create import create_teacher
from attar.teachers.ensemble import Ensemble
from attar.teachers.teacher import Teacher
from attar.train.evaluation import TrainingSample
from attar.train.warm_start import warm_start


@dataclass(frozen=True)
class FitContext:
    """A teacher to be fitted to photos."""

    photos: Photos
    spec: TeachSpec
    views: ViewPolicy
    seed: int
    output: Path
    """Folder of the bundle to be. Unfinished work lies beside it."""
    start: Bundle | None = None
    """An earlier teacher, whose weights this one begins with."""

    @property
    def checkpoint(self) -> Path:
        """Where the state of training is kept."""
        return self.output.with_name(f"{self.output.name}.training.pt")

    @property
    def features(self) -> Path:
        """Folder of the features that a probe has computed so far; another teacher's or photos' is another folder."""
        key = digest_of([self.photos.fingerprint, self.spec.model_dump(), self.seed])
        return self.output.with_name(f"{self.output.name}.features-{key[:12]}")

    def create(self) -> Teacher:
        """The teacher to begin with, its classifier for the photos' classes."""
        spec = self.spec
        start = self.start
        teacher = create_teacher(
            spec.name,
            len(self.photos.labels),
            pretrained=spec.pretrained and start is None,
            checkpoint=None if start else spec.checkpoint,
            options=spec.options,
            crop=spec.crop,
            fit=spec.fit,
        )
        if start is not None:
            warm_start(teacher, teacher.network, self.photos.labels, start)
        return teacher


@dataclass
class Fitted:
    """A fitted teacher; under torchrun, the first rank's counts."""

    teacher: Teacher | Ensemble
    history: list[dict[str, float]] = field(default_factory=list)
    """Of its training, an entry an epoch."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the bundle's provenance is to say beside recipe and photos."""
    steps: int | None = None
    """Of its training, if it was trained by the loop."""
    sample: TrainingSample | None = None
    """Training photos that were decoded already."""


Method = Callable[[FitContext], Fitted]
"""Called in all ranks."""
