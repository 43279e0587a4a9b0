"""Five rounds of `attar loop` with simulated people, and two poisoned ones: the tables in docs/loop.md.

    python -m attar.benchmarks.studies.loop --output loop-study [--photos solar] [--people browsers] [--record]

A run begins with a few photos of each class, of which half or more are held out. In each round ten people send 10 new
photos each and say what they show, wrong one time in ten, and a vandal sends 10, all of them by the next class's name.
Nobody reviews (`--unreviewed`). After each round the file that phones have is asked about photos that no round has
seen. Beside it, the student is trained from scratch on the same photos by what people said, without the loop's choices:
plain retraining. Then two rounds are poisoned: three vandals send 10 photos each, and a reviewer renames a class.

Each command is attar's own, in a process of its own. With `--people browsers` everybody uses the phone app in headless
Chromium (`in_browsers.py`). Otherwise what they do is drawn, and put into the store by its own functions.
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
from attar.benchmarks.studies.loop.in_browsers import answering, crowd
from attar.benchmarks.studies.loop.photo_sets import SETS
from attar.benchmarks.studies.loop.tables import PAGE, RESULTS, page, table_of
from attar.benchmarks.studies.loop.world import VANDALS, Errand, World
from attar.export.manifest import read_manifest
from attar.files import read_object, write_json, write_text
from attar.metrics import paired_interval

ROUNDS = 5
PEOPLE = {"drawn": "people are drawn", "browsers": "people are pages in Chromium"}

Send = Callable[[World, Sequence[Errand]], None]


def study(world: World, send: Send, rounds: int, *, seen: bool) -> dict[str, Any]:
    """Everything -> plain data.

    Args:
        world: with its first release.
        send: lets people send photos.
        rounds: before the two that are poisoned.
        seen: whether observations name the file that answered.
    """
    first = before = worlds.right(world, world.first)
    found: list[dict[str, Any]] = []
    alone: list[Future[np.ndarray]] = []
    beside = ThreadPoolExecutor(1)  # plain retraining takes as long as a round
    answered = {"all": 0, "published": 0}
    for number in range(1, rounds + 3):
        poison = {rounds + 1: "three vandals", rounds + 2: "a class renamed"}.get(number, "")
        errands = worlds.drawn_errands(world, VANDALS if number == rounds + 1 else VANDALS[:1])
        send(world, errands)
        for each in errands:
            world.errands[each.who].append(each)
        published = {each.sha256 for each in read_manifest(world.champion / "exports").files}
        models = answering(world, len(errands))
        answered["all"] += len(errands)
        answered["published"] += sum(count for model, count in models.items() if model in published)
        if not poison:
            listed = worlds.list_all(world, number)
            alone.append(beside.submit(worlds.plain_right, world, listed))
        if number == rounds + 2:
            worlds.rename(world)
        done = worlds.turn(world)
        now = worlds.right(world, world.champion)
        row = {
            "round": number,
            "poison": poison,
            "outcome": done["round"]["outcome"] if done["round"] else "nothing due",
            "sentence": done["sentence"],
            "used": done["round"]["told"]["train"] if done["round"] else 0,
            "left_out": done["round"]["told"]["left_out"] if done["round"] else {},
            "wrong": worlds.wrong_labels(world, done["rounds"]),
            "top1": float(now.mean()),
            "flips": int((before & ~now).sum()),
            "labels": list(open_model(world.champion / "exports").labels),
        }
        found.append(row)
        print(json.dumps(row), file=sys.stderr)
        before = now
    beside.shutdown()
    plain_before = first
    for row, scratch in zip(found, [each.result() for each in alone]):
        row["plain"] = {"top1": float(scratch.mean()), "flips": int((plain_before & ~scratch).sum())}
        plain_before = scratch
    gain = now.astype(float) - first
    return {
        "machine": f"{platform.machine()}, {platform.system()}",
        "photos": len(world.judge),
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
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--photos", choices=list(SETS), default="digits")
    parser.add_argument("--people", choices=list(PEOPLE), default="drawn")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="before the two that are poisoned")
    parser.add_argument("--record", action="store_true", help="write docs/results/loop.json and docs/loop.md")
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    world = worlds.begin(options.output.resolve(), SETS[options.photos])
    with senders(world, options.people) as send:
        result = study(world, send, options.rounds, seen=options.people == "browsers")
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
