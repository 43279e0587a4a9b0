"""The DWSConv head against timm's own: parameters, size and latency by number of classes, accuracy on the solar cells.

    python -m attar.benchmarks.studies.heads --output runs/heads --jobs 2   trains two students per seed
    python -m attar.benchmarks.studies.heads --output runs/heads --no-training   the table of costs alone, minutes

What a head costs does not depend on its weights, so the networks of that table have random ones; each is converted to
litert:fp32 and litert:int8, and all files of a student take turns on one thread. What is timed is the CPU time of that
thread, as in `attar.benchmarks.studies.support`. Accuracy is that of recipes/elpv.yaml's student trained on labels
alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar import students
from attar.benchmarks.latency.host import describe, load_average
from attar.benchmarks.latency.measure import sample_interleaved
from attar.benchmarks.runtimes import litert as runtime
from attar.benchmarks.studies.answers import Answers
from attar.benchmarks.studies.elpv import RECIPE, answers_right, run_attar, settings
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.builtin import photos_of
from attar.data.photos import load_pixels
from attar.export import litert
from attar.export.capture_output import captured
from attar.export.verify import spread
from attar.files import digest_of, read_json, write_json, write_text
from attar.metrics import two_way_interval
from attar.preprocessing import MEAN, STD, Preprocessing
from attar.recipe import read_recipe

HEADS = ("stock", "dwsconv")
CLASSES = (2, 100, 1_000, 10_000)
NAMES = ("mobilenetv3_small_100", "mobilenetv4_conv_small")
PRECISIONS = ("fp32", "int8")
SIZE, CALIBRATION, LOADS, WARM_UP, LEAST = 224, 16, 5, 5, 20


def main() -> None:
    """Measure what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/heads"))
    parser.add_argument("--record", type=Path, help="what students answered; by default OUTPUT/answers.json")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=40.0, help="timing of each student's files")
    parser.add_argument("--no-training", action="store_true", help="only parameters, sizes and latencies")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value of the recipe")
    options = parser.parse_args()
    photos = photos_of(read_recipe(RECIPE).data, options.output / "data")
    images = load_pixels(spread(photos.train, CALIBRATION), Preprocessing(SIZE, 1.0))
    costs = []
    for name in NAMES:
        path = options.output / f"{name}.json"
        if not path.is_file():
            say(f"{name}: converting and timing")
            write_json(path, _costs(name, images, options.output / name, options.seconds))
        costs.append(read_json(path))
    results = {"size": SIZE, "costs": costs, "device": describe(), "accuracy": None}
    if not options.no_training:
        record = Answers(options.record or options.output / "answers.json")
        record.photos = photos
        jobs = [(head, seed) for seed in range(options.seeds) for head in HEADS]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda job: _train(job[0], job[1], options.output, options.set, record), jobs))
        right = {head: np.stack([record.right(f"{head}-{seed}") for seed in range(options.seeds)]) for head in HEADS}
        gain = right["dwsconv"] - right["stock"]
        results["accuracy"] = {
            "student": read_recipe(RECIPE).student.name,
            "photos": len(photos.val),
            "top1": {head: answers.mean(1).tolist() for head, answers in right.items()},
            "gain": float(gain.mean()),
            "gain_interval": list(two_way_interval(gain)),
        }
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def _train(head: str, seed: int, output: Path, more: list[str], record: Answers) -> None:
    bundle, key = output / f"{head}-{seed}", digest_of([head, more])[:16]
    if record.has(bundle.name, key):
        return
    if not (bundle / "bundle.json").is_file():
        words = settings([f"student.head={head}", *more])
        run_attar("distill", RECIPE, "-o", bundle, "--seed", seed, *words, log=output / f"{bundle.name}.log")
        say(f"{head}, seed {seed}: {100 * read_bundle(bundle).metrics['top1']:.1f}%")
    assert record.photos is not None
    record.put(bundle.name, key, answers_right(bundle, record.photos))


