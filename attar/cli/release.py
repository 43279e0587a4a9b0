"""`attar gate`, `publish`, `rollback`, `keys` and `releases`: what goes out to phones, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attar.cli.app import Data, Json, app
from attar.cli.inputs import photos_of_bundle, student_of
from attar.cli.shown import show


@app.command()
def gate(
    champion: Annotated[Path, typer.Argument(help="What phones have: a run, an exports folder or one exported file.")],
    challenger: Annotated[Path, typer.Argument(help="What may take its place, likewise.")],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Such as litert:int8. Repeatable.", show_default="all the champion has"),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Points of top-1 that the challenger may lose. 0: it has to be better.", min=0, max=50)
    ] = 0.0,
    primary: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="The file that has to be better, while the others lose less than the margin.",
            show_default="each has to be better",
        ),
    ] = None,
    detect: Annotated[
        float,
        typer.Option(help="Points that the photos should be enough to see; they are told if not.", min=0.01, max=50),
    ] = 2.0,
    max_flips: Annotated[
        float | None,
        typer.Option(help="Per cent of the photos that may become wrong.", min=0, max=100, show_default="any"),
    ] = None,
    max_larger: Annotated[float, typer.Option(help="Times the champion's bytes that a file may have.", min=0)] = 1.1,
    max_slower: Annotated[float, typer.Option(help="Times the champion's latency on this machine.", min=0)] = 1.1,
    calibration_error: Annotated[
        float, typer.Option(help="Points by which its calibration error may be larger.", min=0, max=100)
    ] = 2.0,
    slices: Annotated[
        Path | None, typer.Option(help="CSV of photo,slice: groups that must not get worse.", show_default=False)
    ] = None,
    pinned: Annotated[
        Path | None, typer.Option(help="Text file, a photo per line: these must stay right.", show_default=False)
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Counts how often photos have decided.", show_default="gate-ledger.jsonl beside the runs"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Time to measure the latency of each pair of files. 0: not measured.", min=0)
    ] = 5.0,
    bundle: Annotated[
        Path | None, typer.Option(help="The challenger's student, if it was moved.", show_default=False)
    ] = None,
    data: Data = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for gate.html, .md and .json.", show_default="gate/ in the run"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Whether a challenger's exported files may replace the champion's, by the same validation photos.

    Each file has to be better beyond chance, must lose no class or slice, and break no pinned photo; it is held to
    limits of calibration error, size and latency, and to what it promises of its answers. Photos that were right and
    are now wrong are named. A ledger counts the looks at the photos, so that many rounds promote no model by luck.
    With --primary one file has to be better, and the others must not lose more than the margin.

    Exit code: 0 ship, 1 hold.

    Example: `attar gate runs/plants-1 runs/plants-2`
    """
    from attar.deploy.release.gate import gate as decide
    from attar.deploy.release.gate_page import terminal, write_gate
    from attar.deploy.release.verdict import Limits
    from attar.export.formats import format_of
    from attar.runfolder import exports_of

    before, now = (path if format_of(path) is not None else exports_of(path) for path in (champion, challenger))
    folder = now.resolve() if format_of(now) is None else now.resolve().parent
    photos = photos_of_bundle(student_of(folder, bundle), data)
    made = decide(
        before,
        now,
        photos,
        ledger=ledger or folder.parent.parent / "gate-ledger.jsonl",
        targets=target or (),
        limits=Limits(
            margin / 100,
            detect / 100,
            None if max_flips is None else max_flips / 100,
            max_larger,
            max_slower,
            calibration_error / 100,
        ),
        primary=primary or "",
        slices=slices,
        pinned=pinned,
        seconds=seconds,
    )
    write_gate(made, output or folder.parent / "gate")
    show(made.to_json(), as_json, lambda: terminal(made))
    if not made.ship:
        raise typer.Exit(1)


Key = Annotated[Path, typer.Option("--key", help="The private key, outside the release folder (`attar keys`).")]
Folder = Annotated[Path, typer.Argument(help="The release folder, which any static host serves.")]
OfChannel = Annotated[str, typer.Option("--channel", help="`stable`, or another such as `beta`.")]


