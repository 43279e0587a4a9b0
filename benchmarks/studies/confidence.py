"""Whether what files say of their confidence holds on other photos: the table in docs/confidence.md.

    python -m attar.benchmarks.studies.confidence runs/a/exports runs/b/exports [--splits 20]

The validation photos of each exports folder are halved at random, again and again. On one half a temperature and the
thresholds are fitted to a file's answers, as `attar distill` and `attar export` do it on all; on the other half the
calibration error, the share and precision of sure answers, and the coverage of the sets are counted. The least
calibration error that so many photos can show is that of a model whose answers are right exactly as often as it says.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from attar.bundle import read_bundle
from attar.data.photos import labels_of, load_pixels, read_photos
from attar.export.capture_output import captured
from attar.export.card import table
from attar.export.decision import COVERAGE, PRECISION, decide, members
from attar.export.manifest import read_manifest
from attar.export.runners import open_runner
from attar.metrics import error_of_confidence
from attar.provenance import data_of
from attar.runfolder import beside
from attar.temperature import TEMPERATURES, at_temperatures, fit, log_sums

SPLITS = 20
DRAWS = 200
"""Of right answers, to know what calibration error chance alone makes."""


@dataclass(frozen=True)
class Half:
    """What one half of the photos shows of what was fitted on the other.

    Attributes:
        before: calibration error of the file's answers as they are.
        after: at the temperature of the other half.
        chance: mean calibration error of answers that are right exactly as often as that says.
        share: of the photos whose answer is sure.
        right: sure answers that are right, and how many are sure.
        held: photos whose set holds their label, and how many there are.
        size: mean number of labels in a set.
    """

    before: float
    after: float
    chance: float
    share: float
    right: tuple[int, int]
    held: tuple[int, int]
    size: float


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, nargs="+", help="exports folders of runs")
    parser.add_argument("--splits", type=int, default=SPLITS, help="random halves of the photos")
    options = parser.parse_args()
    rows = [HEAD]
    for folder in options.exports:
        for name, probabilities, labels in answers_of(folder):
            halves = [halved(probabilities, labels, seed) for seed in range(options.splits)]
            rows.append([f"{folder.resolve().parent.name}, {name}", str(len(labels)), *cells(halves)])
    print(table(rows))
    print(f"\n{options.splits} random halves; {platform.machine()}, Python {platform.python_version()}.")


def answers_of(exports: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(target, probabilities on all validation photos, labels) of each file; photos are the student's own."""
    manifest = read_manifest(exports)
    student = read_bundle(beside(exports, "student") or exports / manifest.bundle["path"], "student")
    photos = read_photos(data_of(student.provenance))
    pixels, labels = load_pixels(photos.val, student.preprocessing), labels_of(photos.val)
    found = []
    for entry in manifest.files:
        with captured():
            found.append((entry.target, open_runner(exports / entry.file).predict(pixels), labels))
    return found


def halved(probabilities: np.ndarray, labels: np.ndarray, seed: int) -> Half:
    """Fit on one half, count on the other."""
    order = np.random.default_rng(seed).permutation(len(labels))
    one, other = order[: len(order) // 2], order[len(order) // 2 :]
    right = probabilities.argmax(1) == labels
    at = at_temperatures(probabilities.max(1), log_sums(probabilities))
    place = fit(at[one], right[one])
    tempered = probabilities.astype(np.float64) ** (1 / TEMPERATURES[place])
    tempered /= tempered.sum(1, keepdims=True)
    decision = decide(tempered[one], labels[one])
    fresh, theirs, confidence = tempered[other], right[other], at[other, place]
    threshold = decision["sure"]["threshold"]
    sure = confidence >= (2.0 if threshold is None else threshold)
    inside = members(fresh, None, decision["set"]["threshold"])
    held = inside[np.arange(len(fresh)), labels[other]]
    return Half(
        error_of_confidence(probabilities[other].max(1), theirs),
        error_of_confidence(confidence, theirs),
        _by_chance(confidence, seed),
        float(sure.mean()),
        (int(theirs[sure].sum()), int(sure.sum())),
        (int(held.sum()), len(held)),
        float(inside.sum(1).mean()),
    )


def _by_chance(confidence: np.ndarray, seed: int) -> float:
    draws = np.random.default_rng(seed).random((DRAWS, len(confidence))) < confidence
    return float(np.mean([error_of_confidence(confidence, drawn) for drawn in draws]))


HEAD = [
    "student, file",
    "photos",
    "ECE before",
    "after",
    "by chance",
    "sure of",
    "of these right",
    f"splits at {100 * PRECISION:g}%",
    "sets hold",
    f"splits at {100 * COVERAGE:g}%",
    "labels in a set",
]


def cells(halves: Sequence[Half]) -> list[str]:
    """A row of the table: means over the splits, and of how many the promise is inside the exact 95% interval."""
    percent = lambda values: f"{100 * np.mean(values):.1f}%"  # noqa: E731
    known = [half for half in halves if half.right[1]]
    right = sum(half.right[0] for half in known) / max(sum(half.right[1] for half in known), 1)
    return [
        percent([half.before for half in halves]),
        percent([half.after for half in halves]),
        percent([half.chance for half in halves]),
        percent([half.share for half in halves]),
        percent([right]) if known else "",
        f"{sum(_kept(half.right, PRECISION) for half in known)} of {len(known)}",
        percent([half.held[0] / half.held[1] for half in halves]),
        f"{sum(_kept(half.held, COVERAGE) for half in halves)} of {len(halves)}",
        f"{np.mean([half.size for half in halves]):.2f}",
    ]


def _kept(counted: tuple[int, int], share: float) -> bool:
    """Whether a promise is not broken beyond chance: the exact 95% interval of what was counted reaches it."""
    return bool(binomtest(*counted, share).proportion_ci(0.95, "exact").high >= share)


if __name__ == "__main__":
    main()
