"""One turn: what came in, what is learned, whether it is better, and what goes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attar.bundle import read_bundle
from attar.console import say
from attar.deploy.loop.page import write_page
from attar.deploy.loop.state import LoopFolder, Outcome, Round, Settings, State, now
from attar.deploy.release.folder import Release
from attar.deploy.release.gate import gate
from attar.deploy.release.gate_page import write_gate
from attar.deploy.release.ledger import UsedUp
from attar.deploy.release.primary import require_primary
from attar.deploy.release.publish import number_of, publish, standing
from attar.deploy.release.verdict import Limits
from attar.deploy.retrain.gather import Gathered, Rules
from attar.deploy.retrain.plan import NothingNew, Plan, ask_reviewers, look, photos_of_run, resumed, write_plan
from attar.deploy.retrain.unlabelled import require_teacher_alone
from attar.errors import GateError, InputError
from attar.export.manifest import read_manifest
from attar.files import digest_of, read_object, remove
from attar.runfolder import RunFolder

LATER = ("unlabelled", "calibration_error", "primary")
"""Settings that the first loops did not have."""

Train = Callable[[RunFolder, Plan, RunFolder, list[str]], Any]
"""(the run to go on from, a plan, the new run's folder, recipe keys) -> a finished run there; GateError if a file of it
did not pass its verification."""


@dataclass(frozen=True)
class Turned:
    """What a call did.

    Attributes:
        state: everything that is remembered now.
        round: the round that ended; None if none was due.
        sentence: for a person.
        plan: what was looked at, if a round was or would be due.
    """

    state: State
    round: Round | None
    sentence: str
    plan: Plan | None = None


def turn(folder: LoopFolder, settings: Settings, train: Train, *, dry_run: bool = False) -> Turned:
    """Take the loop one round further, or go on with the round that was interrupted.

    Args:
        folder: the loop's.
        settings: from now on.
        train: makes a run.
        dry_run: only look; nothing is written and nothing published.

    Raises:
        InputError: settings that name nothing, an open round with other settings, or a release folder, a ledger or a
            key that refuses. The round stays open, and nothing is published.
    """
    with nullcontext() if dry_run and not folder.path.exists() else folder.alone():
        state = replace(folder.read() or State(settings), settings=settings)
        champion = _champion(folder, state, dry_run)
        if not dry_run:
            state = _closed(folder, state, champion)
        current = _open(state)
        if current is not None:
            return _gone_on(folder, state, current, train, dry_run)
        found, made, sentence = _due(state, champion)
        if made is None and not dry_run:
            ask_reviewers(found, Path(settings.observations))
            folder.write(state)  # with the settings of now
            write_page(folder, state)
        if made is None or dry_run:
            return Turned(state, None, sentence, made)
        current = _begun(len(state.rounds) + 1, settings, champion, made)
        output = RunFolder(folder.run(current.number))
        remove(output.path)  # of a call that was killed before it wrote that the round began
        write_plan(made, Path(settings.observations), output)
        state = _remember(folder, state, current, "began", champion=current.champion)
        return _ended(folder, state, current, made, train)


def _gone_on(folder: LoopFolder, state: State, current: Round, train: Train, dry_run: bool) -> Turned:
    """Go on with the round that was interrupted, by the settings of now if its plan allows them."""
    settings, output = state.settings, RunFolder(folder.run(current.number))
    if dry_run:
        return Turned(state, None, f"Round {current.number} was interrupted; the next call goes on with it.")
    before = RunFolder(Path(current.champion))
    made = resumed(before, Path(settings.observations), output, _rules(settings), teacher=settings.teacher)
    assert made is not None  # `_closed` has looked
    return _ended(folder, state, current, made, train)


def _ended(folder: LoopFolder, state: State, current: Round, made: Plan, train: Train) -> Turned:
    ended = _rest(folder, state.settings, current, made, train)
    state = _remember(folder, state, ended, ended.outcome.value, sentence=ended.sentence)
    return Turned(state, ended, ended.sentence, made)


def _open(state: State) -> Round | None:
    """The round that was interrupted."""
    return state.rounds[-1] if state.rounds and state.rounds[-1].outcome is Outcome.OPEN else None


def _closed(folder: LoopFolder, state: State, champion: RunFolder) -> State:
    """End a round that cannot go on: somebody removed its folder, or phones have another model by now."""
    current = _open(state)
    if current is None:
        return state
    output = RunFolder(folder.run(current.number))
    if not output.retrain.is_file():
        sentence = "Hold: its folder was removed."
    elif champion.path.resolve() not in (Path(current.champion).resolve(), output.path.resolve()):
        sentence = "Hold: phones had another model before it ended."
    else:
        return state
    # Without its settings, so that its observations are tried again.
    ended = replace(current, outcome=Outcome.FAILED, ended=now(), sentence=sentence, settings="")
    return _remember(folder, state, ended, ended.outcome.value, sentence=sentence)


def _begun(number: int, settings: Settings, champion: RunFolder, made: Plan) -> Round:
    return Round(
        number,
        now(),
        str(champion.path.resolve()),
        used=_labels(made),
        gone=tuple(made.told["gone"]),
        settings=_digest(settings),
        told=_summary(made),
    )


def _labels(made: Plan) -> dict[str, str]:
    """The observations that are learned from or held out, and the label of each; empty where it is not used."""
    assert made.found is not None
    labelled = {each.candidate.id: each.candidate.label for each in made.found.used}
    return {**labelled, **{each.id: "" for each in made.found.unlabelled}}


def _digest(settings: Settings) -> str:
    """What makes another round of the same observations: how it is trained and judged.

    Settings that came later count where they are not the default, so that loops of before do not begin a round.
    """
    values = {**asdict(settings), "least": 0, "key": "", "releases": "", "observations": ""}
    for name in LATER:
        if values[name] == getattr(Settings, name):
            del values[name]
    return digest_of(values)


def _champion(folder: LoopFolder, state: State, dry_run: bool) -> RunFolder:
    """The run whose files phones have: a rollback makes an earlier one the champion again. The first is published."""
    settings = state.settings
    first = RunFolder(Path(settings.run))
    if not (first.exports / "manifest.json").is_file():
        raise InputError(f"{settings.run}: no finished run, it has no exports. Give --run one of `attar run`.")
    if settings.unlabelled:
        require_teacher_alone(first, settings.sets)  # before the first release is published
    found = standing(Path(settings.releases), Path(settings.key))
    if settings.primary:
        published = found.targets if found else [each.target for each in read_manifest(first.exports).files]
        require_primary(settings.primary, settings.margin, settings.targets or tuple(published))
    if found is None:
        if not dry_run:
            targets = settings.targets
            done = publish(first.exports, Path(settings.releases), Path(settings.key), targets=targets)
            folder.tell(0, "published", run=settings.run, number=done.pointer.number)
            say(f"Published {settings.run} as the first release: number {done.pointer.number}.")
        return first
    if settings.targets and (left := sorted({*found.targets} - {*settings.targets})):
        raise InputError(f"--target: phones have {', '.join(left)} too, and would lose it. Name all that they have.")
    rounds = [each.number for each in state.rounds if each.outcome in (Outcome.SHIPPED, Outcome.OPEN)]
    for each in reversed([first, *(RunFolder(folder.run(number)) for number in rounds)]):
        if (each.student / "bundle.json").is_file() and _is(each, found):
            return each
    raise InputError(
        f"{settings.releases}: phones have {found.model.name} ({found.model.fingerprint[:8]}), which is no run "
        "of this loop. Give its run as --run of a new loop."
    )


def _is(run: RunFolder, release: Release) -> bool:
    return read_bundle(run.student, "student").fingerprint == release.model.fingerprint


def _rules(settings: Settings) -> Rules:
    return Rules(settings.without, settings.unreviewed, settings.new_class, settings.share, settings.unlabelled)


def _due(state: State, champion: RunFolder) -> tuple[Gathered, Plan | None, str]:
    """What was found; what a round would learn from it, if one is due; and a sentence."""
    settings = state.settings
    try:
        observations = Path(settings.observations)
        made = look(champion, observations, _rules(settings), teacher=settings.teacher, sets=settings.sets)
    except NothingNew as nothing:
        return nothing.found, None, str(nothing)
    assert made.found is not None
    last = state.rounds[-1] if state.rounds else None
    tried = last.used if last else {}
    changed = made.found.new | made.found.relabelled
    fresh = {id for id, label in _labels(made).items() if id in changed and tried.get(id) != label}
    gone = made.found.gone - set(last.gone if last else ())
    otherwise = last is not None and last.settings != _digest(settings)
    if last and not (fresh or gone or otherwise):
        return made.found, None, f"Nothing new since round {last.number}, which was {last.outcome.value}."
    if len(fresh) < settings.least and not (gone or otherwise):
        return made.found, None, f"{len(fresh):,} new observations so far, and a round needs {settings.least:,}."
    due = f"A round is due: {len(fresh):,} observations are new or have another label, {len(gone):,} were taken back"
    return made.found, made, due + (", and the settings are others." if otherwise else ".")


def _summary(made: Plan) -> dict[str, Any]:
    """What the page shows of a plan, without ids."""
    reasons: dict[str, int] = {}
    for each in made.told["left_out"]:
        reasons[each["reason"]] = reasons.get(each["reason"], 0) + 1
    return {
        "train": len(made.told["train"]),
        "val": len(made.told["val"]),
        "unlabelled": len(made.unlabelled),
        "new": made.told["new"],
        "gone": len(made.told["gone"]),
        "left_out": reasons,
        "proposals": made.told["proposals"],
        "teacher": made.why,
    }


def _rest(folder: LoopFolder, settings: Settings, current: Round, made: Plan, train: Train) -> Round:
    """Train, ask the gate, and publish what it lets through."""
    champion, output = RunFolder(Path(current.champion)), RunFolder(folder.run(current.number))
    releases, key = Path(settings.releases), Path(settings.key)
    if number := _published(releases, output):
        # An earlier call was killed after it had published. Who has rolled that back since does not want it again.
        decision = read_object(_gate_of(output))
        ended = replace(current, gate=_told(decision), sentence=str(decision["sentence"]), ended=now())
        return replace(ended, outcome=Outcome.SHIPPED, release=number)
    try:
        train(champion, made, output, list(settings.sets))
        had = standing(releases, key)
        targets = settings.targets or tuple(sorted(had.targets if had else ()))
        decision = _decided(settings, folder, champion, output, targets)
        current = replace(current, gate=_told(decision), sentence=str(decision["sentence"]))
        if not decision["ship"]:
            return replace(current, outcome=Outcome.HELD, ended=now())
        done = publish(output.exports, releases, key, targets=targets)
    except (GateError, UsedUp) as error:
        return replace(current, outcome=Outcome.FAILED, ended=now(), sentence=f"Hold: {error}")
    return replace(current, outcome=Outcome.SHIPPED, ended=now(), release=done.pointer.number)


def _published(releases: Path, output: RunFolder) -> int | None:
    """The number at which a round's model was published, if it was."""
    if not (output.student / "bundle.json").is_file() or not _gate_of(output).is_file():
        return None
    return number_of(releases, read_bundle(output.student, "student").fingerprint)


def _gate_of(output: RunFolder) -> Path:
    """Where `publish` looks for the decision."""
    return output.path / "gate" / "gate.json"


def _told(decision: dict[str, Any]) -> dict[str, Any]:
    """What is remembered of a decision; gate.json has all of it."""
    seen = {key: decision[key] for key in ("ship", "sentence", "look", "looks", "new_classes")}
    return {**seen, "files": [_shown(each) for each in decision["files"]]}


def _decided(
    settings: Settings, folder: LoopFolder, champion: RunFolder, output: RunFolder, targets: Sequence[str]
) -> dict[str, Any]:
    """The gate's decision. One that was written down before stands: what was published by it must not be held now."""
    path = _gate_of(output)
    if not path.is_file() or not _is_about(read_object(path), champion, output):
        made = gate(
            champion.exports,
            output.exports,
            photos_of_run(output),
            ledger=folder.ledger,
            targets=targets,
            limits=Limits(settings.margin, flips=settings.max_flips, calibration=settings.calibration_error),
            primary=settings.primary,
            slices=Path(settings.slices) if settings.slices else None,
            pinned=Path(settings.pinned) if settings.pinned else None,
            seconds=settings.seconds,
        )
        write_gate(made, path.parent)
    return read_object(path)


def _is_about(decision: dict[str, Any], champion: RunFolder, challenger: RunFolder) -> bool:
    """Whether a decision is about the files that are there."""
    before, now_ = (
        {each.target: each.sha256 for each in read_manifest(run.exports).files} for run in (champion, challenger)
    )
    return all(
        (each["champion_sha256"], each["challenger_sha256"]) == (before.get(each["target"]), now_.get(each["target"]))
        for each in decision["files"]
    )


def _shown(file: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a file's verdict."""
    return {key: file[key] for key in ("target", "ship", "sentence") if key in file} | {
        "flips": len(file.get("flips", ()))
    }


def _remember(folder: LoopFolder, state: State, one: Round, event: str, **more: Any) -> State:
    """Write a round into the state, the log and the page."""
    rounds = (*(each for each in state.rounds if each.number != one.number), one)
    state = replace(state, rounds=rounds)
    folder.write(state)
    folder.tell(one.number, event, **more)
    write_page(folder, state)
    return state
