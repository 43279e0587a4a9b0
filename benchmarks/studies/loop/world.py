"""What a study keeps: its photos, what people say of them, and attar's own commands on both."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from attar.benchmarks.predict import open_model
from attar.benchmarks.studies.loop.photo_sets import PhotoSet
from attar.children import environment
from attar.data.images import use_rgb
from attar.data.photolist import read_list
from attar.deploy.collect.store import Action, Stored, opened
from attar.export.manifest import read_manifest
from attar.files import read_object, read_sealed, write_json
from attar.runfolder import RunFolder

PEOPLE = tuple(f"person {number}" for number in range(10))
VANDALS = ("vandal", "vandal 2", "vandal 3")
EACH, WRONG = 10, 0.1
"""Photos that everybody sends in a round, and how often people are wrong about one."""


@dataclass(frozen=True)
class Errand:
    """Somebody's photo.

    Attributes:
        who: sends it.
        path: of the photo.
        truth: its class.
        said: what that person says it is.
    """

    who: str
    path: Path
    truth: str
    said: str


@dataclass
class World:
    """The photos, and what was sent so far.

    Attributes:
        folder: of the study.
        photos: which ones.
        classes: of the photos.
        judge: photos that judge, with their class.
        rest: photos that nobody has sent yet, likewise.
        draw: of everything that people do.
        tokens: person -> invitation.
        errands: person -> what they have sent, in that order.
    """

    folder: Path
    photos: PhotoSet
    classes: tuple[str, ...] = ()
    judge: list[tuple[Path, str]] = field(default_factory=list)
    rest: list[tuple[Path, str]] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    tokens: dict[str, str] = field(default_factory=dict)
    errands: defaultdict[str, list[Errand]] = field(default_factory=lambda: defaultdict(list))

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

    @property
    def releases(self) -> Path:
        """The release folder, beside the app."""
        return self.folder / "www" / "models"

    @property
    def champion(self) -> Path:
        """The run whose files phones have."""
        if not (self.loop / "loop.json").is_file():
            return self.first
        rounds = read_object(self.loop / "loop.json")["rounds"]
        shipped = [each["number"] for each in rounds if each["outcome"] == "shipped"]
        return self.run(shipped[-1]) if shipped else self.first

    def run(self, number: int) -> Path:
        """The run of a round."""
        return self.loop / "rounds" / f"{number:03d}"


def begin(folder: Path, photos: PhotoSet) -> World:
    """Divide the photos, train the first run, and publish it. What an earlier call did stays."""
    world = World(folder, photos)
    found = photos.write(folder)
    world.classes = tuple(found)
    for name in world.classes:
        paths = list(found[name])
        world.draw.shuffle(paths)
        left = iter(paths)
        for side, count in photos.own.items():
            (folder / "base" / side / name).mkdir(parents=True, exist_ok=True)
            for path in islice(left, count):
                if not (folder / "base" / side / name / path.name).is_file():
                    shutil.copy(path, folder / "base" / side / name)
        world.judge += [(path, name) for path in islice(left, photos.judge)]
        world.rest += [(path, name) for path in islice(left, photos.most)]
    world.draw.shuffle(world.rest)
    data = {"path": str(folder / "base"), "val_fraction": photos.held}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**photos.recipe, "data": data}))
    if not (world.first / "report.json").is_file():
        attar("run", folder / "recipe.yaml", "--output", world.first)
    if not (folder / "key.pem").is_file():
        attar("keys", folder / "key.pem")
    world.tokens = _invited(world)
    if not (world.loop / "loop.json").is_file():
        turn(world)
    return world


def _invited(world: World) -> dict[str, str]:
    """Person -> invitation."""
    kept = world.folder / "invitations.json"
    if not kept.is_file():
        with opened(world.store, create=True) as store:
            write_json(kept, {name: store.invite(name) for name in (*PEOPLE, *VANDALS)})
    return dict(read_object(kept))


def attar(*words: object, codes: Sequence[int] = (0,)) -> Any:
    """Run a command to its end -> what it printed as JSON."""
    command = [sys.executable, "-m", "attar", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(OMP_NUM_THREADS="1"))
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout) if done.stdout else None


def drawn_errands(world: World, vandals: Sequence[str]) -> list[Errand]:
    """What ten people and the vandals send in a round."""
    found = []
    for who in (*PEOPLE, *vandals):
        for _ in range(EACH):
            path, truth = world.rest.pop()
            said = truth
            if who in vandals:
                said = world.classes[(world.classes.index(truth) + 1) % len(world.classes)]
            elif world.draw.random() < WRONG:
                said = world.draw.choice([each for each in world.classes if each != truth])
            found.append(Errand(who, path, truth, said))
    return found


def turn(world: World) -> dict[str, Any]:
    """One turn of the loop -> what became of it. The first one publishes the first run."""
    first = () if (world.loop / "loop.json").is_file() else ("--quick",)
    where = ("--run", world.first, "--observations", world.store, "--releases", world.releases)
    # Calibration is held to no limit: the records are older than that one.
    limits = ("--margin", world.photos.margin, "--calibration-error", 100, "--seconds", 0)
    how = ("--key", world.folder / "key.pem", "--unreviewed", *limits, *first)
    return dict(attar("loop", world.loop, *where, *how, codes=(0, 1)))


def ended(world: World, number: int) -> dict[str, Any]:
    """What the loop remembers of a round that has ended; empty before."""
    rounds = read_object(world.loop / "loop.json")["rounds"]
    found = [each for each in rounds if each["number"] == number and each["outcome"] != "open"]
    return dict(found[0]) if found else {}


def answered_by(world: World, run: Path, sent: int) -> int:
    """How many of the last observations name an exported file of a run as what answered."""
    files = {each.sha256 for each in read_manifest(run / "exports").files}
    with opened(world.store) as store:
        last = list(store.observations())[-sent:]
    return sum(each.observation.model in files for each in last)


def right(world: World, run: Path) -> np.ndarray:
    """Of each photo that judges whether a run's exported file has it right, bool (photos,)."""
    model = open_model(run / "exports")
    pixels = np.stack([use_rgb(model.preprocessing, path) for path, _ in world.judge])
    answers = model.answer(pixels).argmax(1)
    return np.array([model.labels[int(each)] == label for each, (_, label) in zip(answers, world.judge)])


