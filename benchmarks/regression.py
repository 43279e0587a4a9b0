"""Does the gate tell a regression from noise? A file that is really slower, and twenty runs of one that is not.

    python -m benchmarks.regression --output runs/regression

A MobileNetV3-small is exported twice: at 224 pixels, and at 240, which is 15% more work. The first is measured and
tagged as the baseline. Then it is measured again, twenty times, and the slower one five times, each against the
baseline with `p50 > 1.10x baseline`: side by side with the baseline's file, and from history alone, as where that file
is gone (the baseline is then five runs). Weights are random: latency does not depend on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import export
import students
from attar.console import say
from attar.files import write_json, write_text
from attar.preprocessing import Preprocessing
from attar.recipe import read_recipe
from attar.sources import photos_of
from benchmarks.device import describe
from benchmarks.elpv import RECIPE
from benchmarks.measurement import Measurement, Tracking, measurement

NAME, TARGET, SIZES = "mobilenetv3_small_100", "litert:int8", {"unchanged": 224, "slower": 240}
CONDITION, AGAIN, SLOWER, RUNS = "p50 > 1.10x baseline", 20, 5, 5


def main() -> None:
    """Export, measure, judge, and write results.json and results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/regression"))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    options = parser.parse_args()
    exports = {name: _exported(name, size, options.output) for name, size in SIZES.items()}
    rows = []
    for way, runs in (("side by side", 1), ("from history", RUNS)):
        lab = options.output / f"{way.replace(' ', '-')}.sqlite"
        lab.unlink(missing_ok=True)
        for _ in range(runs):
            _measured(exports["unchanged"], Tracking(lab, tag="baseline"), options)
        place = options.output / "moved"
        if way == "from history":
            exports["unchanged"].rename(place)
            exports = {**exports, "unchanged": place}
        tracking = Tracking(lab, against="baseline", fail_if=(CONDITION,))
        for name, count in (("unchanged", AGAIN), ("slower", SLOWER)):
            found = [_measured(exports[name], tracking, options) for _ in range(count)]
            rows.append(_row(way, name, found))
            say(f"{way}, {name}: {rows[-1]['outcomes']}")
    place.rename(options.output / "unchanged" / "exports")
    results = {"device": describe(), "seconds": options.seconds, "rows": rows}
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def _exported(name: str, size: int, output: Path) -> Path:
    folder = output / name / "exports"
    if not (folder / "manifest.json").is_file():
        torch.manual_seed(0)
        photos = photos_of(read_recipe(RECIPE).data, output / "data")
        student = students.create_student(NAME, len(photos.labels), pretrained=False)
        bundle = students.save(student, output / name, labels=photos.labels, preprocessing=Preprocessing(size, 1.0))
        export.export(bundle, [TARGET], folder, photos=photos, max_drop=100.0)
    return folder


def _measured(exports: Path, tracking: Tracking, options: Any) -> Measurement:
    return measurement(exports, tracking, seconds=options.seconds, output=options.output / "records")


def _row(way: str, name: str, found: Sequence[Measurement]) -> dict[str, Any]:
    judged = [judgement for each in found for judgement in each.judgements]
    outcomes = [judgement.outcome for judgement in judged]
    counts = {kind: outcomes.count(kind) for kind in ("passed", "undecided", "failed")}
    return {
        "way": way, "file": name, "outcomes": counts,
        "ratios": [judgement.ratio.to_json() for judgement in judged],
        "trusted": sum(each.verdict.trusted for each in found),
    }  # fmt: skip


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
    trusted = sum(row["trusted"] for row in results["rows"])
    runs = sum(len(row["ratios"]) for row in results["rows"])
    lines += [
        "",
        f"{CONDITION}; {NAME} as {TARGET}, {results['seconds']:g} s a run, one thread; {results['device']['cpu']}, "
        f"{results['device']['cores']} cores. The verdict trusted the machine in {trusted} of {runs} runs.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
