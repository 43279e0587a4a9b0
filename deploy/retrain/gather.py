"""From a folder of observations to the photos that a run may learn from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from attar.data.photos import Photos, looks_of
from attar.deploy.collect.reviewed import Reviewed, reviewed
from attar.deploy.collect.store import Store
from attar.deploy.retrain.candidates import Candidate, LeftOut, Proposal, Reason, candidates, of_new_classes, proposals
from attar.deploy.retrain.looks import near, seen
from attar.deploy.retrain.opinion import Opinion, of_unknown_classes, opinion
from attar.deploy.retrain.sides import TRAIN, VAL, sides
from attar.deploy.retrain.snapshot import Used, read_snapshot
from attar.deploy.retrain.unlabelled import beside_held_out, beyond_share, copies, nameless
from attar.errors import InputError
from attar.files import read_sealed
from attar.runfolder import RunFolder


@dataclass(frozen=True)
class Rules:
    """What may be learned from.

    Attributes:
        without: ids of observations that were withdrawn.
        unreviewed: also learn from what nobody has reviewed.
        new_class: least number of photos of a new class.
        share: of all photos: so many one contributor may bring, at most.
        unlabelled: show what nobody has reviewed to the student, without its label.
        before: those of `without` that an earlier round left out already.
    """

    without: tuple[str, ...] = ()
    unreviewed: bool = False
    new_class: int = 10
    share: float = 0.1
    unlabelled: bool = False
    before: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "without": sorted(self.without),
            "unreviewed": self.unreviewed,
            "new_class": self.new_class,
            "share": self.share,
            **({"unlabelled": True} if self.unlabelled else {}),
        }


@dataclass(frozen=True)
class Gathered:
    """What was found.

    Attributes:
        used: what is learned from or held out.
        left: what is not, and why.
        proposals: classes that people name and the model has not.
        opinion: what the run's model says of the new labels; None if there is nothing to ask it about.
        new: ids of those that the earlier run did not have.
        gone: ids of those that it had and that are not used any more.
        relabelled: ids of those that it had with another label.
        by_place: whether whole places are on one side of the split.
        unlabelled: what the student is shown without labels.
        trained: ids of all that this round or one before it trained on: its weights remember them.
    """

    used: tuple[Used, ...]
    left: tuple[LeftOut, ...]
    proposals: tuple[Proposal, ...]
    opinion: Opinion | None
    new: frozenset[str]
    gone: frozenset[str]
    relabelled: frozenset[str]
    by_place: bool
    unlabelled: tuple[Candidate, ...] = ()
    trained: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """As plain data; ids, and nobody's name or place."""
        counts = Counter((each.side, each.candidate.id in self.new) for each in self.used)
        return {
            "train": sorted(each.candidate.id for each in self.used if each.side == TRAIN),
            "val": sorted(each.candidate.id for each in self.used if each.side == VAL),
            "unlabelled": sorted(each.id for each in self.unlabelled),
            "trained": sorted(self.trained),
            "new": {
                **{side: counts[side, True] for side in (TRAIN, VAL)},
                "unlabelled": sum(each.id in self.new for each in self.unlabelled),
            },
            "gone": sorted(self.gone),
            "relabelled": sorted(self.relabelled),
            "left_out": [
                {
                    "id": each.id,
                    "reason": each.reason.value,
                    # That of a doubt may name a contributor.
                    "detail": "" if each.reason is Reason.DOUBTED else each.detail,
                }
                for each in self.left
            ],
            "proposals": [vars(each) for each in self.proposals],
            "split_by_place": self.by_place,
        }


@dataclass
class _Sieve:
    """Candidates that are left, and what was taken out of them."""

    kept: list[Candidate]
    left: list[LeftOut] = field(default_factory=list)

    def take_out(self, found: Sequence[LeftOut]) -> None:
        """Leave some out."""
        ids = {each.id for each in found}
        self.left += found
        self.kept = [each for each in self.kept if each.id not in ids]


@dataclass(frozen=True)
class _Scene:
    """What there is to choose from.

    Attributes:
        store: what people sent.
        photos: those of the run that is gone on from.
        rules: what may be learned from.
        every: all observations.
        had: id -> those that the run learned from or held out.
        shown: id -> those that its student was shown without labels.
        trained: ids of those that it or a run before it trained on, with a label or without.
        looks: what the run's photos look like: side -> name -> look.
    """

    store: Store
    photos: Photos
    rules: Rules
    every: tuple[Reviewed, ...]
    had: Mapping[str, Used]
    shown: Mapping[str, Used]
    trained: frozenset[str]
    looks: Mapping[str, Mapping[str, str]]

    @property
    def ids(self) -> set[str]:
        """Of all observations."""
        return {str(each.stored.observation.id) for each in self.every}


