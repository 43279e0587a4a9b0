"""Heads and teachers at a hundred to ten thousand classes: the tables of many classes in docs/results.md.

    python -m attar.benchmarks.studies.manyclasses heads --classes 1000 --output runs/many --jobs 2     hours
    python -m attar.benchmarks.studies.manyclasses teachers --classes 1000 --output runs/many --jobs 2  hours
    python -m attar.benchmarks.studies.manyclasses heads --classes 100 --output runs/many --short       minutes

Students of photos of Han characters (recipes/han.yaml, docs/han.md), judged on typefaces that training never shows.
`heads` trains one student with each head by labels alone, and writes the int8 file of each. `teachers` trains it by
labels alone and with a teacher, by several methods, on a long tail of photos per class. Epochs fall with the number of
classes (`EPOCHS`), as photos rise.

It drives the command line, one process and one thread for each training run, `--jobs` at a time, and goes on where it
was killed. What models answered is kept in one file (`--record`): with that file the study goes on on another machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.studies.answers import Answers
from attar.benchmarks.studies.elpv import fit_teacher, run_attar, settings
from attar.benchmarks.studies.methods import METHODS
from attar.bundle import read_bundle
from attar.console import say
from attar.data.han.source import HanSpec, chosen
from attar.data.han.typefaces import installed
from attar.data.photos import Photo, labels_of, load_pixels, read_photos
from attar.export.capture_output import captured
from attar.export.manifest import read_manifest
from attar.export.runners import open_runner
from attar.files import digest_of, write_json, write_text
from attar.inference import predict
from attar.metrics import correct, two_way_interval
from attar.provenance import data_of

RECIPE = Path(__file__).parents[2] / "recipes" / "han.yaml"

EPOCHS = {100: 60, 1000: 20, 3755: 10, 10_000: 8}
"""Classes -> epochs of a student: enough that it has all but settled, as few as two cores can bear."""
SEEDS = {100: 3, 1000: 3, 3755: 2, 10_000: 2}

HEADS: dict[str, tuple[str, ...]] = {
    "dwsconv": (),
    "stock": ("student.head=stock",),
    "dwsconv 256": ("student.head_width=256",),
    "dwsconv 1024": ("student.head_width=1024",),
    "dwsconv 5x5": ("student.head_options={kernel_size: 5}",),
    "pooled": ("student.head=pooled",),
    "lowrank": ("student.head=lowrank",),
}
"""Head -> how the recipe differs; the first is what the others are held against."""

ALONE = "labels alone"
TEACHERS: dict[str, tuple[str, ...]] = {name: METHODS[name] for name in (ALONE, "kd", "dkd", "dist")}
"""Method -> how the recipe differs."""

PARTS = {"heads": HEADS, "teachers": TEACHERS}
SHORT = (
    "student.epochs=1",
    "teacher.epochs=1",
    "views.count=1",
    "data.options={classes: 20, photos: 4, val_photos: 2}",
)
THIRDS = ("head", "middle", "tail")


@dataclass(frozen=True)
class Job:
    """One student."""

    part: str
    variant: str
    classes: int
    seed: int
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Also of its folder."""
        return f"{self.part}-{self.classes}-{self.variant.replace(' + ', '-').replace(' ', '-')}-{self.seed}"

    @property
    def sets(self) -> list[str]:
        """How the recipe differs."""
        return [*common(self.part, self.classes), *PARTS[self.part][self.variant], *self.more]

    @property
    def key(self) -> str:
        """What it is trained anew for when it changes."""
        return digest_of(self.sets)[:16]


def common(part: str, classes: int) -> list[str]:
    """What all students of a table share, and their teacher."""
    photos = (
        f"data.options={{classes: {classes}, photos: {60 if part == 'teachers' else 20}, tail: {part == 'teachers'}}}"
    )
    return [photos, f"student.epochs={EPOCHS[classes]}"]


