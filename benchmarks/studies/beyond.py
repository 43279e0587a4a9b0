"""Whether the loss `beyond` makes a student that knows better what it does not know: a section of docs/familiarity.md.

    python -m attar.benchmarks.studies.beyond --output runs/familiarity     half an hour on one core
    python -m attar.benchmarks.studies.beyond --seeds 0                     write the page of what is recorded

Students of handwritten digits, a third of the classes held out, as in `attar.benchmarks.studies.familiarity`. Each is
trained with and without `beyond`: same photos, first weights and teacher, five times with other classes held out. Two
teachers: EfficientNet-Lite0 with ImageNet's weights, of which only the classifier is fitted, so that it has seen photos
of many kinds, as the paper's teacher has; and the quickstart's, trained on these digits alone.

The rule, set before anything was measured: `beyond` helps if it raises the AUROC of the default score on the held-out
classes (near), or on photos of other things (far), beyond chance: the 95% interval of the paired differences over seeds
(Student's t) lies above zero. What decides is attar's default objective, labels and `kd`, with the first teacher.

Killed, it goes on when started again: teachers and students that are there are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attar import students, teachers
from attar.benchmarks.inputs import photos_at
from attar.benchmarks.latency.host import describe
from attar.benchmarks.report.outliers import fpr95
from attar.benchmarks.studies.elpv import CHECKPOINT
from attar.benchmarks.studies.familiarity import BEYOND, RECIPE, ROOT, SEEDS, SOURCES, far, prepared, write_page
from attar.benchmarks.studies.familiarity_page import HELD
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.images import use_rgb
from attar.data.photos import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student
from attar.distill.losses.beyond import Residual
from attar.files import read_json, write_json
from attar.inference import to_tensor
from attar.metrics import auroc
from attar.preprocessing import Preprocessing
from attar.recipe import DistillSpec, read_recipe
from attar.students.familiarity import Familiarity, Known
from attar.students.fit_familiarity import classifier_of, features
from attar.teachers.fit import teach
from attar.teachers.linear_probe import features_of, solve
from attar.teachers.teacher import Teacher

SCORED = ("relative", "mahalanobis", "vim", "energy")
"""The default score, two of distances, where the paper finds the largest gains, and one of logits."""
DIGITS = SOURCES[0]

KD = {"name": "kd", "weight": 0.7}
WITH = {"name": "beyond", "weight": 1.0}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "labels": {"losses": [{**KD, "weight": 0.0}], "label_weight": 1.0},
    "labels + beyond": {"losses": [WITH], "label_weight": 1.0},
    "kd": {"losses": [KD], "label_weight": 0.3},
    "kd + beyond": {"losses": [KD, WITH], "label_weight": 0.3},
}
"""What a student is trained for; each is followed by the same with `beyond`, at the paper's weight."""
PARTS = (
    ("imagenet", ("kd + beyond", "kd")),
    ("imagenet", ("labels + beyond", "labels")),
    ("digits", ("kd + beyond", "kd")),
)
"""Teachers and objectives, in the order in which they are measured: what decides comes first, and what reads most of a
teacher, so that it runs once."""
EPOCHS, VIEWS = 20, 4
SIZE = 64
"""Side of the images that the first teacher takes, pixels."""


Run = Callable[[np.ndarray], tuple[torch.Tensor, torch.Tensor]]
"""uint8 images (N, S, S, 3) -> logits (N, classes) and pooled features (N, D)."""


@dataclass(frozen=True)
class Pictures:
    """Photos as a model takes them, uint8 (N, S, S, 3); labels int64 (N,).

    Attributes:
        others: photos of none of its classes, by set.
    """

    train: np.ndarray
    labels: torch.Tensor
    val: np.ndarray
    val_labels: np.ndarray
    others: Mapping[str, np.ndarray]


def main() -> None:
    """Measure what is missing, write the record after every model, and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/familiarity"))
    parser.add_argument("--record", type=Path, default=BEYOND)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "familiarity.md")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    record: dict[str, Any] = read_json(options.record) if options.record.is_file() else {"models": {}}
    for (teacher, objectives), seed in ((part, seed) for part in PARTS for seed in range(options.seeds)):
        for name, row in measured(teacher, objectives, seed, options.output, record["models"]):
            record["models"][name] = row
            record |= {"machine": describe(), "epochs": EPOCHS, "views": VIEWS}
            write_json(options.record, record)
    write_page(options.page, beyond=options.record)


def measured(
    teacher: str, objectives: Sequence[str], seed: int, output: Path, before: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is missing in `before` of a teacher and of the students that learn from it, by `"TEACHER MODEL SEED"`."""
    names = {model: f"{teacher} {model} {seed}" for model in ("teacher", *objectives)}
    if all(name in before for name in names.values()):
        return
    folder = output / f"{DIGITS.name}-{seed}"
    held = prepared(DIGITS, seed, output, folder)
    photos = read_photos(DataSpec(str(folder / "photos")))
    others = {HELD: folder / "held", **{place.name: place for place in far(DIGITS, output)}}
    fitted = _teacher(teacher, seed, photos, folder)
    if names["teacher"] not in before:
        say(names["teacher"])
        yield names["teacher"], {"held": held, **_of_teacher(fitted, pictures(photos, others, fitted.preprocessing))}
    seen: Pictures | None = None
    for objective in objectives:
        if names[objective] in before:
            continue
        say(names[objective])
        student = _student(objective, fitted, seed, photos, folder / teacher)
        seen = seen or pictures(photos, others, student.preprocessing)
        yield names[objective], _of_student(student, seen)


