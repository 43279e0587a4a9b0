"""Exports folders for tests of releases: a manifest as `attar export` writes it, around any bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from attar.deploy.release.folder import ReleaseFolder
from attar.export.manifest import GOLDEN, LABELS, FileEntry, Manifest, read_manifest, write_manifest
from attar.export.targets import parse_targets
from attar.files import digest_of, sha256

LABEL_NAMES = ["ash", "elm"]


def exports(folder: Path, contents: Mapping[str, bytes], name: str = "plants", more: Sequence[str] = ()) -> Path:
    """An exports folder with a file for each target, and what explains them."""
    folder.mkdir(parents=True)
    entries = []
    labels = digest_of(LABEL_NAMES)
    for target, content in contents.items():
        path = folder / parse_targets([target])[0].file
        if path.suffix == ".mlpackage":
            (path / "Data").mkdir(parents=True)
            (path / "Data" / "weights.bin").write_bytes(content)
        else:
            path.write_bytes(content)
        entries.append(FileEntry(target, path.name, sha256(path), len(content), {}, labels, {}, None, {}))
    (folder / LABELS).write_text(json.dumps(LABEL_NAMES))
    (folder / GOLDEN).mkdir()
    for each in ("golden.json", *more):
        (folder / GOLDEN / each).write_text("{}")
    guide = {each: sha256(folder / each) for each in (LABELS, GOLDEN)}
    bundle = {"name": name, "fingerprint": digest_of(sorted(contents)), "labels": LABEL_NAMES, "labels_sha256": labels}
    write_manifest(Manifest(bundle, {}, {}, tuple(entries), guide=guide), folder)
    return folder


def decide(folder: Path, champion: Path, challenger: Path, ship: bool = True) -> Path:
    """What `attar gate` writes about two exports folders: of the targets that both have."""
    before, now = ({each.target: each.sha256 for each in read_manifest(each).files} for each in (champion, challenger))
    files = [
        {"target": target, "champion_sha256": before[target], "challenger_sha256": now[target]}
        for target in before
        if target in now
    ]
    path = folder / "gate.json"
    path.write_text(json.dumps({"ship": ship, "sentence": "Ship: yes." if ship else "Hold: no.", "files": files}))
    return path


def seen(folder: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """What a phone finds: the number, and of each channel the content of each target's file as text."""
    place = ReleaseFolder(folder)
    chain = place.chain()
    if not chain:
        return 0, {}
    pointer = chain[-1].pointer
    place.check(pointer)
    found = {}
    for name, channel in pointer.channels.items():
        release = place.release(channel.release)
        stored = {file.name: folder / "files" / file.sha256 for file in release.files}
        files = {target: each.file for target, each in release.targets.items()}
        whole = {target: file if file in stored else f"{file}/Data/weights.bin" for target, file in files.items()}
        found[name] = {target: stored[file].read_text() for target, file in whole.items()}
    return pointer.number, found
