"""Five rounds of `attar loop` with simulated people, and two poisoned ones: the tables in docs/loop.md.

    python -m attar.benchmarks.studies.loop --output loop-study [--photos solar] [--people browsers] [--record]

A run begins with a few photos of each class, of which half or more are held out. In each round ten people send 10 new
photos each and say what they show, wrong one time in ten, and a vandal sends 10, all of them by the next class's name.
Nobody reviews (`--unreviewed`). After each round the file that phones have is asked about photos that no round has
seen. Beside it, the student is trained from scratch on the same photos by what people said, without the loop's choices:
plain retraining. Then two rounds are poisoned: three vandals send 10 photos each, and a reviewer renames a class.

Each command is attar's own, in a process of its own. With `--people browsers` everybody uses the phone app in headless
Chromium (`in_browsers.py`). Otherwise what they do is drawn, and put into the store by its own functions. A study that
was interrupted goes on with the same command.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.predict import open_model
from attar.benchmarks.studies.loop import drawn
from attar.benchmarks.studies.loop import world as worlds
from attar.benchmarks.studies.loop.in_browsers import crowd
from attar.benchmarks.studies.loop.photo_sets import SETS
from attar.benchmarks.studies.loop.tables import PAGE, RESULTS, page, table_of
from attar.benchmarks.studies.loop.world import VANDALS, Errand, World
from attar.files import read_json, read_object, write_json, write_text
from attar.metrics import paired_interval

ROUNDS = 5
KEPT = "rounds.json"
"""Rounds that have ended, in the study's folder."""
PEOPLE = {"drawn": "people are drawn", "browsers": "people are pages in Chromium"}

Send = Callable[[World, Sequence[Errand]], None]


def study(world: World, send: Send, rounds: int) -> list[dict[str, Any]]:
    """All rounds -> plain data of each; those that an earlier call ended stay as they are.

    Args:
        world: with its first release.
        send: lets people send photos.
        rounds: before the two that are poisoned.
    """
    found = _found(world)
    alone: list[Future[np.ndarray]] = []
    with ThreadPoolExecutor(1) as beside:  # plain retraining takes as long as a round
        for number in range(1, rounds + 3):
            poison = {rounds + 1: "three vandals", rounds + 2: "a class renamed"}.get(number, "")
            errands = worlds.drawn_errands(world, VANDALS if number == rounds + 1 else VANDALS[:1])
            over = number <= len(found)
            if not over:
                send(world, errands)
            for each in errands:
                world.errands[each.who].append(each)
            if not poison:
                alone.append(beside.submit(worlds.plain_right, world, worlds.list_all(world, number)))
            if not over:
                found.append(_round(world, number, poison, len(errands)))
                write_json(world.folder / KEPT, found)
                print(json.dumps(found[-1]), file=sys.stderr)
    return [{**row, "plain": each.result().astype(int).tolist()} for row, each in zip(found, alone)] + found[rounds:]


def so_far(world: World) -> list[dict[str, Any]]:
    """As `study`, of an interrupted one, with what was trained beside it by then."""
    rows = _found(world)
    for each in rows:
        listed = worlds.table_at(world, each["round"])
        if worlds.is_trained(listed):
            each["plain"] = worlds.plain_right(world, listed).astype(int).tolist()
    return rows


def _found(world: World) -> list[dict[str, Any]]:
    """The rounds that have ended."""
    kept = world.folder / KEPT
    return list(read_json(kept)) if kept.is_file() else []


def _round(world: World, number: int, poison: str, sent: int) -> dict[str, Any]:
    """A turn of the loop on what was sent -> what became of it."""
    published = worlds.answered_by(world, world.champion, sent)
    if poison == "a class renamed":
        worlds.rename(world)
    if not worlds.ended(world, number):
        sentence = worlds.turn(world)["sentence"]
        if not worlds.ended(world, number):
            raise SystemExit(f"Round {number} did not take place: {sentence}")
    told = worlds.ended(world, number)
    return {
        "round": number,
        "poison": poison,
        "outcome": told["outcome"],
        "sentence": told["sentence"],
        "used": told["told"]["train"],
        "left_out": told["told"]["left_out"],
        "wrong": worlds.wrong_labels(world, number),
        "sent": sent,
        "published": published,
        "labels": list(open_model(world.champion / "exports").labels),
        "right": worlds.right(world, world.champion).astype(int).tolist(),
    }


def result_of(first: np.ndarray, rounds: Sequence[dict[str, Any]], *, seen: bool) -> dict[str, Any]:
    """What is recorded.

    Args:
        first: of each photo that judges whether phones had it right before the first round, bool (photos,).
        rounds: as `study` returns them.
        seen: whether observations name the file that answered.
    """
    found = []
    before = alone = first
    for each in rounds:
        row = {key: value for key, value in each.items() if key not in ("right", "plain", "sent", "published")}
        now = np.array(each["right"], bool)
        row |= {"top1": float(now.mean()), "flips": int((before & ~now).sum())}
        before = now
        if "plain" in each:
            scratch = np.array(each["plain"], bool)
            row["plain"] = {"top1": float(scratch.mean()), "flips": int((alone & ~scratch).sum())}
            alone = scratch
        found.append(row)
    gain = before.astype(float) - first
    answered = {"all": sum(each["sent"] for each in rounds), "published": sum(each["published"] for each in rounds)}
    return {
        "machine": f"{platform.machine()}, {platform.system()}",
        "photos": len(first),
        "first": float(first.mean()),
        "rounds": found,
        "gain": {"points": float(gain.mean()), "interval": list(paired_interval(gain))},
        **({"answered": answered} if seen else {}),
    }


@contextmanager
def senders(world: World, people: str) -> Iterator[Send]:
    """What lets people send."""
    if people == "browsers":
        with crowd(world) as everybody:
            yield everybody.send
    else:
        yield drawn.send


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="a new folder, or that of a study to go on with")
    parser.add_argument("--photos", choices=list(SETS), default="digits")
    parser.add_argument("--people", choices=list(PEOPLE), default="drawn")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="before the two that are poisoned")
    parser.add_argument("--record", action="store_true", help="write docs/results/loop.json and docs/loop.md")
    parser.add_argument("--so-far", action="store_true", help="do nothing more, and take the rounds that have ended")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    world = worlds.begin(options.output.resolve(), SETS[options.photos])
    if options.so_far:
        rounds = so_far(world)
    else:
        with senders(world, options.people) as send:
            rounds = study(world, send, options.rounds)
    result = result_of(worlds.right(world, world.first), rounds, seen=options.people == "browsers")
    write_json(options.output / "result.json", result)
    if options.record:
        record(f"{world.photos.title}; {PEOPLE[options.people]}", result)
    print(table_of(result))


def record(title: str, result: dict[str, Any]) -> None:
    """Write a result into docs/results/loop.json, and all that is recorded there into docs/loop.md."""
    results = {**read_object(RESULTS), title: result}
    write_json(RESULTS, results)
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    main()
