"""One turn: what came in, what is learned, whether it is better, and what goes out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attar.bundle import read_bundle
from attar.console import say
from attar.deploy.loop.page import write_page
from attar.deploy.loop.state import LoopFolder, Outcome, Round, Settings, State, now
from attar.deploy.release.folder import Release
from attar.deploy.release.gate import gate
from attar.deploy.release.gate_page import write_gate
from attar.deploy.release.publish import publish, standing
from attar.deploy.release.verdict import Limits
from attar.deploy.retrain.gather import Gathered, Rules
from attar.deploy.retrain.plan import NothingNew, Plan, ask_reviewers, look, photos_of_run, resumed, write_plan
from attar.errors import GateError, InputError
from attar.export.manifest import read_manifest
from attar.files import read_object
from attar.runfolder import RunFolder

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
        current = state.rounds[-1] if state.rounds and state.rounds[-1].outcome is Outcome.OPEN else None
        champion = RunFolder(Path(current.champion)) if current else _champion(folder, state, dry_run)
        number = current.number if current else len(state.rounds) + 1
        output = RunFolder(folder.run(number))
        made = resumed(champion, Path(settings.observations), output, _rules(settings), teacher=settings.teacher)
        if made is None:
            found, made, sentence = _due(state, champion)
            if made is None and not dry_run:
                ask_reviewers(found, Path(settings.observations))
                folder.write(state)  # with the settings of now
                write_page(folder, state)
            if made is None or dry_run:
                return Turned(state, None, sentence, made)
            write_plan(made, Path(settings.observations), output)
        elif dry_run:
            return Turned(state, None, f"Round {number} was interrupted; the next call goes on with it.", made)
        if current is None:
            current = Round(number, now(), str(champion.path), used=tuple(made.ids), told=_summary(made))
            state = _remember(folder, state, current, "began", champion=str(champion.path))
        ended = _rest(folder, state, current, champion, made, output, train)
        state = _remember(folder, state, ended, ended.outcome.value, sentence=ended.sentence)
        return Turned(state, ended, ended.sentence, made)


def _champion(folder: LoopFolder, state: State, dry_run: bool) -> RunFolder:
    """The run whose files phones have: a rollback makes an earlier one the champion again. The first is published."""
    settings = state.settings
    first = RunFolder(Path(settings.run))
    if not (first.exports / "manifest.json").is_file():
        raise InputError(f"{settings.run}: no finished run, it has no exports. Give --run one of `attar run`.")
    found = standing(Path(settings.releases), Path(settings.key))
    if found is None:
        if not dry_run:
            done = publish(first.exports, Path(settings.releases), Path(settings.key))
            folder.tell(0, "published", run=settings.run, number=done.pointer.number)
            say(f"Published {settings.run} as the first release: number {done.pointer.number}.")
        return first
    shipped = [RunFolder(folder.run(each.number)) for each in state.rounds if each.outcome is Outcome.SHIPPED]
    for each in reversed([first, *shipped]):
        if (each.student / "bundle.json").is_file() and _is(each, found):
            return each
    raise InputError(
        f"{settings.releases}: phones have {found.model.name} ({found.model.fingerprint[:8]}), which is no run "
        "of this loop. Give its run as --run of a new loop."
    )


def _is(run: RunFolder, release: Release) -> bool:
    return read_bundle(run.student, "student").fingerprint == release.model.fingerprint


def _rules(settings: Settings) -> Rules:
    return Rules(settings.without, settings.unreviewed, settings.new_class, settings.share)


def _due(state: State, champion: RunFolder) -> tuple[Gathered, Plan | None, str]:
    """What was found; what a round would learn from it, if one is due; and a sentence."""
    settings = state.settings
    try:
        made = look(champion, Path(settings.observations), _rules(settings), teacher=settings.teacher)
    except NothingNew as nothing:
        return nothing.found, None, str(nothing)
    last = state.rounds[-1] if state.rounds else None
    tried = set(last.used) if last else set()
    assert made.found is not None
    fresh = made.found.new - tried
    if last and tried == set(made.ids):
        return made.found, None, f"Nothing new since round {last.number}, which was {last.outcome.value}."
    gone = made.found.gone | (tried - set(made.ids))
    if len(fresh) < settings.least and not gone:
        return made.found, None, f"{len(fresh):,} new observations so far, and a round needs {settings.least:,}."
    return (
        made.found,
        made,
        f"A round is due: {len(fresh):,} new observations, and {len(made.found.gone):,} to leave out.",
    )


def _summary(made: Plan) -> dict[str, Any]:
    """What the page shows of a plan, without ids."""
    reasons: dict[str, int] = {}
    for each in made.told["left_out"]:
        reasons[each["reason"]] = reasons.get(each["reason"], 0) + 1
    return {
        "train": len(made.told["train"]),
        "val": len(made.told["val"]),
        "new": made.told["new"],
        "gone": len(made.told["gone"]),
        "left_out": reasons,
        "proposals": made.told["proposals"],
        "teacher": made.why,
    }


def _rest(
    folder: LoopFolder, state: State, current: Round, champion: RunFolder, made: Plan, output: RunFolder, train: Train
) -> Round:
    """Train, ask the gate, and publish what it lets through."""
    settings = state.settings
    try:
        train(champion, made, output, list(settings.sets))
    except GateError as error:
        return replace(current, outcome=Outcome.FAILED, ended=now(), sentence=f"Hold: {error}")
    decision = _decided(settings, folder, champion, output)
    seen = {key: decision[key] for key in ("ship", "sentence", "look", "looks", "new_classes")}
    current = replace(current, gate={**seen, "files": [_shown(each) for each in decision["files"]]})
    if not decision["ship"]:
        return replace(current, outcome=Outcome.HELD, ended=now(), sentence=decision["sentence"])
    releases, key = Path(settings.releases), Path(settings.key)
    had = standing(releases, key)
    done = publish(output.exports, releases, key, targets=sorted(had.targets) if had else ())
    return replace(
        current, outcome=Outcome.SHIPPED, ended=now(), sentence=decision["sentence"], release=done.pointer.number
    )


def _decided(settings: Settings, folder: LoopFolder, champion: RunFolder, output: RunFolder) -> dict[str, Any]:
    """The gate's decision. One that was written down before stands: what was published by it must not be held now."""
    path = output.path / "gate" / "gate.json"
    if not path.is_file() or not _is_about(read_object(path), champion, output):
        limits = Limits(settings.margin, flips=settings.max_flips)
        made = gate(
            champion.exports,
            output.exports,
            photos_of_run(output),
            ledger=folder.ledger,
            targets=settings.targets,
            limits=limits,
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