def gather(store: Store, run: RunFolder, photos: Photos, rules: Rules, *, val_fraction: float, seed: int) -> Gathered:
    """Choose what is learned from.

    Args:
        store: what people sent.
        run: the run that is gone on from.
        photos: its photos.
        rules: what may be learned from.
        val_fraction: share of the new photos that is held out, about.
        seed: of that split.

    Raises:
        InputError: all observations are of another label set, or an id that is withdrawn is unknown.
    """
    if rules.unreviewed and rules.unlabelled:
        raise InputError("--unreviewed and --unlabelled: give one. With the one, unreviewed photos keep their labels.")
    had = {each.candidate.id: each for each in read_snapshot(run.observations)}
    shown = {each.candidate.id: each for each in read_snapshot(run.unlabelled)}
    trained = _trained(run) | {*shown} | {id for id, each in had.items() if each.side == TRAIN}
    scene = _Scene(store, photos, rules, tuple(reviewed(store)), had, shown, trained, _looks(photos))
    _refuse_unknown(scene)
    _refuse_others(store, scene.every, photos.labels)
    sieve, looks, found = _believed(scene, run)
    used, by_place = _divided(scene, sieve, looks, val_fraction=val_fraction, seed=seed)
    more = _Sieve([], sieve.left)
    if rules.unlabelled:
        more = _without_labels(scene, sieve.left, used, by_place=by_place)
    return _gathered(scene, used, more, found, by_place=by_place)


def _believed(scene: _Scene, run: RunFolder) -> tuple[_Sieve, dict[str, str], Opinion | None]:
    """The labelled photos that may be learned from, what each looks like, and what the run's model says of them."""
    labels, rules = scene.photos.labels, scene.rules
    kept, left = candidates(scene.store, labels, without=rules.without, unreviewed=rules.unreviewed)
    here = {each.id for each in kept} | {each.id for each in left}
    # What another folder brought to an earlier round stays.
    kept += [each.candidate for id, each in scene.had.items() if id not in here and id not in rules.without]
    before = _before(scene, kept)
    sieve = _Sieve(kept, left)
    sieve.take_out(_copies(sieve.kept, before, {digest for *_, digest in scene.photos.listing}))
    looks, unreadable = seen(sieve.kept)
    sieve.take_out(unreadable)
    fresh = {each.id: looks[each.id] for each in sieve.kept if each.id not in before}
    sieve.take_out(near(fresh, scene.looks[VAL], Reason.NEAR_VALIDATION))
    sieve.take_out(of_new_classes(sieve.kept, labels, rules.new_class))
    new = [each for each in sieve.kept if each.id not in before]
    had_here = [each for each in sieve.kept if each.id in before and each.id in here]
    asked = [*new, *of_unknown_classes(had_here, labels)]
    found = opinion(run, scene.photos, new, _doubted(scene.every, left), had_here) if asked else None
    if found:
        sieve.take_out([LeftOut(id, Reason.DOUBTED, reason) for id, reason in found.doubts.items()])
        sieve.take_out(found.renamed)
    sieve.take_out(_beyond(sieve.kept, before, len(scene.photos.listing) - len(scene.had), rules.share))
    return sieve, looks, found


def _divided(
    scene: _Scene, sieve: _Sieve, looks: Mapping[str, str], *, val_fraction: float, seed: int
) -> tuple[tuple[Used, ...], bool]:
    """Labelled photos with their sides, and whether whole places are on one side; what fits on none is left out."""
    labels = scene.photos.labels
    before = _before(scene, sieve.kept)
    # What was trained on, in whichever round, is not held out once it is there again or has a label.
    elsewhere_kept = [each.candidate for id, each in scene.shown.items() if id not in scene.ids]
    trained = [*nameless(scene.store, scene.every, scene.trained), *elsewhere_kept]
    decided = before | {each.id: TRAIN for each in sieve.kept if each.id in scene.trained and each.id not in before}
    side, elsewhere, by_place = sides(sieve.kept, decided, val_fraction=val_fraction, seed=seed, trained=trained)
    sieve.take_out(elsewhere)
    sieve.take_out(_between(sieve.kept, side, decided, looks, {**scene.looks[TRAIN], **seen(trained)[0]}))
    sieve.take_out(of_new_classes(sieve.kept, labels, scene.rules.new_class))
    sieve.take_out(_held_out_only(sieve.kept, side, labels))
    return tuple(Used(each, side[each.id]) for each in sieve.kept), by_place


