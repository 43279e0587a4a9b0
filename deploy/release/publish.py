"""Publishing an exports folder, taking it back, and changing which keys phones trust."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256 as _sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from attar.deploy.app.choose import choose, runnable
from attar.deploy.app.model import write_model
from attar.deploy.app.space import release_space_files
from attar.deploy.release.delta import delta_of
from attar.deploy.release.folder import (
    CHANNEL,
    FILES,
    Channel,
    Delta,
    Exported,
    File,
    Model,
    Pointer,
    Release,
    ReleaseFolder,
    Signed,
    keys_of,
    locked,
    release_bytes,
)
from attar.deploy.release.keys import PrivateKey, PublicKey, load
from attar.deploy.release.seen import Seen, place_of, read_seen, remember
from attar.errors import GateError, InputError, did_you_mean
from attar.export.guide import is_current
from attar.export.manifest import CARD, GOLDEN, LABELS, NAME, Manifest, read_manifest
from attar.files import inside, read_object, sha256

STABLE = "stable"
"""The channel that phones have unless they draw another."""

GATE = "gate/gate.json"
"""Where `attar gate` leaves its decision, beside an exports folder."""

WEB = "app"
"""The folder of a release that the phone's web app reads (`attar.deploy.app.model`)."""


WORTH = 0.5
"""The share of a file that its delta may have at most: what saves less is not kept."""

_LEAST, _MOST = 32_768, 32_000_000
"""Bytes of a file for which a delta is looked for. Of a larger one that would take minutes and gigabytes."""


@dataclass(frozen=True)
class Done:
    """What a publisher did: the pointer that is current now, and whether it is a new one."""

    pointer: Pointer
    new: bool


@dataclass(frozen=True)
class _Opened:
    """A locked folder, the key that signs, and the chain of pointers, checked; empty before the first release."""

    place: ReleaseFolder
    key: PrivateKey
    chain: tuple[Signed, ...]

    @property
    def before(self) -> Pointer | None:
        """The current pointer."""
        return self.chain[-1].pointer if self.chain else None


def publish(
    exports: Path,
    folder: Path,
    key: Path,
    *,
    app: str | None = None,
    channel: str = STABLE,
    share: float | None = None,
    targets: Sequence[str] = (),
    also: Sequence[Path] = (),
    gate: Path | None = None,
    without_gate: bool = False,
    web: bool = True,
    space: bool = False,
) -> Done:
    """Publish files into a release folder.

    Args:
        exports: the exports folder, whose files were verified.
        folder: the release folder; the first release creates it.
        key: the private key, outside it.
        app: name of the app, which the first release chooses; by default the student's.
        channel: `stable`, or one that `share` of the phones take.
        share: in (0, 1]; None: as the channel has it. Of `stable` it is 1.
        targets: files to publish; by default all that are verified.
        also: public keys that phones are to trust besides, chosen at the first release: a spare outlives a lost key.
        gate: the decision of `attar gate`; by default `gate/gate.json` beside the exports folder.
        without_gate: publish without one.
        web: add what the phone's web app needs to run a LiteRT or ONNX file, if there is one.
        space: add what a static Hugging Face Space needs. What is there already under these names stays as it is.

    Raises:
        GateError: the gate holds these files back, or was asked about others.
        InputError: a file that changed since it was verified, a key that phones do not trust, a release folder that
            was changed by hand, or another app's.
    """
    with _copied(exports, targets, web) as (made, contents), _opened(folder, key, create=True) as found:
        before = found.before
        if before and app not in (None, before.app):
            raise InputError(f"{folder}: the releases of {before.app!r}, not of {app!r}. Publish into another folder.")
        if before and also:
            raise InputError("--also: for the first release. Later: `attar releases --trust`.")
        if not before and channel != STABLE:
            raise InputError(f"{folder}: the first release goes to the channel {STABLE}.")
        app = before.app if before else app or made.app
        _refuse_lost(found, folder)
        channels = dict(before.channels) if before else {}
        release = _with_deltas(found, replace(made, app=app), contents, channel)
        wanted = _sha256(release_bytes(release)).hexdigest()
        standing = channels.get(STABLE)
        share = _share(channel, share, channels)
        had = found.place.release(standing.release) if standing else None
        if had and replace(had, files=had.contents) != replace(made, app=app) and not without_gate:
            _ask(gate or exports.resolve().parent / GATE, had, release)
        channels[channel] = Channel(wanted, share)
        keys = before.keys if before else _first_keys(found.key, also)
        found.place.store(release, contents)
        done = _put(found, Pointer(app, 1, "", "", keys, channels))
        if space:  # after the pointer: a folder without one that has other files is taken for somebody else's
            found.place.add(release_space_files(app))
        return done


