"""Students from 60, 180 and 600 photos, as version 0.1 trained them and as they are trained now: docs/results.md.

    python -m attar.benchmarks.studies.fewphotos --output runs/fewphotos --jobs 2   all of it: hours on two cores
    python -m attar.benchmarks.studies.fewphotos --output runs/fewphotos-short --short   minutes: to see that it works

Digits and solar cells, students from scratch and with pretrained weights, each distilled from a teacher fitted to the
same few photos. All of them, the held-out ones too, are training photos of the recipes' splits: the validation photos
have no part in the choice of a schedule. Of every class there are as many photos.

What differs (`WAYS`) are the schedule and the batch norms: "0.1" has 10 epochs for the teacher and 30 for the student
and keeps the moving statistics; "0.1, norms" measures them anew (`attar.train.batchnorm`); the others do too, and have
a least number of optimizer steps. Their teacher is the one of the present schedule.

One process and one thread per training, `--jobs` at a time. What is there already is kept, and so are the students of
an earlier results.json that `--known` names.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import sem, t

from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.batchnorm import QUICKSTART, photos_for, single_thread
from attar.benchmarks.studies.elpv import RECIPE
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.photos import Photos, labels_of
from attar.files import read_json, write_json, write_text
from attar.readiness import at_chance
from attar.recipe import DistillSpec, FinetuneSpec, Recipe, TeachSpec, read_recipe

FEW = RECIPE.with_name("few-photos.yaml")
PHOTOS = (60, 180, 600)
HELD_OUT = 300

OLD = ("0.1", "0.1, norms")
WAYS = {**dict.fromkeys(OLD, 0), "300 steps": 300, "1,000 steps": 1000, "3,000 steps": 3000}
"""Way -> least optimizer steps of the student."""
NOW = "1,000 steps"


@dataclass(frozen=True)
class Start:
    """A student and its teacher: recipe of both, and the pixels of a side."""

    data: str
    name: str
    size: int
    student: Path
    teacher: Path


STARTS = (
    Start("digits", "scratch", 32, QUICKSTART, QUICKSTART),
    Start("digits", "pretrained", 64, FEW, FEW),
    Start("solar cells", "scratch", 64, RECIPE, FEW),
    Start("solar cells", "pretrained", 64, FEW, FEW),
)


@dataclass(frozen=True)
class Job:
    """One student."""

    start: Start
    photos: int
    seed: int
    way: str

    @property
    def folder(self) -> str:
        """Of its bundle, in the output folder."""
        return _file_name(self.start.data, self.start.name, self.photos, self.seed, self.way)

    @property
    def teacher(self) -> str:
        """Folder of its teacher's bundle: students of the same photos share one."""
        era = self.way if self.way in OLD else "now"
        return _file_name("teacher", self.start.data, self.start.teacher.stem, self.photos, self.seed, era)


def _file_name(*parts: object) -> str:
    return "-".join(map(str, parts)).replace(" ", "-").replace(",", "")


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/fewphotos"))
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-known", action="store_true", help="train nothing: tabulate what is there")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this one; may be repeated")
    parser.add_argument("--known", type=Path, help="results.json of an earlier study: its students are not made again")
    parser.add_argument("--short", action="store_true", help="digits from scratch, 60 photos, one seed")
    options = parser.parse_args()
    ways = options.way or [*WAYS]
    starts, counts, seeds = (STARTS[:1], PHOTOS[:1], 1) if options.short else (STARTS, PHOTOS, options.seeds)
    options.output.mkdir(parents=True, exist_ok=True)
    for data in {start.data for start in starts}:
        photos_for(data, options.output)
    if options.known:
        recall(read_json(options.known), options.output)
    # One group per teacher, so that none is fitted twice at a time.
    jobs: list[Job] = []
    groups: dict[str, list[Job]] = {}
    for seed in range(seeds):
        for way in ways:
            for photos in counts:
                for start in starts:
                    jobs.append(Job(start, photos, seed, way))
                    groups.setdefault(jobs[-1].teacher, []).append(jobs[-1])
    if options.only_known:
        groups = {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), initializer=single_thread) as pool:
        for lines in pool.map(_group, groups.values(), [options.output] * len(groups)):
            for line in lines:
                say(line)
    results = {"device": describe(), "held_out": HELD_OUT, "seeds": seeds, "rows": summarized(jobs, options.output)}
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def recall(results: dict[str, Any], output: Path) -> None:
    """Write each student of earlier results as if it had been trained into `output`."""
    for row in results["rows"]:
        start = next(each for each in STARTS if (each.data, each.name) == (row["data"], row["start"]))
        for way, seeds in row["ways"].items():
            for student in seeds:
                write_json(output / f"{Job(start, row['photos'], student['seed'], way).folder}.json", student)