@app.command()
def publish(
    model: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    folder: Folder,
    key: Key,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Such as litert:int8. Repeatable.", show_default="all that are verified"),
    ] = None,
    channel: OfChannel = "stable",
    share: Annotated[
        float | None, typer.Option(help="Per cent of the phones that take this channel.", show_default="as it has")
    ] = None,
    app_name: Annotated[
        str | None, typer.Option("--app", help="Name of the app, at the first release.", show_default="the student's")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="Public key to trust besides, at the first release: a spare one. Repeatable."),
    ] = None,
    gate: Annotated[
        Path | None, typer.Option(help="The decision of `attar gate`.", show_default="gate/gate.json in the run")
    ] = None,
    without_gate: Annotated[
        bool, typer.Option("--without-gate", help="Publish without a decision, or against it.")
    ] = False,
    web: Annotated[
        bool, typer.Option("--web/--no-web", help="With what the app of `attar app --releases` needs to update itself.")
    ] = True,
    space: Annotated[bool, typer.Option("--space", help="Add what a static Hugging Face Space needs.")] = False,
    as_json: Json = False,
) -> None:
    """Put exported files into a release folder, signed, for phones to fetch.

    Needs `attar gate`'s "Ship" against what the channel stable has. Everything is written before the one file that
    leads to it, current.json, is replaced: whoever reads sees the old release or the new one.

    Example: `attar publish runs/plants-2 www/models --key ~/keys/plants.pem`
    """
    from attar.deploy.release.publish import publish as put
    from attar.runfolder import exports_of

    done = put(
        exports_of(model),
        folder,
        key,
        app=app_name,
        channel=channel,
        share=None if share is None else share / 100,
        targets=target or (),
        also=also or (),
        gate=gate,
        without_gate=without_gate,
        web=web,
        space=space,
    )
    _told(done, folder, as_json)


@app.command()
def rollback(
    folder: Folder,
    key: Key,
    channel: OfChannel = "stable",
    to: Annotated[
        int | None, typer.Option(help="What the channel had at this number.", min=1, show_default="what it had before")
    ] = None,
    as_json: Json = False,
) -> None:
    """Give phones the release again that they had before. Its files are in the folder already.

    Example: `attar rollback www/models --key ~/keys/plants.pem`
    """
    from attar.deploy.release.publish import rollback as back

    _told(back(folder, key, channel=channel, to=to), folder, as_json)


@app.command()
def keys(
    private: Annotated[Path, typer.Argument(help="Where the private key goes, such as ~/keys/plants.pem.")],
    as_json: Json = False,
) -> None:
    """Make a key that signs releases, and its public key beside it as .json.

    With ATTAR_KEY_PASSPHRASE in the environment the private key is encrypted.

    Example: `attar keys ~/keys/plants.pem`
    """
    from attar.console import say
    from attar.deploy.release.keys import create

    made = create(private)
    shown = private.with_suffix(".json")
    show({"id": made.public.id, "private": str(private), "public": str(shown)}, as_json, None)
    say(f"Key {made.public.id}: {private} (keep it secret, and a copy of it) and {shown} (public).")


@app.command()
def releases(
    folder: Folder,
    key: Annotated[
        Path | None, typer.Option("--key", help="To change something: a private key that is trusted.")
    ] = None,
    trust: Annotated[list[Path] | None, typer.Option(help="Public key to trust from now on. Repeatable.")] = None,
    revoke: Annotated[list[str] | None, typer.Option(help="Id of a key to trust no longer. Repeatable.")] = None,
    end: Annotated[str | None, typer.Option(help="A channel to end; its phones take stable again.")] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove contents of old releases, which nobody gets any more.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(help="With --prune: states, and rollbacks of each channel, that stay.", min=1, show_default="5"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --prune: only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """What a release folder has: every file is held against its name, every pointer against its signature.

    With --key also: trust another key, revoke one, or end a channel. With --prune: remove what is old.

    Example: `attar releases www/models`, or `attar releases www/models --key new.pem --revoke gfUs3K`
    """
    from attar.console import say
    from attar.deploy.release import prune as pruning
    from attar.deploy.release.publish import change, status
    from attar.deploy.release.shown import pruned_json, pruned_words, releases_json, releases_table
    from attar.errors import InputError

    if (trust or revoke or end) and key is None:
        raise InputError("--trust, --revoke and --end are signed: give --key.")
    if key is not None and not (trust or revoke or end):
        raise InputError("--key: nothing to change. Give --trust, --revoke or --end with it.")
    if (keep is not None or dry_run) and not prune:
        raise InputError("--keep and --dry-run: for --prune.")
    if dry_run and key is not None:
        raise InputError("--dry-run: with --prune alone; --trust, --revoke and --end are done.")
    if key is not None:
        change(folder, key, trust=trust or (), revoke=revoke or (), end=end)
    made = pruning.prune(folder, keep or pruning.KEEP, dry_run=dry_run) if prune else None
    found = status(folder)
    more = {"pruned": pruned_json(made, dry_run)} if made else {}
    show({**releases_json(*found), **more}, as_json, lambda: releases_table(*found))
    if made:
        say(pruned_words(made, dry_run))


def _told(done: Any, folder: Path, as_json: bool) -> None:
    """What a publisher did."""
    from attar.console import say
    from attar.deploy.release.publish import releases_of
    from attar.deploy.release.shown import releases_json, releases_table

    found = (done.pointer, releases_of(folder, done.pointer))
    show({"new": done.new, **releases_json(*found)}, as_json, lambda: releases_table(*found))
    number = done.pointer.number
    say(f"Number {number}: {folder}" if done.new else f"Nothing changed: {folder} has these files already.")
