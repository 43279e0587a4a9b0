"""Every method of distillation on the solar cells, over several seeds: the table of methods in docs/results.md.

    python -m attar.benchmarks.studies.methods --output runs/methods --jobs 2          all of it: hours on two cores
    python -m attar.benchmarks.studies.methods --output runs/methods-short --short     minutes, to see that it works

One student (recipes/elpv.yaml's MobileNetV3-small, from scratch), one teacher, one cache; what differs is the loss.
Options are the defaults of docs/methods.md, and so are the weights, but for one of `hint` (`_WEIGHTS`), which was tried
on another split of these photos.
It drives the command line, one process and one thread a training run, `--jobs` at a time, and continues where it was
killed.

A gain is measured against the same student trained on labels alone with the same seeds. Its interval holds for other
seeds and other photos (`attar.metrics.two_way_interval`); benchmarks/studies/seeds.py measures how often it does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from attar import teachers
from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.elpv import RECIPE, SHORT, answers_right, run_attar, settings
from attar.bundle import read_bundle
from attar.console import say
from attar.data.photos import labels_of, load_pixels, read_photos
from attar.files import write_json, write_text
from attar.inference import predict
from attar.metrics import bootstrap_interval, correct, two_way_interval
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
    teacher = options.teacher or options.output / "teacher"
    if options.teacher:
        _require_split(teacher, read_recipe(RECIPE, more))
    elif not (teacher / "bundle.json").is_file():
        say("teacher")
        run_attar("teach", RECIPE, "-o", teacher, *settings(more), log=options.output / "teacher.log")
    with ThreadPoolExecutor(options.jobs) as pool:  # seed by seed: what is there early says something of every method
        jobs = [(name, seed) for seed in seeds for name in names]
        list(pool.map(lambda job: _train(job[0], job[1], options.output, teacher, more), jobs))
    results = measured(options.output, teacher, names, seeds)
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def _require_split(teacher: Path, recipe: Recipe) -> None:
    """Refuse a teacher that has learned from photos which its students are judged by."""
    own, asked = data_of(read_bundle(teacher, "teacher").provenance), recipe.data
    if (own.val_fraction, own.seed) != (asked.val_fraction, asked.seed):
        raise SystemExit(
            f"--teacher {teacher}: fitted with data.seed={own.seed} and data.val_fraction={own.val_fraction}, and the "
            f"recipe has {asked.seed} and {asked.val_fraction}. Fit it to the same split, or --set the recipe's."
        )


def _train(name: str, seed: int, output: Path, fitted: Path, more: list[str]) -> None:
    bundle = _folder(output, name, seed)
    if (bundle / "bundle.json").is_file():
        return
    teacher = [] if name == LABELS else ["--teacher", fitted, "--cache", output / "teacher-cache"]
    log = output / f"{bundle.name}.log"
    run_attar("distill", RECIPE, "-o", bundle, "--seed", seed, *teacher, *settings([*METHODS[name], *more]), log=log)
    say(f"{name}, seed {seed}: {100 * read_bundle(bundle).metrics['top1']:.1f}%")


def _folder(output: Path, name: str, seed: int) -> Path:
    return output / f"{name.replace(' + ', '-').replace(' ', '-')}-{seed}"


def measured(output: Path, teacher: Path, names: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Every student on the validation photos, held against the one trained on labels, photo by photo."""
    fitted = read_bundle(teacher, "teacher")
    photos = read_photos(data_of(fitted.provenance))
    right = correct(
        predict(teachers.load(fitted), load_pixels(photos.val, fitted.preprocessing)), labels_of(photos.val)
    )
    by_method = {
        name: np.stack([answers_right(_folder(output, name, seed), photos) for seed in seeds]) for name in names
    }
    student = read_bundle(_folder(output, LABELS, seeds[0]), "student")
    rows = []
    for name, answers in by_method.items():
        gain = answers - by_method[LABELS]
        rows.append(
            {
                "method": name,
                "settings": list(METHODS[name]),
                "top1": answers.mean(1).tolist(),
                "gain": float(gain.mean()),
                "gain_interval": list(two_way_interval(gain)),
            }
        )
    return {
        "photos": len(photos.val),
        "student": student.name,
        "size": student.preprocessing.size,
        "epochs": student.provenance["recipe"]["student"]["epochs"],
        "device": describe(),
        "teacher": {
            "name": fitted.name,
            "size": fitted.preprocessing.size,
            "top1": float(right.mean()),
            "interval": list(bootstrap_interval(right)),
        },
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
    teacher, device = results["teacher"], results["device"]
    low, high = (100 * value for value in teacher["interval"])
    lines += [
        "",
        f"{results['student']}, {results['size']} px, {results['epochs']} epochs; top-1 on {results['photos']} "
        f"validation photos. Teacher: {teacher['name']} at {teacher['size']} px, {100 * teacher['top1']:.1f}% "
        f"[{low:.1f}, {high:.1f}]. Brackets: 95% intervals, of gains over seeds and photos. Trained on "
        f"{device['cpu']}, {device['cores']} cores.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