def _group(jobs: list[Job], output: Path) -> list[str]:
    return [_fitted(job, output) for job in jobs]


def _fitted(job: Job, output: Path) -> str:
    """Train a student, and its teacher if there is none yet; write what they reach."""
    file = output / f"{job.folder}.json"
    if not file.is_file():
        write_json(file, fitted(job, output))
    stored = read_json(file)
    return (
        f"{job.folder}: student {100 * stored['student']['top1']:.1f}%, teacher {100 * stored['teacher']['top1']:.1f}%"
    )


def fitted(job: Job, output: Path) -> dict[str, Any]:
    """The metrics of a teacher and of its student, and the share of photos that get the student's commonest answer."""
    from tempfile import TemporaryDirectory

    from attar import students
    from attar.benchmarks.studies.moving import as_trained, even, only
    from attar.data.photos import load_pixels
    from attar.distill.distill import distill_student
    from attar.inference import predict

    recipe, photos = photos_for(job.start.data, output)
    order = even(photos, job.seed)
    photos = only(photos, order[HELD_OUT : HELD_OUT + job.photos], order[:HELD_OUT])
    taught = read_recipe(job.start.student).student
    with as_trained() if job.way == "0.1" else nullcontext(), TemporaryDirectory(dir=output) as work:
        teacher = teacher_of(job, photos, recipe, output)
        student = distill_student(
            photos, _student(taught, job), Path(work) / "student", teacher=teacher, views=recipe.views, seed=job.seed
        )
        answers = predict(students.load(student), load_pixels(photos.val, student.preprocessing)).argmax(1)
    assert (answers == labels_of(photos.val)).mean() == student.metrics["top1"]
    commonest = float(np.bincount(answers).max() / len(answers))
    return {"teacher": _known(teacher), "student": {**_known(student), "commonest_answer": commonest}}


def teacher_of(job: Job, photos: Photos, recipe: Recipe, output: Path) -> Bundle:
    """The teacher's bundle, fitted if it is not there yet."""
    from attar.teachers.fit import teach

    folder = output / job.teacher
    if not (folder / "bundle.json").is_file():
        spec = read_recipe(job.start.teacher).teacher
        assert spec is not None
        teach(photos, _teacher(spec, job), folder, views=recipe.views, seed=job.seed)
    return read_bundle(folder, "teacher")


def _teacher(spec: TeachSpec, job: Job) -> TeachSpec:
    """10 epochs, and now at least 200 steps (the default of `min_steps`)."""
    steps = 0 if job.way in OLD else FinetuneSpec.model_fields["min_steps"].default
    options = {**spec.options, "img_size": job.start.size}
    return spec.model_copy(update={"epochs": 10, "min_steps": steps, "batch_size": 32, "options": options})


def _student(spec: DistillSpec, job: Job) -> DistillSpec:
    """30 epochs, and at least the way's steps. Teachers that know nothing are let through: 0.1 makes some."""
    own = {"min_steps": WAYS[job.way], "size": job.start.size, "check_teacher": job.way not in OLD}
    update = {"epochs": 30, "batch_size": 32, **own}
    return spec.model_copy(update=update)


