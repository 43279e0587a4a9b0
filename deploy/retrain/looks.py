"""Photos that are there already, saved anew: a new photo may not be one of the validation photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attar.data.images import UnreadableImage, use_rgb
from attar.data.leaks import RESAVED, look, near_copies
from attar.data.photos import in_threads
from attar.deploy.retrain.candidates import Candidate, LeftOut, Reason


def seen(kept: Sequence[Candidate]) -> tuple[dict[str, str], list[LeftOut]]:
    """What each photo looks like (`attar.data.leaks.look`), by id; and those that cannot be read."""

    def one(each: Candidate) -> str | None:
        try:
            return use_rgb(look, each.path)
        except UnreadableImage:
            return None

    looks = dict(zip((each.id for each in kept), in_threads(one, kept, "Looking at new photos")))
    left = [LeftOut(id, Reason.GONE) for id, value in looks.items() if value is None]
    return {id: value for id, value in looks.items() if value is not None}, left


def near(looks: Mapping[str, str], others: Mapping[str, str], reason: Reason) -> list[LeftOut]:
    """The new photos that look like one of the others.

    Args:
        looks: of the new photos, by id.
        others: of the others, by name.
        reason: why they are left out.
    """
    return [LeftOut(id, reason, name) for id, name in near_copies(others, looks, RESAVED)]
