"""Every method of distillation on the solar cells, over several seeds: the table of methods in docs/results.md.

    python -m attar.benchmarks.studies.methods --output runs/methods --jobs 2          all of it: hours on two cores
    python -m attar.benchmarks.studies.methods --output runs/methods-short --short     minutes, to see that it works

One student (recipes/elpv.yaml's MobileNetV3-small, from scratch), one teacher, one cache; what differs is the loss.
Options are the defaults of docs/methods.md, and so are the weights, but for one of `hint` (`_WEIGHTS`), which was tried
on another split of these photos.
It drives the command line, one process and one thread a training run, `--jobs` at a time, and continues where it was
killed. What models answered is kept in one file (`--record`): with that file a study goes on on another machine, where
a teacher of its own is fitted in the same way.

A gain is measured against the same student trained on labels alone with the same seeds. Its interval holds for other
seeds and other photos (`attar.metrics.two_way_interval`); benchmarks/studies/seeds.py measures how often it does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.studies.answers import Answers
from attar.benchmarks.studies.elpv import (
    RECIPE,
    SHORT,
    about_teacher,
    fit_teacher,
    judged,
    keep_answers,
    run_attar,
    settings,
)
from attar.bundle import read_bundle
from attar.console import say
from attar.data.photos import read_photos
from attar.files import digest_of, write_json, write_text
from attar.metrics import two_way_interval
from attar.provenance import data_of
from attar.recipe import Recipe, read_recipe

LABELS = "labels alone"

_LISTED = (
    ("dkd",),
    ("dist",),
    ("hard",),
    ("feature",),
    ("hint",),
    ("attention",),
    ("rkd",),
    ("crd",),
    ("kd", "feature"),
    ("kd", "crd"),
    ("dkd", "crd"),
    ("dkd", "crd", "hint"),
)
_WEIGHTS: dict[tuple[str, ...], dict[str, int]] = {("dkd", "crd", "hint"): {"hint": 10}}


def _listed(names: tuple[str, ...]) -> tuple[str, ...]:
    weights = _WEIGHTS.get(names, {})
    losses = ", ".join(f"{{name: {name}, weight: {weights.get(name, 1)}}}" for name in names)
    return ("student.temperature=null", f"student.losses=[{losses}]")  # the recipe's temperature is its single loss's


METHODS: dict[str, tuple[str, ...]] = {LABELS: (), "kd": (), **{" + ".join(names): _listed(names) for names in _LISTED}}
"""Method -> how the recipe differs; `kd` is the recipe's own, 0.7 for the teacher and 0.3 for the labels."""

SEEDS = 5


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/methods"))
    parser.add_argument("--record", type=Path, help="what models answered; by default OUTPUT/answers.json")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--method", action="append", choices=METHODS, help="only this one; may be repeated")
    parser.add_argument("--teacher", type=Path, metavar="BUNDLE", help="instead of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value of the recipe")
    parser.add_argument("--short", action="store_true", help="one seed, one epoch, small images")
    options = parser.parse_args()
    more = [*(SHORT if options.short else []), *options.set]
    seeds = range(1 if options.short else options.seeds)
    names = [LABELS, *(name for name in options.method or METHODS if name != LABELS)]
    options.output.mkdir(parents=True, exist_ok=True)
    record = Answers(options.record or options.output / "answers.json")
    # Seed by seed: what is there early says something of every method.
    jobs = [Job(name, seed, tuple(more), options.teacher) for seed in seeds for name in names]
    missing = [job for job in jobs if not record.has(job.name, job.key)]
    if missing:
        if options.teacher:
            _require_split(options.teacher, read_recipe(RECIPE, more))
        teacher = options.teacher or fit_teacher(options.output, more)
        record.photos = read_photos(data_of(read_bundle(teacher, "teacher").provenance))
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda job: _train(job, options.output, teacher, record), missing))
    results = measured(record, jobs)
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


