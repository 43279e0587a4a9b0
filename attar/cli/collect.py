"""`attar collect` and `attar review`: what people send back, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attar.cli.app import Json, app
from attar.cli.shown import show

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.")]
Certificate = Annotated[Path | None, typer.Option(help="PEM file: serve by HTTPS.", exists=True, show_default=False)]
Key = Annotated[
    Path | None, typer.Option(help="Its private key, if in a file of its own.", exists=True, show_default=False)
]


@app.command()
def collect(
    folder: Annotated[Path, typer.Argument(help="Folder that observations are kept in; made if there is none.")],
    invite: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print a link by which a person may send.", show_default=False)
    ] = None,
    quota: Annotated[int, typer.Option(min=1, help="With --invite: observations that it allows.")] = 10_000,
    page: Annotated[
        str | None,
        typer.Option("--app", metavar="URL", help="Where the app is, so that links open it.", show_default=False),
    ] = None,
    revoke: Annotated[
        str | None, typer.Option(metavar="NAME", help="End a person's invitation.", show_default=False)
    ] = None,
    invitations: Annotated[bool, typer.Option("--invitations", help="List who was invited.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Write an image folder with metadata.csv.", show_default=False)
    ] = None,
    only_reviewed: Annotated[
        bool, typer.Option("--only-reviewed", help="With --export: leave out what nobody has reviewed.")
    ] = False,
    label_studio: Annotated[
        bool, typer.Option("--label-studio", help="With --export: add tasks for Label Studio.")
    ] = False,
    darwin_core: Annotated[
        bool, typer.Option("--darwin-core", help="With --export: add a Darwin Core table of occurrences.")
    ] = False,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Take decisions from what Label Studio exported as JSON.", exists=True, show_default=False),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="PHOTOS",
            help="Take a folder of class/photo.jpg, a CSV of path,label, or a zip that the app saved, as what a person "
            "sent.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="With --import: who.", show_default=False)] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="With --import, unless it is a zip: a run or an exported file, which is asked about the photos.",
            show_default=False,
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8750,
    address: Annotated[
        str | None, typer.Option(metavar="URL", help="Where phones reach the server, if elsewhere.", show_default=False)
    ] = None,
    certificate: Certificate = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Receive what people say about photos, from those who were invited. Serves until Ctrl-C.

    Each observation is answered only once it is on the disk. Other options do one thing and end.

    Example: `attar collect plants --host 0.0.0.0`, and `attar collect plants --invite Ana`
    """
    from attar.deploy.collect import serve
    from attar.deploy.collect.exports import export_folder
    from attar.deploy.collect.label_studio import take_annotations
    from attar.deploy.collect.store import opened

    given = {"invite": invite, "revoke": revoke, "invitations": invitations, "export": export}
    given |= {"annotations": annotations, "import": photos}
    _refuse_together(**given)
    _refuse_without(
        export, "--export FOLDER", only_reviewed=only_reviewed, label_studio=label_studio, darwin_core=darwin_core
    )
    _refuse_without(photos, "--import PHOTOS", by=by, model=model)
    if not any(given.values()):
        serve.serve(folder, host=host, port=port, address=address, page=page, certificate=certificate, key=key)
        return
    if photos:
        _import(folder, photos, by, model, as_json)
        return
    with opened(folder, create=invite is not None) as store:
        if invite:
            link = serve.invite(store, invite, quota, address, page)
            _tell({"contributor": invite, "link": link}, as_json, link)
        elif revoke:
            store.revoke(revoke)
            _tell({"revoked": revoke}, as_json, f"{revoke} can send no more. What came stays.")
        elif invitations:
            listed = store.invitations()
            show([vars(each) for each in listed], as_json, lambda: serve.invitations_table(listed))
        elif export:
            done = export_folder(
                store, export, only_reviewed=only_reviewed, label_studio=label_studio, darwin_core=darwin_core
            )
            _tell(
                {"folder": str(export), **vars(done)},
                as_json,
                f"Written: {export}, {done.observations:,} observations, {done.labelled:,} with a label, "
                f"{done.reviewed:,} reviewed. Left out: {done.rejected:,} rejected, {done.waiting:,} not reviewed.",
            )
        elif annotations:
            count = take_annotations(store, annotations)
            _tell({"decisions": count}, as_json, f"{count:,} new decisions.")


@app.command()
def review(
    folder: Annotated[Path, typer.Argument(help="Folder that `attar collect` keeps.")],
    teacher: Annotated[
        Path | None,
        typer.Option(help="A second opinion: a run (its teacher), a bundle, or an exported file.", show_default=False),
    ] = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    certificate: Certificate = None,
    key: Key = None,
) -> None:
    """Decide about what was collected, on one page and by keyboard. Serves until Ctrl-C.

    What person, model and teacher disagree about most comes first. Decisions are a log: each can be taken back.

    Example: `attar review plants --teacher runs/attar`
    """
    from attar.deploy.review.serve import review

    review(folder, teacher=teacher, host=host, port=port, certificate=certificate, key=key)


def _tell(value: object, as_json: bool, sentence: str) -> None:
    """A result on stdout: JSON, or one sentence as it is. A link is not folded."""
    from attar.errors import printable

    show(value, True, None) if as_json else print(printable(sentence))


def _refuse_together(**given: object) -> None:
    from attar.errors import InputError

    named = [f"--{name}" for name, value in given.items() if value]
    if len(named) > 1:
        raise InputError(f"Give one of {' and '.join(named)}: each does one thing and ends.")


def _refuse_without(what: Path | None, option: str, **given: object) -> None:
    from attar.errors import InputError

    named = next((name for name, value in given.items() if value), None)
    if named and what is None:
        raise InputError(f"--{named.replace('_', '-')}: belongs to {option}.")


def _import(folder: Path, photos: Path, by: str | None, model: Path | None, as_json: bool) -> None:
    from attar.deploy.collect.imports import import_photos
    from attar.deploy.collect.saved import import_saved, is_saved
    from attar.errors import InputError, in_line

    if is_saved(photos):
        if not by or model is not None:
            raise InputError("--import: a zip needs --by NAME, and no --model: it says what the app's model answered.")
        done = import_saved(folder, photos, by)
    elif not by or model is None:
        raise InputError("--import: needs --by NAME, who sent the photos, and --model RUN, which is asked about them.")
    else:
        done = import_photos(folder, photos, by, model)
    left = [{"photo": str(each.path), "reason": each.reason} for each in done.left_out]
    named = "".join(f"\n  left out: {in_line(each['photo'])}: {each['reason']}" for each in left[:5])
    _tell(
        {"new": done.new, "known": done.known, "left_out": left},
        as_json,
        f"{done.new:,} new observations by {by}, {done.known:,} known ones, {len(left):,} photos left out.{named}",
    )
