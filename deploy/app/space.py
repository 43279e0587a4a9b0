"""What a static Hugging Face Space needs beside the app (Hub documentation, "Spaces Configuration Reference")."""

from __future__ import annotations

import json

LARGE = ("*.tflite", "*.onnx", "*.wasm", "*.png")
"""What git keeps as large files: the Hub refuses them otherwise."""


def space_files(name: str) -> dict[str, str]:
    """File -> its text.

    Args:
        name: the app's.
    """
    title = json.dumps(name, ensure_ascii=False)  # a JSON string is a YAML string
    readme = f"""---
title: {title}
emoji: 📷
colorFrom: green
colorTo: gray
sdk: static
app_file: index.html
pinned: false
custom_headers:
  cross-origin-embedder-policy: require-corp
  cross-origin-opener-policy: same-origin
  cross-origin-resource-policy: cross-origin
---

A model that runs in your browser. Photos stay on your device unless you send them. MODEL_CARD.md says what the model
knows, LICENSES.txt whose work this is.
"""
    attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE)
    return {"README.md": readme, ".gitattributes": attributes}
