"""Which score of familiarity is the default, and what files keep of it: docs/familiarity.md.

    python -m attar.benchmarks.studies.familiarity --output runs/familiarity    about an hour on two cores
    python -m attar.benchmarks.studies.familiarity --seeds 0                    write the page of what is recorded

A third of the classes are held out: handwritten digits, and Han characters drawn from typefaces. A student learns the
others by their labels, and is exported once for each score. What its files say of the held-out classes (near), of
photos of other things and of drawn pictures (far) is measured by `attar.benchmarks.report.outliers`. Each seed holds
out other classes, and begins with other weights.

The rule: the default is the score whose `litert:fp32` files have the largest mean AUROC on the classes that were held
out, over seeds, each source counting the same, among the scores of which no file failed. Far photos and drawn pictures
take no part, as a user knows nothing of what people will point a phone at; classes to hold out, everyone has.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.latency.host import describe
from attar.benchmarks.report.outliers import FAR, NEAR, outliers
from attar.benchmarks.studies.beyond_page import section
from attar.benchmarks.studies.elpv import run_attar, settings
from attar.benchmarks.studies.familiarity_page import page
from attar.benchmarks.studies.outliers import pieces
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.builtin import write_source
from attar.data.photos import DataSpec, Photos, labels_of, read_photos
from attar.errors import AttarError
from attar.export.export import export_student
from attar.export.manifest import Manifest, read_manifest
from attar.files import make_folder, read_json, replacing, write_json, write_text
from attar.students.familiarity import SCORES
from attar.students.fit_familiarity import give_familiarity

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "attar" / "cli" / "quickstart.yaml"
RECORD = ROOT / "docs" / "results" / "familiarity.json"

BEYOND = ROOT / "docs" / "results" / "beyond.json"
"""The record of `attar.benchmarks.studies.beyond`, which writes a section of the same page."""

TARGETS = ("litert:fp32", "litert:int8", "coreml:fp16")
SEEDS = 5
OTHERS = 300
"""Photos of another source, at most."""


@dataclass(frozen=True)
class Source:
    """Photos of which classes are held out.

    Attributes:
        options: of the source.
        held: how many classes.
        settings: what differs from the quickstart's student.
    """

    name: str
    options: Mapping[str, object]
    held: int
    settings: tuple[str, ...]


HAN = {"classes": 60, "photos": 24, "val_photos": 12, "packed": False}
SOURCES = (
    Source("digits", {}, 3, ("student.epochs=24",)),
    Source("han", HAN, 20, ("student.size=48", "student.epochs=40", "student.batch_size=32")),
)


def main() -> None:
    """Measure what is missing, write the record after every student, and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/familiarity"))
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "familiarity.md")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    record: dict[str, Any] = read_json(options.record) if options.record.is_file() else {"students": {}}
    for source, seed in ((source, seed) for seed in range(options.seeds) for source in SOURCES):
        for row in measured(source, seed, options.output, record["students"].get(f"{source.name} {seed}")):
            record["students"][f"{source.name} {seed}"] = row
            record["machine"] = describe()
            write_json(options.record, record)
    write_page(options.page, options.record)


def write_page(place: Path, record: Path = RECORD, beyond: Path = BEYOND) -> None:
    """Write docs/familiarity.md of what both studies have recorded."""
    write_text(place, whole_page(record, beyond))


def whole_page(record: Path = RECORD, beyond: Path = BEYOND) -> str:
    """The page: scores, and what the loss `beyond` does to them."""
    scores = read_json(record)
    students = {name: row for name, row in scores["students"].items() if len(row["scores"]) == len(SCORES)}
    text = page({**scores, "students": students}, tuple(SCORES), TARGETS)
    return f"{text}\n{section(read_json(beyond))}" if beyond.is_file() else text


