"""The libraries that a browser needs (runtimes, a database, an archiver), from npm, kept in the user's cache folder.

`npm ci` fetches the versions of `npm/package-lock.json` and checks each package against its sha512. Only the files that
the page loads are kept, beside the packages' own words on version and licence, with a list of their SHA-256.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from attar.errors import InputError
from attar.files import read_json, replacing, scratch, sha256, user_cache, write_json

_LOCKED = Path(__file__).with_name("npm")
OPENER = Path(__file__).with_name("runtimes.js")
"""The module by which pages open files in a runtime."""
_LIST = "files.json"

_LITERT = [
    f"{build}.{kind}"
    for build in ("litert_wasm_internal", "litert_wasm_threaded_internal", "litert_wasm_compat_internal")
    for kind in ("js", "wasm")
]
FILES = (
    "@litertjs/core/dist/index.js",
    *(f"@litertjs/core/wasm/{name}" for name in _LITERT),
    "@litertjs/wasm-utils/dist/index.js",
    "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "onnxruntime-web/dist/ort.webgpu.bundle.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm",
    "idb/build/index.js",
    "fflate/esm/browser.js",
)
"""What the pages may load, below node_modules."""
PACKAGES = ("@litertjs/core", "@litertjs/wasm-utils", "onnxruntime-web", "idb", "fflate")
_LICENCES = ("LICEN[CS]E*", "NOTICE*", "ThirdParty*")
_NOTICES = ("package.json", "README*", *_LICENCES)

INSTALL = "`attar lab --install` fetches them once (it needs npm)."


@dataclass(frozen=True)
class Assets:
    """Installed and unchanged files. `versions` and `licences` are by package."""

    folder: Path
    versions: dict[str, str]
    licences: dict[str, str]

    def table(self) -> dict[str, Path]:
        """Name below the page's address -> file: exactly what is served."""
        return {f"vendor/{name}": self.folder / name for name in FILES}

    def texts(self, package: str) -> str:
        """The licence and notices that a package brings; empty if it brings none."""
        paths = [path for pattern in _LICENCES for path in sorted((self.folder / package).glob(pattern))]
        return "\n".join(path.read_text(encoding="utf-8").strip() for path in paths)


def place() -> Path:
    """Where the pinned versions belong: another lock file means another folder."""
    return user_cache() / "lab" / sha256(_LOCKED / "package-lock.json")[:12]


def find(folder: Path | None = None) -> Assets:
    """The installed files.

    Raises:
        InputError: they are not installed, or not what was installed.
    """
    folder = folder or place()
    if not (folder / _LIST).is_file():
        raise InputError(f"The browser's libraries (LiteRT.js, ONNX Runtime Web) are not installed. {INSTALL}")
    listed = read_json(folder / _LIST)
    for name in FILES:
        path = folder / name
        if not path.is_file() or sha256(path) != listed.get(name):
            raise InputError(f"{path}: missing or changed since it was installed. {INSTALL}")
    about = {name: read_json(folder / name / "package.json") for name in PACKAGES}
    return Assets(
        folder,
        {name: value["version"] for name, value in about.items()},
        {name: value["license"] for name, value in about.items()},
    )


def installed() -> Assets:
    """The installed files, fetched now if they are not there.

    Raises:
        InputError: npm is missing or fails.
    """
    try:
        return find()
    except InputError:
        return install()


def install(folder: Path | None = None) -> Assets:
    """Fetch the pinned packages with npm, and keep what the page needs; all of it or nothing.

    Raises:
        InputError: npm is missing or fails.
    """
    folder = folder or place()
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("npm is not installed, and LiteRT.js and ONNX Runtime Web come from it. Install Node.js.")
    with scratch(folder.parent) as work:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_LOCKED / name, work)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True)
        if done.returncode != 0:
            raise InputError(f"npm ci failed: {_reason(done.stderr)}")
        with replacing(folder) as kept:
            _keep(work / "node_modules", kept)
    return find(folder)


def _keep(packages: Path, kept: Path) -> None:
    notices = [path for name in PACKAGES for pattern in _NOTICES for path in sorted((packages / name).glob(pattern))]
    for path in [*(packages / name for name in FILES), *notices]:
        target = kept / path.relative_to(packages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    write_json(kept / _LIST, {name: sha256(kept / name) for name in FILES})


def _reason(stderr: str) -> str:
    """npm's own words, without its debug log."""
    lines = [line.removeprefix("npm error ").removeprefix("npm ERR! ") for line in stderr.splitlines() if line.strip()]
    return " ".join(lines[:4])[:400] or "no reason given"
