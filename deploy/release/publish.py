"""Publishing an exports folder, taking it back, and changing which keys phones trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from attar.deploy.release.folder import Channel, Pointer, Release, ReleaseFolder, keys_of, locked
from attar.deploy.release.keys import PrivateKey, PublicKey, load
from attar.errors import GateError, InputError, did_you_mean
from attar.export.manifest import CARD, GOLDEN, LABELS, NAME, read_manifest
from attar.files import inside, read_object, sha256

STABLE = "stable"
"""The channel that phones have unless they draw another."""

GATE = "gate/gate.json"
"""Where `attar gate` leaves its decision, beside an exports folder."""


@dataclass(frozen=True)
class Done:
    """What a publisher did: the pointer that is current now, and whether it is a new one."""

    pointer: Pointer
    new: bool


def publish(
    exports: Path,
    folder: Path,
    key: Path,
    *,
    app: str | None = None,
    channel: str = STABLE,
    share: float = 1.0,
    targets: Sequence[str] = (),
    also: Sequence[Path] = (),
    gate: Path | None = None,
    without_gate: bool = False,
) -> Done:
    """Publish files into a release folder.

    Args:
        exports: the exports folder, whose files were verified.
        folder: the release folder; the first release creates it.
        key: the private key, outside it.
        app: name of the app, which the first release chooses; by default the student's.
        channel: `stable`, or one that `share` of the phones take.
        share: in (0, 1]; of `stable` it is 1.
        targets: files to publish; by default all that are verified.
        also: public keys that phones are to trust besides, chosen at the first release: a spare outlives a lost key.
        gate: the decision of `attar gate`; by default `gate/gate.json` beside the exports folder.
        without_gate: publish without one.

    Raises:
        GateError: the gate holds these files back, or was asked about others.
        InputError: a file that changed since it was verified, a key that phones do not trust, a release folder that
            was changed by hand, or another app's.
    """
    _refuse_inside(key, folder)
    signing = load(key)
    if channel == STABLE and share != 1:
        raise InputError("--share: all phones take the channel stable. Give --channel beta with it.")
    if not 0 < share <= 1:
        raise InputError(f"--share {100 * share:g}: per cent of the phones, above 0 and at most 100.")
    name, model, chosen, files = _files(exports, targets)
    with locked(folder) as place:
        before = _trusted(place, signing)
        if before and app not in (None, before.app):
            raise InputError(f"{folder}: the releases of {before.app!r}, not of {app!r}. Publish into another folder.")
        if not before and channel != STABLE:
            raise InputError(f"{folder}: the first release goes to the channel {STABLE}.")
        app = before.app if before else app or name
        digest = place.store(app, model, chosen, files)
        release = place.release(digest)
        if before and (standing := before.channels.get(STABLE)):
            decision = gate or exports.resolve().parent / GATE
            if standing.release != digest and not without_gate:
                _ask(decision, place.release(standing.release), release)
        keys = before.keys if before else _first_keys(signing, also)
        channels = {**(before.channels if before else {}), channel: Channel(digest, share)}
        return _put(place, before, Pointer(app, 0, "", keys, channels), signing)


def rollback(folder: Path, key: Path, *, channel: str = STABLE, to: int | None = None) -> Done:
    """Give a channel the release that it had before it first had the present one, or had at number `to`.

    It is a new pointer with a higher number, so phones take it. All its files are in the folder already.

    Raises:
        InputError: there is none before, or what was published is changed or gone.
    """
    _refuse_inside(key, folder)
    signing = load(key)
    with locked(folder) as place:
        before = _present(place, signing)
        if channel not in before.channels:
            raise InputError(f"{folder}: no channel {channel}.{did_you_mean(channel, before.channels)}")
        now = before.channels[channel]
        found = _before(list(place.earlier(before)), channel, now.release, to)
        if found is None:
            which = f"number {to}" if to else "another release"
            raise InputError(
                f"{folder}: the channel {channel} had {which} never before. Numbers: 1 to {before.number}."
            )
        wanted = {**before.channels, channel: replace(found, share=now.share)}
        return _put(place, before, replace(before, channels=wanted), signing)


def _before(earlier: Sequence[Pointer], channel: str, release: str, to: int | None) -> Channel | None:
    """What a channel had at a number, or before it first had a release: going back twice goes further back."""
    had = [(each.number, each.channels[channel]) for each in reversed(earlier) if channel in each.channels]
    if to:
        return next((each for number, each in had if number == to), None)
    releases = [each.release for _, each in had]
    first = releases.index(release) if release in releases else len(releases)
    return had[first - 1][1] if first else None


def trust(folder: Path, key: Path, *, add: Sequence[Path] = (), remove: Sequence[str] = ()) -> Done:
    """Change which keys sign the next releases.

    Args:
        folder: the release folder.
        key: a private key that is trusted and stays so: a key does not revoke itself.
        add: files of public keys.
        remove: ids of keys, or their beginnings, that are trusted no longer.

    Raises:
        InputError: an id that is not trusted, or the signing key's own.
    """
    _refuse_inside(key, folder)
    signing = load(key)
    with locked(folder) as place:
        before = _present(place, signing)
        known = {each.id: each for each in keys_of(before, folder)}
        for start in remove:
            fitting = [name for name in known if start and name.startswith(start)]
            if len(fitting) != 1:
                raise InputError(
                    f"{folder}: {len(fitting)} trusted keys are called {start!r}. Trusted: {', '.join(known)}."
                )
            if fitting[0] == signing.public.id:
                raise InputError(f"{signing.path}: a key does not revoke itself. Sign with one that stays.")
            del known[fitting[0]]
        for path in add:
            public = PublicKey.from_json(read_object(path), path)
            known[public.id] = public
        keys = tuple(each.to_json() for each in known.values())
        return _put(place, before, replace(before, keys=keys), signing)


def withdraw(folder: Path, key: Path, channel: str) -> Done:
    """End a channel other than `stable`; its phones take `stable` again."""
    _refuse_inside(key, folder)
    signing = load(key)
    with locked(folder) as place:
        before = _present(place, signing)
        if channel == STABLE or channel not in before.channels:
            raise InputError(f"{folder}: no channel {channel} that could end.{did_you_mean(channel, before.channels)}")
        left = {name: each for name, each in before.channels.items() if name != channel}
        return _put(place, before, replace(before, channels=left), signing)


def status(folder: Path) -> tuple[Pointer, dict[str, Release]]:
    """What a release folder has, every file checked.

    Raises:
        InputError: nothing was published, or something was changed.
    """
    place = ReleaseFolder(folder)
    pointer = place.pointer() if folder.is_dir() else None
    if pointer is None:
        raise InputError(f"{folder}: nothing was published here. `attar publish` does.")
    for each in (pointer, *place.earlier(pointer)):
        place.check(each)
    return pointer, {name: place.release(each.release) for name, each in pointer.channels.items()}


# --- what is published ---------------------------------------------------------------------------


def _files(exports: Path, targets: Sequence[str]) -> tuple[str, dict[str, str], dict[str, str], dict[str, Path]]:
    """The student's name and identity, the files by target, and all files by name."""
    manifest = read_manifest(exports)
    found = {each.target: each for each in manifest.files}
    for target in targets:
        if target not in found:
            raise InputError(f"{exports}: no verified file {target}.{did_you_mean(target, found)}")
    chosen = {target: found[target] for target in targets or found}
    if not chosen:
        raise InputError(f"{exports}: no verified file to publish. Export some with `attar export`.")
    files: dict[str, Path] = {NAME: exports / NAME}
    for entry in chosen.values():
        path = inside(exports, entry.file, exports / NAME)
        if not path.exists() or sha256(path) != entry.sha256:
            raise InputError(f"{path}: changed since it was verified. Export it again.")
        files |= {each.relative_to(exports).as_posix(): each for each in _below(path)}
    for name in (LABELS, GOLDEN, CARD):
        path = exports / name
        if not path.exists():
            continue
        if name in manifest.guide and sha256(path) != manifest.guide[name]:
            raise InputError(f"{path}: changed since it was written. Export again.")
        files |= {each.relative_to(exports).as_posix(): each for each in _below(path)}
    name = str(manifest.bundle.get("name") or exports.resolve().parent.name)
    model = {"name": name, "fingerprint": str(manifest.bundle["fingerprint"])}
    return name, model, {target: entry.file for target, entry in chosen.items()}, files