def standing(folder: Path, key: Path) -> Release | None:
    """What the channel stable has; None before the first release.

    Raises:
        InputError: what `publish` with this key would refuse: a key that is lost or not trusted, or a folder that was
            changed by hand or belongs to somebody else.
    """
    if not folder.exists():
        load(key)
        return None
    with _opened(folder, key, create=True) as found:
        _refuse_lost(found, folder)
        return found.place.release(found.before.channels[STABLE].release) if found.before else None


def number_of(folder: Path, fingerprint: str) -> int | None:
    """The last number at which the channel stable had a model, by its fingerprint; None if it never had."""
    place = ReleaseFolder(folder)
    for signed in reversed(place.chain() if folder.is_dir() else []):
        if place.release(signed.pointer.channels[STABLE].release).model.fingerprint == fingerprint:
            return signed.pointer.number
    return None


def rollback(folder: Path, key: Path, *, channel: str = STABLE, to: int | None = None) -> Done:
    """Give a channel the release that it had before it first had the present one, or had at number `to`.

    It is a new pointer with a higher number, so phones take it. All its files are in the folder already.

    Raises:
        InputError: there is none before, or what was published is changed or gone.
    """
    with _opened(folder, key) as found:
        before = _present(found)
        if channel not in before.channels:
            raise InputError(f"{folder}: no channel {channel}.{did_you_mean(channel, before.channels)}")
        now = before.channels[channel]
        earlier = [each.pointer for each in found.chain[:-1]]
        if to is not None and to not in [each.number for each in earlier if channel in each.channels]:
            raise InputError(f"{folder}: the channel {channel} had nothing at number {to} before {before.number}.")
        had = _at(earlier, channel, to) if to is not None else release_before(earlier, channel, now.release)
        if had is None:
            raise InputError(
                f"{folder}: what the channel {channel} has is the first that it had. --to NUMBER takes another "
                f"(1 to {before.number - 1})."
            )
        wanted = {**before.channels, channel: replace(had, share=now.share)}
        return _put(found, replace(before, channels=wanted))


def _at(earlier: Sequence[Pointer], channel: str, number: int) -> Channel:
    """What a channel had at a number."""
    return next(each.channels[channel] for each in earlier if each.number == number)


def release_before(earlier: Sequence[Pointer], channel: str, release: str) -> Channel | None:
    """What a channel had before it first had a release: going back twice goes further back."""
    had = [each.channels[channel] for each in earlier if channel in each.channels]
    releases = [each.release for each in had]
    first = releases.index(release) if release in releases else len(releases)
    return had[first - 1] if first else None


def change(
    folder: Path, key: Path, *, trust: Sequence[Path] = (), revoke: Sequence[str] = (), end: str | None = None
) -> Done:
    """Change which keys sign the next releases, or end a channel.

    Args:
        folder: the release folder.
        key: a private key that is trusted and stays so: a key does not revoke itself.
        trust: files of public keys.
        revoke: ids of keys, or their beginnings, that are trusted no longer.
        end: a channel other than `stable`; its phones take `stable` again.

    Raises:
        InputError: an id that is not trusted, the signing key's own, or no such channel.
    """
    with _opened(folder, key) as found:
        before = _present(found)
        known = {each.id: each for each in keys_of(before, folder)}
        for start in revoke:
            fitting = [name for name in known if start and name.startswith(start)]
            if len(fitting) != 1:
                names = ", ".join(known)
                raise InputError(f"{folder}: {len(fitting)} trusted keys are called {start!r}. Trusted: {names}.")
            if fitting[0] == found.key.public.id:
                raise InputError(f"{key}: a key does not revoke itself. Sign with one that stays.")
            del known[fitting[0]]
        for path in trust:
            public = PublicKey.from_json(read_object(path), path)
            known[public.id] = public
        channels = dict(before.channels)
        if end is not None:
            if end == STABLE or end not in channels:
                raise InputError(f"{folder}: no channel {end} that could end.{did_you_mean(end, channels)}")
            del channels[end]
        keys = tuple(each.to_json() for each in known.values())
        return _put(found, replace(before, keys=keys, channels=channels))


def status(folder: Path) -> tuple[Pointer, dict[str, Release]]:
    """What a release folder has. Every file is held against its name, and every pointer against the one before.

    Contents that `attar.deploy.release.prune` removed are missed only if a channel has them now.

    Raises:
        InputError: nothing was published, or something was changed.
    """
    place = ReleaseFolder(folder)
    chain = place.chain() if folder.is_dir() else []
    if not chain:
        raise InputError(f"{folder}: nothing was published here. `attar publish` does.")
    place.check(chain[-1].pointer)
    for each in chain:
        place.check(each.pointer, old=True)
    return chain[-1].pointer, releases_of(folder, chain[-1].pointer)


def releases_of(folder: Path, pointer: Pointer) -> dict[str, Release]:
    """The releases that a pointer leads to, by channel."""
    return {name: ReleaseFolder(folder).release(each.release) for name, each in pointer.channels.items()}


