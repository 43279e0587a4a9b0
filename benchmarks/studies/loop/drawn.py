"""People who are drawn: what they say is put into the store by its own functions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from attar.benchmarks.predict import open_model
from attar.benchmarks.studies.loop.world import Errand, World
from attar.data.images import read_rgb, use_rgb
from attar.data.observations import Observation, Verdict
from attar.deploy.collect.store import opened


def send(world: World, errands: Sequence[Errand]) -> None:
    """Answer about each photo with the model that phones have, and keep what its sender says."""
    model = open_model(world.champion / "exports")
    with opened(world.store) as store:
        before = sum(map(len, world.errands.values()))
        for number, each in enumerate(errands, before + 1):
            shares = model.answer(use_rgb(model.preprocessing, each.path)[None])[0]
            predicted = model.labels[int(shares.argmax())]
            stream = io.BytesIO()
            read_rgb(each.path).save(stream, "JPEG", quality=90)
            photo = stream.getvalue()
            verdict = Verdict.CONFIRMED if each.said == predicted else Verdict.CORRECTED
            observation = Observation(
                id=UUID(bytes=sha256(f"observation {number}".encode()).digest()[:16]),
                image=sha256(photo).hexdigest(),
                time=datetime(2026, 11, 1, tzinfo=UTC),
                predicted=predicted,
                probability=min(1.0, float(shares.max())),
                model="0" * 64,
                verdict=verdict,
                label=each.said if verdict is Verdict.CORRECTED else "",
                contributor=each.who,
            )
            store.add(observation, photo, observation.image)
