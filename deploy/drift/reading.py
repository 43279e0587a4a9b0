"""The observations of a folder that `attar collect` keeps, at times that can be believed."""

from __future__ import annotations

from datetime import datetime, timedelta

from attar.data.observations import Observation
from attar.deploy.collect.store import Store

AHEAD, BEHIND = timedelta(days=1), timedelta(days=365)
"""How far a phone's clock may be from the server's. A phone may keep observations for months; one that says 1970 would
otherwise be everybody's reference."""


def observations_of(store: Store) -> list[Observation]:
    """All of them. Where the phone's clock is taken for wrong, the time is that of the arrival."""
    return [_dated(each.observation, datetime.fromisoformat(each.received)) for each in store.observations()]


def _dated(observation: Observation, received: datetime) -> Observation:
    if received - BEHIND <= observation.time <= received + AHEAD:
        return observation
    return observation.model_copy(update={"time": received})
