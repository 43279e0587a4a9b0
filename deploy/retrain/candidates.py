"""Which observations have a label that may be learned from, and why the others have not."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from attar.data.observations import Review, Verdict
from attar.deploy.collect.reviewed import Reviewed, reviewed
from attar.deploy.collect.store import Store


class Reason(StrEnum):
    """Why an observation is not learned from."""

    WITHDRAWN = "withdrawn"
    REJECTED = "rejected by a reviewer"
    NOT_REVIEWED = "not reviewed yet"
    NO_LABEL = "no label"
    OTHER_LABELS = "answered by a model of other labels"
    DOUBTED = "its label is doubted: look at it again in `attar review`"
    NEW_CLASS = "too few photos of a new class"
    RENAMED = "its new class looks like one that the model has"
    GONE = "its photo is gone or cannot be read"
    KNOWN = "its photo is among the other photos already"
    TWO_LABELS = "the same photo has another label elsewhere"
    NEAR_VALIDATION = "looks like a validation photo"
    NEAR_TRAINING = "would be held out, and looks like a training photo"
    OTHER_SIDE = "its place has photos on the other side of the split"
    HELD_OUT_PERSON = "without a label, and its sender's photos are held out"
    TOO_MANY = "beyond a contributor's share"


@dataclass(frozen=True)
class Candidate:
    """An observation that has a label.

    Attributes:
        id: of the observation.
        photo: SHA-256 of the kept photo.
        path: where that lies.
        label: what it shows, as far as is known.
        contributor: who sent it; may be empty.
        place: latitude and longitude to 0.01 degrees, if it is known.
        reviewed: a reviewer decided on this label.
        settled: the label was doubted, and a reviewer has decided since.
    """

    id: str
    photo: str
    path: Path
    label: str
    contributor: str
    place: tuple[float, float] | None = None
    reviewed: bool = True
    settled: bool = False


@dataclass(frozen=True)
class LeftOut:
    """An observation that is not learned from."""

    id: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Proposal:
    """A class that people name and the model has not.

    Attributes:
        name: as most of them wrote it.
        photos: how many are said to show it.
        contributors: how many people said so.
    """

    name: str
    photos: int
    contributors: int


def candidates(
    store: Store, labels: Collection[str], *, without: Collection[str] = (), unreviewed: bool = False
) -> tuple[list[Candidate], list[LeftOut]]:
    """Sort observations into those that have a label to learn from, and the others.

    Args:
        store: what people sent.
        labels: the model's.
        without: ids that were withdrawn.
        unreviewed: also take what nobody has reviewed, by what the person said.
    """
    doubts = {id: doubt.seen for id, doubt in store.doubts()}
    kept, left = [], []
    for each in reviewed(store):
        id, said = str(each.stored.observation.id), each.stored.observation
        decided = each.decision.number if each.decision else 0
        doubted = id in doubts and doubts[id] >= decided
        reason = _refused(each, labels, doubted=doubted, withdrawn=id in without, unreviewed=unreviewed)
        if reason:
            left.append(LeftOut(id, reason))
            continue
        place = (said.place.latitude, said.place.longitude) if said.place else None
        settled = id in doubts and not doubted
        kept.append(
            Candidate(
                id,
                each.stored.photo,
                store.photo(each.stored.photo),
                unicodedata.normalize("NFC", each.label),
                said.contributor,
                place,
                each.review is not Review.NONE,
                settled,
            )
        )
    return kept, left


def _refused(
    each: Reviewed, labels: Collection[str], *, doubted: bool, withdrawn: bool, unreviewed: bool
) -> Reason | None:
    if withdrawn:
        return Reason.WITHDRAWN
    if each.review is Review.REJECT:
        return Reason.REJECTED
    if each.stored.observation.predicted not in labels:
        return Reason.OTHER_LABELS
    if each.review is Review.NONE and not unreviewed:
        return Reason.NOT_REVIEWED
    if not each.label:
        return Reason.NO_LABEL
    return Reason.DOUBTED if doubted else None


def proposals(
    observations: Iterable[Reviewed], labels: Collection[str], photos: int, contributors: int = 2
) -> list[Proposal]:
    """Classes that people name under "something else" and that reviewers may add, the most frequent first.

    Args:
        observations: with what reviewers decided; only those without a decision count.
        labels: the model's, which are not proposed.
        photos: at least so many different ones must show it.
        contributors: at least so many people must say so.
    """
    texts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seen: defaultdict[str, set[str]] = defaultdict(set)
    people: defaultdict[str, set[str]] = defaultdict(set)
    for each in observations:
        said = each.stored.observation
        if said.verdict is Verdict.OTHER and each.review is Review.NONE:
            key = _folded(said.text)
            texts[key][said.text] += 1
            seen[key].add(each.stored.photo)
            people[key].add(said.contributor)
    known = set(map(_folded, labels))
    found = [
        Proposal(texts[key].most_common(1)[0][0], len(seen[key]), len(people[key]))
        for key in texts
        if len(seen[key]) >= photos and len(people[key]) >= contributors and key not in known
    ]
    return sorted(found, key=lambda each: (-each.photos, each.name))


def _folded(text: str) -> str:
    """Texts that differ in capitals, spaces or Unicode forms alone are one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def of_new_classes(kept: Sequence[Candidate], labels: Collection[str], photos: int) -> list[LeftOut]:
    """Candidates of new classes that have too few different photos.

    Args:
        kept: candidates.
        labels: the model's.
        photos: least number of photos of a new class.
    """
    shown: defaultdict[str, set[str]] = defaultdict(set)
    for each in kept:
        shown[each.label].add(each.photo)
    few = {label for label, of in shown.items() if label not in labels and len(of) < photos}
    return [
        LeftOut(each.id, Reason.NEW_CLASS, f"{each.label}: {len(shown[each.label])} of {photos}")
        for each in kept
        if each.label in few
    ]