# --- what is published ---------------------------------------------------------------------------


@contextmanager
def _copied(exports: Path, targets: Sequence[str], web: bool) -> Iterator[tuple[Release, dict[str, Path]]]:
    """A release of an app that is called as the student, and its files by name: copies, held against the manifest.

    What was verified is then what is published, whatever happens to the exports folder meanwhile.
    """
    manifest = read_manifest(exports)
    found = {each.target: each for each in manifest.files}
    for target in targets:
        if target not in found:
            raise InputError(f"{exports}: no verified file {target}.{did_you_mean(target, found)}")
    chosen = {target: Exported(found[target].file, found[target].sha256) for target in targets or found}
    if not chosen:
        raise InputError(f"{exports}: no verified file to publish. Export some with `attar export`.")
    with TemporaryDirectory() as temporary:
        copy = Path(temporary)
        shutil.copyfile(exports / NAME, copy / NAME)
        if read_manifest(copy) != manifest:
            raise InputError(f"{exports}: an export is going on. Publish when it has ended.")
        verified = {each.file: each.sha256 for each in chosen.values()}
        for name, digest in {**verified, **_guide(manifest, exports)}.items():
            _copy(inside(exports, name, exports / NAME), copy / name)
            if digest and sha256(copy / name) != digest:
                raise InputError(f"{exports / name}: changed since it was verified. Export it again.")
        if web:
            _write_web(manifest, exports, copy, tuple(chosen))
        contents = {each.relative_to(copy).as_posix(): each for each in copy.rglob("*") if each.is_file()}
        files = [File(name, sha256(path), path.stat().st_size) for name, path in sorted(contents.items())]
        name = str(manifest.bundle.get("name") or exports.resolve().parent.name)
        model = Model(name, str(manifest.bundle.get("fingerprint")))
        yield Release(name, model, chosen, tuple(files)), contents


def _guide(manifest: Manifest, exports: Path) -> dict[str, str]:
    """What explains the files, with its SHA-256 where the manifest has one."""
    return {name: manifest.guide.get(name, "") for name in (LABELS, GOLDEN, CARD) if (exports / name).exists()}


def _write_web(manifest: Manifest, exports: Path, copy: Path, targets: Sequence[str]) -> None:
    """Add what the web app needs, if a browser runs one of the files: the fastest or smallest of them, as in an app."""
    published = replace(manifest, files=tuple(each for each in manifest.files if each.target in targets))
    if not runnable(published):
        return
    if not {GOLDEN, CARD} <= {*manifest.guide} or not is_current(manifest, exports):
        raise InputError(
            f"{exports / GOLDEN}: the photos with the files' answers are missing or of other files, and the web app "
            "tests itself with them. Export again, or publish with --no-web."
        )
    write_model(copy, copy / WEB, published, choose(published, exports))


def _with_deltas(found: _Opened, made: Release, contents: dict[str, Path], channel: str) -> Release:
    """A release with deltas from what the phones of its channel have, and those of stable; adds them to `contents`.

    What a channel has already keeps the deltas that it has: the same files again are the same release.
    """
    standing = releases_of(found.place.path, found.before) if found.before else {}
    same = {name: each for name, each in standing.items() if replace(each, files=each.contents) == made}
    alike = [same[channel]] if channel in same else list(same.values())
    deltas = {delta.file.name: delta.file for each in alike for delta in each.deltas}
    stored = found.place.path / FILES
    contents |= {name: stored / file.sha256 for name, file in deltas.items()}
    if channel in same:
        return same[channel]
    for had in [standing[name] for name in (STABLE, channel) if name in standing]:
        for old, new in _pairs(had, made):
            name = Delta.name(old.sha256, new.sha256)
            if name in deltas:
                continue
            path = contents[new.name]
            delta = delta_of((stored / old.sha256).read_bytes(), path.read_bytes())
            if len(delta) <= WORTH * new.bytes:
                contents[name] = path.with_name(f".delta-{old.sha256[:16]}-{new.sha256[:16]}")
                contents[name].write_bytes(delta)
                deltas[name] = File(name, sha256(contents[name]), len(delta))
    return replace(made, files=(*made.files, *(deltas[name] for name in sorted(deltas))))


def _pairs(had: Release, made: Release) -> Iterator[tuple[File, File]]:
    """What the web app has of a release and loads of another one, under the same name, if it is large and changed."""
    before = {file.name: file for file in had.contents}
    for new in made.files:
        old = before.get(new.name, new)
        if new.name.startswith(f"{WEB}/") and _LEAST <= new.bytes <= _MOST and old.sha256 != new.sha256:
            yield old, new


