"""Exports folders for tests of releases: a manifest as `attar export` writes it, around any bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from attar.deploy.release.folder import ReleaseFolder
from attar.export.manifest import GOLDEN, LABELS, FileEntry, Manifest, write_manifest
from attar.export.targets import parse_targets
from attar.files import digest_of, sha256

LABEL_NAMES = ["ash", "elm"]


def exports(folder: Path, contents: Mapping[str, bytes], name: str = "plants") -> Path:
    """An exports folder with a file for each target, and what explains them."""
    folder.mkdir(parents=True)
    entries = []
    labels = digest_of(LABEL_NAMES)
    for target, content in contents.items():
        path = folder / parse_targets([target])[0].file
        path.write_bytes(content)
        entries.append(FileEntry(target, path.name, sha256(path), len(content), {}, labels, {}, None, {}))
    (folder / LABELS).write_text(json.dumps(LABEL_NAMES))
    (folder / GOLDEN).mkdir()
    (folder / GOLDEN / "golden.json").write_text("{}")
    guide = {each: sha256(folder / each) for each in (LABELS, GOLDEN)}
    bundle = {"name": name, "fingerprint": digest_of(sorted(contents)), "labels": LABEL_NAMES, "labels_sha256": labels}
    write_manifest(Manifest(bundle, {}, {}, tuple(entries), guide=guide), folder)
    return folder


def decide(folder: Path, champion: Path, challenger: Path, ship: bool = True) -> Path:
    """What `attar gate` writes about two exports folders with the same targets."""
    files = [
        {"target": path.name, "champion_sha256": sha256(champion / path.name), "challenger_sha256": sha256(path)}
        for path in sorted(challenger.iterdir())
        if path.suffix in (".onnx", ".tflite")
    ]
    for each in files:
        each["target"] = each["target"].partition(".")[0].replace("-", ":", 1)
    path = folder / "gate.json"
    path.write_text(json.dumps({"ship": ship, "sentence": "Ship: yes." if ship else "Hold: no.", "files": files}))
    return path


def seen(folder: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """What a phone finds: the number, and of each channel the content of each target's file as text."""
    place = ReleaseFolder(folder)
    pointer = place.pointer()
    if pointer is None:
        return 0, {}
    place.check(pointer)
    found = {}
    for name, channel in pointer.channels.items():
        release = place.release(channel.release)
        digests = {target: str(release.digest_of(target)) for target in release.targets}
        found[name] = {target: (folder / "files" / digest).read_text() for target, digest in digests.items()}
    return pointer.number, found