def _below(path: Path) -> list[Path]:
    """A file, or all files of a folder."""
    return [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]


def _ask(decision: Path, standing: Release, new: Release) -> None:
    """Refuse what `attar gate` did not let through, against what stable has."""
    remedy = "Run `attar gate` on what is published and these files, or give --without-gate."
    if not decision.is_file():
        raise GateError(f"{decision}: there is no decision. {remedy}")
    told = read_object(decision)
    try:
        ship, sentence = told["ship"], str(told["sentence"])
        asked = {str(each["target"]): (each["champion_sha256"], each["challenger_sha256"]) for each in told["files"]}
    except (KeyError, TypeError):
        raise InputError(f"{decision}: not what `attar gate` writes. {remedy}") from None
    if ship is not True:
        raise GateError(f"{decision}: {sentence}")
    for target in standing.targets:
        if target in new.targets and asked.get(target) != (standing.digest_of(target), new.digest_of(target)):
            raise GateError(f"{decision}: it was asked about another {target} than is published or to be. {remedy}")


# --- pointers ------------------------------------------------------------------------------------


def _refuse_inside(key: Path, folder: Path) -> None:
    if key.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{key}: inside the release folder, where everybody can read it. Keep it elsewhere.")


def _trusted(place: ReleaseFolder, signing: PrivateKey) -> Pointer | None:
    """The current pointer, everything that it leads to checked; None if this is the first."""
    pointer = place.pointer()
    if pointer is None:
        return None
    if signing.public.id not in (names := [each.id for each in keys_of(pointer, place.path)]):
        raise InputError(
            f"{signing.path}: phones do not trust this key ({signing.public.id}), and would refuse the release. "
            f"Trusted: {', '.join(names)}."
        )
    place.check(pointer)
    return pointer


def _present(place: ReleaseFolder, signing: PrivateKey) -> Pointer:
    pointer = _trusted(place, signing)
    if pointer is None:
        raise InputError(f"{place.path}: nothing was published here. `attar publish` does.")
    return pointer


def _first_keys(signing: PrivateKey, also: Sequence[Path]) -> tuple[dict[str, str], ...]:
    keys = [signing.public, *(PublicKey.from_json(read_object(path), path) for path in also)]
    return tuple({each.id: each.to_json() for each in keys}.values())


def _put(place: ReleaseFolder, before: Pointer | None, wanted: Pointer, signing: PrivateKey) -> Done:
    """Make a pointer current, unless it says what the one before says."""
    number = before.number if before else 0
    if before and (wanted.app, wanted.keys, wanted.channels) == (before.app, before.keys, before.channels):
        return Done(before, new=False)
    pointer = replace(wanted, number=number + 1, made=datetime.now(UTC).isoformat(timespec="seconds"))
    place.check(pointer)  # an earlier release may have been changed since
    place.point(pointer, signing)
    return Done(pointer, new=True)
