"""A release folder, which any static host can serve.

    current.json           signed: which release each channel has, and which keys sign the next one
    releases/SHA256.json   a release: its files' names, contents and sizes
    files/SHA256           their contents
    history/NUMBER.json    earlier pointers, for `attar rollback`
    pruned.json            which releases lack contents, because nobody gets them any more (`prune`)

A file of a release that is called `deltas/SHA256/SHA256` is a delta (`attar.deploy.release.delta`): it makes the second
content of the first one. To a page that knows no deltas it is one more file that it does not load.

`current.json` is replaced by a rename, after everything that it leads to is on the disk. All that is named by its
content and never changes. So a phone sees the old release or the new one, whenever a publisher is killed. Each pointer
has a higher number than the one before, and phones take none that is not higher than theirs. A pointer is signed by a
key that the pointer before lists, and that it lists itself, and it names that pointer by its SHA-256.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256 as _sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

from attar.deploy.release.delta import Unfit, applied
from attar.deploy.release.envelope import Forged, opened, signed
from attar.deploy.release.keys import PrivateKey, PublicKey
from attar.errors import InputError
from attar.files import flush_names, json_text, make_folder, sha256, write_bytes

POINTER = "current.json"
RELEASES, FILES, HISTORY, LOCK = "releases", "files", "history", ".lock"
PRUNED = "pruned.json"

DELTAS = "deltas"
"""Where the deltas of a release are by their names."""

_DELTA = re.compile(rf"{DELTAS}/([0-9a-f]{{64}})/([0-9a-f]{{64}})")

_MAX_BYTES = 4_000_000
"""Of a pointer or a release."""

CHANNEL = r"^[a-z][a-z0-9-]{0,30}$"
"""What a channel may be called."""

STRICT = ConfigDict(strict=True, extra="forbid")
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_PART = r"(?!\.\.?(/|$))[^/\\\x00-\x1f]{1,200}"
"""Of a path: no `.` and no `..`, no backslash, no control character."""


def _is_name(text: str) -> str:
    if len(text) > 400 or not re.fullmatch(rf"{_PART}(/{_PART})*", text):
        raise ValueError("no relative path with slashes")
    return text


Name = Annotated[str, AfterValidator(_is_name)]
Number = Annotated[int, Field(ge=1, lt=2**53)]
"""As large as a JavaScript number is exact."""
Short = Annotated[str, Field(min_length=1, max_length=200)]
ChannelName = Annotated[str, Field(pattern=CHANNEL)]


@with_config(STRICT)
@dataclass(frozen=True)
class File:
    """One file of a release: `name` is what it is called in the exports folder."""

    name: Name
    sha256: Digest
    bytes: Annotated[int, Field(ge=0, lt=2**53)]


@with_config(STRICT)
@dataclass(frozen=True)
class Exported:
    """An exported file, or folder of files, and its SHA-256 as the manifest has it."""

    file: Name
    sha256: Digest


@with_config(STRICT)
@dataclass(frozen=True)
class Model:
    """The student."""

    name: Short
    fingerprint: Digest


@dataclass(frozen=True)
class Delta:
    """What makes one content of another, each by its SHA-256."""

    old: str
    new: str
    file: File

    @staticmethod
    def name(old: str, new: str) -> str:
        """What its file is called in a release."""
        return f"{DELTAS}/{old}/{new}"


@with_config(STRICT)
@dataclass(frozen=True)
class Release:
    """What phones get: files of one student.

    Attributes:
        app: which app it is for; phones take no other app's.
        model: the student.
        targets: the exported files.
        files: all files, with what explains them: labels, golden photos, the manifest; and deltas.
    """

    app: Short
    model: Model
    targets: dict[str, Exported]
    files: tuple[File, ...]
    schema: Literal[1] = 1

    @property
    def contents(self) -> tuple[File, ...]:
        """The files without the deltas."""
        return tuple(each for each in self.files if not _DELTA.fullmatch(each.name))

    @property
    def deltas(self) -> tuple[Delta, ...]:
        """The deltas among the files."""
        found = ((_DELTA.fullmatch(each.name), each) for each in self.files)
        return tuple(Delta(match[1], match[2], file) for match, file in found if match)


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
        number: one more than of the pointer before.
        previous: SHA-256 of the file of the pointer before; empty in the first.
        made: when, ISO 8601.
        keys: JSON Web Keys of which one signs the next pointer.
        channels: `stable`, and others such as `beta`.
    """

    app: Short
    number: Number
    previous: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    made: str
    keys: tuple[dict[str, str], ...]
    channels: dict[ChannelName, Channel]
    schema: Literal[1] = 1


@with_config(STRICT)
@dataclass(frozen=True)
class Partial:
    """Releases, by their SHA-256, whose contents may be missing. Nobody signs that: no channel may have one of them."""

    releases: tuple[Digest, ...]
    schema: Literal[1] = 1