def _copy(source: Path, target: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error}). Export it again.") from None


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
    if gone := sorted({*standing.targets} - {*new.targets}):
        raise GateError(f"{new.model.name}: phones have {', '.join(gone)} and would lose it. {remedy}")
    for target, each in new.targets.items():
        had = standing.targets.get(target)
        if had is None:
            raise GateError(f"{target}: phones have none, so no gate was asked. Leave it out, or give --without-gate.")
        if asked.get(target) != (had.sha256, each.sha256):
            raise GateError(f"{decision}: it was asked about another {target} than is published or to be. {remedy}")


def _share(channel: str, share: float | None, channels: Mapping[str, Channel]) -> float:
    """The share of the phones that take a channel."""
    if not re.fullmatch(CHANNEL, channel):
        raise InputError(f"--channel {channel!r}: small letters, digits and dashes, such as beta.")
    if channel == STABLE:
        if share not in (None, 1):
            raise InputError("--share: all phones take the channel stable. Give --channel beta with it.")
        return 1.0
    if share is None and channel not in channels:
        raise InputError(
            f"--channel {channel}: a new channel. Say with --share how many per cent of the phones take it."
        )
    share = channels[channel].share if share is None else share
    if not 0 < share <= 1:
        raise InputError(f"--share {100 * share:g}: per cent of the phones, above 0 and at most 100.")
    others = sum(each.share for name, each in channels.items() if name not in (STABLE, channel))
    if others + share > 1 + 1e-9:
        raise InputError(
            f"--share {100 * share:g}: other channels have {100 * others:g} per cent of the phones already."
        )
    return share


# --- pointers ------------------------------------------------------------------------------------


@contextmanager
def _opened(folder: Path, key: Path, create: bool = False) -> Iterator[_Opened]:
    """A locked folder whose chain goes on from what the owner of the key saw last."""
    for path in (key.absolute(), key.resolve()):
        if path.is_relative_to(folder.resolve()) or path.is_relative_to(folder.absolute()):
            raise InputError(f"{key}: inside the release folder, where everybody can read it. Keep it elsewhere.")
    signing = load(key)
    with locked(folder, create) as place:
        chain = tuple(place.chain())
        if chain:
            last = chain[-1].pointer
            _refuse_forged(chain, key, folder)
            names = [each.id for each in keys_of(last, folder)]
            if signing.public.id not in names:
                raise InputError(
                    f"{key}: phones do not trust this key ({signing.public.id}), and would refuse the release. "
                    f"Trusted: {', '.join(names)}."
                )
            place.check(last)
        yield _Opened(place, signing, chain)


def _refuse_forged(chain: Sequence[Signed], key: Path, folder: Path) -> None:
    """Refuse a chain that does not hold what the owner of the key saw last."""
    seen = read_seen(key).get(str(folder.resolve()))
    if seen is None:
        return
    if seen.number > len(chain):
        raise InputError(
            f"{folder}: it has number {len(chain)}, and {seen.number} was published with {key.name}. Restore the later "
            f"state. {place_of(key)} knows it."
        )
    if chain[seen.number - 1].digest != seen.sha256:
        raise InputError(
            f"{folder}: number {seen.number} is not what was published with {key.name}: somebody else wrote it. "
            f"Restore the folder. {place_of(key)} knows it."
        )


def _refuse_lost(found: _Opened, folder: Path) -> None:
    """Refuse to begin anew where something was published: phones would take nothing until its number is reached."""
    seen = None if found.chain else read_seen(found.key.path).get(str(folder.resolve()))
    if seen:
        raise InputError(
            f"{folder}: number {seen.number} was published with {found.key.path.name}, and it is not here. "
            "Restore the folder, or publish into another."
        )


def _present(found: _Opened) -> Pointer:
    assert found.before  # `locked` refuses a folder without a pointer
    return found.before


def _first_keys(signing: PrivateKey, also: Sequence[Path]) -> tuple[dict[str, str], ...]:
    keys = [signing.public, *(PublicKey.from_json(read_object(path), path) for path in also)]
    return tuple({each.id: each.to_json() for each in keys}.values())


def _put(found: _Opened, wanted: Pointer) -> Done:
    """Make a pointer current, unless it says what the one before says."""
    before, key = found.before, found.key
    if before and (wanted.app, wanted.keys, wanted.channels) == (before.app, before.keys, before.channels):
        remember(key.path, found.place.path, Seen(before.number, found.chain[-1].digest))
        return Done(before, new=False)
    number = before.number + 1 if before else 1
    previous = found.chain[-1].digest if found.chain else ""
    pointer = replace(wanted, number=number, previous=previous, made=datetime.now(UTC).isoformat(timespec="seconds"))
    found.place.check(pointer)  # an earlier release may have been changed since
    content = found.place.point(pointer, key)
    remember(key.path, found.place.path, Seen(number, _sha256(content).hexdigest()))
    return Done(pointer, new=True)
