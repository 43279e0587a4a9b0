"""The most accurate student of the solar cells found under a budget of CPU time: its table in docs/results.md.

    python -m attar.benchmarks.studies.budget --output runs/budget               recipes/elpv-best.yaml, whole
    python -m attar.benchmarks.studies.budget --output runs/budget-short --short     minutes, to see that it works

The budget is the CPU time of everything the student needs: its teacher, the teacher's answers, its own training, on all
cores together, so that it does not depend on how many there are. It drives the command line; what is finished is kept,
and the time of a run that was killed is counted with that of its continuation.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from attar import teachers
from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.elpv import SHORT, answers_right, run_attar, settings
from attar.bundle import read_bundle
from attar.console import say
from attar.data.photos import labels_of, load_pixels, read_photos
from attar.files import read_json, write_json, write_text
from attar.inference import predict
from attar.metrics import bootstrap_interval, correct
from attar.provenance import data_of

RECIPE = Path(__file__).parents[2] / "recipes" / "elpv-best.yaml"
PAPER = 88.42
"""Top-1, %, of the CNN of Deitsch et al. (arXiv 1807.02894, abstract), on another split of the same photos."""


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/budget"))
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seeds", type=int, default=1, help="students, of one teacher")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value of the recipe")
    parser.add_argument("--short", action="store_true", help="one epoch, small images")
    options = parser.parse_args()
    output, more = options.output, settings([*(SHORT if options.short else []), *options.set])
    output.mkdir(parents=True, exist_ok=True)
    steps = {"teacher": ["teach", options.recipe, *more]}
    for seed in range(options.seeds):
        with_teacher = ["--teacher", output / "teacher", "--cache", output / "teacher-cache"]
        steps[f"student-{seed}"] = ["distill", options.recipe, "--seed", seed, *with_teacher, *more]
    for name, words in steps.items():
        _timed(output, name, words, options.threads)
    results = measured(output, [name for name in steps if name != "teacher"])
    write_json(output / "results.json", results)
    write_text(output / "results.md", markdown(results))
    print(markdown(results))


def _timed(output: Path, name: str, words: list[Any], threads: int) -> None:
    """One command, unless it is finished; its CPU seconds are added to those of its earlier attempts."""
    if (output / name / "bundle.json").is_file():
        return
    say(name)
    spent, before, started = output / f"{name}.spent.json", _children(), time.monotonic()
    try:
        run_attar(words[0], words[1], "-o", output / name, *words[2:], log=output / f"{name}.log", threads=threads)
    finally:
        earlier = read_json(spent) if spent.is_file() else {"cpu": 0.0, "wall": 0.0}
        write_json(
            spent, {"cpu": earlier["cpu"] + _children() - before, "wall": earlier["wall"] + time.monotonic() - started}
        )


def _children() -> float:
    """CPU seconds of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(output: Path, names: list[str]) -> dict[str, Any]:
    """Teacher and students on the validation photos, and what each took."""
    fitted, student = read_bundle(output / "teacher", "teacher"), read_bundle(output / names[0], "student")
    photos = read_photos(data_of(fitted.provenance))
    right = correct(
        predict(teachers.load(fitted), load_pixels(photos.val, fitted.preprocessing)), labels_of(photos.val)
    )
    answers = np.stack([answers_right(output / name, photos) for name in names])
    spent = {name: read_json(output / f"{name}.spent.json") for name in ("teacher", *names)}
    return {
        "photos": len(photos.val),
        "device": describe(),
        "teacher": {
            "name": fitted.name,
            "size": fitted.preprocessing.size,
            "top1": float(right.mean()),
            "interval": list(bootstrap_interval(right)),
            "cpu_minutes": spent["teacher"]["cpu"] / 60,
        },
        "student": {
            "name": student.name,
            "size": student.preprocessing.size,
            "epochs": student.provenance["recipe"]["student"]["epochs"],
            "top1": answers.mean(1).tolist(),
            "interval": list(bootstrap_interval(answers.mean(0))),
            "cpu_minutes": float(np.mean([spent[name]["cpu"] for name in names])) / 60,
        },
    }


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    teacher, student, device = results["teacher"], results["student"], results["device"]
    low, high = (100 * value for value in teacher["interval"])
    lines = [
        "| model | input | top-1, % | CPU minutes |",
        "|---|---|---|---:|",
        f"| CNN of Deitsch et al. (VGG-19), another split | | {PAPER} | |",
        f"| teacher: {teacher['name']} | {teacher['size']} px | {100 * teacher['top1']:.1f} [{low:.1f}, {high:.1f}] "
        f"| {teacher['cpu_minutes']:.0f} |",
    ]
    low, high = (100 * value for value in student["interval"])
    each = f" ({', '.join(f'{100 * value:.1f}' for value in student['top1'])})" if len(student["top1"]) > 1 else ""
    lines += [
        f"| {student['name']}, {student['epochs']} epochs | {student['size']} px "
        f"| {100 * np.mean(student['top1']):.1f} [{low:.1f}, {high:.1f}]{each} | {student['cpu_minutes']:.0f} |",
        "",
        f"Top-1 on {results['photos']} validation photos, with 95% bootstrap intervals over photos. CPU minutes of one "
        f"core; the student's are those of one, its teacher's answers with them. {device['cpu']}, {device['cores']} "
        f"cores.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
