"""What a static Hugging Face Space needs beside its files (Hub documentation, "Spaces Configuration Reference").

The Hub lets a Space choose three headers (`custom_headers`). An app needs all of them for threads. A release folder
needs one, which lets pages of other origins read it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence

LARGE = ("*.tflite", "*.onnx", "*.wasm", "*.png")
"""What git keeps as large files: the Hub refuses them otherwise."""

_SHARED = {"cross-origin-resource-policy": "cross-origin"}
_THREADS = {"cross-origin-embedder-policy": "require-corp", "cross-origin-opener-policy": "same-origin"}


def space_files(name: str) -> dict[str, str]:
    """Of an app: file -> its text.

    Args:
        name: the app's.
    """
    about = (
        "A model that runs in your browser. Photos stay on your device unless you send them. MODEL_CARD.md says what "
        "the model\nknows, LICENSES.txt whose work this is.\n"
    )
    return {"README.md": _readme(name, {**_THREADS, **_SHARED}, about), ".gitattributes": _attributes(LARGE)}


def release_space_files(name: str) -> dict[str, str]:
    """Of a release folder (`attar.deploy.release`): file -> its text.

    Args:
        name: of the app that the releases are for.
    """
    about = (
        "Signed models for phones, which `attar publish` writes and `attar releases` checks. current.json says which "
        "one is\ncurrent.\n"
    )
    title = html.escape(name)
    page = (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<p>Signed models of {title}. <a href="current.json">current.json</a> says which one is current.</p>\n'
    )
    return {
        "README.md": _readme(name, _SHARED, about),
        "index.html": page,
        # Signatures and names are of bytes: git must not change line ends.
        ".gitattributes": "* -text\n" + _attributes(["files/*"]),
        ".gitignore": ".lock\n.tmp-*\n",
    }


def _readme(name: str, headers: Mapping[str, str], about: str) -> str:
    """README.md, whose beginning is the Space's configuration in YAML."""
    title = json.dumps(name, ensure_ascii=False)  # a JSON string is a YAML string
    lines = "\n".join(f"  {header}: {value}" for header, value in headers.items())
    return f"""---
title: {title}
emoji: 📷
colorFrom: green
colorTo: gray
sdk: static
app_file: index.html
pinned: false
custom_headers:
{lines}
---

{about}"""


def _attributes(patterns: Sequence[str]) -> str:
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns)
