"""The model card: what a person wants to know before a file goes into an app, in Markdown.

The headings follow Mitchell et al., Model Cards for Model Reporting (arXiv 1810.03993), where attar knows the facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attar import __version__
from attar.bundle import Bundle
from attar.export.manifest import FileEntry, Manifest
from attar.export.metadata import about, in_words

SHOWN_LABELS = 50

_LANGUAGES = {"py": "python", "kt": "kotlin", "swift": "swift", "mjs": "javascript"}
_HEADINGS = {
    "classify_litert.py": "LiteRT in Python",
    "LiteRtClassifier.kt": "LiteRT in Kotlin (Android)",
    "classify_litert.mjs": "LiteRT.js in a browser",
    "CoreMLClassifier.swift": "Core ML in Swift",
    "classify_onnx.py": "ONNX Runtime in Python",
    "OnnxClassifier.kt": "ONNX Runtime in Kotlin (Android)",
    "QnnClassifier.kt": "ONNX Runtime on a Snapdragon's NPU, in Kotlin (Android)",
    "classify_onnx.mjs": "ONNX Runtime in JavaScript",
    "classify_executorch.py": "ExecuTorch in Python",
}


def render(manifest: Manifest, student: Bundle, code: Mapping[str, str]) -> str:
    """The card of an exports folder.

    Args:
        manifest: its good files.
        student: the bundle that they were made from.
        code: the snippets, by file name.
    """
    facts = about(student, "")
    parts = [
        f"# {plain(student.name)}: image classifier of {len(student.labels)} classes",
        f"Made by attar {__version__}. Model `{student.fingerprint[:12]}`.",
        *_readiness(manifest),
        "## Files",
        _files(manifest.files),
        "Top-1, agreement and largest error were measured at export on "
        f"{manifest.files[0].verification['images']} validation photos, against the student in PyTorch, whose top-1 on "
        f"them is {_percent(manifest.files[0].verification['student_top1'])}. `attar verify` measures them again.",
        "## Input and output",
        _tensors(manifest, student),
        "## Classes",
        _labels(student.labels),
        "## Accuracy",
        _accuracy(facts),
        "## When it is sure",
        *_decisions(manifest.files),
        "## Where it comes from",
        _origin(facts),
        "## Limits",
        _limits(manifest),
        "## Check your app",
        "`golden/` holds validation photos as the files take them (PNG: feed them as they are) and `golden.json`, the "
        "probabilities that each file gives for them. `photo-*.png` are whole photos: your app's decoding and resizing "
        "should make `photo-*-pixels.png` of them. The same runtime on a CPU gives the same up to rounding; "
        "accelerators that compute in half precision differ more. If your app's answers differ at the first digit, its "
        "pixels are not these: look at resizing, cropping, and the order of colours.",
        "## Load it",
        *(
            f"### {_HEADINGS[name]}\n\n```{_LANGUAGES[name.rpartition('.')[2]]}\n{text.strip()}\n```"
            for name, text in code.items()
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _readiness(manifest: Manifest) -> list[str]:
    """Why the files are not fit to ship, first of all; what else is remarkable."""
    readiness = manifest.readiness
    why = [f"**Do not ship yet.** {' '.join(map(plain, readiness.reasons))}"] if readiness.reasons else []
    return [*why, *map(plain, readiness.remarks)]


def _files(entries: Iterable[FileEntry]) -> str:
    rows = [["file", "size", "top-1", "agreement", "largest error", "needs", "verified by"]]
    for entry in entries:
        verification = entry.verification
        others = [second["evaluator"] for second in verification.get("second_opinions", {}).values()]
        rows.append(
            [
                f"`{entry.file}`",
                f"{entry.bytes / 1e6:.2f} MB",
                _percent(verification["top1"]),
                _percent(verification["agreement"]),
                f"{verification['max_abs_error']:.4f}",
                f"TFLite {entry.min_runtime}" if entry.min_runtime else "",
                "; ".join([verification["evaluator"], *others, *filter(None, [verification.get("remark")])]),
            ]
        )
    return table(rows)


def _tensors(manifest: Manifest, student: Bundle) -> str:
    rows = [["file", "input", "output"]]
    for entry in manifest.files:
        rows.append([f"`{entry.file}`", *(_tensor(entry.signature[side]) for side in ("input", "output"))])
    return f"{in_words(student)}\n\n{table(rows)}\n\nThe outputs are the probabilities of the classes, in their order."


def _tensor(about: Mapping[str, Any]) -> str:
    return f"`{about['name']}` {about['dtype']} {' x '.join(map(str, about['shape']))}"


def _labels(labels: tuple[str, ...]) -> str:
    shown = "\n".join(f"{number}. {plain(label)}" for number, label in enumerate(labels[:SHOWN_LABELS]))
    left = len(labels) - SHOWN_LABELS
    return shown + (f"\n\nAnd {left} more: see `labels.json`." if left > 0 else "")


def _accuracy(facts: Mapping[str, Any]) -> str:
    rows = [["model", "top-1", "95% interval", "calibration error", "validation photos"]]
    teacher = facts["teacher"] or {}
    named = {"student": facts["metrics"]}
    if teacher:
        named[f"teacher, {plain(teacher['name'])}"] = teacher.get("metrics", {})
    for name, metrics in named.items():
        if "top1" in metrics:
            interval = " to ".join(map(_percent, metrics.get("top1_interval", [])))
            error = f"{metrics['ece']:.3f}" if "ece" in metrics else ""
            rows.append([name, _percent(metrics["top1"]), interval, error, str(metrics.get("images", ""))])
    return table(rows) if len(rows) > 1 else "The bundle holds no measured accuracy; the files' own stands above."


def _decisions(files: Iterable[FileEntry]) -> list[str]:
    """What an app may say of each file's answers."""
    decided = [(entry, entry.decision) for entry in files if entry.decision]
    if not decided:
        return ["Not measured: attar 0.1 wrote these files. Export them again."]
    rows = [["file", "sure from", "photos sure of", "one of so many labels"]]
    for entry, decision in decided:
        sure, labels = decision["sure"], decision["set"]
        known = sure["threshold"] is not None
        least = f"{sure['threshold']:.3f}" if known else f"no confidence ({sure['reason']})"
        rows.append([f"`{entry.file}`", least, _percent(sure["share"]) if known else "", f"{labels['size']:.1f}"])
    promised = decided[0][1]
    return [
        table(rows),
        *_familiarity(decided),
        f"Of the answers with at least that probability, {100 * promised['sure']['precision']:g}% are right. The last "
        f"column is the mean size of the set of labels that holds the right one for "
        f"{100 * promised['set']['coverage']:g}% of photos (`decision` in `manifest.json`). Both hold for photos like "
        "those that it was measured on.",
    ]


