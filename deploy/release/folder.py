"""A release folder, which any static host can serve.

    current.json           signed: which release each channel has, and which keys sign the next one
    releases/SHA256.json   a release: its files' names, contents and sizes
    files/SHA256           their contents
    history/NUMBER.json    earlier pointers, for `attar rollback`

Only `current.json` is ever replaced, by a rename, after everything that it leads to is on the disk. All else is named
by its content and never changes. So a phone sees the old release or the new one, whenever a publisher is killed. Each
pointer has a higher number than the one before, and phones take none that is not higher than theirs. A pointer is
signed by a key that the pointer before lists, and that it lists itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256 as _sha256
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from attar.deploy.release.envelope import Forged, opened, signed
from attar.deploy.release.keys import PrivateKey, PublicKey
from attar.errors import InputError
from attar.files import json_text, make_folder, sha256, write_bytes, write_json

POINTER = "current.json"
RELEASES, FILES, HISTORY, LOCK = "releases", "files", "history", ".lock"

_MAX_BYTES = 4_000_000
"""Of a pointer or a release."""

STRICT = ConfigDict(strict=True, extra="forbid")
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f][^\\\x00-\x1f]*$", max_length=200)]


@with_config(STRICT)
@dataclass(frozen=True)
class File:
    """One file of a release: `name` is what it is called in the exports folder."""

    name: Name
    sha256: Digest
    bytes: int


@with_config(STRICT)
@dataclass(frozen=True)
class Release:
    """What phones get: files of one student.

    Attributes:
        app: which app it is for; phones take no other app's.
        model: the student's name and fingerprint.
        targets: of each exported file its name, by target.
        files: all files, with what explains them: labels, golden photos, the manifest.
    """

    app: str
    model: dict[str, str]
    targets: dict[str, str]
    files: tuple[File, ...]
    schema: int = 1

    def digest_of(self, target: str) -> str | None:
        """SHA-256 of a target's file; None: it has none."""
        return next((each.sha256 for each in self.files if each.name == self.targets.get(target)), None)


@with_config(STRICT)
@dataclass(frozen=True)
class Channel:
    """What a channel has: `release` is its SHA-256, and `share` of the phones take it, in (0, 1]."""

    release: Digest
    share: Annotated[float, Field(gt=0, le=1)]


@with_config(STRICT)
@dataclass(frozen=True)
class Pointer:
    """What is current.

    Attributes:
        app: which app this is.
        number: higher than of all pointers before.
        made: when, ISO 8601.
        keys: JSON Web Keys of which one signs the next pointer.
        channels: `stable`, and others such as `beta`.
    """

    app: str
    number: int
    made: str
    keys: tuple[dict[str, str], ...]
    channels: dict[str, Channel]
    schema: int = 1


