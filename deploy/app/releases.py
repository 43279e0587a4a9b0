"""Where an app updates itself from, and whom it trusts (`attar.deploy.release`), as the page is told it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from attar.deploy.release.folder import POINTER, ReleaseFolder
from attar.deploy.release.keys import PublicKey
from attar.errors import InputError
from attar.files import read_object
from attar.serving.addresses import server_of


@dataclass(frozen=True)
class ReleaseSource:
    """A release folder as phones see it.

    Attributes:
        address: without a slash at its end, absolute or relative to the page.
        app: the name of the app that the releases are for; phones take no other app's.
        keys: who signs the next pointer.
        number: of the pointer that was current when the app was written; phones take no lower one. 0: not known.
        sha256: of what was signed in that pointer; empty where it is not known.
    """

    address: str
    app: str
    keys: tuple[PublicKey, ...]
    number: int = 0
    sha256: str = ""

    @property
    def elsewhere(self) -> str:
        """The address, if it is on another host than the page may be."""
        return self.address if "://" in self.address else ""

    def to_json(self) -> dict[str, Any]:
        """As the page reads it."""
        return {
            "address": self.address,
            "app": self.app,
            "number": self.number,
            "sha256": self.sha256,
            "keys": [each.to_json() for each in self.keys],
        }


def open_source(address: str | None, trust: Sequence[Path], app: str) -> ReleaseSource | None:
    """Read whom an app is to trust; None if it names no address.

    Args:
        address: of the release folder, as the page sees it.
        trust: the release folder on this machine, whose state and keys are taken; or files of public keys. With files
            alone, phones begin with the current pointer or the first one, if one of these keys signed it.
        app: the name that the first release chooses by default; a release folder has its own.

    Raises:
        InputError: one without the other, no address that a page may read, no keys, or a changed release folder.
    """
    if address is None:
        if trust:
            raise InputError("--trust: for --releases URL, the address that phones update themselves from.")
        return None
    if not trust:
        raise InputError("--releases: say with --trust who signs: the release folder, or a public key (.json).")
    where = _address(address)
    folders = [each for each in trust if each.is_dir()]
    keys = {
        key.id: key for key in (PublicKey.from_json(read_object(path), path) for path in trust if path not in folders)
    }
    if not folders:
        return ReleaseSource(where, app, tuple(keys.values()))
    if len(folders) > 1 or keys:
        raise InputError("--trust: one release folder, whose keys are trusted, or files of public keys.")
    chain = ReleaseFolder(folders[0]).chain()
    if not chain:
        raise InputError(f"{folders[0]}: nothing was published here. `attar publish` does, or name a public key.")
    last = chain[-1]
    trusted = tuple(PublicKey.from_json(each, folders[0] / POINTER) for each in last.pointer.keys)
    return ReleaseSource(where, last.pointer.app, trusted, last.pointer.number, sha256(last.payload).hexdigest())


def _address(text: str) -> str:
    if "://" in text:
        return server_of(text)
    if text.startswith("//") or not re.fullmatch(r"[A-Za-z0-9._~%/-]+", text):
        raise InputError(f"{text!r}: not an address of a folder, such as ../models or https://example.org/models.")
    return text.rstrip("/")