def table_at(world: World, number: int) -> Path:
    """Where `list_all` writes."""
    return world.folder / f"plain-{number}.csv"


def is_trained(listed: Path) -> bool:
    """Whether plain retraining on the photos of a table has ended."""
    return (listed.with_suffix("") / "report.json").is_file()


def list_all(world: World, number: int) -> Path:
    """A table of the first run's photos and of all that people have said by a round."""
    listed = table_at(world, number)
    if listed.is_file():
        return listed
    rows = [
        (str(world.folder / "base" / name), label, side)
        for name, label, side, _ in read_list(world.first / "photos.json")
    ]
    with opened(world.store) as store:
        for each in store.observations():
            rows.append((str(store.photo(each.photo)), each.observation.said, "train"))
    with listed.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "split"), *rows])
    return listed


def plain_right(world: World, listed: Path) -> np.ndarray:
    """`right` of a run from scratch on the photos of a table; validation photos are those of the first run."""
    output = listed.with_suffix("")
    if not is_trained(listed):
        attar("run", world.folder / "recipe.yaml", "--data", listed, "--output", output, "--quick")
    return right(world, output)


def rename(world: World) -> None:
    """A reviewer gives all photos of a class another name."""
    label, name = world.photos.renamed
    with opened(world.store) as store:
        for each in list(store.observations()):
            if each.observation.said == label:
                id = str(each.observation.id)
                decisions = store.decisions(id)
                store.decide(id, "reviewer", Action.RELABEL, name, decisions[-1].number if decisions else 0)


def received(world: World) -> Iterator[tuple[Stored, Errand]]:
    """Everything that arrived, and whose photo it was: each person's photos arrive in their order."""
    with opened(world.store) as store:
        orders = {who: iter(sent) for who, sent in world.errands.items()}
        for each in store.observations():
            errand = next(orders[each.observation.contributor])
            assert each.observation.said == errand.said, (each, errand)
            yield each, errand


def wrong_labels(world: World, number: int) -> dict[str, dict[str, int]]:
    """Of vandals and of other people: how many wrong labels they have sent by now, how many of those the round's run
    has learned from, and how many it holds out."""
    retrained = RunFolder(world.run(number)).retrain
    used = read_sealed(retrained) if retrained.is_file() else {"train": [], "val": []}
    wrong = {str(each.observation.id): errand.who for each, errand in received(world) if errand.said != errand.truth}
    found = {}
    for kind, of in (("vandals", VANDALS), ("people", PEOPLE)):
        ids = {id for id, who in wrong.items() if who in of}
        sides = {side: len(ids.intersection(used[side])) for side in ("train", "val")}
        found[kind] = {"sent": len(ids), **sides}
    return found
