"""What the page needs of a model, as data: `attar app` writes it into the site, `attar publish` into a release.

    model.json       how photos become the model's square, its files and their answers, what may be said of them
    models/          the exported files, with their feature maps as second outputs
    golden/          photos with their answers, by which a device tests the model
    labels.json      the names of the classes
    MODEL_CARD.md    the model's card

The page has code of its own for every model: none comes with one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attar.deploy.app.heat import mapped
from attar.deploy.app.profiled import write_profiled
from attar.export.manifest import CARD, GOLDEN, LABELS, FileEntry, Manifest
from attar.export.snippets.square import parameters
from attar.files import json_text, read_json
from attar.preprocessing import Preprocessing

DESCRIPTION = "model.json"
SCHEMA = 1
_LIKELIEST = 20
"""Answers kept of each golden photo."""


def write_model(exports: Path, folder: Path, manifest: Manifest, entries: Sequence[FileEntry]) -> dict[str, Any]:
    """Write all of it into a folder.

    Args:
        exports: the exports folder, unchanged since it was verified.
        folder: where it goes.
        manifest: of the exports folder.
        entries: the files, the one to try first in front.

    Returns what model.json says.
    """
    maps = _copy_models(exports, folder, entries)
    put(folder / LABELS, json_text(manifest.bundle["labels"]).encode())
    shutil.copyfile(exports / CARD, folder / CARD)
    about = {**_about(manifest, entries, maps), **_golden(exports, folder, entries)}
    put(folder / DESCRIPTION, json_text(about).encode())
    return about


def put(path: Path, content: bytes) -> None:
    """Write a file, and the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _copy_models(exports: Path, folder: Path, entries: Sequence[FileEntry]) -> dict[str, dict[str, Any] | None]:
    """The exported files, with their feature maps as outputs -> target: where its activation map is."""
    golden = [exports / GOLDEN / each["file"] for each in read_json(exports / GOLDEN / "golden.json")["images"]]
    maps = {}
    for entry in entries:
        content, maps[entry.target] = mapped(exports / entry.file, entry, golden)
        put(folder / "models" / entry.file, content)
    return maps


def _golden(exports: Path, folder: Path, entries: Sequence[FileEntry]) -> dict[str, Any]:
    """What the page tests itself with.

    `golden`: photos as the files take them, and of each file the likeliest answers as [class, probability]. `photos`:
    whole photos, and the pixels that become of them. `webp`: a WebP file with a colour profile, and its colour.
    """
    told = read_json(exports / GOLDEN / "golden.json")

    def copied(file: str) -> str:
        put(folder / GOLDEN / file, (exports / GOLDEN / file).read_bytes())
        return f"{GOLDEN}/{file}"

    golden = []
    for number, image in enumerate(told["images"]):
        answers = {entry.file: _likeliest(told["files"][entry.file]["probabilities"][number]) for entry in entries}
        golden.append({"file": copied(image["file"]), "answers": answers})
    whole = [{"file": copied(each["file"]), "pixels": copied(each["pixels"])} for each in told.get("photos", [])]
    webp = f"{GOLDEN}/profile.webp"
    return {"golden": golden, "photos": whole, "webp": {"file": webp, "levels": write_profiled(folder / webp)}}


def _likeliest(row: Sequence[float]) -> list[list[float]]:
    best = np.argsort(-np.asarray(row), kind="stable")[:_LIKELIEST]
    return [[int(each), row[each]] for each in best]


def _about(manifest: Manifest, entries: Sequence[FileEntry], maps: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    how = Preprocessing.from_json(manifest.preprocessing)
    models = [
        {
            "target": entry.target,
            "format": entry.target.partition(":")[0],
            "file": f"models/{entry.file}",
            "name": entry.file,
            "sha256": entry.sha256,
            "bytes": entry.bytes,
            "input": entry.signature["input"]["name"],
            "output": entry.signature["output"]["name"],
            "float": entry.target.partition(":")[2] in ("fp32", "fp16"),
            "decision": entry.decision,
            "map": maps[entry.target],
        }
        for entry in entries
    ]
    return {
        "schema": SCHEMA,
        "size": how.size,
        "square": parameters(how),
        "preprocessing": how.in_words(),
        "models": models,
        "notReady": list(manifest.readiness.reasons),
        "common": manifest.data.get("common"),
        "quality": manifest.data.get("quality"),
        "levels": manifest.data.get("hierarchy", []),
    }
