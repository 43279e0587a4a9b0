"""Digits as a run's own photos, and more of them as people send them."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from PIL import Image

from attar.data.builtin import digits
from attar.data.observations import Observation, Place, Verdict
from attar.deploy.collect.store import Action, Store
from attar.deploy.retrain.candidates import Candidate

PEOPLE = ("Ana", "Ben", "Cleo", "Dan")


def divided(folder: Path, classes: Sequence[str], own: int, new: int) -> tuple[Path, list[tuple[Path, str]]]:
    """A folder with `own` photos of each class, and `new` other photos of each with their class, shuffled."""
    every, base, rest = digits(folder), folder / "base", []
    draw = random.Random(0)
    for name in classes:
        files = sorted((every / name).iterdir())
        draw.shuffle(files)
        (base / name).mkdir(parents=True)
        for path in files[:own]:
            shutil.copy(path, base / name)
        rest += [(path, name) for path in files[own : own + new]]
    draw.shuffle(rest)
    return base, rest


def as_sent(path: Path, quality: int = 90) -> bytes:
    """A photo as `attar collect` keeps it."""
    stream = io.BytesIO()
    Image.open(path).convert("RGB").save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def candidate(number: int, who: str, place: tuple[float, float] | None = None) -> Candidate:
    """An observation with a label, made up."""
    return Candidate(f"id-{number}", f"{number:064x}", Path("photo.jpg"), "ash", who, place)


@dataclass
class Field:
    """People who send photos to a store, and a reviewer."""

    store: Store
    labels: Sequence[str]
    sent: int = 0

    def send(self, photo: bytes, who: str, said: str, place: Place | None = None, predicted: str = "") -> str:
        """An observation of a photo -> its id."""
        self.sent += 1
        predicted = predicted or (said if said in self.labels else self.labels[0])
        verdict = (
            Verdict.CONFIRMED if said == predicted else Verdict.CORRECTED if said in self.labels else Verdict.OTHER
        )
        id = UUID(bytes=sha256(f"{self.sent}".encode()).digest()[:16])
        observation = Observation(
            id=id,
            image=sha256(photo).hexdigest(),
            time=datetime(2026, 11, 1, tzinfo=UTC),
            predicted=predicted,
            probability=0.6,
            model="a" * 64,
            verdict=verdict,
            label=said if verdict is Verdict.CORRECTED else "",
            text=said if verdict is Verdict.OTHER else "",
            place=place,
            contributor=who,
        )
        self.store.add(observation, photo, observation.image)
        return str(id)

    def accept(self, id: str, label: str = "") -> None:
        """The reviewer agrees, or gives another label."""
        last = self.store.decisions(id)
        action = Action.RELABEL if label else Action.ACCEPT
        self.store.decide(id, "Rev", action, label, last[-1].number if last else 0)