def _familiarity(decided: Sequence[tuple[FileEntry, Mapping[str, Any]]]) -> list[str]:
    """What an app may say of unfamiliar photos."""
    rows = [["file", "one of its classes from", "drawn pictures refused", "AUROC", "the student's"]]
    for entry, decision in decided:
        if "familiar" in decision:
            promise, measured = decision["familiar"], entry.verification["familiarity"]
            known = promise["threshold"] is not None
            least = f"{promise['threshold']:.3f}" if known else f"no familiarity ({promise['reason']})"
            figures = [_percent(measured["auroc"]), _percent(measured["student_auroc"])]
            rows.append([f"`{entry.file}`", least, _percent(promise["strange"]) if known else "", *figures])
    if len(rows) == 1:
        return []
    return [
        table(rows),
        "The second output, `familiarity`, says how much a photo is like those that the model learned from. A photo "
        "with less than the threshold is probably none of its classes: 5% of validation photos have less. The drawn "
        "pictures are noise, stripes, blur, single colours, a covered lens and screenshots; other strange photos may "
        "look more familiar. AUROC is how often a validation photo is more familiar than such a picture.",
    ]


def _origin(facts: Mapping[str, Any]) -> str:
    data = facts["data"]
    lines = [
        f"- Author: {plain(facts['author'] or 'not stated')}",
        f"- Licence: {plain(facts['license'] or 'not stated')}",
        f"- Model fingerprint: `{facts['fingerprint']}`",
        f"- Teacher: {plain(facts['teacher']['name'])} (`{facts['teacher']['fingerprint'][:12]}`)"
        if facts["teacher"]
        else "- Teacher: none",
    ]
    if data:
        counts = f"{data.get('train', '?')} photos to train on, {data.get('val', '?')} to validate"
        lines.append(f"- Data: {counts} (fingerprint `{str(data.get('fingerprint', ''))[:12]}`)")
    if facts["recipe_sha256"]:
        lines.append(f"- Recipe: `{facts['recipe_sha256'][:12]}`, seed {facts['seed']}")
    return "\n".join(lines)


def _limits(manifest: Manifest) -> str:
    lines = [
        "- It always answers with one of its classes, whatever the photo shows.",
        "- Its accuracy was measured on photos set aside from the same collection that it learned from. Photos of "
        "another kind (camera, light, place) may be harder.",
        "- Probabilities are as sure as the calibration error says, and no surer on photos of another kind.",
    ]
    if any(entry.target.startswith("coreml:") for entry in manifest.files):
        lines.append(
            "- Core ML files were computed by the evaluators named above. A phone's Neural Engine rounds differently."
        )
    return "\n".join(lines)


def table(rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = [list(row) for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def plain(text: str) -> str:
    """A user's text as Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&~])", r"\\\1", " ".join(text.split()))