@dataclass(frozen=True)
class Signed:
    """A pointer, and the bytes of the file that it came from."""

    pointer: Pointer
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return _sha256(self.content).hexdigest()

    @property
    def payload(self) -> bytes:
        """What was signed."""
        return base64.b64decode(json.loads(self.content)["payload"])


class ReleaseFolder:
    """A release folder, locked for one publisher; see `locked`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked: set[tuple[str, bool]] = set()

    # --- reading ---------------------------------------------------------------------------------

    def chain(self) -> list[Signed]:
        """All pointers from the first to the current one; none if nothing was published here.

        Each names the one before by its SHA-256, and is signed by a key that both list. That says nothing of the first:
        who takes the chain for true has to know one of its pointers (`attar.deploy.release.seen`).

        Raises:
            InputError: it was changed by hand, or is damaged.
        """
        current = self.path / POINTER
        if not _exists(current):
            if self.path.is_dir() and (strange := self._strangers()):
                raise InputError(
                    f"{self.path}: no {POINTER}, but {strange}. Publish into an empty folder, or restore {POINTER}."
                )
            return []
        last = _read_pointer(current)
        _refuse_unsigned(last, keys_of(last.pointer, current), current)
        self._refuse_later(last)
        places = [self.path / HISTORY / f"{number}.json" for number in range(1, last.pointer.number)]
        found = [*map(_read_pointer, places), last]
        trusted: list[PublicKey] | None = None
        previous = ""
        for number, (each, path) in enumerate(zip(found, [*places, current]), 1):
            if (each.pointer.number, each.pointer.app) != (number, last.pointer.app):
                raise _changed(path, "it is another pointer")
            if each.pointer.previous != previous:
                raise _changed(path, f"it does not follow the number {number - 1} that is here")
            previous = each.digest
            own = keys_of(each.pointer, path)
            _refuse_unsigned(each, own, path)
            _refuse_unsigned(each, trusted or own, path)
            trusted = own
        return found

    def _refuse_later(self, last: Signed) -> None:
        """Refuse a current pointer that was put back: the history knows a later one."""
        place = self.path / HISTORY
        _refuse_link(place)
        numbers = [int(each.stem) for each in place.glob("*.json") if each.stem.isdigit()] if place.is_dir() else []
        latest = max(numbers, default=0)
        if latest > last.pointer.number:
            raise _changed(self.path / POINTER, f"it has number {last.pointer.number}, and {latest} was published")
        if latest == last.pointer.number and (place / f"{latest}.json").read_bytes() != last.content:
            raise _changed(self.path / POINTER, f"it is not the number {latest} that was published")

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

    def check(self, pointer: Pointer, *, old: bool = False) -> None:
        """Hold all files of all channels against what was published.

        Args:
            pointer: which channels.
            old: whether contents may be missing that were pruned.

        Raises:
            InputError: one is missing or changed; it is named.
        """
        pruned = self.pruned()
        for channel in pointer.channels.values():
            if {(channel.release, False), (channel.release, old)} & self._checked:
                continue
            release = self.release(channel.release)
            if release.app != pointer.app:
                raise _changed(self.path / RELEASES / f"{channel.release}.json", "it is of another app")
            for file in release.files:
                path = self.path / FILES / file.sha256
                _refuse_link(path)
                if not _exists(path) and channel.release in pruned:
                    if old:
                        continue
                    raise InputError(
                        f"{path}: {file.name} of the release was removed by `attar releases --prune`. Publish that "
                        "run again."
                    )
                if not path.is_file():
                    raise _changed(path, f"{file.name} of the release is missing")
                if path.stat().st_size != file.bytes or sha256(path) != file.sha256:
                    raise _changed(path, f"the content of {file.name} is not what its name says")
            self._check_deltas(release)
            self._checked.add((channel.release, old))

    def pruned(self) -> frozenset[str]:
        """The releases of which contents were removed, by their SHA-256.

        Raises:
            InputError: the list of them is damaged.
        """
        path = self.path / PRUNED
        return frozenset(_parsed(Partial, _content(path), path).releases) if _exists(path) else frozenset()

    def write_pruned(self, releases: Collection[str]) -> None:
        """Write down that contents of these releases will be missing."""
        write_bytes(self.path / PRUNED, json_text(asdict(Partial(tuple(sorted(releases))))).encode())
        flush_names(self.path)

    def _check_deltas(self, release: Release) -> None:
        """Hold what each delta makes against its name. Where it or what it begins with was pruned, nobody uses it."""
        sizes = {each.sha256: each.bytes for each in release.contents}
        for delta in release.deltas:
            path, old = (self.path / FILES / each for each in (delta.file.sha256, delta.old))
            if delta.new not in sizes:
                raise _changed(path, "a delta to a file that the release does not have")
            _refuse_link(old)
            made_whole = self.path / FILES / delta.new  # its size was held against the one that the release names
            if not all(each.is_file() for each in (old, path, made_whole)):
                continue
            content = old.read_bytes()
            if _sha256(content).hexdigest() != delta.old:
                raise _changed(old, "its content is not what its name says")
            try:
                made = applied(content, path.read_bytes(), sizes[delta.new])
            except Unfit as error:
                raise _changed(path, f"no delta ({error})") from None
            if _sha256(made).hexdigest() != delta.new:
                raise _changed(path, f"a delta that does not make {delta.new[:12]} of {delta.old[:12]}")

    def _strangers(self) -> str:
        """What a first publisher that was killed does not leave behind."""
        names = sorted(each.name for each in self.path.iterdir() if not each.name.startswith("."))
        return ", ".join([each for each in names if each not in (RELEASES, FILES)][:3])

    # --- writing ---------------------------------------------------------------------------------

    def store(self, release: Release, contents: Mapping[str, Path]) -> str:
        """Write a release and its files, by their names; returns its SHA-256. Nothing leads to it yet.

        Raises:
            InputError: a file's content is not what the release says.
        """
        for file in release.files:
            content = contents[file.name].read_bytes()
            if _sha256(content).hexdigest() != file.sha256:
                raise InputError(f"{contents[file.name]}: changed while it was published. Publish again.")
            place = self.path / FILES / file.sha256
            _refuse_link(place)
            if not place.is_file() or sha256(place) != file.sha256:
                write_bytes(place, content)
        content = release_bytes(release)
        place = self.path / RELEASES / f"{_sha256(content).hexdigest()}.json"
        _refuse_link(place)
        write_bytes(place, content)
        return place.stem

    def add(self, texts: Mapping[str, str]) -> None:
        """Write files that are no part of any release, by their names, unless something has that name already."""
        for name, text in texts.items():
            if not _exists(self.path / name):
                write_bytes(self.path / name, text.encode())

    def point(self, pointer: Pointer, key: PrivateKey) -> bytes:
        """Make a pointer the current one; returns what was written.

        Also after a power cut, what it leads to is there if it is, and it is there once this has returned.
        """
        current = self.path / POINTER
        if current.exists():  # the one before this goes to the history, if a killed publisher did not put it there
            before = _read_pointer(current)
            write_bytes(self.path / HISTORY / f"{before.pointer.number}.json", before.content)
        content = json_text(signed(json.dumps(asdict(pointer), ensure_ascii=False).encode(), key)).encode()
        for name in (FILES, RELEASES, HISTORY):
            if (self.path / name).is_dir():
                flush_names(self.path / name)
        flush_names(self.path)
        write_bytes(current, content)
        flush_names(self.path)
        flush_names(self.path.resolve().parent)  # the first release made the folder
        return content


def release_bytes(release: Release) -> bytes:
    """A release as it is written.

    Raises:
        InputError: it has a name that no release may have.
    """
    content = json_text(asdict(release)).encode()
    try:
        TypeAdapter(Release).validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['input']!r}: cannot be part of a release. Give it another name.") from None
    return content


@contextmanager
def locked(path: Path, create: bool = False) -> Iterator[ReleaseFolder]:
    """A release folder, for one publisher at a time; others wait."""
    if create:
        make_folder(path)
    elif not (path / POINTER).exists():
        raise InputError(f"{path}: nothing was published here. `attar publish` does.")
    for part in (path / POINTER, path / LOCK, *(path / name for name in (RELEASES, FILES, HISTORY))):
        _refuse_link(part)
    with FileLock(path / LOCK):
        yield ReleaseFolder(path)


def keys_of(pointer: Pointer, source: Path) -> list[PublicKey]:
    """The keys that sign the next pointer."""
    return [PublicKey.from_json(each, source) for each in pointer.keys]


def _read_pointer(path: Path) -> Signed:
    """A pointer as it says of itself; whether it was signed, `ReleaseFolder.chain` finds out."""
    content = _content(path)
    try:
        payload = base64.b64decode(json.loads(content)["payload"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _changed(path, "not a signed document") from None
    return Signed(_parsed(Pointer, payload, path), content)


def _refuse_unsigned(signed: Signed, keys: Sequence[PublicKey], path: Path) -> None:
    try:
        opened(json.loads(signed.content), keys)
    except Forged as error:
        raise _changed(path, str(error)) from None


def _content(path: Path) -> bytes:
    _refuse_link(path)
    try:
        if not path.is_file():
            raise _changed(path, "it is missing")
        if path.stat().st_size > _MAX_BYTES:
            raise _changed(path, "it is too large")
        return path.read_bytes()
    except OSError as error:
        raise _changed(path, error.strerror or "it cannot be read") from None


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _refuse_link(path: Path) -> None:
    """Releases are plain files: a link could lead a publisher to write or read anywhere."""
    if path.is_symlink():
        raise _changed(path, "it is a link")


def _parsed(kind: Any, content: bytes, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError:
        raise _changed(path, "not what attar writes") from None


def _changed(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: {why}. The release folder was changed by hand or is damaged: restore it, or publish into a new one."
    )
