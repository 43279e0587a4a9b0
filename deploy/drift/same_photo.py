"""The same photo answered more than once: by one file, which must say the same, and by several, which may differ.

A file's answer to a photo is a fact: on every phone it has to be the same but for rounding. An observation holds only
the likeliest label and its probability, so two observations are held against each other by what they rule out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from attar.data.observations import Observation
from attar.deploy.drift.clustered import Share, share_of
from attar.deploy.drift.weeks import people_of

TOLERANCE = 0.04
"""How far two runs of one file may be apart in a probability. The phone's page accepts a way of running a file that is
within 0.02 of the tested file on the golden photos, so two ways may be apart by twice that. On the same pixels, three
browsers were 0.0000 apart from Python (docs/app.md, "The same answer as Python")."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one photo.

    Attributes:
        image: SHA-256 of the photo as it was sent.
        one, other: the earlier and the later answer.
        apart: by how much some label's probability has to differ at least, in [0, 1].
    """

    image: str
    one: Observation
    other: Observation
    apart: float


@dataclass(frozen=True)
class Churn:
    """Photos that two versions answered.

    Attributes:
        before, now: SHA-256 of the versions' files; `before` was seen first.
        photos: that both answered.
        differ: share of which they gave another label.
        pairs: the photos with another label.
    """

    before: str
    now: str
    photos: int
    differ: Share
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class SamePhotos:
    """What was found.

    Attributes:
        repeated: photos that one file answered more than once.
        alarms: of each photo and file that contradicts itself, the two answers that are farthest apart.
        ties: photos with two labels from one file that were so close that rounding explains it.
        churn: of each two versions that answered a photo.
    """

    repeated: int
    alarms: tuple[Pair, ...]
    ties: tuple[Pair, ...]
    churn: tuple[Churn, ...]


def apart(one: Observation, other: Observation) -> float:
    """By how much the probability of some label has to differ at least between two answers of a file to a photo.

    Of the same label both probabilities are known. Of another one, only a bound is: the likeliest label has the largest
    probability, and all of them sum to one. Where place and season chose the label, it may not be the likeliest.
    """
    if one.predicted == other.predicted:
        return abs(one.probability - other.probability)
    return max(0.0, one.probability - _most_of_another(other), other.probability - _most_of_another(one))


def _most_of_another(each: Observation) -> float:
    """The largest probability that any label but the predicted one can have had."""
    left = 1 - each.probability
    return min(left, each.probability) if each.with_geo is False else left


def same_photos(
    observations: Sequence[Observation], tolerance: float = TOLERANCE, models: Collection[str] | None = None
) -> SamePhotos:
    """Hold answers to the same photo against each other.

    Args:
        observations: in the order of time.
        tolerance: how far one file's answers may be apart.
        models: versions that are held against each other, by SHA-256; None: all.
    """
    answers: defaultdict[tuple[str, str], list[Observation]] = defaultdict(list)
    for each in observations:
        answers[each.image, each.model].append(each)
    repeated = [own for own in answers.values() if len(own) > 1]
    farthest = [_farthest(own) for own in repeated]
    alarms = [pair for pair in farthest if pair.apart > tolerance]
    ties = [pair for pair in farthest if pair.apart <= tolerance and pair.one.predicted != pair.other.predicted]
    alarms.sort(key=lambda pair: -pair.apart)
    return SamePhotos(len(repeated), tuple(alarms), tuple(ties), _churn(observations, answers, models))


def _farthest(own: Sequence[Observation]) -> Pair:
    """The two answers that are farthest apart; of equal ones, two with different labels.

    Takes as many steps as there are answers: whoever was invited may send thousands about one photo.
    """
    by_label: defaultdict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(own):
        by_label[each.predicted].append(number)
    for numbers in by_label.values():
        numbers.sort(key=lambda number: own[number].probability)
    # Of one label the least and the most probable; of two, the most probable of another label beside each answer.
    pairs = [(numbers[0], numbers[-1]) for numbers in by_label.values() if len(numbers) > 1]
    heads = sorted((numbers[-1] for numbers in by_label.values()), key=lambda number: -own[number].probability)[:2]
    for number, each in enumerate(own):
        pairs += [(head, number) for head in heads if own[head].predicted != each.predicted][:1]
    found = (_pair(own[min(pair)], own[max(pair)]) for pair in pairs)
    return max(found, key=lambda pair: (pair.apart, pair.one.predicted != pair.other.predicted))


def _pair(one: Observation, other: Observation) -> Pair:
    return Pair(one.image, one, other, apart(one, other))


def _churn(
    observations: Sequence[Observation],
    answers: dict[tuple[str, str], list[Observation]],
    chosen: Collection[str] | None,
) -> tuple[Churn, ...]:
    """Answers that took in place and season are left out: they may differ for the place."""
    models = list(dict.fromkeys(each.model for each in observations if chosen is None or each.model in chosen))
    own = {key: first for key, each in answers.items() if (first := _first_without_geo(each))}
    images: defaultdict[str, list[str]] = defaultdict(list)
    for image, model in own:
        images[model].append(image)
    found = []
    for before, now in combinations(models, 2):
        both = [image for image in images[before] if (image, now) in own]
        if not both:
            continue
        pairs = [Pair(each, own[each, before], own[each, now], 0.0) for each in both]
        differ = np.array([pair.one.predicted != pair.other.predicted for pair in pairs])
        share = share_of(differ, people_of([pair.one for pair in pairs]))
        different = tuple(pair for pair, is_other in zip(pairs, differ) if is_other)
        found.append(Churn(before, now, len(both), share, different))
    return tuple(found)


def _first_without_geo(own: Sequence[Observation]) -> Observation | None:
    return next((each for each in own if not each.with_geo), None)