def main() -> None:
    """Train what is missing, then write the results and their table into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--classes", type=int, choices=EPOCHS, default=1000)
    parser.add_argument("--output", type=Path, default=Path("runs/manyclasses"))
    parser.add_argument("--record", type=Path, help="what models answered; by default OUTPUT/answers.json")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time")
    parser.add_argument("--seeds", type=int, help="by default three up to 1,000 classes, then two")
    parser.add_argument("--variant", action="append", help="only this one, beside the first; may be repeated")
    parser.add_argument("--short", action="store_true", help="one seed, one epoch, 20 classes")
    options = parser.parse_args()
    variants = list(PARTS[options.part])
    for each in options.variant or ():
        if each not in variants:
            parser.error(f"--variant {each!r}: choose one of {', '.join(variants)}.")
    wanted = [name for name in variants if not options.variant or name in (variants[0], *options.variant)]
    seeds = range(1 if options.short else options.seeds or SEEDS[options.classes])
    more = SHORT if options.short else ()
    jobs = [Job(options.part, name, options.classes, seed, more) for seed in seeds for name in wanted]
    options.output.mkdir(parents=True, exist_ok=True)
    record = Answers(options.record or options.output / "answers.json")
    train_missing(jobs, options.output, options.jobs, record)
    results = measured(record, jobs)
    name = f"{options.part}-{options.classes}"
    write_json(options.output / f"{name}.json", results)
    write_text(options.output / f"{name}.md", markdown(results))
    print(markdown(results))


def train_missing(jobs: Sequence[Job], output: Path, workers: int, record: Answers) -> None:
    """Train the students whose answers are not in the record."""
    missing = [job for job in jobs if not record.has(job.name, job.key)]
    if not missing:
        return
    teacher = None
    if missing[0].part == "teachers":
        sets = [*common("teachers", missing[0].classes), *missing[0].more]
        teacher = fit_teacher(output / f"teacher-{missing[0].classes}", sets, RECIPE)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda job: _train(job, output, teacher, record), missing))


def _train(job: Job, output: Path, teacher: Path | None, record: Answers) -> None:
    bundle = output / job.name
    taught = teacher is not None and job.variant != ALONE
    if not (bundle / "bundle.json").is_file():
        words: list[object] = (
            ["--teacher", teacher, "--cache", output / f"teacher-cache-{job.classes}"] if taught else []
        )
        words += ["-o", bundle, "--seed", job.seed, *settings(job.sets)]
        run_attar("distill", RECIPE, *words, log=output / f"{job.name}.log")
        say(f"{job.name}: {100 * read_bundle(bundle).metrics['top1']:.1f}%")
    about = _about(bundle, teacher if taught else None)
    if job.part == "heads":
        about |= _integers(bundle, output / f"{job.name}-exports")
    record.put(job.name, job.key, _answers(bundle), **about)


def _about(bundle: Path, teacher: Path | None) -> dict[str, Any]:
    student = read_bundle(bundle, "student")
    recipe = student.provenance["recipe"]["student"]
    return {
        "classes": len(student.labels),
        "student": student.name,
        "size": student.preprocessing.size,
        "epochs": recipe["epochs"],
        "trained_on": student.provenance["data"]["train"],
        "parameters": sum(array.numel() for name, array in student.state_dict().items() if _is_parameter(name)),
        "teacher_top1": read_bundle(teacher, "teacher").metrics["top1"] if teacher else None,
    }


def _is_parameter(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def _answers(bundle: Path) -> np.ndarray:
    """Whether a student is right, for each validation photo; classes with most photos first."""
    from attar import students

    student = read_bundle(bundle, "student")
    photos = _by_frequency(student.provenance["data"])
    pixels = load_pixels(photos, student.preprocessing)
    return correct(predict(students.load(student), pixels), labels_of(photos))


def _integers(bundle: Path, exports: Path) -> dict[str, Any]:
    """The int8 file of a student: its size, and how often it is right on the same photos."""
    if not (exports / "manifest.json").is_file():
        words = ["-t", "litert:int8", "--max-drop", "100", "-o", exports]
        run_attar("export", bundle, *words, log=exports.with_suffix(".log"))
    [entry] = read_manifest(exports).files
    student = read_bundle(bundle, "student")
    photos = _by_frequency(student.provenance["data"])
    with captured():
        runner = open_runner(exports / entry.file)
        answers = runner.predict(load_pixels(photos, student.preprocessing))
    return {"int8_bytes": entry.bytes, "int8_top1": float(correct(answers, labels_of(photos)).mean())}


def _by_frequency(data: Mapping[str, Any]) -> list[Photo]:
    """The validation photos, those of the most frequent characters first."""
    photos = read_photos(data_of({"data": data}))
    spec = HanSpec(classes=len(photos.labels))
    rank = {each.character: each.number for each in chosen(spec, installed())}
    return sorted(photos.val, key=lambda photo: rank[photos.labels[photo.label]])


def measured(record: Answers, jobs: Sequence[Job]) -> dict[str, Any]:
    """Every variant on the validation photos, held against the first one, photo by photo."""
    by_variant: dict[str, list[Job]] = {}
    for job in jobs:
        by_variant.setdefault(job.variant, []).append(job)
    right = {name: np.stack([record.right(job.name) for job in own]) for name, own in by_variant.items()}
    first = next(iter(right.values()))
    rows = []
    for name, own in by_variant.items():
        gain = right[name] - first
        names = [job.name for job in own]
        row = {
            "variant": name,
            "top1": right[name].mean(1).tolist(),
            "gain": float(gain.mean()),
            "gain_interval": list(two_way_interval(gain)),
            "thirds": [part.mean().item() for part in np.array_split(right[name], 3, axis=1)],
            "parameters": record.about(names, "parameters")[0],
        }
        if jobs[0].part == "heads":
            row["int8_bytes"] = max(record.about(names, "int8_bytes"))
            row["int8_top1"] = [record.about([each], "int8_top1")[0] for each in names]
        rows.append(row)
    names = [job.name for job in jobs]
    facts = {key: record.about(names, key)[0] for key in ("classes", "student", "size", "epochs", "trained_on")}
    taught = [job.name for job in jobs if jobs[0].part == "teachers" and job.variant != ALONE]
    return {
        "part": jobs[0].part,
        "validation": first.shape[1],
        "cpu": record.about(names, "cpu"),
        "teachers": record.about(taught, "teacher_top1"),
        **facts,
        "rows": rows,
    }


def markdown(results: Mapping[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    heads = results["part"] == "heads"
    against = results["rows"][0]["variant"]
    own = "parameters, M | int8 file, MB | int8, % |" if heads else "head, middle, tail, % |"
    lines = [
        f"| {'head' if heads else 'method'} | top-1, % | against {against}, points | {own}",
        "|---|---:|---:|" + ("---:|---:|---:|" if heads else "---:|"),
    ]
    for row in results["rows"]:
        each = ", ".join(f"{100 * value:.1f}" for value in row["top1"])
        low, high = (100 * value for value in row["gain_interval"])
        gain = "" if row["variant"] == against else f"{100 * row['gain']:+.1f} [{low:+.1f}, {high:+.1f}]"
        cells = [row["variant"], f"{100 * np.mean(row['top1']):.1f} ({each})", gain]
        if heads:
            cells += [f"{row['parameters'] / 1e6:.2f}", f"{row['int8_bytes'] / 1e6:.2f}"]
            cells.append(f"{100 * np.mean(row['int8_top1']):.1f}")
        else:
            cells.append(", ".join(f"{100 * value:.1f}" for value in row["thirds"]))
        lines.append("| " + " | ".join(cells) + " |")
    teachers = ", ".join(f"{100 * value:.1f}%" for value in results["teachers"])
    lines += [
        "",
        f"{results['classes']:,} classes, {results['trained_on']:,} training photos; {results['student']}, "
        f"{results['size']} px, {results['epochs']} epochs; top-1 on {results['validation']:,} validation photos of "
        f"other typefaces. {f'Teacher: {teachers}. ' if teachers else ''}Brackets: 95% intervals over seeds and "
        f"photos. Trained on {' and '.join(results['cpu'])}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
