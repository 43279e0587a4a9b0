"""The folder that `attar sample` writes: a project's files, an exported file, its labels and golden photos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from attar.errors import InputError, did_you_mean
from attar.export.manifest import CARD, GOLDEN, FileEntry, Manifest, read_manifest
from attar.export.snippets import code, decision, fill
from attar.export.verify import changed_files
from attar.files import replacing
from attar.preprocessing import Preprocessing

HERE = Path(__file__).parent
MARK = ".attar-sample"
"""A file by which a later call knows that a folder is a sample's."""


@dataclass(frozen=True)
class Platform:
    """What a project is made of.

    Attributes:
        format: of the files that it runs.
        model: folder of the exported file.
        golden: folder of the golden photos.
        labels: whether the labels lie beside the file; a Core ML file has them inside.
        snippet: a snippet of `attar.export.snippets` that is one of the project's sources, and its folder.
    """

    format: str
    model: str
    golden: str
    labels: bool
    snippet: tuple[str, str] | None = None


PLATFORMS = {
    "android": Platform("litert", "app/src/main/assets", "app/src/androidTest/assets/golden", labels=True),
    "ios": Platform("coreml", "Model", "golden", labels=False, snippet=("CoreMLClassifier.swift", "Sources")),
}


def write_sample(exports: Path, output: Path, platform: str, name: str | None = None) -> FileEntry:
    """Write a project -> the file that it runs: the smallest of its format.

    Args:
        exports: folder with a manifest.json.
        output: folder to write; an earlier sample there is replaced, anything else is left alone.
        platform: a key of `PLATFORMS`.
        name: what the app is called; by default the student's name.

    Raises:
        InputError: another platform, no file of its format, a changed file, or `output` holds something else.
    """
    if platform not in PLATFORMS:
        raise InputError(f"platform {platform!r} is none of {', '.join(PLATFORMS)}.{did_you_mean(platform, PLATFORMS)}")
    if output.exists() and not (output / MARK).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: there is something that is no sample of attar's. Name a new folder.")
    kind, manifest = PLATFORMS[platform], read_manifest(exports)
    entry = _chosen(manifest, exports, kind.format)
    with replacing(output) as folder:
        shutil.copytree(HERE / platform, folder)
        _fill(folder, _words(manifest, entry, name or manifest.bundle["name"]))
        _copy(exports / entry.file, folder / kind.model / entry.file)
        _copy(exports / CARD, folder / CARD)
        _copy(exports / GOLDEN, folder / kind.golden)
        if kind.labels:
            (folder / kind.model / "labels.json").write_text(json.dumps(manifest.bundle["labels"]), encoding="utf-8")
        if kind.snippet:
            snippet, place = kind.snippet
            (folder / place / snippet).write_text(fill(manifest)[snippet], encoding="utf-8")
        (folder / MARK).touch()
    return entry


def _chosen(manifest: Manifest, exports: Path, form: str) -> FileEntry:
    entries = [entry for entry in manifest.files if entry.target.partition(":")[0] == form]
    if not entries:
        raise InputError(f"{exports}: no file of the format {form}. Export one, such as {form}:fp16.")
    entry = min(entries, key=lambda each: each.bytes)
    changed = changed_files(exports, {entry.file: entry.sha256})
    if changed:
        raise InputError(f"{exports / entry.file}: missing, or changed since it was verified. Export it again.")
    return entry


def _words(manifest: Manifest, entry: FileEntry, name: str) -> dict[str, str]:
    how = Preprocessing.from_json(manifest.preprocessing)
    return {
        "NAME": name,
        "NAME_XML": escape(name).replace("'", "\\'"),
        "NAME_JSON": json.dumps(name),
        "MODEL": entry.file,
        "INPUT": entry.signature["input"]["name"],
        "OUTPUT": entry.signature["output"]["name"],
        "SIZE": str(how.size),
        "RESIZED": str(how.resized),
        "HOW": how.in_words(),
        "SQUARE_KT\n": code(how, "square.kt"),
        "THRESHOLDS_KT\n": decision(entry, manifest, "thresholds.kt"),
    }


def _fill(folder: Path, words: dict[str, str]) -> None:
    for path in (each for each in folder.rglob("*") if each.is_file()):
        text = path.read_text(encoding="utf-8")
        for word, value in words.items():
            mark = f"<<{word.rstrip()}>>" + word[len(word.rstrip()) :]
            text = text.replace(mark, value)
        path.write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    copy: Callable[[Path, Path], object] = shutil.copytree if source.is_dir() else shutil.copyfile
    copy(source, target)
