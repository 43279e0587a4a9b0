"""What each tool against the loss of integers does, by itself: the table in docs/quantization.md.

    python -m attar.benchmarks.studies.quantization runs/a/student runs/b/student [--limit 1000]

For each student, `litert:int8` files by one tool at a time (`attar.export.recovery`), measured on the student's own
validation photos; calibrated, as every export, on its training photos.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

from attar import students
from attar.bundle import read_bundle
from attar.console import say
from attar.data.photos import load_pixels, read_photos
from attar.export.capture_output import captured
from attar.export.export import CALIBRATION
from attar.export.litert import ByPlan, open_runner
from attar.export.plan import RANGES, TOOLS, QuantizationPlan
from attar.export.recovery import divergence
from attar.export.verify import Reference, spread, student_reference
from attar.inference import predict
from attar.metrics import bootstrap_interval, correct
from attar.provenance import data_of

PLANS: dict[str, QuantizationPlan] = {
    **{name: QuantizationPlan(ranges=kind) for kind, name in RANGES.items()},
    **{f"whole ranges, {name}": QuantizationPlan(**change) for name, change in TOOLS},
    "least-squares ranges, all tools": QuantizationPlan(
        ranges="mse", weights="octav", equalize=True, correct_bias=True
    ),
}


@dataclass(frozen=True)
class Cell:
    """One student by one plan: points of top-1 lost, their paired 95% interval, and the divergence in nats."""

    drop: float
    interval: tuple[float, float]
    divergence: float


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", type=Path, nargs="+", help="students' bundles")
    parser.add_argument("--limit", type=int, default=1000, help="validation photos, at most")
    options = parser.parse_args()
    columns = {}
    for path in options.students:
        reference, cells = measure(path, options.limit)
        columns[
            f"{reference.bundle.name}, {reference.bundle.preprocessing.size} px, {len(reference.labels)} photos"
        ] = cells
    print(markdown(columns))


def measure(path: Path, limit: int) -> tuple[Reference, dict[str, Cell]]:
    """One student's column."""
    bundle = read_bundle(path, "student")
    photos = read_photos(data_of(bundle.provenance))
    reference = student_reference(bundle, photos, limit)
    calibration = load_pixels(spread(photos.train, CALIBRATION), bundle.preprocessing)
    model = students.load(bundle)
    answers = predict(model, calibration)
    right = correct(reference.probabilities, reference.labels).astype(float)
    with captured():
        by_plan = ByPlan(model, bundle, "int8", calibration)
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, plan in PLANS.items():
            file = Path(folder) / "int8.tflite"
            with captured():
                by_plan.write(plan, file)
                runner = open_runner(file)
            lost = right - correct(runner.predict(reference.pixels), reference.labels)
            low, high = bootstrap_interval(100 * lost)
            cells[name] = Cell(100 * float(lost.mean()), (low, high), divergence(answers, runner.predict(calibration)))
            say(f"{bundle.name}: {name}: {cells[name].drop:+.2f} points, {cells[name].divergence:.5f} nats")
    return reference, cells


def markdown(columns: dict[str, dict[str, Cell]]) -> str:
    """The table: tools down, students across."""
    lines = [f"| tool | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in PLANS:
        cells = [cells[name] for cells in columns.values()]
        shown = [f"{c.drop:+.2f} [{c.interval[0]:+.2f}, {c.interval[1]:+.2f}], {c.divergence:.5f}" for c in cells]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += [
        "",
        "Points of top-1 that `litert:int8` loses against its student (negative: it gains) on the validation photos, "
        "with the paired 95% bootstrap interval; then the mean Kullback-Leibler divergence from the student's answers "
        f"on the calibration photos, in nats. {os.cpu_count()} cores, {platform.machine()}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
