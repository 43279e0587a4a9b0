"""Does the gate tell a regression from noise? A file that is 15% slower, and twenty runs of one that is not.

    python -m attar.benchmarks.studies.regression --output runs/regression

A MobileNetV3-small is exported, and a copy of its file is made that runs one of its layers several times in a row, as
often as measuring shows that it takes for the whole to be `SLOWER` times as long, in the median of `LOADS` runs. Then
both are measured again and again, the unchanged one `AGAIN` times and the slower one `REGRESSIONS` times, and each time
the gate judges `p50 > 1.10x baseline`: side by side with the baseline's file, and from history alone, as where that
file is gone (the baseline is then `BASELINE` runs). Weights are random: latency does not depend on them.

Times are the CPU's, of the one thread that LiteRT computes in, so that programs beside matter little. They still share
its caches and its clock, and the table says how many there were.
"""

from __future__ import annotations

import argparse
import time
import uuid
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar import students
from attar.benchmarks.latency.gate import Judgement, judge, read_condition
from attar.benchmarks.latency.host import describe, load_average
from attar.benchmarks.latency.intervals import Estimate, ratio_estimate
from attar.benchmarks.latency.measure import BLOCK, measure, now
from attar.benchmarks.latency.record import Record
from attar.benchmarks.runtimes import litert
from attar.benchmarks.studies.elpv import RECIPE
from attar.benchmarks.units import estimate_text
from attar.console import say
from attar.data.builtin import photos_of
from attar.errors import GateError
from attar.export.export import export_student
from attar.export.manifest import read_manifest
from attar.export.tflite.graph import read, write
from attar.export.tflite.layers import DEPTHWISE, kind_of
from attar.files import sha256, write_json, write_text
from attar.preprocessing import Preprocessing
from attar.recipe import read_recipe

NAME, TARGET, SIZE = "mobilenetv3_small_100", "litert:int8", 224
CONDITION, SLOWER = "p50 > 1.10x baseline", 1.15
AGAIN, REGRESSIONS, BASELINE = 20, 10, 5
GUESS, LOADS = 10, 3
"""Repeats of the layer that are tried first, and runs in which the numbers about what is needed are tried."""
CLOSE = 0.015
"""How far from `SLOWER` the file may be: one repeat of the layer more is twice that."""


def main() -> None:
    """Export, measure, judge, and write results.json and results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/regression"))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    options = parser.parse_args()
    unchanged = exported(options.output)
    slower, repeats, ratio = find_slower(unchanged, options.output, options.seconds)
    files = {"unchanged": unchanged, "slower": slower}
    load = [load_average()]
    rows = []
    for way in ("side by side", "from history"):
        by_file = repeated(files, way, options.seconds)
        load.append(load_average())
        rows += [_row(way, name, judgements) for name, judgements in by_file.items()]
        results = {
            "device": describe(),
            "seconds": options.seconds,
            "repeats": repeats,
            "ratio": ratio.to_json(),
            "load": load,
            "rows": rows,
        }
        write_json(options.output / "results.json", results)
        write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def exported(output: Path) -> Path:
    """The unchanged file; made if it is not there."""
    folder = output / "exports"
    if not (folder / "manifest.json").is_file():
        torch.manual_seed(0)
        photos = photos_of(read_recipe(RECIPE).data, output / "data")
        student = students.create_student(NAME, len(photos.labels), pretrained=False)
        bundle = students.save(
            student, output / "student", labels=photos.labels, preprocessing=Preprocessing(SIZE, 1.0)
        )
        export_student(bundle, [TARGET], folder, photos=photos, max_drop=100.0)
    (entry,) = read_manifest(folder).files
    return folder / str(entry.file)


def find_slower(unchanged: Path, folder: Path, seconds: float) -> tuple[Path, int, Estimate]:
    """Make a file that takes `SLOWER` times as long -> its path, the layer's repeats, and the ratio as measured.

    Files with about as many repeats as are needed take turns with the unchanged one; the nearest is chosen.

    Raises:
        GateError: none is near enough.
    """
    (first,) = ratios_of([repeated_layer(unchanged, GUESS, folder)], unchanged, 1, 2 * seconds)
    about = max(2, round(GUESS * (SLOWER - 1) / max(first.value - 1, 0.01)))
    candidates = {number: repeated_layer(unchanged, number, folder) for number in range(about - 1, about + 2)}
    ratios = dict(zip(candidates, ratios_of(list(candidates.values()), unchanged, LOADS, 3 * seconds)))
    for number, ratio in ratios.items():
        say(f"The layer {number} times more: {estimate_text(ratio)} times as long.")
    repeats, ratio = min(ratios.items(), key=lambda each: abs(each[1].value - SLOWER))
    if abs(ratio.value - SLOWER) > CLOSE:
        raise GateError(f"No file takes {SLOWER} times as long, as far as can be measured here. Is the machine idle?")
    return candidates[repeats], repeats, ratio


def ratios_of(paths: Sequence[Path], unchanged: Path, loads: int, seconds: float) -> list[Estimate]:
    """How many times as long files take as the unchanged one: the median of some runs, the least and the most."""
    values = []
    for _ in range(loads):
        *slow, base = run([*paths, unchanged], seconds)
        values.append([ratio_estimate(each.rounds, base.rounds).value for each in slow])
    return [Estimate(float(np.median(each)), min(each), max(each)) for each in zip(*values)]


def repeated_layer(unchanged: Path, repeats: int, folder: Path) -> Path:
    """Write the file with a layer that runs more often -> its path."""
    path = folder / f"repeats-{repeats}.tflite"
    path.write_bytes(with_repeats(unchanged.read_bytes(), repeats))
    return path


def with_repeats(content: bytes, repeats: int) -> bytes:
    """A .tflite file whose last depthwise convolution of equal input and output runs more often, each on the last's."""
    model = read(content)
    graph = model.subgraphs[0]
    place, layer = max(
        (place, each)
        for place, each in enumerate(graph.operators)
        if kind_of(model, each) == DEPTHWISE
        and tuple(graph.tensors[each.inputs[0]].shape) == tuple(graph.tensors[each.outputs[0]].shape)
    )
    given = int(layer.inputs[0])
    for number in range(repeats):
        tensor, again = copy(graph.tensors[layer.inputs[0]]), copy(layer)
        tensor.name = f"repeat {number}".encode()
        graph.tensors.append(tensor)
        again.inputs = np.array([given, *layer.inputs[1:]], np.int32)
        given = len(graph.tensors) - 1
        again.outputs = np.array([given], np.int32)
        graph.operators.insert(place + number, again)
    layer.inputs = np.array([given, *layer.inputs[1:]], np.int32)
    return write(model)