def _known(bundle: Bundle) -> dict[str, Any]:
    kept = ("images", "top1", "top1_interval", "majority", "train_top1", "steps")
    return {
        **{key: bundle.metrics[key] for key in kept if key in bundle.metrics},
        "at_chance": at_chance(bundle.metrics),
    }


def summarized(jobs: list[Job], output: Path) -> list[dict[str, Any]]:
    """A row per data, start and number of photos; in it every way with the figures of every seed."""
    rows: dict[tuple[str, str, int], dict[str, Any]] = {}
    for job in jobs:
        start = job.start
        row = rows.setdefault(
            (start.data, start.name, job.photos),
            {"data": start.data, "start": start.name, "photos": job.photos, "size": start.size, "ways": {}},
        )
        row["student"] = read_recipe(start.student).student.name
        if (file := output / f"{job.folder}.json").is_file():
            row["ways"].setdefault(job.way, []).append({"seed": job.seed, **read_json(file)})
    return [rows[key] for key in sorted(rows)]


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    ways = [way for way in WAYS if any(way in row["ways"] for row in results["rows"])]
    eras = [way for way in (*OLD, NOW) if way in ways]
    lines = [
        f"| student | photos | {' | '.join(f'teacher: {way}' for way in eras)} "
        f"| {' | '.join(f'student: {way}' for way in ways)} |",
        f"|---|---:|{'---:|' * (len(eras) + len(ways))}",
    ]
    for row in results["rows"]:
        taught = " | ".join(_mean([seed["teacher"] for seed in row["ways"].get(way, ())]) for way in eras)
        own = " | ".join(_mean([seed["student"] for seed in row["ways"].get(way, ())]) for way in ways)
        lines.append(f"| {row['data']}, {row['start']}: {row['student']} | {row['photos']} | {taught} | {own} |")
    lines += [
        "",
        f"Top-1, %, on {results['held_out']} held-out photos, mean of {_seeds(results, ways)} seed(s). In parentheses: "
        "how many of them are at chance (the 95% interval does not lie above the commonest class). "
        f"{results['device']['cpu']}, {results['device']['cores']} cores.",
        "",
        *(f"- {line}" for line in compared(results["rows"], ways)),
    ]
    return "\n".join(lines) + "\n"


def compared(rows: list[dict[str, Any]], ways: list[str]) -> list[str]:
    """Each way against the one before it, on each data: students with the same seed and photos in pairs."""
    lines = []
    for new, old in zip(ways[1:], ways):
        for data in dict.fromkeys(row["data"] for row in rows):
            pairs = [pair for row in rows if row["data"] == data for pair in _pairs(row["ways"], new, old)]
            if len(pairs) > 1:
                gains = 100 * (np.array(pairs)[:, 0] - np.array(pairs)[:, 1])
                low, high = t.interval(0.95, len(gains) - 1, gains.mean(), sem(gains))
                lines.append(
                    f"{data}, {new} less {old}: {gains.mean():+.1f} points [{low:+.1f}, {high:+.1f}], better in "
                    f"{(gains > 0).sum()} of {len(gains)} pairs"
                )
    return lines


def _pairs(ways: dict[str, list[dict[str, Any]]], new: str, old: str) -> list[tuple[float, float]]:
    """Top-1 of students of two ways that have the same seed."""
    first, second = ({each["seed"]: each["student"]["top1"] for each in ways.get(way, ())} for way in (new, old))
    return [(first[seed], second[seed]) for seed in first if seed in second]


def _seeds(results: dict[str, Any], ways: list[str]) -> str:
    """How many seeds a cell has; `up to` so many while a study is unfinished."""
    counts = {len(row["ways"].get(way, ())) for row in results["rows"] for way in ways}
    return f"{'up to ' if len(counts) > 1 else ''}{max(counts)}"


def _mean(seeds: list[dict[str, Any]]) -> str:
    if not seeds:
        return ""
    chance = sum(seed["at_chance"] for seed in seeds)
    return f"{100 * np.mean([seed['top1'] for seed in seeds]):.1f}" + (f" ({chance})" if chance else "")


if __name__ == "__main__":
    main()