def _costs(name: str, images: np.ndarray, folder: Path, seconds: float) -> dict[str, Any]:
    """One backbone with either head at every number of classes -> parameters, bytes and milliseconds."""
    rows, files = [], []
    for classes in CLASSES:
        for head in HEADS:
            bundle = _random(name, head, classes, folder / f"{head}-{classes}")
            student = students.load(bundle)
            paths = {precision: bundle.path / f"{precision}.tflite" for precision in PRECISIONS}
            for precision, path in paths.items():
                if not path.is_file():
                    with captured():
                        content = litert.convert_network(student, bundle, precision, images)
                    path.write_bytes(content)
            files += list(paths.values())
            rows.append(
                {
                    "classes": classes,
                    "head": head,
                    "parameters": sum(p.numel() for p in student.parameters()),
                    "bytes": {precision: path.stat().st_size for precision, path in paths.items()},
                }
            )
    times = iter(_milliseconds(files, images[:1], seconds))
    for row in rows:
        row["milliseconds"] = {precision: next(times) for precision in PRECISIONS}
    return {"name": name, "rows": rows, "load_average": load_average()}


def _random(name: str, head: str, classes: int, folder: Path) -> Bundle:
    if not (folder / "bundle.json").is_file():
        torch.manual_seed(0)
        student = students.create_student(name, classes, head=head).eval()
        labels = [f"class {number}" for number in range(classes)]
        students.save(student, folder, labels=labels, preprocessing=Preprocessing(SIZE, 1.0))
    return read_bundle(folder, "student")


def _milliseconds(files: Sequence[Path], image: np.ndarray, seconds: float) -> list[float]:
    loads = []
    normalized = (image.astype(np.float32) - MEAN) / STD
    for _ in range(LOADS):
        with captured():
            sessions = [runtime.load(str(path), 1) for path in files]
        for path, session in zip(files, sessions):
            session.set_input(normalized if path.stem == "fp32" else (normalized * STD).astype(np.int8))
            for _ in range(WARM_UP):
                session.infer()
        samples = sample_interleaved(sessions, seconds / LOADS, time.thread_time_ns, LEAST)
        loads.append([np.median(taken) / 1e6 for taken in samples])
        for session in sessions:
            session.close()
    return [float(value) for value in np.median(loads, axis=0)]


def markdown(results: dict[str, Any]) -> str:
    """The tables, as docs/results.md shows them."""
    lines = [
        "| student | classes | parameters, M: stock, DWSConv | int8 file, MB: stock, DWSConv "
        "| fp32, ms: stock, DWSConv | int8, ms: stock, DWSConv |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for cost in results["costs"]:
        rows = {(row["classes"], row["head"]): row for row in cost["rows"]}
        for classes in CLASSES:
            pair = [rows[classes, head] for head in HEADS]
            cells = [
                ", ".join(f"{row['parameters'] / 1e6:.2f}" for row in pair),
                ", ".join(f"{row['bytes']['int8'] / 1e6:.2f}" for row in pair),
                *(", ".join(f"{row['milliseconds'][precision]:.2f}" for row in pair) for precision in PRECISIONS),
            ]
            lines.append(f"| {cost['name']} | {classes:,} | {' | '.join(cells)} |")
    device = results["device"]
    lines += ["", f"LiteRT, one thread, {results['size']} px; {device['cpu']}, {device['cores']} cores."]
    if accuracy := results["accuracy"]:
        by_head = {
            head: f"{100 * np.mean(values):.1f}% ({', '.join(f'{100 * v:.1f}' for v in values)})"
            for head, values in accuracy["top1"].items()
        }
        low, high = (100 * value for value in accuracy["gain_interval"])
        lines += [
            "",
            f"Top-1 of {accuracy['student']} on {accuracy['photos']} validation photos of solar cells, trained on "
            f"labels alone: stock {by_head['stock']}, DWSConv {by_head['dwsconv']}; difference "
            f"{100 * accuracy['gain']:+.1f} points [{low:+.1f}, {high:+.1f}].",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
