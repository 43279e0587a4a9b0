"""Photos in object stores and on web servers: which files an address means, and their copy on this machine.

    s3://bucket/shards/                       the shards or tables in a folder
    s3://bucket/shards/{train,val}-*.tar      those that a pattern names
    https://example.org/photos/{000..015}.tar a web server does not list its files, so braces spell all of them
    hf://datasets/user/name/data/*.parquet    a data set of the Hugging Face hub

The files are copied into the user's cache folder (`attar.data.mirror`), and everything else works on that copy: attar
reads shards at random, which a store answers slowly. Stores are reached by fsspec and the packages that it names;
credentials are theirs, from the environment or their own files, and never part of an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from attar.data.archives import PACKED, spelled
from attar.errors import AttarError, InputError, in_line
from attar.extras import require
from attar.files import digest_of, user_cache

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.+)", re.IGNORECASE)
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "https": "aiohttp", "http": "aiohttp"}
"""Scheme -> the package that reaches it."""
_WEB = ("http", "https")
_WILD = re.compile(r"[*?\[\]]")
_BESIDE = ("classes.txt", "labels.txt")
"""Files beside shards that are read with them."""
_SAVED = ("dataset_dict.json", "state.json", "dataset_info.json")
"""Files beside the tables that `datasets` saves."""
TIMEOUT = 30.0
"""Seconds without an answer, after which a request has failed."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as its store lists it.

    Attributes:
        name: its place below the address, with slashes.
        address: what its file system calls it.
        size: bytes.
        tag: changes when the content does (ETag, hash or time); empty if the store says none.
    """

    name: str
    address: str
    size: int
    tag: str


@dataclass(frozen=True)
class Place:
    """An address, taken apart: scheme, the folder, and the pattern below it (empty: the folder itself)."""

    address: str
    scheme: str
    folder: str
    pattern: str


def is_remote(place: str) -> bool:
    """Whether a place is an address (`scheme://...`) and not a path. Needs no package."""
    return _ADDRESS.match(place) is not None


def absolute(place: str) -> str:
    """An address as it is; a path from the root on."""
    return place if is_remote(place) else str(Path(place).resolve())


def here(place: str) -> Path:
    """A path on this machine; of an address, where its copy belongs, whether or not it is there."""
    if not is_remote(place):
        return Path(place).expanduser()
    return copy_folder(place) / "files" / place_of(place).pattern


def copy_folder(address: str) -> Path:
    """Where the copy of an address is kept, in the user's cache folder."""
    return user_cache() / "remote" / digest_of(address)[:24]


def place_of(address: str) -> Place:
    """Take an address apart.

    Raises:
        InputError: no scheme that is known here; a secret in it, which would be kept in bundles and model cards.
    """
    found = _ADDRESS.match(address)
    assert found, address
    scheme, rest = found[1].lower(), found[2]
    if scheme not in _PACKAGES:
        raise InputError(f"{in_line(address)}: photos are read from {', '.join(f'{each}://' for each in _PACKAGES)}.")
    host = rest.partition("/")[0]
    if "@" in host and scheme in _WEB:
        raise InputError(
            f"{scheme}://...@{host.rpartition('@')[2]}: a name and password in an address would be kept in what attar "
            "writes. Put them into ~/.netrc."
        )
    if scheme in _WEB and re.search(r"[?#]", rest):
        raise InputError(
            f"{scheme}://{host}/...: a signature or query in an address would be kept in what attar writes. Give an "
            "address without ? and #."
        )
    rest = rest.rstrip("/")
    parts = rest.split("/")
    fixed = next((i for i, part in enumerate(parts) if re.search(r"[{*?\[]", part)), len(parts))
    if fixed == len(parts) and parts[-1].lower().endswith(PACKED):
        fixed -= 1
    if fixed == 0:
        raise InputError(f"{in_line(address)}: names no bucket or host.")
    return Place(address, scheme, "/".join(parts[:fixed]), "/".join(parts[fixed:]))


def connected(place: Place) -> Any:
    """The file system of a place.

    Raises:
        MissingExtra: its package is not installed.
    """
    fsspec = require("fsspec")
    require(_PACKAGES[place.scheme])
    if place.scheme in _WEB:
        aiohttp = require("aiohttp")
        patience = aiohttp.ClientTimeout(sock_connect=TIMEOUT, sock_read=TIMEOUT)
        return fsspec.filesystem(place.scheme, client_kwargs={"timeout": patience, "trust_env": True})
    if place.scheme != "s3":
        return fsspec.filesystem(place.scheme, use_listings_cache=False)
    once = {"connect_timeout": TIMEOUT, "read_timeout": TIMEOUT, "retries": {"max_attempts": 0}}
    files = fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=once)
    files.retries = 1  # as those of botocore: they would come on top of ours
    return files