@dataclass(frozen=True)
class Job:
    """One student.

    Attributes:
        more: settings beside the method's.
        teacher: a bundle that was given, instead of one that is fitted for the study.
    """

    method: str
    seed: int
    more: tuple[str, ...] = ()
    teacher: Path | None = None

    @property
    def name(self) -> str:
        """Also of its folder."""
        return f"{self.method.replace(' + ', '-').replace(' ', '-')}-{self.seed}"

    @property
    def key(self) -> str:
        """What it is trained anew for when it changes."""
        given = read_bundle(self.teacher, "teacher").fingerprint if self.teacher and self.method != LABELS else None
        return digest_of([METHODS[self.method], list(self.more), given])[:16]


def _require_split(teacher: Path, recipe: Recipe) -> None:
    """Refuse a teacher that has learned from photos which its students are judged by."""
    own, asked = data_of(read_bundle(teacher, "teacher").provenance), recipe.data
    if (own.val_fraction, own.seed) != (asked.val_fraction, asked.seed):
        raise SystemExit(
            f"--teacher {teacher}: fitted with data.seed={own.seed} and data.val_fraction={own.val_fraction}, and the "
            f"recipe has {asked.seed} and {asked.val_fraction}. Fit it to the same split, or --set the recipe's."
        )


def _train(job: Job, output: Path, teacher: Path, record: Answers) -> None:
    bundle = output / job.name
    fitted = judged(teacher, record) if job.method != LABELS else None
    if not (bundle / "bundle.json").is_file():
        taught = ["--teacher", teacher, "--cache", output / "teacher-cache"] if fitted else []
        words = ["-o", bundle, "--seed", job.seed, *taught, *settings([*METHODS[job.method], *job.more])]
        run_attar("distill", RECIPE, *words, log=output / f"{job.name}.log")
        say(f"{job.method}, seed {job.seed}: {100 * read_bundle(bundle).metrics['top1']:.1f}%")
    keep_answers(job.name, job.key, bundle, fitted, record)


def measured(record: Answers, jobs: Sequence[Job]) -> dict[str, Any]:
    """Every student on the validation photos, held against the one trained on labels, photo by photo."""
    by_method: dict[str, list[Job]] = {}
    for job in jobs:
        by_method.setdefault(job.method, []).append(job)
    answers = {name: np.stack([record.right(job.name) for job in own]) for name, own in by_method.items()}
    taught = [job.name for job in jobs if job.method != LABELS]
    rows = []
    for name, right in answers.items():
        gain = right - answers[LABELS]
        rows.append(
            {
                "method": name,
                "settings": list(METHODS[name]),
                "top1": right.mean(1).tolist(),
                "gain": float(gain.mean()),
                "gain_interval": list(two_way_interval(gain)),
            }
        )
    student = read_recipe(RECIPE, list(jobs[0].more)).student
    return {
        "photos": answers[LABELS].shape[1],
        "student": student.name,
        "size": student.size,
        "epochs": student.epochs,
        "cpu": record.about([job.name for job in jobs], "cpu"),
        "teachers": [about_teacher(record, name) for name in record.about(taught, "teacher")],
        "rows": rows,
    }


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    lines = ["| method | top-1, % | each seed | gain over labels alone, points |", "|---|---:|---|---:|"]
    for row in results["rows"]:
        each = ", ".join(f"{100 * value:.1f}" for value in row["top1"])
        low, high = (100 * value for value in row["gain_interval"])
        gain = "" if row["method"] == LABELS else f"{100 * row['gain']:+.1f} [{low:+.1f}, {high:+.1f}]"
        lines.append(f"| {row['method']} | {100 * np.mean(row['top1']):.1f} | {each} | {gain} |")
    title = "Teachers, fitted alike" if len(results["teachers"]) > 1 else "Teacher"
    teachers = f"{title}: {'; '.join(map(_in_words, results['teachers']))}. " if results["teachers"] else ""
    lines += [
        "",
        f"{results['student']}, {results['size']} px, {results['epochs']} epochs; top-1 on {results['photos']} "
        f"validation photos. {teachers}Brackets: 95% intervals, of gains over seeds and photos. "
        f"Trained on {' and '.join(results['cpu'])}.",
    ]
    return "\n".join(lines) + "\n"


def _in_words(teacher: dict[str, Any]) -> str:
    low, high = (100 * value for value in teacher["interval"])
    return f"{teacher['name']}, {100 * teacher['top1']:.1f}% [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
