"""What stands beside the exported files so that an app can be written and tested without asking anybody.

    MODEL_CARD.md   what the model is, what each file costs and needs, and how to load it
    labels.json     the class names, in the order of the outputs
    golden/         some validation photos, as the files take them and whole, and what each file answers: an app's own
                    test
    snippets/       code that loads a file of each format by its real tensor names

Made from the manifest and the files themselves at the end of an export; the manifest holds their hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attar.bundle import Bundle
from attar.data.images import read_rgb
from attar.data.photos import Photo, Photos
from attar.export import card, snippets
from attar.export.capture_output import captured
from attar.export.manifest import CARD, GOLDEN, GUIDE, LABELS, SNIPPETS, FileEntry, Manifest
from attar.export.runners import open_runner
from attar.export.runners.answers import answers_of, split
from attar.export.verify import Reference, changed_files, student_reference
from attar.files import read_json, remove, replacing, sha256, write_json, write_text
from attar.sampling import spread

GOLDEN_PHOTOS = 6
"""Photos as the files take them."""

WHOLE_PHOTOS = 2
"""Photos as an app takes them."""

LONGEST = 1024
"""Pixels of a whole photo's longer side, at most: a larger one is made smaller first."""


def write_guide(manifest: Manifest, output: Path, student: Bundle, photos: Photos) -> Manifest:
    """Write the guide into an exports folder, and its hashes into the manifest's `guide`.

    Nothing is written if it is there, unchanged, and made for these files. Without a good file there is no guide.

    Args:
        manifest: the good files, which lie in `output`.
        output: the exports folder.
        student: the bundle that they were made from.
        photos: the student's photos; golden vectors are validation ones. Those that were added are never taken: they
            may be people's, and everybody who has the files can see golden photos.

    Returns the manifest to write.
    """
    if not manifest.files:
        remove_guide(manifest, output)
        return replace(manifest, guide={})
    if is_current(manifest, output):
        return manifest
    photos = replace(photos, val=tuple(each for each in photos.val if not photos.is_added(each)))
    reference = student_reference(student, photos, GOLDEN_PHOTOS)
    with replacing(output / GOLDEN) as folder:
        folder.mkdir()
        write_golden(manifest, output, reference, spread(photos.val, WHOLE_PHOTOS), folder)
    with replacing(output / SNIPPETS) as folder:
        folder.mkdir()
        for name, text in snippets.fill(manifest).items():
            write_text(folder / name, text)
    write_json(output / LABELS, list(student.labels))
    write_text(output / CARD, card.render(manifest, student, snippets.fill(manifest)))
    return replace(manifest, guide={name: sha256(output / name) for name in GUIDE})


def remove_guide(manifest: Manifest, output: Path) -> None:
    """Remove what `write_guide` wrote."""
    for name in manifest.guide:
        remove(output / name)


def is_current(manifest: Manifest, output: Path) -> bool:
    """Whether a guide of exactly these files is there and unchanged."""
    if not manifest.guide or changed_files(output, manifest.guide):
        return False
    made_for = read_json(output / GOLDEN / "golden.json")["files"]
    known = {file: (about["sha256"], about.get("decision")) for file, about in made_for.items()}
    return known == {each.file: (each.sha256, each.decision) for each in manifest.files}


def write_golden(manifest: Manifest, output: Path, reference: Reference, whole: Sequence[Photo], folder: Path) -> None:
    """Write photos as PNG, and golden.json: what the student and every file answer.

    golden.json: `labels`; `images`: `{"file", "label"}`, to be fed as they are, without resizing; `photos`: `{"file",
    "pixels", "label"}`, whole photos, and what an app should make of each by decoding and resizing; `student`: its
    probabilities, one row an image; `files`: for each `{"sha256", "evaluator", "probabilities", "photos", "decision",
    "sure"}`, one row an image and one a photo, what the manifest says of its answers, and whether the one to each
    image is sure (null: that is not known);
    with a second output also `familiarity`, of each image and photo. No photo keeps its metadata.
    """
    images = []
    for number, (pixels, label) in enumerate(zip(reference.pixels, reference.labels)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"file": f"{number}.png", "label": reference.bundle.labels[int(label)]})
    photos, squares = [], []
    for number, photo in enumerate(whole):
        image = Image.fromarray(np.asarray(read_rgb(photo.path, photo.part)))  # without its metadata
        image.thumbnail((LONGEST, LONGEST))
        squares.append(reference.bundle.preprocessing(image))
        names = {"file": f"photo-{number}.png", "pixels": f"photo-{number}-pixels.png"}
        image.save(folder / names["file"])
        Image.fromarray(squares[-1]).save(folder / names["pixels"])
        photos.append({**names, "label": reference.bundle.labels[photo.label]})
    files = {}
    for entry in manifest.files:
        with captured():
            runner = open_runner(output / entry.file)
            answers = answers_of(runner, np.concatenate([reference.pixels, np.stack(squares)]))
        answers, familiarity = split(answers, len(reference.bundle.labels))
        files[entry.file] = {
            "sha256": entry.sha256,
            "evaluator": runner.evaluator,
            "probabilities": _rows(answers[: len(images)]),
            "photos": _rows(answers[len(images) :]),
            "decision": entry.decision,
            "sure": _sure(entry, answers[: len(images)]),
            **({} if familiarity is None else {"familiarity": [round(float(each), 7) for each in familiarity]}),
        }
    golden: dict[str, Any] = {
        "labels": list(reference.bundle.labels),
        "images": images,
        "photos": photos,
        "student": _rows(reference.probabilities),
        "files": files,
    }
    write_json(folder / "golden.json", golden)


def _sure(entry: FileEntry, probabilities: np.ndarray) -> list[bool] | None:
    threshold = (entry.decision or {"sure": {}})["sure"].get("threshold")
    return None if threshold is None else (probabilities.max(1) >= threshold).tolist()


def _rows(probabilities: np.ndarray) -> list[list[float]]:
    """As JSON, with the digits that float32 has and noise does not."""
    return [[round(float(value), 7) for value in row] for row in probabilities]
