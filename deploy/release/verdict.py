"""Whether a challenger's file may take the champion's place, from what both answer on the same photos.

Every check has a sentence, and the verdict is theirs together: one that fails holds the challenger back. The gain is
decided at the level of one look at the photos (`attar.deploy.release.ledger`). Classes and slices are guards, which one
challenger in twenty that is no worse may fail by chance (`GUARD`), all of them together. Calibration is another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from attar.benchmarks.units import listed, megabytes, percent, points
from attar.deploy.release.paired import interval, not_worse
from attar.deploy.release.power import POWER, images_needed, power
from attar.errors import InputError
from attar.metrics import calibration_change, error_of_confidence, holm, one_sided

GUARD = 0.05
"""How often a challenger that is worse nowhere fails the classes and slices, all tests together. One whose calibration
error is larger by just what it may be fails that limit as often, or less."""

NAMED = 3
"""Classes, slices or photos that a sentence names."""


@dataclass(frozen=True)
class Limits:
    """What a challenger has to meet.

    Attributes:
        margin: how much top-1 it may lose, a share; 0: it has to be better.
        detect: the gain that the photos should be enough to see, a share.
        flips: share of all photos that may be right before and wrong now; None: any.
        larger: times the champion's bytes.
        slower: times the champion's latency.
        calibration: by how much its expected calibration error may be larger than the champion's, a share.
    """

    margin: float = 0.0
    detect: float = 0.02
    flips: float | None = None
    larger: float = 1.1
    slower: float = 1.1
    calibration: float = 0.02

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} {value}: a limit has to be a number.")


@dataclass(frozen=True)
class Paired:
    """Two files' answers on the same photos: names of labels.

    Attributes:
        photos: names.
        labels: what each shows.
        champion, challenger: what each file answers.
    """

    photos: tuple[str, ...]
    labels: tuple[str, ...]
    champion: tuple[str, ...]
    challenger: tuple[str, ...]

    @property
    def right(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether the champion and the challenger are right, bool (photos,) each."""
        labels = np.array(self.labels, object)
        return np.array(self.champion, object) == labels, np.array(self.challenger, object) == labels


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from the share that is right, on the same photos (`attar.metrics`).

    Attributes:
        champion, challenger: expected calibration errors, shares.
        change: how much larger the challenger's is, with its paired bootstrap interval at `1 - 2 * GUARD`.
    """

    champion: float
    challenger: float
    change: tuple[float, float, float]


@dataclass(frozen=True)
class Check:
    """One condition, and in words what was found."""

    name: str
    passed: bool
    words: str


@dataclass(frozen=True)
class Flip:
    """A photo that was right and is wrong now."""

    photo: str
    label: str
    answer: str


@dataclass(frozen=True)
class Part:
    """A class or slice: how many of its photos each file has right.

    `p`: one-sided, that the challenger lost so many by chance; `worse`: beyond chance, among all classes and slices.
    """

    name: str
    kind: str
    images: int
    champion: int
    challenger: int
    p: float
    worse: bool = False


@dataclass(frozen=True)
class Verdict:
    """What is known of one file against the champion's.

    Attributes:
        target: which file.
        images: photos.
        top1: of the champion and the challenger, shares.
        gain: top-1 of the challenger minus the champion's, with its paired interval at `confidence`
            (`attar.deploy.release.paired`).
        won, lost: photos that only the challenger, and only the champion, has right.
        p: one-sided, that it won so many more by chance (McNemar's exact test); with a margin, that it only seems to
            lose less (Tango's score test).
        level: what `p` has to be at most.
        needed: photos with which the gain that is asked for is seen in 80% of all cases.
        checks: all conditions.
        flips: photos that were right and are wrong now.
        parts: classes and slices.
        calibration: of both; None if their confidence is not known.
    """

    target: str
    images: int
    top1: tuple[float, float]
    gain: tuple[float, float, float]
    confidence: float
    won: int
    lost: int
    p: float
    level: float
    needed: int
    checks: tuple[Check, ...]
    flips: tuple[Flip, ...]
    parts: tuple[Part, ...]
    calibration: Calibration | None = None

    @property
    def ship(self) -> bool:
        """Whether every check is passed."""
        return all(check.passed for check in self.checks)

    @property
    def sentence(self) -> str:
        """The decision, and what speaks for it or against."""
        if not self.ship:
            return f"Hold: {'; '.join(check.words for check in self.checks if not check.passed)}."
        named = {check.name: check.words for check in self.checks}
        return f"Ship: {'; '.join(named[name] for name in ('gain', 'flips', 'classes'))}."

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"ship": self.ship, "sentence": self.sentence, **asdict(self)}


def judge(
    target: str,
    paired: Paired,
    limits: Limits,
    level: float,
    *,
    slices: Mapping[str, Sequence[str]] | None = None,
    pinned: Sequence[str] = (),
    calibration: Calibration | None = None,
    more: Sequence[Check] = (),
) -> Verdict:
    """Decide about one file.

    Args:
        target: which.
        paired: both files' answers.
        limits: what it has to meet.
        level: of the one-sided test of the gain.
        slices: names of slices, and of the photos in each.
        pinned: names of photos that must stay right.
        calibration: of both files.
        more: conditions that do not come from the answers.
    """
    before, now = paired.right
    won, lost = int((now & ~before).sum()), int((before & ~now).sum())
    confidence = 1 - 2 * level
    gain = ((won - lost) / len(before), *interval(won, lost, len(before), confidence))
    needed = _needed(len(before), won + lost, limits, level)
    flips = tuple(
        Flip(paired.photos[i], paired.labels[i], paired.challenger[i]) for i in np.flatnonzero(before & ~now).tolist()
    )
    parts = _parts(paired, slices or {})
    if limits.margin:
        p = not_worse(won, lost, len(before), limits.margin)
    else:
        p = float(one_sided(np.array(won), np.array(lost)))
    checks = (
        _gain(gain, p, level, limits, len(before), needed),
        _flips(flips, len(before), limits),
        _of_parts(parts),
        _pinned(flips, pinned),
        *([_calibration(calibration, limits)] if calibration else []),
        *more,
    )
    top1 = float(before.mean()), float(now.mean())
    return Verdict(
        target, len(before), top1, gain, confidence, won, lost, p, level, needed, checks, flips, parts, calibration
    )


def calibration_of(paired: Paired, champion: np.ndarray, challenger: np.ndarray) -> Calibration:
    """Calibration errors of both files, whose confidence in their answers is given, float (photos,) each."""
    right = paired.right
    errors = [error_of_confidence(confidence, hit) for confidence, hit in zip((champion, challenger), right)]
    change = calibration_change(np.stack([champion, challenger]), np.stack(right), 1 - 2 * GUARD)
    return Calibration(errors[0], errors[1], change)


def size_check(champion: int, challenger: int, limits: Limits) -> Check:
    """Bytes of the files."""
    passed = challenger <= limits.larger * champion
    words = f"it has {megabytes(challenger)}, the champion {megabytes(champion)}"
    return Check("size", passed, words if passed else f"{words}: more than {limits.larger:g} times as much")


def latency_check(low: float, ratio: float, high: float, limits: Limits) -> Check:
    """How many times as long it takes, with the ends of the interval: what is slower beyond chance is refused."""
    words = f"it takes {ratio:.2f} times as long [{low:.2f}, {high:.2f}]"
    return Check("latency", low <= limits.slower, words + ("" if low <= limits.slower else f", not {limits.slower:g}"))


def labels_check(champion: Sequence[str], challenger: Sequence[str]) -> Check:
    """Whether the challenger still has every class of the champion."""
    missing = sorted({*champion} - {*challenger})
    new = len({*challenger} - {*champion})
    if missing:
        return Check("labels", False, f"it no longer has {_named('class', 'classes', missing)}")
    return Check(
        "labels", True, f"it has {new} new {_plural(new, 'class', 'classes')}" if new else "its classes are the same"
    )


def _gain(gain: tuple[float, float, float], p: float, level: float, limits: Limits, images: int, needed: int) -> Check:
    """Better beyond chance, or with a margin: not worse than that, beyond chance."""
    value, low, high = gain
    amount = f"{abs(100 * value):.1f} points {'better' if value >= 0 else 'worse'}"
    words = f"{amount} [{points(low)}, {points(high)}]"
    margin = f"{100 * limits.margin:g} {_plural(100 * limits.margin, 'point', 'points')}"
    if p <= level:
        return Check("gain", True, f"{words}, a loss of {margin} is refuted" if limits.margin else words)
    if high < -limits.margin:  # that much is certain
        return Check("gain", False, words)
    wanted = f"that it loses less than {margin}" if limits.margin else "a gain"
    words += f", which does not show {wanted} (p = {p:.2g}, and {level:g} is needed)"
    if images < needed and high > (0 if limits.margin else limits.detect):
        seen = f"a gain of {100 * limits.detect:g} {_plural(100 * limits.detect, 'point', 'points')}"
        asked = f"that it loses less than {margin}" if limits.margin else seen
        words += f"; {images} photos are too few to see {asked}: about {needed:,} are needed"
    return Check("gain", False, words)


def _needed(images: int, differing: int, limits: Limits, level: float) -> int:
    """Photos with which what is asked for is seen in 80% of all cases, if as many differ as here."""
    share = min(1.0, (differing + 1) / (images + 2))
    if limits.margin:  # an equally good challenger, by the normal approximation
        reach = NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(POWER)
        return int(np.ceil(reach**2 * share / limits.margin**2))
    share = max(share, limits.detect)
    if power(images, limits.detect, share, level) >= POWER:
        return images
    return images_needed(limits.detect, share, level)


def _flips(flips: Sequence[Flip], images: int, limits: Limits) -> Check:
    count = len(flips)
    words = f"{count} {_plural(count, 'photo that was right is', 'photos that were right are')} now wrong"
    if limits.flips is not None and count > limits.flips * images:
        return Check("flips", False, f"{words}, more than {percent(limits.flips)} of {images}")
    return Check("flips", True, words)


def _parts(paired: Paired, slices: Mapping[str, Sequence[str]]) -> tuple[Part, ...]:
    """Every class with photos and every slice, with those that are worse beyond chance (Holm)."""
    before, now = paired.right
    labels = np.array(paired.labels, object)
    places = {name: number for number, name in enumerate(paired.photos)}
    masks = [(name, "class", labels == name) for name in dict.fromkeys(paired.labels)]
    for name, photos in slices.items():
        inside = np.zeros(len(labels), bool)
        inside[[places[photo] for photo in photos if photo in places]] = True
        masks.append((name, "slice", inside))
    parts = []
    for name, kind, inside in masks:
        won, lost = int((now & ~before & inside).sum()), int((before & ~now & inside).sum())
        counts = int(inside.sum()), int((before & inside).sum()), int((now & inside).sum())
        parts.append(Part(name, kind, *counts, p=float(one_sided(np.array(lost), np.array(won)))))
    worse = holm(np.array([part.p for part in parts])) <= GUARD
    return tuple(Part(**{**asdict(part), "worse": bool(bad)}) for part, bad in zip(parts, worse))


def _of_parts(parts: Sequence[Part]) -> Check:
    worse = sorted((part for part in parts if part.worse), key=lambda part: part.p)
    kinds = "class or slice" if any(part.kind == "slice" for part in parts) else "class"
    if not worse:
        return Check("classes", True, f"no {kinds} is worse beyond chance")
    told = [
        f"{part.name} ({part.champion} of {part.images} right before, {part.challenger} now)" for part in worse[:NAMED]
    ]
    rest = f" and {len(worse) - NAMED} more" if len(worse) > NAMED else ""
    return Check("classes", False, f"worse beyond chance: {', '.join(told)}{rest}")


def _pinned(flips: Sequence[Flip], pinned: Sequence[str]) -> Check:
    broken = [flip.photo for flip in flips if flip.photo in {*pinned}]
    if broken:
        return Check("pinned", False, f"it breaks {_named('pinned photo', 'pinned photos', broken)}")
    return Check("pinned", True, f"no pinned photo of {len(pinned)} is broken" if pinned else "no photo is pinned")


def _calibration(it: Calibration, limits: Limits) -> Check:
    """What is worse beyond chance is refused, at the level of the guards."""
    value, low, high = it.change
    words = (
        f"its calibration error is {100 * it.challenger:.1f} points, the champion's {100 * it.champion:.1f} "
        f"({points(value)} [{points(low)}, {points(high)}])"
    )
    if low <= limits.calibration:
        return Check("calibration", True, words)
    allowed = 100 * limits.calibration
    return Check("calibration", False, f"{words}: more than {allowed:g} {_plural(allowed, 'point', 'points')} worse")


def _plural(count: float, one: str, many: str) -> str:
    return one if count == 1 else many


def _named(one: str, many: str, names: Sequence[str]) -> str:
    """`2 classes (a and b)`."""
    shown = [*names[:NAMED], *([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])]
    return f"{len(names)} {_plural(len(names), one, many)} ({listed(shown)})"