def _without_labels(scene: _Scene, left: Sequence[LeftOut], used: Sequence[Used], *, by_place: bool) -> _Sieve:
    """What nobody has reviewed, by the rules of labelled photos; what else is `left` stays so."""
    waiting = {each.id for each in left if each.reason is Reason.NOT_REVIEWED}
    here = {each.id for each in left} | {each.candidate.id for each in used}
    # What another folder brought to an earlier round stays, as with labels.
    elsewhere = [each.candidate for id, each in scene.shown.items() if id not in here and id not in scene.rules.without]
    kept = [*nameless(scene.store, scene.every, waiting), *elsewhere]
    sieve = _Sieve(
        sorted(kept, key=lambda each: each.id not in scene.shown), [each for each in left if each.id not in waiting]
    )
    labelled = [each.candidate for each in used]
    # The run's list also has what people sent: what is trained on now may be shown without its label instead.
    free = {each.candidate.photo for each in scene.had.values() if each.side == TRAIN}
    listed = {digest for *_, digest in scene.photos.listing} - free
    sieve.take_out(copies(sieve.kept, {*listed, *(each.photo for each in labelled)}))
    looks, unreadable = seen(sieve.kept)
    sieve.take_out(unreadable)
    held, _ = seen([each.candidate for each in used if each.side == VAL])
    sieve.take_out(near(looks, {**scene.looks[VAL], **held}, Reason.NEAR_VALIDATION))
    sieve.take_out(beside_held_out(sieve.kept, used, list(scene.had.values()), by_place=by_place))
    counts = Counter(each.contributor for each in (*labelled, *sieve.kept) if each.contributor)
    most = _most(list(counts.values()), len(scene.photos.listing) - len(scene.had), scene.rules.share)
    sieve.take_out(beyond_share(sieve.kept, labelled, scene.shown, most))
    return sieve


def _gathered(
    scene: _Scene, used: tuple[Used, ...], more: _Sieve, found: Opinion | None, *, by_place: bool
) -> Gathered:
    """What was found, beside what the earlier run had."""
    had, shown = scene.had, scene.shown
    labelled = {each.candidate.id: each.candidate.label for each in used}
    now = labelled | {each.id: each.label for each in more.kept}
    return Gathered(
        used,
        tuple(more.left),
        tuple(proposals(scene.every, scene.photos.labels, scene.rules.new_class)),
        found,
        frozenset({*now} - {*had, *shown} | {id for id in labelled if id in shown and id not in had}),
        frozenset({*had, *shown} - {*now}),
        frozenset(id for id, label in now.items() if id in had and label != had[id].candidate.label),
        by_place,
        tuple(more.kept),
        scene.trained | {each.candidate.id for each in used if each.side == TRAIN} | {each.id for each in more.kept},
    )


def _trained(run: RunFolder) -> frozenset[str]:
    """The ids that a run says that it or one before it trained on; none where it is not of `attar retrain`."""
    told = read_sealed(run.retrain) if run.retrain.is_file() else {}
    return frozenset(told.get("trained", [*told.get("train", ()), *told.get("unlabelled", ())]))


def _before(scene: _Scene, kept: Sequence[Candidate]) -> dict[str, str]:
    """Those that the earlier run had, by id: their sides there."""
    return {each.id: scene.had[each.id].side for each in kept if each.id in scene.had}


def _refuse_unknown(scene: _Scene) -> None:
    known = scene.ids | {*scene.had, *scene.shown}
    unknown = [id for id in scene.rules.without if id not in known and id not in scene.rules.before]
    if unknown:
        raise InputError(f"--without {unknown[0]}: no observation of {scene.store.folder} or of the run has this id.")


def _refuse_others(store: Store, every: Sequence[Reviewed], labels: Sequence[str]) -> None:
    """Observations about another model's labels would teach this one nothing that is true."""
    if every and not any(each.stored.observation.predicted in labels for each in every):
        answered = every[0].stored.observation.predicted
        raise InputError(
            f"{store.folder}: its observations are about another model, which answered {answered!r}; the run's labels "
            f"are {', '.join(labels[:3])}{' ...' if len(labels) > 3 else ''}. Give the run whose files people used."
        )


