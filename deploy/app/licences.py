"""LICENSES.txt: whose work an app is, with the whole texts that its parts ask for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution

from attar import __version__
from attar.export.web.assets import Assets

_SAME_PROJECT = {
    "@litertjs/core": "ai-edge-litert",
    "@litertjs/wasm-utils": "ai-edge-litert",
    "onnxruntime-web": "onnxruntime",
}
"""npm package without licence texts -> Python package of the same project, which has them."""
_NAMES = ("LICENSE", "NOTICE", "ThirdPartyNotices")
_RULE = "-" * 72


def licences(assets: Assets, packages: Sequence[str]) -> str:
    """One part for attar and for each npm package: name, version, licence, and the texts.

    Args:
        assets: the installed packages.
        packages: those that the app has files of.
    """
    parts = [f"attar {__version__}: Apache-2.0\n\n{_texts('attar')}"]
    shown: set[str] = set()
    for name in packages:
        text = assets.texts(name) or _texts(_SAME_PROJECT.get(name, ""))
        told = "The same texts as above." if text in shown else text
        shown.add(text)
        parts.append(f"{name} {assets.versions[name]}: {assets.licences[name]}\n\n{told}")
    return f"\n\n{_RULE}\n\n".join(part.strip() for part in parts) + "\n"


def _texts(package: str) -> str:
    """Licences and notices that an installed Python package brings; empty if it is not installed."""
    try:
        files = distribution(package).files if package else None
    except PackageNotFoundError:
        return ""
    found = [file for file in files or () if file.name.startswith(_NAMES)]
    return "\n\n".join(file.read_text(encoding="utf-8").strip() for file in sorted(found))
