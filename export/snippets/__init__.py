"""Code to paste into an app: one snippet for each format and language, with a file's real name, tensors and sizes.

Each `NAME.in` beside this module becomes `NAME`, its `<<WORDS>>` filled in. `canvas.js.in` and `bitmap.kt.in` are parts
that two snippets share.
"""

from __future__ import annotations

from pathlib import Path

from attar.preprocessing import Preprocessing
from export.manifest import FileEntry, Manifest

SNIPPETS = {
    "classify_litert.py": "litert",
    "LiteRtClassifier.kt": "litert",
    "classify_litert.mjs": "litert",
    "CoreMLClassifier.swift": "coreml",
    "classify_onnx.py": "onnx",
    "OnnxClassifier.kt": "onnx",
    "classify_onnx.mjs": "onnx",
}
"""Every snippet, and the format whose file it loads."""

PARTS = {"CANVAS": "canvas.js", "BITMAP": "bitmap.kt"}


def fill(manifest: Manifest) -> dict[str, str]:
    """The snippets of the formats that the manifest has files of, by name."""
    chosen = {name: _smallest(manifest, form) for name, form in SNIPPETS.items()}
    return {name: _filled(_template(name), entry, manifest) for name, entry in chosen.items() if entry}


def _smallest(manifest: Manifest, form: str) -> FileEntry | None:
    """The smallest good file of a format: every file of it is loaded alike."""
    entries = [entry for entry in manifest.files if entry.target.partition(":")[0] == form]
    return min(entries, key=lambda entry: entry.bytes, default=None)


def _template(name: str) -> str:
    return Path(__file__).with_name(f"{name}.in").read_text(encoding="utf-8")


def _filled(text: str, entry: FileEntry, manifest: Manifest) -> str:
    for word, part in PARTS.items():
        text = text.replace(f"<<{word}>>\n", _template(part))
    how = manifest.preprocessing
    words = {
        "MODEL": entry.file,
        "STEM": Path(entry.file).stem,
        "INPUT": entry.signature["input"]["name"],
        "OUTPUT": entry.signature["output"]["name"],
        "SIZE": how["size"],
        "RESIZED": Preprocessing.from_json(how).resized,
        "FILTER": how["interpolation"].upper(),
        "CLASSES": len(manifest.bundle["labels"]),
    }
    for word, value in words.items():
        text = text.replace(f"<<{word}>>", str(value))
    return text
