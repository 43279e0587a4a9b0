"""The folder that `attar app` writes: a page, a service worker, the model, labels, golden photos and the runtimes.

    index.html, *.js, app.css    the page (`page/`); `square.js` is the resize, whose parameters are data
    sw.js                        the service worker: keeps everything for offline, each file checked by its SHA-256
    site.json                    what the app is: models, releases, the SHA-256 of every file
    models/  golden/             the exported files, photos with their answers, and what explains them (`model`)
    vendor/                      the runtimes
    geo/                         the weights of the prior of place and season, if there is one
    LICENSES.txt                 whose work all this is

All addresses are relative, so any static host may serve it below any path.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar import __version__
from attar.console import say
from attar.deploy.app.choose import choose
from attar.deploy.app.icons import icons
from attar.deploy.app.licences import licences
from attar.deploy.app.model import put, write_model
from attar.deploy.app.releases import ReleaseSource, open_source
from attar.deploy.app.space import space_files
from attar.deploy.release.folder import POINTER
from attar.deploy.review.server import PAGE as REVIEW_PAGE
from attar.errors import InputError
from attar.export.guide import is_current
from attar.export.manifest import GOLDEN, FileEntry, Manifest, read_manifest
from attar.export.snippets import square_module
from attar.export.verify import changed_files
from attar.export.web.assets import OPENER, Assets, find
from attar.files import json_text, read_json, replacing, sha256
from attar.geo.files import WEIGHTS
from attar.geo.located import Located, open_located
from attar.geo.snippets import JAVASCRIPT
from attar.serving.addresses import server_of

PAGE = Path(__file__).with_name("page")
SITE, WORKER, INDEX = "site.json", "sw.js", "index.html"
GEO = "geo/model.safetensors"
_RUNTIMES = {
    "litert": ("@litertjs/",),
    "onnx": ("onnxruntime-web/dist/ort.wasm.", "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"),
}
"""Format -> beginnings of the names of its runtime's files."""
_LIBRARIES = ("idb", "fflate")
"""What keeps observations and packs them."""
_SHARED = (OPENER, REVIEW_PAGE / "combobox.js", REVIEW_PAGE / "search.js")
"""Modules of other pages that this one uses."""


@dataclass(frozen=True)
class Site:
    """What was written.

    Attributes:
        folder: the site.
        models: targets in the order in which the page tries them.
        own: bytes of attar's own code in it.
        total: bytes of all of it.
        remarks: why the model should not be shipped yet, if there is a reason.
    """

    folder: Path
    models: tuple[str, ...]
    own: int
    total: int
    remarks: tuple[str, ...]


def write_site(
    exports: Path,
    output: Path,
    *,
    name: str | None = None,
    target: str | None = None,
    collect: str | None = None,
    space: bool = False,
    geo: Path | None = None,
    releases: str | None = None,
    trust: Sequence[Path] = (),
) -> Site:
    """Write an app.

    Args:
        exports: folder with a manifest.json.
        output: folder to write; an earlier app there is replaced, anything else is left alone.
        name: what the app is called; by default the student's name.
        target: the file to try first, such as `litert:fp16`; by default the fastest.
        collect: address of the `attar collect` that may receive observations. The page's security policy lets it
            connect to this address and its own host only.
        space: add what a static Hugging Face Space needs.
        geo: folder of a prior of place and season (`attar.geo.files`), which answers of the camera's pictures take in,
            and of photos that say where they were taken.
        releases: address of the release folder that phones update themselves from, absolute or relative to the page.
        trust: who signs releases: the release folder itself, or files of public keys (`attar.deploy.app.releases`).

    Raises:
        InputError: no fit files, changed files, the runtimes are not installed, `output` holds something else,
            `collect` or `releases` is no address that a page may use, or nobody is trusted to sign releases.
    """
    server = server_of(collect) if collect else ""
    if output.exists() and not _is_ours(output):
        raise InputError(f"{output}: there is something that is no app of attar's. Name a new folder.")
    _refuse_releases(output)
    manifest = read_manifest(exports)
    source = open_source(releases, trust, str(manifest.bundle["name"]))
    located = open_located(geo, manifest.bundle["labels"]) if geo else None
    if located and located.prior.combination.weight == 0:
        say(f"{geo}: counts nothing beside photos (weight 0), so the app goes without it.")
        located = None
    entries = choose(manifest, exports, target)
    _refuse_changed(exports, manifest, entries)
    assets = find()
    with replacing(output) as folder:
        folder.mkdir()
        _copy_page(folder, name or manifest.bundle["name"])
        _copy_runtimes(folder, assets, entries)
        model = write_model(exports, folder, manifest, entries)
        if geo and located:
            put(folder / GEO, (geo / WEIGHTS).read_bytes())
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        about = {
            **model,
            "attar": __version__,
            "name": name or manifest.bundle["name"],
            "collect": server,
            "geo": _geo(located) if located else None,
            "releases": source.to_json() if source else None,
            "files": {path.relative_to(folder).as_posix(): sha256(path) for path in files},
        }
        put(folder / SITE, json_text(about).encode())
        for file in (WORKER, INDEX):  # these two name the digest of all others
            text = _index(server, source) if file == INDEX else (PAGE / file).read_text(encoding="utf-8")
            put(folder / file, text.replace("__SITE__", sha256(folder / SITE)).encode())
        for file, text in (space_files(about["name"]) if space else {}).items():
            put(folder / file, text.encode())
        own = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".js", ".html", ".css"))
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Site(output, tuple(entry.target for entry in entries), own, total, manifest.readiness.reasons)


