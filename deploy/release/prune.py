"""Removing the contents of old releases from a release folder.

Pointers stay, because phones that were away go through the history number by number. Releases' lists of files stay too.
What goes are contents that no channel has, that no rollback within reach gives, and that no recent state names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attar.deploy.release.folder import FILES, Pointer, locked
from attar.deploy.release.publish import release_before
from attar.files import writing

KEEP = 5
"""States, and rollbacks of each channel, whose files stay."""


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        files: their names, which are the SHA-256 of their contents.
        bytes: of all of them.
        releases: SHA-256 of the releases that are no longer whole because of it.
    """

    files: tuple[str, ...]
    bytes: int
    releases: tuple[str, ...]


def prune(folder: Path, keep: int = KEEP, *, dry_run: bool = False) -> Pruned:
    """Remove the contents of old releases.

    What the channels have now stays, what they had in the `keep` states before, and what so many rollbacks of each
    channel would give. It is written down which releases are no longer whole before the first file goes; a process that
    is killed has removed some of the files, and the next call removes the others.

    Args:
        folder: the release folder.
        keep: how many states and rollbacks, at least 1.
        dry_run: only look.

    Raises:
        InputError: nothing was published, or something was changed: then nothing is removed.
    """
    with locked(folder) as place:
        chain = [each.pointer for each in place.chain()]
        place.check(chain[-1])
        for each in chain:
            place.check(each, old=True)
        digests = {channel.release for each in chain for channel in each.channels.values()}
        contents = {digest: {file.sha256 for file in place.release(digest).files} for digest in digests}
        named = set[str]().union(*(contents[digest] for digest in _kept(chain, keep)))
        there = {path.name: path for path in sorted((folder / FILES).iterdir()) if _is_content(path)}
        gone = {name: path.stat().st_size for name, path in there.items() if name not in named}
        left = {*there} - {*gone}
        partial = {digest for digest in digests if not contents[digest] <= left}
        made = Pruned(tuple(gone), sum(gone.values()), tuple(sorted(partial - place.pruned())))
        if gone and not dry_run:
            place.write_pruned(partial)
            for name in gone:
                with writing(there[name]):
                    there[name].unlink()
        return made


def _kept(chain: Sequence[Pointer], keep: int) -> set[str]:
    """The releases whose files stay."""
    last = chain[-1]
    kept = {channel.release for each in chain[-1 - keep :] for channel in each.channels.values()}
    for name, channel in last.channels.items():
        release = channel.release
        for _ in range(keep):
            had = release_before(chain[:-1], name, release)
            if had is None:
                break
            release = had.release
            kept.add(release)
    return kept


def _is_content(path: Path) -> bool:
    """Whether attar wrote it; anything else is left alone."""
    return bool(re.fullmatch(r"[0-9a-f]{64}", path.name)) and path.is_file() and not path.is_symlink()
