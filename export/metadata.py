"""What an exported file says of where it came from: plain data, put into each format's own place for such things."""

from __future__ import annotations

from typing import Any

from attar import __version__
from attar.bundle import Bundle


def about(bundle: Bundle, target: str) -> dict[str, Any]:
    """Facts of a student and the file made of it, as plain JSON-able data without any path of this machine.

    Args:
        bundle: the student.
        target: the file's target, such as `litert:int8`.
    """
    provenance = bundle.provenance
    data = provenance.get("data") or {}
    return {
        "attar": __version__,
        "target": target,
        "model": bundle.name,
        "fingerprint": bundle.fingerprint,
        "labels": list(bundle.labels),
        "preprocessing": bundle.preprocessing.to_json(),
        "metrics": {key: value for key, value in bundle.metrics.items() if key != "history"},
        "author": str(provenance.get("author") or ""),
        "license": str(provenance.get("license") or ""),
        "teacher": provenance.get("teacher"),
        "data": {key: data[key] for key in ("fingerprint", "train", "val") if key in data},
        "recipe_sha256": provenance.get("recipe_sha256"),
        "seed": provenance.get("seed"),
    }


def in_words(bundle: Bundle) -> str:
    """The preprocessing in one sentence."""
    return f"RGB image; {bundle.preprocessing.in_words()}, as uint8. Normalization is inside the file."
