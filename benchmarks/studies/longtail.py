"""Balanced losses and repeated augmentation on a long tail of real photos: the table in docs/longtail.md.

    python -m attar.benchmarks.studies.longtail --output runs/longtail --jobs 2            minutes on two cores
    python -m attar.benchmarks.studies.longtail --output runs/longtail-short --short       to see that it works

The photos are scikit-learn's handwritten digits, whose classes are equally frequent. Training photos are left out
until class c of C has n0 / ratio^(c / (C - 1)) of them (as Cui et al. make long-tailed CIFAR, arXiv 1901.05555,
section 5.1); all validation photos stay. Students are trained by labels alone. Options are the defaults, and nothing
was tuned on these photos. What is there already is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.latency.host import describe
from attar.benchmarks.report.error_analysis import ALL, groups_of
from attar.benchmarks.studies.batchnorm import QUICKSTART
from attar.benchmarks.studies.elpv import answers_right, run_attar, settings
from attar.bundle import read_bundle
from attar.console import say
from attar.data.builtin import photos_of
from attar.data.photos import Photos, labels_of, read_photos
from attar.files import write_json, write_text
from attar.metrics import two_way_interval
from attar.provenance import data_of
from attar.recipe import DataPart

PLAIN = "cross-entropy"
SETTINGS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "logit_adjusted": ("student.balance=logit_adjusted",),
    "class_balanced": ("student.balance=class_balanced",),
    "repeats: 2": ("views.repeats=2",),
}
RATIO = 50.0
"""Training photos of the largest class over those of the smallest."""


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/longtail"))
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--short", action="store_true", help="one seed, two epochs")
    options = parser.parse_args()
    epochs, seeds = (2, range(1)) if options.short else (options.epochs, range(options.seeds))
    photos = photos_of(DataPart(source="digits"), options.output / "data")
    data = options.output / "longtail.csv"
    write_text(data, _thinned(photos))

    def train(job: tuple[int, str]) -> None:
        seed, name = job
        bundle = _folder(options.output, name, seed)
        if (bundle / "bundle.json").is_file():
            return
        recipe = QUICKSTART
        how = settings([f"student.epochs={epochs}", "student.batch_size=32", *SETTINGS[name]])
        words = ("distill", recipe, "--data", data, "-o", bundle, "--seed", seed, *how)
        run_attar(*words, log=options.output / f"{bundle.name}.log")
        say(f"{name}, seed {seed}: {100 * read_bundle(bundle).metrics['top1']:.1f}%")

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(train, [(seed, name) for seed in seeds for name in SETTINGS]))
    results = measured(options.output, list(seeds))
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def _thinned(photos: Photos) -> str:
    """The long tail as a CSV of path, label and split."""
    labels = labels_of(photos.train)
    counts = np.bincount(labels)
    kept = []
    for label, count in enumerate(counts):
        wanted = round(counts.max() / RATIO ** (label / (len(counts) - 1)))
        kept += [photos.train[i] for i in np.flatnonzero(labels == label)[: min(wanted, count)]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split"])
    for split, chosen in (("train", kept), ("val", photos.val)):
        writer.writerows([photo.path.resolve(), photos.labels[photo.label], split] for photo in chosen)
    return text.getvalue()


def _folder(output: Path, name: str, seed: int) -> Path:
    return output / f"{name.replace(': ', '-')}-{seed}"


def measured(output: Path, seeds: list[int]) -> dict[str, Any]:
    """Every student's recall by group, held against plain cross-entropy, photo by photo."""
    student = read_bundle(_folder(output, PLAIN, seeds[0]), "student")
    photos = read_photos(data_of(student.provenance))
    counts = np.bincount(labels_of(photos.train))
    grouping, group = groups_of(counts)
    right = {name: np.stack([answers_right(_folder(output, name, s), photos) for s in seeds]) for name in SETTINGS}
    rows: list[dict[str, Any]] = []
    for name, answers in right.items():
        row: dict[str, Any] = {"setting": name, "settings": list(SETTINGS[name]), "groups": {}}
        for own in [*dict.fromkeys(group.tolist()), ALL]:
            inside = ((group == own) | (own == ALL))[labels_of(photos.val)]
            gain = (answers - right[PLAIN])[:, inside]
            row["groups"][own] = {
                "recall": answers[:, inside].mean(1).tolist(),
                "gain": float(gain.mean()),
                "gain_interval": list(two_way_interval(gain)),
            }
        rows.append(row)
    return {
        "student": student.name,
        "epochs": student.provenance["recipe"]["student"]["epochs"],
        "grouping": grouping,
        "seeds": len(seeds),
        "trained": counts.tolist(),
        "photos": len(photos.val),
        "device": describe(),
        "rows": rows,
    }


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/longtail.md shows it."""
    groups = list(results["rows"][0]["groups"])
    lines = ["| | " + " | ".join(groups) + " |", "|---|" + "---:|" * len(groups)]
    for row in results["rows"]:
        cells = []
        for group in row["groups"].values():
            low, high = (100 * value for value in group["gain_interval"])
            gain = "" if row["setting"] == PLAIN else f" ({100 * group['gain']:+.1f} [{low:+.1f}, {high:+.1f}])"
            cells.append(f"{100 * np.mean(group['recall']):.1f}{gain}")
        lines.append(f"| {row['setting']} | " + " | ".join(cells) + " |")
    device = results["device"]
    lines += [
        "",
        f"Recall in percent on {results['photos']} validation photos, mean over {results['seeds']} seed(s), and in "
        "parentheses the gain over plain cross-entropy in points with its 95% interval (for other seeds and "
        f"photos). {results['student']}, {results['epochs']} epochs, labels alone; training photos a class: "
        f"{', '.join(map(str, results['trained']))}. Groups: {results['grouping']}. Trained on {device['cpu']}, "
        f"{device['cores']} cores.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