def _copies(kept: Sequence[Candidate], before: Mapping[str, str], known: set[str]) -> list[LeftOut]:
    """Photos that are there already, or more than once: one of those stays if all say the same of it."""
    groups: defaultdict[str, list[Candidate]] = defaultdict(list)
    for each in kept:
        groups[each.photo].append(each)
    left = []
    for photo, group in groups.items():
        had = [each for each in group if each.id in before]
        if photo in known and not had:
            left += [LeftOut(each.id, Reason.KNOWN) for each in group]
            continue
        # Who only sends a photo again, with another label, takes nothing away that was learned from or reviewed.
        trusted = had or [each for each in group if each.reviewed] or group
        stays = trusted[0] if len({each.label for each in trusted}) == 1 else None
        for each in group:
            if stays is None or each.label != stays.label:
                left.append(LeftOut(each.id, Reason.TWO_LABELS))
            elif each is not stays:
                left.append(LeftOut(each.id, Reason.KNOWN, stays.id))
    return left


def _doubted(every: Sequence[Reviewed], left: Sequence[LeftOut]) -> Counter[str]:
    """Contributor -> how many of their labels wait for a reviewer because they are doubted."""
    waiting = {each.id for each in left if each.reason is Reason.DOUBTED}
    said = [each.stored.observation for each in every]
    return Counter(each.contributor for each in said if str(each.id) in waiting and each.contributor)


def _looks(photos: Photos) -> dict[str, dict[str, str]]:
    """What the run's photos look like: side -> name -> look."""
    looks = looks_of(photos)
    by_side: dict[str, dict[str, str]] = {TRAIN: {}, VAL: {}}
    for name, _, side, _ in photos.listing:
        if name in looks:
            by_side[side][name] = looks[name]
    return by_side


def _between(
    kept: Sequence[Candidate],
    side: Mapping[str, str],
    before: Mapping[str, str],
    looks: Mapping[str, str],
    trained: Mapping[str, str],
) -> list[LeftOut]:
    """New photos that look like one of the other side: held-out ones like training photos, and the reverse."""
    new = [each for each in kept if each.id not in before]
    of = {which: {each.id: looks[each.id] for each in new if side[each.id] == which} for which in (TRAIN, VAL)}
    left = near(of[VAL], trained, Reason.NEAR_TRAINING)
    gone = {each.id for each in left}
    held = {id: value for id, value in of[VAL].items() if id not in gone}
    return [*left, *near(of[TRAIN], held, Reason.NEAR_VALIDATION)]


def _held_out_only(kept: Sequence[Candidate], side: Mapping[str, str], labels: Collection[str]) -> list[LeftOut]:
    """Photos of new classes that no training photo shows."""
    shown = {each.label for each in kept if side[each.id] == TRAIN} | set(labels)
    return [LeftOut(each.id, Reason.NEW_CLASS, f"{each.label}: held out") for each in kept if each.label not in shown]


def _beyond(kept: Sequence[Candidate], before: Mapping[str, str], others: int, share: float) -> list[LeftOut]:
    """Of each contributor's photos those beyond a share of all; which ones is a matter of their hash.

    Args:
        kept: candidates. Those of an earlier run come first, and stay.
        before: id -> side in that run.
        others: photos that nobody sent.
        share: of all photos, in [0, 1].
    """
    of: defaultdict[str, list[Candidate]] = defaultdict(list)
    for each in kept:
        if each.contributor:
            of[each.contributor].append(each)
    most = _most([len(group) for group in of.values()], others, share)
    left = []
    for group in of.values():
        group.sort(key=lambda each: (each.id not in before, sha256(each.id.encode()).hexdigest()))
        left += [LeftOut(each.id, Reason.TOO_MANY) for each in group[most:] if each.id not in before]
    return left


def _most(counts: Sequence[int], others: int, share: float) -> int:
    """How many photos one contributor may bring, so that none has more than `share` of what is then there: 1 or more.

    Each of the contributors with more than m brings m, so m = share * (others + sum of min(count, m)); the largest such
    m is found from above.
    """
    most = max(counts, default=0)
    while most > 1 and most > share * (others + sum(min(count, most) for count in counts)):
        most -= 1
    return max(most, 1)
