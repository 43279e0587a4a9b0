"""Photos that nobody has reviewed, as photos without labels: the teacher says what they show, and the person's label is
read by nothing.

They are trained on, so none of them may be held out as well, or resemble what is: photos of people and places whose
photos are held out are left out, and so are those that look like a validation photo.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

from attar.deploy.collect.reviewed import Reviewed
from attar.deploy.collect.store import Store
from attar.deploy.retrain.candidates import Candidate, LeftOut, Reason
from attar.deploy.retrain.sides import VAL
from attar.deploy.retrain.snapshot import Used
from attar.distill.losses import objective_of
from attar.errors import InputError
from attar.recipe import read_recipe
from attar.runfolder import RunFolder


def require_teacher_alone(run: RunFolder, sets: Sequence[str]) -> None:
    """Refuse a run whose student cannot learn from photos without labels.

    Args:
        run: the run that is gone on from.
        sets: recipe keys that are set for the next one.

    Raises:
        InputError: it has no teacher, or its student reads labels.
    """
    recipe = read_recipe(run.recipe, sets)
    if recipe.teacher is None or not (run.teacher / "bundle.json").is_file():
        raise InputError(
            f"--unlabelled: {run.path} has no teacher, which alone could say what photos without labels show. Leave it "
            "out, and let reviewers decide in `attar review`."
        )
    if weight := objective_of(recipe.student).labels:
        raise InputError(
            f"--unlabelled: the student of {run.path} learns from labels with weight {weight:.3g}, and these photos "
            "have none. Add --set student.label_weight=0 to learn from the teacher alone."
        )


def nameless(store: Store, every: Sequence[Reviewed], ids: Collection[str]) -> list[Candidate]:
    """The observations of these ids as candidates without a label."""
    kept = []
    for each in every:
        said = each.stored.observation
        if str(said.id) in ids:
            place = (said.place.latitude, said.place.longitude) if said.place else None
            path = store.photo(each.stored.photo)
            kept.append(Candidate(str(said.id), each.stored.photo, path, "", said.contributor, place, reviewed=False))
    return kept


def copies(kept: Sequence[Candidate], taken: Collection[str]) -> list[LeftOut]:
    """Photos that are among the other ones already, and all but the first of those that are there more than once."""
    seen, left = set(taken), []
    for each in kept:
        if each.photo in seen:
            left.append(LeftOut(each.id, Reason.KNOWN))
        seen.add(each.photo)
    return left


def beside_held_out(
    kept: Sequence[Candidate], labelled: Sequence[Used], had: Sequence[Used], *, by_place: bool
) -> list[LeftOut]:
    """Photos of people, and where `by_place` of places, whose photos are held out.

    Args:
        kept: photos without labels.
        labelled: what has a label, with its side.
        had: the same of the earlier run. A photo that it held out is not trained on because its label is gone.
        by_place: whether whole places are on one side of the split.
    """
    held = [each.candidate for each in (*labelled, *had) if each.side == VAL]
    ids, people = {each.id for each in held}, {each.contributor for each in held if each.contributor}
    places = {each.place for each in held if each.place} if by_place else set()
    left = []
    for each in kept:
        if each.id in ids or each.contributor in people:
            left.append(LeftOut(each.id, Reason.HELD_OUT_PERSON))
        elif each.place in places:
            left.append(LeftOut(each.id, Reason.OTHER_SIDE))
    return left


def beyond_share(
    kept: Sequence[Candidate], labelled: Sequence[Candidate], before: Mapping[str, Used], most: int
) -> list[LeftOut]:
    """Of each contributor's photos those beyond `most`, counted with the labelled ones; their hash decides which.

    Args:
        kept: photos without labels. Those of an earlier run come first, and stay.
        labelled: what has a label.
        before: id -> those of the earlier run.
        most: photos that one contributor may bring, with and without labels.
    """
    brought = Counter(each.contributor for each in labelled if each.contributor)
    of: defaultdict[str, list[Candidate]] = defaultdict(list)
    for each in kept:
        if each.contributor:
            of[each.contributor].append(each)
    left = []
    for who, group in of.items():
        group.sort(key=lambda each: (each.id not in before, sha256(each.id.encode()).hexdigest()))
        extra = group[max(most - brought[who], 0) :]
        left += [LeftOut(each.id, Reason.TOO_MANY) for each in extra if each.id not in before]
    return left