def _refuse_releases(folder: Path) -> None:
    """An app is replaced as a whole: a release folder inside it would be gone."""
    for path in folder.glob(f"*/**/{POINTER}"):
        raise InputError(
            f"{path.parent}: a release folder, which would be removed with the app. Move it beside {folder}."
        )


def _is_ours(folder: Path) -> bool:
    if folder.is_dir() and not any(folder.iterdir()):
        return True
    try:
        return bool(read_json(folder / SITE)["attar"])
    except (InputError, KeyError, TypeError):
        return False


def _refuse_changed(exports: Path, manifest: Manifest, entries: Sequence[FileEntry]) -> None:
    changed = changed_files(exports, {entry.file: entry.sha256 for entry in entries})
    if changed:
        raise InputError(f"{exports / changed[0][0]}: missing, or changed since it was verified. Export it again.")
    if not is_current(manifest, exports):
        raise InputError(
            f"{exports / GOLDEN}: the photos with the files' answers are missing, changed, or of other files. "
            "Run `attar export` again: it makes only what is missing."
        )


def _copy_page(folder: Path, name: str) -> None:
    for path in PAGE.iterdir():
        if path.name not in (WORKER, INDEX):
            shutil.copyfile(path, folder / path.name)
    for path in _SHARED:
        shutil.copyfile(path, folder / path.name)
    put(folder / "square.js", square_module().encode())
    shutil.copyfile(JAVASCRIPT, folder / "geo_prior.js")
    for file, content in icons().items():
        put(folder / file, content)
    put(folder / "app.webmanifest", json_text(_installable(name)).encode())


def _index(server: str, source: ReleaseSource | None) -> str:
    """The page. Its Content-Security-Policy gets the hash of its import map, and the addresses that it connects to."""
    page = (PAGE / INDEX).read_text(encoding="utf-8")
    inline = page.partition('<script type="importmap">')[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    elsewhere = [server, source.elsewhere if source else ""]
    allowed = "".join(f" {each}/" for each in dict.fromkeys(elsewhere) if each)
    return page.replace("__IMPORTMAP__", digest).replace("__ELSEWHERE__", allowed)


def _installable(name: str) -> dict[str, Any]:
    """Web app manifest (https://www.w3.org/TR/appmanifest/)."""
    icon = {"type": "image/png"}
    return {
        "name": name,
        "short_name": name[:12],
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#14171a",
        "theme_color": "#1f6f50",
        "icons": [
            {**icon, "src": "icon-192.png", "sizes": "192x192"},
            {**icon, "src": "icon-512.png", "sizes": "512x512"},
            {**icon, "src": "maskable-512.png", "sizes": "512x512", "purpose": "maskable"},
        ],
    }


def _copy_runtimes(folder: Path, assets: Assets, entries: Sequence[FileEntry]) -> None:
    formats = {entry.target.partition(":")[0] for entry in entries}
    wanted = [each for form in formats for each in _RUNTIMES[form]] + [f"{each}/" for each in _LIBRARIES]
    beginnings = tuple(f"vendor/{each}" for each in wanted)
    for name, path in assets.table().items():
        if name.startswith(beginnings):
            put(folder / name, path.read_bytes())
    copied = [name for name in assets.versions if (folder / "vendor" / name).is_dir()]
    put(folder / "LICENSES.txt", licences(assets, copied).encode())


def _geo(located: Located) -> dict[str, Any]:
    """What the page needs to know of a prior; its weights are in a file."""
    prior = located.prior
    return {
        "file": GEO,
        "blocks": prior.model.architecture["blocks"],
        "order": located.order.tolist(),
        "observed": located.observed.tolist(),
        **prior.combination.to_json(),
    }
