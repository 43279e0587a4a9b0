"""Which new photos are trained on and which are held out: whole contributors, and whole places.

Photos of one person or one place resemble each other. If some of them were trained on and others held out, the held-out
ones would look easier than the field is.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

from attar.deploy.retrain.candidates import Candidate, LeftOut, Reason

TRAIN, VAL = "train", "val"


def sides(
    kept: Sequence[Candidate],
    before: Mapping[str, str],
    *,
    val_fraction: float,
    seed: int,
    trained: Sequence[Candidate] = (),
) -> tuple[dict[str, str], list[LeftOut], bool]:
    """`train` or `val` for each candidate, by id.

    People and places that a person's photos connect stay together. Where that is nearly everybody, such as when most
    live in one town, people stay together and places do not. What an earlier round decided stands: of its photos, and
    of further photos by the same people.

    Args:
        kept: candidates.
        before: id -> side in the run that is gone on from.
        val_fraction: share of the photos to hold out, about.
        seed: of the order in which groups are held out.
        trained: photos that the run has trained on without labels; what resembles them is not held out.

    Returns:
        The sides; those left out, because others' photos of their place are on the other side; and whether places
        stay together.
    """
    groups, people_alone = _connected(kept, places=True), _connected(kept, places=False)
    largest = max(map(len, groups), default=0)
    together = largest <= (1 - val_fraction) * len(kept) or len(people_alone) == 1
    groups = groups if together else people_alone
    side = {each.id: before[each.id] for each in kept if each.id in before}
    people = _people(kept, side) | {_person(each): TRAIN for each in trained}
    target, held = val_fraction * len(kept), sum(of == VAL for of in side.values())
    order = sorted(groups, key=lambda group: min(each.id for each in group))
    random.Random(seed).shuffle(order)
    fresh = [group for group in order if not any(each.id in side or _person(each) in people for each in group)]
    for group in order:
        known = {side.get(each.id) or people.get(_person(each)) for each in group} - {None}
        # One group at least is trained on.
        hold = group in fresh and held + len(group) / 2 <= target and (len(fresh) > 1 or TRAIN in side.values())
        fallback = VAL if hold or known == {VAL} else TRAIN
        for each in group:
            if each.id not in side:
                side[each.id] = people.get(_person(each)) or fallback
                held += side[each.id] == VAL
    left = _at_places_of_the_other(kept, side, before, trained) if together else []
    for gone in left:
        del side[gone.id]
    return side, left, together


def _person(each: Candidate) -> str:
    """Who sent it; a photo of an unknown sender stands for itself."""
    return each.contributor or f"\0{each.id}"


def _people(kept: Sequence[Candidate], side: Mapping[str, str]) -> dict[str, str]:
    """The side of each person that has one; of both, training: nothing of theirs is held out any more."""
    of: dict[str, str] = {}
    for each in kept:
        if each.id in side:
            person = _person(each)
            of[person] = TRAIN if TRAIN in (side[each.id], of.get(person)) else VAL
    return of


def _connected(kept: Sequence[Candidate], places: bool) -> list[list[Candidate]]:
    """Groups of candidates of the same person, or, if `places`, of the same place too."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not kept:
        return []
    keys: dict[object, int] = {}
    pairs = [
        (row, keys.setdefault(key, len(keys)))
        for row, each in enumerate(kept)
        for key in (_person(each), *([each.place] if places and each.place else []))
    ]
    rows, columns = zip(*pairs)
    size = len(kept) + len(keys)
    graph = coo_matrix(([1] * len(pairs), (rows, [len(kept) + column for column in columns])), shape=(size, size))
    _, number = connected_components(graph, directed=False)
    groups: defaultdict[int, list[Candidate]] = defaultdict(list)
    for each, group in zip(kept, number):
        groups[int(group)].append(each)
    return list(groups.values())


def _at_places_of_the_other(
    kept: Sequence[Candidate], side: Mapping[str, str], before: Mapping[str, str], trained: Sequence[Candidate]
) -> list[LeftOut]:
    """New photos of places that have photos on the other side; where both are new, the held-out ones go.

    A place that an earlier round had on both sides tells nothing any more.
    """
    at: defaultdict[tuple[float, float], set[str]] = defaultdict(set)
    had: defaultdict[tuple[float, float], set[str]] = defaultdict(set)
    for each in trained:
        if each.place:
            at[each.place].add(TRAIN)
            had[each.place].add(TRAIN)
    for each in kept:
        if each.place and (each.id in before or side[each.id] == TRAIN):
            at[each.place].add(side[each.id])
        if each.place and each.id in before:
            had[each.place].add(side[each.id])
    return [
        LeftOut(each.id, Reason.OTHER_SIDE)
        for each in kept
        if each.place and each.id not in before and at[each.place] - {side[each.id]} and len(had[each.place]) < 2
    ]
