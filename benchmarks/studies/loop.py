"""Five rounds of `attar loop` with made-up people, and two poisoned ones: the table in docs/loop.md.

    python -m attar.benchmarks.studies.loop --output loop-study [--record]

Handwritten digits. A run begins with 30 photos of each class, of which half are held out. In each round ten people
send 10 new photos each and say what they show, wrong one time in ten, and a vandal sends 10, all of them by the next
digit's name. Nobody reviews (`--unreviewed`). After each round the file that phones have is asked about 600 photos that
no round has seen. Beside it, the student is trained from scratch on the same photos by what people said, without the
loop's choices: plain retraining. Then two rounds are poisoned: three vandals send 10 photos each, and a reviewer
renames a class.

Each command is attar's own, in a process of its own. What the people do is drawn, in the store's own functions: no
browser takes part.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import platform
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import yaml

from attar.benchmarks.predict import open_model
from attar.benchmarks.units import percent, points
from attar.children import environment
from attar.data.builtin import digits
from attar.data.images import read_rgb, use_rgb
from attar.data.observations import Observation, Verdict
from attar.data.photolist import read_list
from attar.deploy.collect.store import Action, Store, opened
from attar.export.card import table
from attar.files import write_json, write_text
from attar.metrics import paired_interval

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "loop.md", ROOT / "docs" / "results" / "loop.json"
BEGIN, END = "<!-- the study's table begins -->\n", "\n<!-- and ends -->"
CLASSES = tuple("0123456789")
OWN, TEST = 30, 60
"""Photos of each class that the run begins with, and that judge."""
PEOPLE = tuple(f"person {number}" for number in range(10))
EACH, WRONG = 10, 0.1
ROUNDS = 5
RECIPE = {
    "views": {"crop_area": [0.7, 1.0], "aspect": 1.2, "horizontal_flip": False, "rotate": 8, "color": 0.2, "count": 8},
    "teacher": None,
    "student": {
        "name": "mobilenetv4_conv_small_035",
        "pretrained": False,
        "head_width": 128,
        "size": 32,
        "crop": 1.0,
        "epochs": 40,
        "batch_size": 32,
        "lr": 0.004,
    },
    "targets": ["onnx:fp32"],
    "bench": {"threads": 1, "seconds": 1, "quick": True},
}
MARGIN = 5
"""Points of top-1 that a round may lose at most, as the gate is asked: few validation photos show no small gain."""


@dataclass
class World:
    """The photos, and what was sent so far.

    Attributes:
        folder: of the study.
        judge: photos that judge, with their class.
        rest: photos that nobody has sent yet, likewise.
        draw: of everything that people do.
        sent: how many observations there are.
    """

    folder: Path
    judge: list[tuple[Path, str]] = field(default_factory=list)
    rest: list[tuple[Path, str]] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    sent: int = 0

    @property
    def first(self) -> Path:
        """The run to begin with."""
        return self.folder / "first"

    @property
    def store(self) -> Path:
        """What people sent."""
        return self.folder / "observations"

    @property
    def loop(self) -> Path:
        """The loop's folder."""
        return self.folder / "loop"


def begin(folder: Path) -> World:
    """Divide the photos and train the first run."""
    world = World(folder)
    base = folder / "base"
    for name in CLASSES:
        photos = sorted((digits(folder) / name).iterdir())
        world.draw.shuffle(photos)
        (base / name).mkdir(parents=True)
        for path in photos[:OWN]:
            shutil.copy(path, base / name)
        world.judge += [(path, name) for path in photos[OWN : OWN + TEST]]
        world.rest += [(path, name) for path in photos[OWN + TEST :]]
    world.draw.shuffle(world.rest)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "data": {"path": str(base), "val_fraction": 0.5}}))
    attar("run", folder / "recipe.yaml", "--output", world.first)
    attar("keys", folder / "key.pem")
    with opened(world.store, create=True) as store:
        for name in (*PEOPLE, "vandal", "vandal 2", "vandal 3"):
            store.invite(name)
    return world


def attar(*words: object, codes: Sequence[int] = (0,)) -> Any:
    """Run a command to its end -> what it printed as JSON."""
    command = [sys.executable, "-m", "attar", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment(), "OMP_NUM_THREADS": "1"})
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout) if done.stdout else None


def people(world: World, vandals: Sequence[str]) -> None:
    """Ten people and the vandals send what they have not sent yet."""
    model = open_model(world_champion(world) / "exports")
    with opened(world.store) as store:
        for who in (*PEOPLE, *vandals):
            for _ in range(EACH):
                path, label = world.rest.pop()
                if who in vandals:
                    said = CLASSES[(CLASSES.index(label) + 1) % len(CLASSES)]
                elif world.draw.random() < WRONG:
                    said = world.draw.choice([each for each in CLASSES if each != label])
                else:
                    said = label
                shares = model.answer(use_rgb(model.preprocessing, path)[None])[0]
                predicted = model.labels[int(shares.argmax())]
                send(world, store, path, who, predicted, float(shares.max()), said)


def send(world: World, store: Store, path: Path, who: str, predicted: str, probability: float, said: str) -> str:
    """One observation -> its id."""
    stream = io.BytesIO()
    read_rgb(path).save(stream, "JPEG", quality=90)
    photo = stream.getvalue()
    world.sent += 1
    id = UUID(bytes=sha256(f"observation {world.sent}".encode()).digest()[:16])
    verdict = Verdict.CONFIRMED if said == predicted else Verdict.CORRECTED
    observation = Observation(
        id=id,
        image=sha256(photo).hexdigest(),
        time=datetime(2026, 11, 1, tzinfo=UTC),
        predicted=predicted,
        probability=min(1.0, probability),
        model="0" * 64,
        verdict=verdict,
        label=said if verdict is Verdict.CORRECTED else "",
        contributor=who,
    )
    store.add(observation, photo, observation.image)
    return str(id)


