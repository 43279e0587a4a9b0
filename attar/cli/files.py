"""`attar export` and `attar verify`: files, and their proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attar.cli.app import Data, Json, app
from attar.cli.inputs import photos_of_bundle, student_of
from attar.cli.shown import show_manifest, show_prior_files

if TYPE_CHECKING:
    from attar.bundle import Bundle
    from attar.data.photos import Photos


@app.command()
def export(
    bundle: Annotated[Path, typer.Argument(help="The student's bundle.")],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Such as litert:int8, litert:all, or all. Repeatable.", show_default=False),
    ] = None,
    data: Data = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: exports/ beside the bundle.")] = None,
    familiarity: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="Also say how familiar a photo is, by this score or `default`: in a bundle beside the student.",
            show_default=False,
        ),
    ] = None,
    max_drop: Annotated[float, typer.Option(help="Points of top-1 that a file may lose.")] = 1.0,
    precision: Annotated[float, typer.Option(help="Share of right answers among those that a file calls sure.")] = 0.95,
    hierarchy: Annotated[
        str | None,
        typer.Option(help="Groups of labels: a CSV of label,parent, or binomial for genera.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace the exports of another bundle.")] = False,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds that one target may take.")] = 1800,
    memory_limit: Annotated[
        float | None,
        typer.Option(min=0.1, help="Gigabytes that one target may take; by default its share of the machine's."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Targets at a time; by default one per core.")
    ] = None,
    author: Annotated[
        str | None, typer.Option(help="Whose model it is: written into every file.", show_default=False)
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Its licence, such as CC-BY-4.0: written into every file.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Write files for phones, each verified on real photos before it counts.

    Each target is made in a process of its own; what is there already and would come out the same is not made again.
    `all` means whatever this machine can write, and tells what it cannot.

    With --familiarity vim, student/ stays as it is: student-vim/ and exports-vim/ are written beside it.

    Example: `attar export runs/attar/student -t litert:int8 -t coreml:fp16`
    """
    from attar.bundle import read_bundle
    from attar.export.export import export_student
    from attar.export.limits import Limits
    from attar.export.targets import choose_targets
    from attar.recipe import Recipe
    from attar.students.familiarity import score_name

    student = read_bundle(bundle, "student")
    names = target or list(Recipe().targets)
    choose_targets(names)  # before the photos are read
    familiarity = familiarity and score_name(familiarity)
    output = output or bundle.resolve().parent / (f"exports-{familiarity}" if familiarity else "exports")
    limits = Limits(time_limit, None if memory_limit is None else int(memory_limit * 1e9), jobs)
    student, photos = _to_export(student, data, familiarity)
    manifest = export_student(
        student,
        names,
        output,
        photos=photos,
        max_drop=max_drop,
        precision=precision,
        hierarchy=hierarchy,
        force=force,
        limits=limits,
        author=author,
        license=license,
    )
    show_manifest(manifest, output, as_json)


def _to_export(student: Bundle, data: str | None, score: str | None) -> tuple[Bundle, Photos]:
    """A student and its photos; with a score, the student that has its familiarity and stands beside it."""
    if score is None:
        return student, photos_of_bundle(student, data)
    from attar.students.fit_familiarity import check_may_get, give_familiarity

    check_may_get(student, score)  # before the photos are read
    photos, path = photos_of_bundle(student, data), student.path.resolve()
    return give_familiarity(student, score, photos, path.with_name(f"{path.name}-{score}")), photos


@app.command()
def verify(
    exports: Annotated[
        Path, typer.Argument(help="Exports folder, the run it belongs to, or a prior's folder (`attar geo`).")
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="The student's bundle, if it was moved.", show_default=False)
    ] = None,
    data: Data = None,
    max_drop: Annotated[float, typer.Option(help="Points of top-1 that a file may lose.")] = 1.0,
    arm: Annotated[bool, typer.Option("--arm", help="Also run LiteRT files on an emulated ARM (qemu).")] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="Also run LiteRT files on WebGPU (Chromium).")] = False,
    as_json: Json = False,
) -> None:
    """Prove again that every exported file is whole and still computes what its student does.

    Example: `attar verify runs/attar/exports`
    """
    from attar.export.verify import verify
    from attar.geo.files import is_prior
    from attar.runfolder import exports_of

    if is_prior(exports):
        from attar.export.geo_files import verify_prior

        return show_prior_files(verify_prior(exports), as_json)
    folder = exports_of(exports)
    student = student_of(folder, bundle)
    photos = photos_of_bundle(student, data)
    manifest = verify(folder, bundle=student, photos=photos, max_drop=max_drop, arm=arm, gpu=gpu)
    show_manifest(manifest, folder, as_json)