def listed(files: Any, place: Place) -> list[RemoteFile]:
    """What a place means in its store: shards or tables, and what is read beside them.

    Raises:
        InputError: there are none; a name that leads out of the folder; a file whose size the store does not say.
        OSError, or what the file system raises: it cannot be reached.
    """
    found = _on_the_web(files, place) if place.scheme in _WEB else _in_the_store(files, place)
    if not any(name.lower().endswith(PACKED) for name in found):
        raise InputError(
            f"{in_line(place.address)}: no tar shards and no tables ({', '.join(PACKED)}) there. Photos one by one are "
            "not read from a store: pack them into shards (docs/data.md)."
        )
    return [_remote_file(place, name, about) for name, about in sorted(found.items())]


def _on_the_web(files: Any, place: Place) -> dict[str, Mapping[str, Any]]:
    if not place.pattern or _WILD.search(place.pattern):
        raise InputError(
            f"{in_line(place.address)}: a web server does not list its files. Name all of them, such as "
            f"{place.scheme}://{in_line(place.folder)}/{{000..015}}.tar."
        )
    root = f"{place.scheme}://{place.folder}"
    found = {name: info(files, f"{root}/{name}") for name in spelled(place.pattern)}
    missing = next((name for name, about in found.items() if about is None), None)
    if missing is not None:
        raise InputError(f"{in_line(root)}/{in_line(missing)}: no such file on the server.")
    beside = {name: info(files, f"{root}/{name}") for name in _BESIDE}
    return {name: about for name, about in {**found, **beside}.items() if about is not None}


def info(files: Any, address: str) -> Mapping[str, Any] | None:
    """What a file system says of a file; None if there is none.

    Raises:
        PermissionError: it may not be read.
        OSError: the store does not answer properly. Asked again, it may.
    """
    try:
        about: Mapping[str, Any] = files.info(address)
    except FileNotFoundError as error:  # fsspec says so of whatever answer a web server gives
        status = getattr(error.__cause__, "status", 404)
        if status in (401, 403):
            raise PermissionError(f"{address}: status {status}") from error
        if status not in (404, 410) or isinstance(error.__cause__, OSError | TimeoutError):
            raise OSError(f"{address}: status {status}, {error.__cause__}") from error
        return None
    return about


def _in_the_store(files: Any, place: Place) -> dict[str, Mapping[str, Any]]:
    inside = dict(_below(files, place.folder, max(2, place.pattern.count("/") + 1)))
    beside = {name: about for name, about in inside.items() if name in _BESIDE}
    if not place.pattern:
        data = {name: about for name, about in inside.items() if _is_data(name)}
        return {**data, **beside} if data else {}
    chosen: dict[str, Mapping[str, Any]] = {}
    for pattern in spelled(place.pattern):
        matching = [name for name in inside if _matches(name, pattern)]
        if not matching:
            raise InputError(f"{in_line(place.folder)}/{in_line(pattern)}: no such file in the store.")
        chosen |= {name: inside[name] for name in matching}
    return {**chosen, **beside}


def _below(files: Any, folder: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Files with their names below a folder. fsspec's own `find` leaves out, silently, what it could not list."""
    root = files._strip_protocol(folder).rstrip("/") + "/"
    for about in files.ls(folder, detail=True):
        name = str(about["name"]).removeprefix(root)
        if about["type"] != "directory":
            yield name, about
        elif depth > 1:
            yield from ((f"{name}/{inner}", each) for inner, each in _below(files, about["name"], depth - 1))


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.name.startswith(".") and (name.lower().endswith(PACKED) or path.name in _SAVED)


def _matches(name: str, pattern: str) -> bool:
    """As the shell does: a star stops at a slash."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _remote_file(place: Place, name: str, about: Mapping[str, Any]) -> RemoteFile:
    if any(part in ("", ".", "..") for part in name.split("/")) or re.search(r"[\\:\0]", name):
        raise InputError(f"{in_line(place.address)}: the name {in_line(name)!r} cannot be a file here. Rename it.")
    size = about.get("size")
    if not isinstance(size, int):
        raise InputError(f"{in_line(place.address)}: the server does not say how large {in_line(name)} is.")
    return RemoteFile(name, str(about["name"]), size, tag_of(about))


def tag_of(about: Mapping[str, Any]) -> str:
    """What changes when a file's content does, of what its file system says of it."""
    stores = ("ETag", "etag", "md5Hash", "generation", "blob_id", "LastModified", "mtime")
    keys = (*stores, "Content-MD5", "Digest", "Last-Modified")  # the last three as web servers say them
    return next((str(about[key]) for key in keys if about.get(key)), "")


def explained(error: Exception, place: Place) -> AttarError:
    """What to tell of an error of a file system, once there is no use in trying again."""
    if isinstance(error, AttarError):
        return error
    what = in_line(str(error).strip() or type(error).__name__)[:300]
    if isinstance(error, FileNotFoundError):
        return InputError(f"{in_line(place.address)}: not found ({what}). Look at the address.")
    if isinstance(error, PermissionError) or "credential" in what.lower():
        return InputError(
            f"{in_line(place.address)}: no access ({what}). Give {_PACKAGES[place.scheme]} its credentials, by "
            "environment variables or its own file."
        )
    return InputError(f"{in_line(place.address)}: cannot be reached ({what}). Look at the network and the address.")