def repeated(files: dict[str, Path], way: str, seconds: float) -> dict[str, list[Judgement]]:
    """What the gate says of each file in every run: two of the unchanged one, then one of the slower, and again."""
    condition = read_condition(CONDITION)
    alone = way == "from history"
    baseline = [record for _ in range(BASELINE if alone else 1) for record in run([files["unchanged"]], seconds)]
    judgements: dict[str, list[Judgement]] = {name: [] for name in files}
    for turn in range(AGAIN + REGRESSIONS):
        name = "slower" if turn % 3 == 2 else "unchanged"
        new, *beside = run([files[name]] if alone else [files[name], files["unchanged"]], seconds)
        judgements[name] += judge(new, baseline, beside[0] if beside else None, [condition])
        say(f"{way}, {name}: {judgements[name][-1].outcome}, {estimate_text(judgements[name][-1].ratio)}")
    return judgements


def run(files: Sequence[Path], seconds: float) -> list[Record]:
    """Load the files anew and time them in turns, by the CPU time of this thread."""
    measured = measure([("litert", path) for path in files], 1, seconds, clock=time.thread_time_ns)
    about: dict[str, Any] = {
        "target": TARGET,
        "runtime": {"name": litert.NAME, "version": litert.version()},
        "device": describe(),
        "threads": 1,
        "measured": now(),
        "load": (),
        "first": (),
        "peak_memory": None,
        "partitions": None,
        "conditions": {"clock": "CPU time of the thread"},
        "run": uuid.uuid4().hex,
        "block": BLOCK,
    }
    return [
        Record(
            file=path.name,
            sha256=sha256(path),
            bytes=path.stat().st_size,
            warmup=warmup.runs,
            samples=tuple(samples),
            **about,
        )
        for path, warmup, samples in zip(files, measured.warmups, measured.samples)
    ]


def _row(way: str, name: str, judgements: Sequence[Judgement]) -> dict[str, Any]:
    outcomes = [judgement.outcome for judgement in judgements]
    counts = {kind: outcomes.count(kind) for kind in ("passed", "undecided", "failed")}
    ratios = [judgement.ratio.to_json() for judgement in judgements]
    return {"way": way, "file": name, "outcomes": counts, "ratios": ratios}


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/latency.md shows it."""
    lines = [
        "| compared | file | runs | failed | undecided | passed | ratio, median of runs | smallest, largest |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results["rows"]:
        values = [ratio["value"] for ratio in row["ratios"]]
        counts = [row["outcomes"][kind] for kind in ("failed", "undecided", "passed")]
        lines.append(
            f"| {row['way']} | {row['file']} | {len(values)} | {' | '.join(map(str, counts))} "
            f"| {np.median(values):.3f} | {min(values):.3f}, {max(values):.3f} |"
        )
    made, load = results["ratio"], [each for each in results["load"] if each is not None]
    busy = f" Load average {min(load):.1f} to {max(load):.1f}." if load else ""
    lines += [
        "",
        f"{CONDITION}; {NAME} as {TARGET}, {results['seconds']:g} s a run, one thread, its CPU time; "
        f"{results['device']['cpu']}, {results['device']['cores']} cores.{busy} The slower file runs one layer "
        f"{results['repeats']} times more: {made['value']:.3f} times as long when it was made, in {LOADS} runs from "
        f"{made['low']:.3f} to {made['high']:.3f}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
