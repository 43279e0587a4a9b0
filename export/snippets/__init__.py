"""Code to paste into an app: one snippet for each format and language, with a file's real name, tensors and sizes.

Each `NAME.in` beside this module becomes `NAME`, its `<<WORDS>>` filled in. `photo.py.in`, `told.py.in`,
`canvas.js.in`, `onnx.kt.in`, `bitmap.kt.in`, `thresholds.*.in` and `square.*.in` are parts that snippets share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from attar.export.formats import FORMATS
from attar.export.manifest import FileEntry, Manifest
from attar.export.snippets import square
from attar.preprocessing import Preprocessing

PARTS = {
    "PHOTO": "photo.py",
    "CANVAS": "canvas.js",
    "ONNX_KT": "onnx.kt",
    "BITMAP": "bitmap.kt",
    "TOLD": "told.py",
    "THRESHOLDS_PY": "thresholds.py",
    "THRESHOLDS_JS": "thresholds.js",
    "THRESHOLDS_KT": "thresholds.kt",
    "THRESHOLDS_SWIFT": "thresholds.swift",
    "SQUARE_JS": "square.js",
    "SQUARE_KT": "square.kt",
    "SQUARE_SWIFT": "square.swift",
}
"""Word -> the template that stands there; a part may hold a later one."""


def fill(manifest: Manifest) -> dict[str, str]:
    """The snippets of the formats that the manifest has files of, by name."""
    chosen = {name: _smallest(manifest, formats) for name, formats in loaders().items()}
    return {name: _filled(_template(name), entry, manifest) for name, entry in chosen.items() if entry}


def loaders() -> dict[str, list[str]]:
    """Every snippet, and the formats it can load, the preferred one first."""
    names = dict.fromkeys(name for form in FORMATS.values() for name in form.snippets)
    loading = {name: [key for key, form in FORMATS.items() if name in form.snippets] for name in names}
    return {name: sorted(keys, key=lambda key: FORMATS[key].snippets[name]) for name, keys in loading.items()}


def square_module() -> str:
    """A JavaScript module with `squaring(how) -> squareOf(pixels, width, height, channels)`.

    One module for every preprocessing: `how` is data, as `square.parameters` gives it. It is the snippet's own code.
    """
    text = _template("square.js").replace("export function", "function")
    for word, value in square.GENERAL_JS.items():
        text = text.replace(f"<<{word}>>", value)
    sizes = "const SIZE = how.size, RESIZED = how.resized;"
    return f"export function squaring(how) {{\n{sizes}\n\n{text}\nreturn squareOf;\n}}\n"


def code(how: Preprocessing, part: str) -> str:
    """How a photo becomes square, for one preprocessing: `square.js`, `square.kt` or `square.swift`, without `SIZE`."""
    text = _template(part)
    for word, value in square.words(how).items():
        text = text.replace(f"<<{word}>>", value)
    return text


def decision(entry: FileEntry, manifest: Manifest, part: str) -> str:
    """What may be said of a file's answers, as code outside a class: `thresholds.js` or `thresholds.kt`."""
    text = _template(part)
    for word, value in thresholds(entry, manifest).items():
        text = text.replace(f"<<{word}>>", value)
    return dedent(text)


def _smallest(manifest: Manifest, formats: Sequence[str]) -> FileEntry | None:
    """The smallest good file of the first format that has any: every file of a format is loaded alike."""
    for form in formats:
        entries = [entry for entry in manifest.files if entry.target.partition(":")[0] == form]
        if entries:
            return min(entries, key=lambda entry: entry.bytes)
    return None


def _template(name: str) -> str:
    return Path(__file__).with_name(f"{name}.in").read_text(encoding="utf-8")


def _filled(text: str, entry: FileEntry, manifest: Manifest) -> str:
    for word, part in PARTS.items():
        text = text.replace(f"<<{word}>>\n", _template(part))
    how = Preprocessing.from_json(manifest.preprocessing)
    words = {
        "MODEL": entry.file,
        "STEM": Path(entry.file).stem,
        "INPUT": entry.signature["input"]["name"],
        "OUTPUT": entry.signature["output"]["name"],
        "SIZE": how.size,
        "RESIZED": how.resized,
        "FILTER": how.interpolation.upper(),
        **square.words(how),
        "CLASSES": len(manifest.bundle["labels"]),
        **thresholds(entry, manifest),
    }
    for word, value in words.items():
        text = text.replace(f"<<{word}>>", str(value))
    return text


def thresholds(entry: FileEntry, manifest: Manifest) -> dict[str, str]:
    """What an app may say of a file's answers: the words of `thresholds.*.in`."""
    return {**_sure(entry), **_possible(entry, manifest), **_known(entry)}


def _sure(entry: FileEntry) -> dict[str, str]:
    """From which probability on an answer is sure, in each language, and what that means."""
    sure = (entry.decision or {"sure": {"threshold": None, "reason": "attar 0.1 wrote the file"}})["sure"]
    threshold = sure["threshold"]
    if threshold is None:
        nothing = {"SURE_PY": "None", "SURE_JS": "null", "SURE_KT": "null", "SURE_SWIFT": "nil"}
        return {**nothing, "SURE_SAYS": f"When an answer is sure is not known: {sure['reason']}."}
    words = dict.fromkeys(("SURE_PY", "SURE_JS", "SURE_SWIFT"), f"{threshold:.6g}")
    says = f"Answers of at least this probability are right {100 * sure['precision']:g}% of the time."
    return {**words, "SURE_KT": f"{threshold:.6g}f", "SURE_SAYS": says}


def _possible(entry: FileEntry, manifest: Manifest) -> dict[str, str]:
    """From which probability on a label is one of those that a photo may show, in each language."""
    nothing = {"POSSIBLE_PY": "None", "POSSIBLE_JS": "null", "POSSIBLE_KT": "null", "POSSIBLE_SWIFT": "nil"}
    if not entry.decision:
        return {**nothing, "POSSIBLE_SAYS": "Which labels a photo may show is not known: attar 0.1 wrote the file."}
    if manifest.common is not None:
        says = "Which labels a photo may show depends on how common they are: see `set` and `common` in manifest.json."
        return {**nothing, "POSSIBLE_SAYS": says}
    one_of = entry.decision["set"]
    # Exact: the probability of some photo's own label is the threshold.
    words = dict.fromkeys(nothing, repr(one_of["threshold"])) | {"POSSIBLE_KT": f"{one_of['threshold']!r}f"}
    share = f"{100 * one_of['coverage']:g}%"
    says = f"Of the labels of at least this probability, and the most probable one, one is right {share} of the time."
    return {**words, "POSSIBLE_SAYS": says}


def _known(entry: FileEntry) -> dict[str, str]:
    """Below which familiarity, the second output, a photo is refused, in each language, and what that means."""
    second, found = entry.signature.get("familiarity"), (entry.decision or {}).get("familiar")
    nothing = {"KNOWN_PY": "None", "KNOWN_JS": "null", "KNOWN_KT": "null", "KNOWN_SWIFT": "nil"}
    if not second or not found or found["threshold"] is None:
        says = "The file does not say whether a photo is like those that it was made from."
        return {**nothing, "KNOWN_SAYS": says, "FAMILIARITY": "familiarity"}
    threshold = f"{found['threshold']:.6g}"
    refused = f"{100 * found['refused']:g}%"
    says = f"A photo of less familiarity is perhaps of no label; of those that have one, {refused} have less."
    words = dict.fromkeys(nothing, threshold) | {"KNOWN_KT": f"{threshold}f"}
    return {**words, "KNOWN_SAYS": says, "FAMILIARITY": second["name"]}