def measured(source: Source, seed: int, output: Path, before: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """What is known of a student, after each score that was missing.

    It is `top1`, `images` (validation photos), `held` (classes held out), and `scores`: by score `files` and `failed`.
    """
    if before and len(before["scores"]) == len(SCORES):
        return
    folder = output / f"{source.name}-{seed}"
    held = prepared(source, seed, output, folder)
    student = trained(source, seed, folder)
    photos = read_photos(DataSpec(str(folder / "photos")))
    row = before or {"top1": student.metrics["top1"], "images": len(photos.val), "held": held, "scores": {}}
    places = [(NEAR, folder / "held"), *((FAR, place) for place in far(source, output))]
    for score in (score for score in SCORES if score not in row["scores"]):
        say(f"{source.name}, seed {seed}: {score}")
        manifest, bundle = exported(student, score, photos, folder)
        files: dict[str, dict[str, Any]] = {entry.target: {} for entry in manifest.files}
        targets = {entry.file: entry.target for entry in manifest.files}
        for found in outliers(folder / f"exports-{score}", bundle, photos, places) if files else ():
            about = {key: round(getattr(found, key), 4) for key in ("auroc", "low", "high", "fpr95")}
            of_set = {"kind": found.kind, "images": found.images, **about}
            files[targets[found.file]][Path(found.others).name] = of_set
        row["scores"][score] = {"files": files, "failed": {item.target: item.error for item in manifest.failed}}
        yield row


def exported(student: Bundle, score: str, photos: Photos, folder: Path) -> tuple[Manifest, Bundle]:
    """The files of a student with a score, and the bundle that they were made from."""
    bundle = give_familiarity(student, score, photos, folder / f"student-{score}")
    exports = folder / f"exports-{score}"
    try:
        return export_student(bundle, TARGETS, exports, photos=photos, max_drop=5.0), bundle
    except AttarError as error:  # some failed, which the manifest says
        say(str(error))
        return read_manifest(exports), bundle


def trained(source: Source, seed: int, folder: Path) -> Bundle:
    """A student of the classes that were kept, trained where it is not there yet."""
    if not (folder / "student" / "bundle.json").is_file():
        chosen = settings([*source.settings, "student.min_steps=0", "student.check_teacher=false", f"seed={seed}"])
        words = ["distill", RECIPE, "--data", folder / "photos", "-o", folder / "student", *chosen]
        run_attar(*words, log=folder / "training.log")
    return read_bundle(folder / "student", "student")


# --- photos -----------------------------------------------------------------------------------------


def prepared(source: Source, seed: int, output: Path, folder: Path) -> list[str]:
    """Write `photos/` (classes that are kept, training and validation) and `held/`; returns the classes held out."""
    photos = read_photos(DataSpec(str(write_source(source.name, output, source.options))))
    held = sorted(np.random.default_rng(seed).permutation(len(photos.labels))[: source.held].tolist())
    if not (folder / "held").is_dir():
        make_folder(folder)
        with replacing(folder / "photos") as kept:
            for side in ("train", "val"):
                of_side = photos.train if side == "train" else photos.val
                _copy(photos, [(i, each) for i, each in _labelled(of_side) if i not in held], kept / side)
        with replacing(folder / "held") as place:
            _copy(photos, [(i, each) for i, each in _labelled(photos.val) if i in held], place)
    return [photos.labels[i] for i in held]


def _labelled(photos: Any) -> Iterator[tuple[int, Any]]:
    return zip(labels_of(photos).tolist(), photos)


def _copy(photos: Photos, chosen: list[tuple[int, Any]], place: Path) -> None:
    for number, (label, photo) in enumerate(chosen):
        target = place / photos.labels[label] / f"{number}{photo.path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo.path, target)


def far(source: Source, output: Path) -> Iterator[Path]:
    """Folders of photos of other things: the other sources, solar cells, and pieces of scikit-learn's two photos."""
    others: dict[str, Mapping[str, object]] = {each.name: each.options for each in SOURCES if each is not source}
    for name, options in {**others, "elpv": {}}.items():
        place = output / "far" / name
        if not place.is_dir():
            photos = read_photos(DataSpec(str(write_source(name, output, options)))).val
            with replacing(place) as folder:
                folder.mkdir(parents=True, exist_ok=True)
                for number, photo in enumerate(photos[:: max(1, len(photos) // OTHERS)][:OTHERS]):
                    shutil.copyfile(photo.path, folder / f"{number}{photo.path.suffix}")
        yield place
    place = output / "far" / "photos"
    if not place.is_dir():
        with replacing(place) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            for number, piece in enumerate(pieces()):
                piece.save(folder / f"{number}.png")
    yield place


if __name__ == "__main__":
    main()
