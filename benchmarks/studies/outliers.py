"""Which score of familiarity tells a student's own photos from others: the table in docs/confidence.md.

    python -m attar.benchmarks.studies.outliers runs/a/student runs/b/student [--json results.json]

A student's validation photos against photos of other things: the other source of real photos (digits, solar cells),
pieces of scikit-learn's two photos, and pictures that any model should find strange, after the unit tests of NINCO
(Bitterwolf et al., arXiv 2306.00826, section 3.3). Scores are fitted on training photos. Larger AUROC is better, and a
smaller FPR95: the share of strange photos that pass where 95% of the student's own do. Intervals are bootstraps over
both kinds of photos. The student runs in PyTorch.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from attar import students
from attar.benchmarks.report.outliers import separation
from attar.bundle import read_bundle
from attar.data.builtin import write_source
from attar.data.photos import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.data.strange import PICTURES, pictures
from attar.export.card import table
from attar.files import scratch, write_json
from attar.preprocessing import Preprocessing
from attar.provenance import data_of
from attar.sampling import spread
from attar.students.familiarity import SCORES, Known
from attar.students.fit_familiarity import classifier_of, features

TRAINING = 2000
"""Training photos that scores are fitted on, at most."""
STRANGE = 500
"""Photos of another source, at most."""
EACH = 32
"""Of each kind of picture."""
PIECES = 64
"""Of each of scikit-learn's photos."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", type=Path, nargs="+", help="students' bundles")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures = {str(path): measured(path) for path in options.students}
    names = list(dict.fromkeys(name for sets in figures.values() for name in sets))
    for path, sets in figures.items():
        print(f"\n{path}\n")
        rows = [["score", *(name for name in names if name in sets)]]
        for score in SCORES:
            rows.append([score, *(_cell(sets[name][score]) for name in names if name in sets)])
        print(table(rows))
    print(f"\nAUROC [95% interval] / FPR95, %. {platform.machine()}, Python {platform.python_version()}.")
    if options.json:
        write_json(options.json, figures)


def measured(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Set of strange photos -> score -> `auroc`, `low`, `high`, `fpr95`."""
    bundle = read_bundle(path, "student")
    photos, how, student = read_photos(data_of(bundle.provenance)), bundle.preprocessing, students.load(bundle)
    chosen = spread(photos.train, TRAINING)
    logits, pooled = features(student, load_pixels(chosen, how))
    weight, bias = classifier_of(student)
    known = Known(logits.amax(1), pooled, torch.from_numpy(labels_of(chosen)), weight, bias)
    scores = {name: kind.fitted(known) for name, kind in SCORES.items()}
    own = features(student, load_pixels(photos.val, how))
    found = {}
    for name, pixels in strange(photos, how):
        other = features(student, pixels)
        found[name] = {
            each: separation(score(*own).flatten().numpy(), score(*other).flatten().numpy())
            for each, score in scores.items()
        }
    return found


def _cell(figures: dict[str, float]) -> str:
    auroc, low, high = (100 * figures[name] for name in ("auroc", "low", "high"))
    return f"{auroc:.1f} [{low:.1f}, {high:.1f}] / {100 * figures['fpr95']:.0f}"


# --- strange photos --------------------------------------------------------------------------------


def strange(photos: Photos, how: Preprocessing) -> Iterator[tuple[str, np.ndarray]]:
    """(Name, uint8 images (N, size, size, 3)) of each set, for a student of these photos."""
    own = {"digits": 10, "elpv": 2}
    with scratch(Path.cwd()) as folder:
        for source, classes in own.items():
            if len(photos.labels) != classes:
                other = read_photos(DataSpec(str(write_source(source, folder))))
                yield source, load_pixels(spread(other.val, STRANGE), how)
    yield "photos", np.stack([how(piece) for piece in pieces()])
    for name in PICTURES:
        yield name, np.stack([how(picture) for picture in pictures(name, EACH)])


def pieces() -> Iterator[Image.Image]:
    """Squares of a Chinese temple and of a flower."""
    rng = np.random.default_rng(0)
    for photo in load_sample_images().images:
        for _ in range(PIECES):
            side = int(rng.integers(120, 400))
            top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
            yield Image.fromarray(photo[top : top + side, left : left + side])


if __name__ == "__main__":
    main()