def _teacher(name: str, seed: int, photos: Photos, folder: Path) -> Bundle:
    place = folder / name / "teacher"
    if (place / "bundle.json").is_file():
        return read_bundle(place, "teacher")
    if name == "imagenet":
        return _probed(photos, place)
    spec = read_recipe(RECIPE).teacher
    assert spec is not None
    return teach(photos, spec, place, views=_views(), seed=seed)


def _probed(photos: Photos, place: Path) -> Bundle:
    """EfficientNet-Lite0 with a classifier of its own, as `teacher.method: probe` makes it, but for `SIZE` pixels.

    At the 224 that its weights came with, its views would take most of the study's time.
    """
    made = teachers.create_teacher("tf_efficientnet_lite0", len(photos.labels), checkpoint=CHECKPOINT, crop=1.0)
    teacher = Teacher(made.network, {**made.architecture, "size": SIZE})
    weight, bias, about = solve(
        features_of(teacher, photos.train, place.with_name("features")), labels_of(photos.train)
    )
    layer: Any = teacher.network.get_classifier()  # type: ignore[operator]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return teachers.save(teacher.eval(), place, labels=photos.labels, provenance={"probe": about})


def _student(objective: str, teacher: Bundle, seed: int, photos: Photos, folder: Path) -> Bundle:
    place = folder / objective.replace(" + ", "-")
    if (place / "bundle.json").is_file():
        return read_bundle(place, "student")
    recipe = read_recipe(RECIPE).student.model_dump(exclude={"loss", "temperature", "weight"})
    spec = DistillSpec(**{**recipe, **OBJECTIVES[objective], "epochs": EPOCHS, "min_steps": 0})
    return distill_student(
        photos, spec, place, teacher=teacher, views=_views(), cache=folder / "teacher-cache", seed=seed
    )


def _views() -> ViewPolicy:
    return ViewPolicy(**{**read_recipe(RECIPE).views.to_json(), "count": VIEWS})


# --- what is measured ---------------------------------------------------------------------------------


def pictures(photos: Photos, others: Mapping[str, Path], how: Preprocessing) -> Pictures:
    """Training and validation photos, and folders of others, as a model takes them."""
    read = {name: np.stack([use_rgb(how, p.path, p.part) for p in photos_at([at])]) for name, at in others.items()}
    train, val = (load_pixels(part, how, "Reading photos") for part in (photos.train, photos.val))
    labels = torch.from_numpy(labels_of(photos.train))
    return Pictures(train, labels, val, labels_of(photos.val), read)


def _of_student(bundle: Bundle, seen: Pictures) -> dict[str, Any]:
    student = students.load(bundle)
    return separated(lambda pixels: features(student, pixels), classifier_of(student), seen)


def _of_teacher(bundle: Bundle, seen: Pictures) -> dict[str, Any]:
    """The same of a teacher, and how much of its features' variance lies beyond the classes."""
    teacher: Any = teachers.load(bundle)

    @torch.no_grad()
    def run(pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [teacher.outputs(batch) for batch in to_tensor(pixels).split(64)]
        logits, pooled = (torch.cat([part[kind] for part in parts]) for kind in ("logits", "pooled"))
        return logits, pooled

    layer = teacher.network.get_classifier()
    row = separated(run, (layer.weight.detach(), layer.bias.detach()), seen)
    _, pooled = run(seen.train)
    return {**row, "beyond": Residual(pooled.shape[1], len(layer.bias)).fit(pooled, seen.labels)}


def separated(run: Run, classifier: tuple[torch.Tensor, torch.Tensor], seen: Pictures) -> dict[str, Any]:
    """`top1`, `rank` of the features, and by score and set of others `auroc` and `fpr95`.

    Args:
        run: the model.
        classifier: weight (classes, D) and bias (classes,) of what gives the logits.
        seen: the photos.
    """
    logits, pooled = run(seen.train)
    known = Known(logits.amax(1), pooled, seen.labels, *classifier)
    own = run(seen.val)
    others = {name: run(pixels) for name, pixels in seen.others.items()}
    scores: dict[str, Any] = {}
    for score in SCORED:
        familiarity = Familiarity.fitted(score, known, [own]).score
        of_own = familiarity(*own).flatten().numpy()
        scores[score] = {}
        for name, outputs in others.items():
            of_others = familiarity(*outputs).flatten().numpy()
            apart = {"auroc": auroc(of_own, of_others), "fpr95": fpr95(of_own, of_others)}
            scores[score][name] = {key: round(value, 5) for key, value in apart.items()}
    right = (own[0].argmax(1).numpy() == seen.val_labels).mean()
    return {"top1": round(float(right), 5), "rank": round(effective_rank(known.pooled), 3), "scores": scores}


def effective_rank(features: torch.Tensor) -> float:
    """exp of the entropy of the covariance's eigenvalues, which sum to 1; features (N, D). The paper's equation 2."""
    shares = torch.linalg.eigvalsh(torch.cov(features.double().T)).clamp(min=0)
    shares = shares / shares.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


if __name__ == "__main__":
    main()