class ReleaseFolder:
    """A release folder, locked for one publisher; see `locked`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked: set[str] = set()

    # --- reading ---------------------------------------------------------------------------------

    def pointer(self, name: str = POINTER) -> Pointer | None:
        """The pointer, if one of its own keys signed it; None: nothing was published here.

        Raises:
            InputError: it was changed by hand, or is damaged.
        """
        path = self.path / name
        if not path.exists():
            if name == POINTER and self.path.is_dir() and (strange := self._strangers()):
                raise InputError(
                    f"{self.path}: no {POINTER}, but {strange}. Publish into an empty folder, or restore {POINTER}."
                )
            return None
        envelope = _json(path)
        payload = _unsigned_payload(envelope)
        found: Pointer = _parsed(Pointer, payload, path)
        try:
            opened(envelope, keys_of(found, path))
        except Forged as error:
            raise _changed(path, str(error)) from None
        return found

    def release(self, digest: str) -> Release:
        """A release by its SHA-256.

        Raises:
            InputError: it is missing or changed.
        """
        path = self.path / RELEASES / f"{digest}.json"
        content = _content(path)
        if _sha256(content).hexdigest() != digest:
            raise _changed(path, "its content is not what its name says")
        found: Release = _parsed(Release, content, path)
        return found

    def check(self, pointer: Pointer) -> None:
        """Hold all files of all channels against what was published.

        Raises:
            InputError: one is missing or changed; it is named.
        """
        for channel in pointer.channels.values():
            if channel.release in self._checked:
                continue
            release = self.release(channel.release)
            if release.app != pointer.app:
                raise _changed(self.path / RELEASES / f"{channel.release}.json", "it is of another app")
            for file in release.files:
                path = self.path / FILES / file.sha256
                if not path.is_file():
                    raise _changed(path, f"{file.name} of the release is missing")
                if path.stat().st_size != file.bytes or sha256(path) != file.sha256:
                    raise _changed(path, f"the content of {file.name} is not what its name says")
            self._checked.add(channel.release)

    def earlier(self, pointer: Pointer) -> Iterator[Pointer]:
        """The pointers before, the latest first."""
        for number in range(pointer.number - 1, 0, -1):
            found = self.pointer(f"{HISTORY}/{number}.json")
            if found is None:
                raise _changed(self.path / HISTORY / f"{number}.json", "it is missing")
            if found.number != number or found.app != pointer.app:
                raise _changed(self.path / HISTORY / f"{number}.json", "it is another pointer")
            yield found

    def _strangers(self) -> str:
        """What a first publisher that was killed does not leave behind."""
        names = sorted(each.name for each in self.path.iterdir() if not each.name.startswith("."))
        return ", ".join([each for each in names if each not in (RELEASES, FILES)][:3])

    # --- writing ---------------------------------------------------------------------------------

    def store(self, app: str, model: Mapping[str, str], targets: Mapping[str, str], files: Mapping[str, Path]) -> str:
        """Write a release and its files, by their names; returns its SHA-256. Nothing leads to it yet."""
        listed = []
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            digest = _sha256(content).hexdigest()
            place = self.path / FILES / digest
            if not place.is_file() or sha256(place) != digest:
                write_bytes(place, content)
            listed.append(File(name, digest, len(content)))
        release = Release(app, dict(model), dict(targets), tuple(listed))
        content = json_text(asdict(release)).encode()
        digest = _sha256(content).hexdigest()
        write_bytes(self.path / RELEASES / f"{digest}.json", content)
        return digest

    def point(self, pointer: Pointer, key: PrivateKey) -> None:
        """Make a pointer the current one."""
        current = self.path / POINTER
        if current.exists():  # the one before this goes to the history, if a killed publisher did not put it there
            before = self.pointer()
            assert before is not None
            write_bytes(self.path / HISTORY / f"{before.number}.json", current.read_bytes())
        write_json(current, signed(json.dumps(asdict(pointer), ensure_ascii=False).encode(), key))


@contextmanager
def locked(path: Path) -> Iterator[ReleaseFolder]:
    """A release folder, for one publisher at a time; others wait. It is created if need be."""
    make_folder(path)
    with FileLock(path / LOCK):
        yield ReleaseFolder(path)


def keys_of(pointer: Pointer, source: Path) -> list[PublicKey]:
    """The keys that sign the next pointer."""
    return [PublicKey.from_json(each, source) for each in pointer.keys]


def _json(path: Path) -> Any:
    try:
        return json.loads(_content(path))
    except ValueError:
        raise _changed(path, "not JSON") from None


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _changed(path, "it is too large")
        return path.read_bytes()
    except OSError as error:
        raise _changed(path, error.strerror or "it cannot be read") from None


def _unsigned_payload(envelope: Any) -> bytes:
    """What an envelope says its payload is. Only `opened` says that it was signed."""
    import base64

    try:
        return base64.b64decode(envelope["payload"])
    except (KeyError, TypeError, ValueError):
        return b""


def _parsed(kind: Any, content: bytes, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError:
        raise _changed(path, "not what attar writes") from None


def _changed(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: {why}. The release folder was changed by hand or is damaged: restore it, or publish into a new one."
    )