def world_champion(world: World) -> Path:
    """The run whose files phones have."""
    if not (world.loop / "loop.json").is_file():
        return world.first
    rounds = json.loads((world.loop / "loop.json").read_text())["rounds"]
    shipped = [each["number"] for each in rounds if each["outcome"] == "shipped"]
    return world.loop / "rounds" / f"{shipped[-1]:03d}" if shipped else world.first


def turn(world: World) -> dict[str, Any]:
    """One turn of the loop -> what became of it."""
    first = () if (world.loop / "loop.json").is_file() else ("--quick",)
    where = ("--run", world.first, "--observations", world.store, "--releases", world.folder / "releases")
    how = ("--key", world.folder / "key.pem", "--unreviewed", "--seconds", 0, *first)
    limits = ("--margin", MARGIN, "--calibration-error", 100)  # the record is older than that limit
    return attar("loop", world.loop, *where, *how, *limits, codes=(0, 1))


def right(world: World, run: Path) -> np.ndarray:
    """Of each photo that judges whether a run's exported file has it right, bool (photos,)."""
    model = open_model(run / "exports")
    pixels = np.stack([use_rgb(model.preprocessing, path) for path, _ in world.judge])
    answers = model.answer(pixels).argmax(1)
    return np.array([model.labels[int(each)] == label for each, (_, label) in zip(answers, world.judge)])


def plain(world: World, number: int) -> Path:
    """A run from scratch on all that people said so far; validation photos are those of the first run."""
    output = world.folder / f"plain-{number}"
    rows = [
        (str(world.folder / "base" / name), label, side)
        for name, label, side, _ in read_list(world.first / "photos.json")
    ]
    with opened(world.store) as store:
        for each in store.observations():
            rows.append((str(store.photo(each.photo)), each.observation.said, "train"))
    listed = world.folder / f"plain-{number}.csv"
    with listed.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "split"), *rows])
    attar("run", world.folder / "recipe.yaml", "--data", listed, "--output", output, "--quick")
    return output


def rename(world: World, label: str, name: str) -> None:
    """A reviewer gives all photos of a class another name."""
    with opened(world.store) as store:
        for each in list(store.observations()):
            if each.observation.said == label:
                id = str(each.observation.id)
                decisions = store.decisions(id)
                store.decide(id, "reviewer", Action.RELABEL, name, decisions[-1].number if decisions else 0)


def study(folder: Path, rounds: int) -> dict[str, Any]:
    """Everything -> plain data."""
    world = begin(folder)
    first = before = plain_before = right(world, world.first)
    found: list[dict[str, Any]] = []
    for number in range(1, rounds + 3):
        poison = {rounds + 1: "three vandals", rounds + 2: "a class renamed"}.get(number, "")
        people(world, ("vandal", "vandal 2", "vandal 3") if number == rounds + 1 else ("vandal",))
        if number == rounds + 2:
            rename(world, "3", "three")
        done = turn(world)
        now = right(world, world_champion(world))
        row = {
            "round": number,
            "poison": poison,
            "outcome": done["round"]["outcome"] if done["round"] else "nothing due",
            "sentence": done["sentence"],
            "used": done["round"]["told"]["train"] if done["round"] else 0,
            "left_out": done["round"]["told"]["left_out"] if done["round"] else {},
            "top1": float(now.mean()),
            "flips": int((before & ~now).sum()),
            "labels": list(open_model(world_champion(world) / "exports").labels),
        }
        if not poison:
            scratch = right(world, plain(world, number))
            row["plain"] = {"top1": float(scratch.mean()), "flips": int((plain_before & ~scratch).sum())}
            plain_before = scratch
        found.append(row)
        print(json.dumps(row), file=sys.stderr)
        before = now
    gain = now.astype(float) - first
    return {
        "machine": f"{platform.machine()}, {platform.system()}",
        "photos": len(world.judge),
        "first": float(first.mean()),
        "rounds": found,
        "gain": {"points": float(gain.mean()), "interval": list(paired_interval(gain))},
    }


def table_of(result: dict[str, Any]) -> str:
    """The rounds as Markdown, and what came of all of them."""
    names = [
        "round",
        "poisoned by",
        "outcome",
        "learned from",
        "doubted",
        "top-1 of what phones have",
        "negative flips",
    ]
    rows = [[*names, "plain retraining: top-1", "negative flips"]]
    for each in result["rounds"]:
        doubts = sum(count for reason, count in each["left_out"].items() if reason.startswith("its label is doubted"))
        alone = each.get("plain")
        rows.append(
            [
                str(each["round"]),
                each["poison"],
                each["outcome"],
                str(each["used"]),
                str(doubts),
                percent(each["top1"]),
                str(each["flips"]),
                percent(alone["top1"]) if alone else "",
                str(alone["flips"]) if alone else "",
            ]
        )
    gain, (low, high) = result["gain"]["points"], result["gain"]["interval"]
    said = (
        f"Before the first round phones had {percent(result['first'])}. All rounds together: {points(gain)} points "
        f"[{points(low)}, {points(high)}] on {result['photos']} photos."
    )
    return f"{table(rows)}\n\n{said}"


def page(text: str, result: dict[str, Any]) -> str:
    """The page with the table of this result."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{table_of(result)}{END}{rest.split(END)[1]}"


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--record", action="store_true", help="write docs/results/loop.json, and its table in docs/loop.md"
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    result = study(options.output.resolve(), options.rounds)
    if options.record:
        write_json(RESULTS, result)
        write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), result))
    print(table_of(result))


if __name__ == "__main__":
    main()
