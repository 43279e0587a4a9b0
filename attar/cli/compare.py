"""`attar compare`, `attar report` and `attar shortfall`: what was gained, given up and lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attar.cli.app import Data, Json, MaxMb, MaxMs, MinTop1, app
from attar.cli.inputs import photos_of_bundle, records_in, student_of
from attar.cli.shown import show, show_table

Teacher = Annotated[
    Path | None, typer.Option(help="The teacher's bundle; by default the one beside exports/.", show_default=False)
]
Moved = Annotated[Path | None, typer.Option(help="The student's bundle, if it was moved.", show_default=False)]
Geo = Annotated[
    Path | None,
    typer.Option(
        help="A prior of place and season (attar geo): what the student gains by it, on validation photos with places. "
        "By default geo/ beside exports/.",
        show_default=False,
    ),
]

if TYPE_CHECKING:
    from attar.bundle import Bundle
    from attar.data.photos import Photos


@app.command()
def compare(
    model: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    other: Annotated[
        Path | None,
        typer.Argument(help="Then two models on the same photos: runs, bundles or files.", show_default=False),
    ] = None,
    teacher: Teacher = None,
    bundle: Moved = None,
    max_ms: MaxMs = None,
    max_mb: MaxMb = None,
    min_top1: MinTop1 = None,
    outliers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[near=|far=]FOLDER",
            help="Photos of none of the classes: does familiarity tell? near: they look like the classes. Repeatable.",
            show_default=False,
        ),
    ] = None,
    geo: Geo = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Teacher, student and every file on the same photos: accuracy, agreement, calibration, size, latency.

    Of two runs, bundles or files: which one is better, beyond chance or not, and the photos on which they differ.

    With --outliers instead: how well each file's familiarity tells photos of something else, and drawn pictures, from
    its own.

    Example: `attar compare runs/attar`, or `attar compare runs/one runs/two`
    """
    from attar.errors import InputError

    if other is not None:
        if given := [each for each in (teacher, max_ms, max_mb, min_top1, geo) if each is not None]:
            raise InputError(f"{given[0]}: two models are compared by their answers alone. Leave such options out.")
        if outliers:
            raise InputError("--outliers: of one model's files. Leave the second model out.")
        _compare_two(model, other, bundle, data, as_json)
        return
    if outliers:
        _compare_outliers(model, outliers, bundle, data, as_json)
        return
    from attar.benchmarks.report.report import terminal_table

    comparison, _ = _compare(model, teacher, bundle, data, (max_ms, max_mb, min_top1), geo=geo)
    show(comparison.to_json(), as_json, lambda: terminal_table(comparison))


def _compare_outliers(model: Path, folders: list[str], bundle: Path | None, data: str | None, as_json: bool) -> None:
    from attar.benchmarks.report.outliers import kind_and_folder, outliers, outliers_table, to_json
    from attar.runfolder import exports_of

    chosen, exports = [kind_and_folder(each) for each in folders], exports_of(model)
    student = student_of(exports, bundle)
    rows = outliers(exports, student, photos_of_bundle(student, data), chosen)
    show(to_json(rows), as_json, lambda: outliers_table(rows))


def _compare_two(first: Path, second: Path, bundle: Path | None, data: str | None, as_json: bool) -> None:
    from attar.benchmarks.predict import open_model
    from attar.benchmarks.report.pairwise import pair, tables

    models = (open_model(first), open_model(second))
    photos = photos_of_bundle(_judge(first, second, bundle), data)
    compared = pair(models, photos, (str(first), str(second)))
    show(compared.to_json(), as_json, lambda: tables(compared))


def _judge(first: Path, second: Path, bundle: Path | None) -> Any:
    """The bundle whose validation photos judge both models: of two, the one that went on from the other.

    It was not trained on the other's validation photos, nor is any of its own a training photo of the other.
    """
    from attar.errors import InputError

    one = _bundle_of(first, bundle)
    try:
        two = _bundle_of(second, None)
    except InputError:
        return one
    went_on = (two.provenance.get("continued_from") or {}).get("fingerprint") == one.fingerprint
    return two if went_on and bundle is None else one


def _bundle_of(model: Path, bundle: Path | None) -> Any:
    """The bundle that a model is or was made from: it says which photos it was validated on."""
    from attar.bundle import read_bundle
    from attar.export.manifest import NAME
    from attar.runfolder import RunFolder

    if bundle is not None or (model / "bundle.json").is_file():
        return read_bundle(bundle or model)
    if (model / "run.json").is_file():
        return read_bundle(RunFolder(model).student, "student")
    return student_of(model if (model / NAME).is_file() else model.resolve().parent, None)


@app.command()
def report(
    exports: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    teacher: Teacher = None,
    bundle: Moved = None,
    max_ms: MaxMs = None,
    max_mb: MaxMb = None,
    min_top1: MinTop1 = None,
    geo: Geo = None,
    data: Data = None,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="html, json, md, png or svg. Repeatable.", show_default="html and json"),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="SQLite file with more measurements, of other devices.", show_default=False)
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="First measure what each layer loses by being integer. Takes minutes.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder, or a file such as report.md. Default: beside the exports folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report: which file to ship for which device, what was gained and what was given up.

    Example: `attar report runs/attar --max-ms 5 --format html --format md`
    """
    from attar.benchmarks.report.report import DEFAULT, check_formats, is_file, write_report
    from attar.console import say
    from attar.errors import InputError
    from attar.files import require_writable
    from attar.runfolder import exports_of

    check_formats(format or ())
    if format and output and is_file(output):
        raise InputError(f"--format with --output {output}: the file's ending says the format. Give one of the two.")
    output = output or exports_of(exports).resolve().parent
    require_writable(output.parent if is_file(output) else output, "--output")  # before a minute of work
    needs = (max_ms, max_mb, min_top1)
    comparison, _ = _compare(exports, teacher, bundle, data, needs, history, sensitivity, geo)
    path = write_report(comparison, output, format or DEFAULT)
    show(comparison.to_json(), as_json, None)
    say(f"Report: {path}")


def _compare(
    exports: Path,
    teacher: Path | None,
    bundle: Path | None,
    data: str | None,
    needs: tuple[float | None, float | None, float | None],
    history: Path | None = None,
    sensitivity: bool = False,
    geo: Path | None = None,
) -> tuple[Any, Path]:
    from dataclasses import replace

    from attar.benchmarks.latency.record import read
    from attar.benchmarks.report.compare import compare
    from attar.benchmarks.report.recommend import Needs
    from attar.export.manifest import read_manifest
    from attar.runfolder import beside, exports_of

    folder = exports_of(exports)
    output = folder.resolve().parent
    student = student_of(folder, bundle)
    photos = photos_of_bundle(student, data)
    records = [*records_in(history), *read(output)]
    if sensitivity:
        from attar.benchmarks.report.sensitivity import measure

        measure(student, photos, read_manifest(folder).files, output)
    comparison = compare(
        folder,
        bundle=student.path,
        teacher=teacher or beside(folder, "teacher"),
        photos=photos,
        output=output,
        records=sorted(records, key=lambda each: each.measured),
        needs=Needs(needs[0], needs[1], None if needs[2] is None else needs[2] / 100),
    )
    return replace(comparison, with_place=_with_place(output, student, photos, geo)), folder


def _with_place(output: Path, student: Bundle, photos: Photos, geo: Path | None) -> dict[str, Any] | None:
    """What the student gains by a prior of place and season: the one that was named, or one that lies in `output`."""
    from attar.benchmarks.places import gain_with_place
    from attar.benchmarks.predict import open_model
    from attar.console import say
    from attar.errors import InputError
    from attar.geo.files import is_prior

    prior = geo or output / "geo"
    if geo is None and not is_prior(prior):
        return None
    try:
        gained = gain_with_place(open_model(student.path), photos, prior)
    except InputError as error:
        if geo:
            raise
        say(f"What place and season add is not told. {error}")  # the rest of the comparison does not depend on it
        return None
    if gained is None:
        say(f"What place and season add is not told: no validation photo of {photos.spec.path} has a place.")
    return gained


@app.command()
def shortfall(
    student: Annotated[Path, typer.Argument(help="The student's bundle.")],
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher's bundle; by default the one beside it.", show_default=False)
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Another student's bundle, such as one without a teacher.", show_default=False)
    ] = None,
    trials: Annotated[
        bool, typer.Option("--trials", "--probe", help="Also train on briefly, to find what may help. Takes a while.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the teacher cache, for --trials.", show_default=False)
    ] = None,
    data: Data = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: shortfall/ beside it.")] = None,
    as_json: Json = False,
) -> None:
    """Where a student falls short: frequent and rare classes, classes that lost, new confusions.

    Compares it with its teacher, with another student, or both, on the validation photos.

    Example: `attar shortfall runs/attar/student --baseline runs/labels-alone/student`
    """
    from attar.benchmarks.report.error_analysis import shortfall
    from attar.benchmarks.report.error_analysis_page import terminal_table, to_json, trials_table, write_shortfall
    from attar.bundle import read_bundle
    from attar.console import say
    from attar.runfolder import beside

    bundle, teacher = read_bundle(student, "student"), teacher or beside(student, "teacher")
    teacher_bundle = read_bundle(teacher, "teacher") if teacher else None
    output = output or student.resolve().parent / "shortfall"
    photos = photos_of_bundle(bundle, data, unlabelled=trials)
    analysis = shortfall(
        bundle, photos, output, teacher=teacher_bundle, baseline=read_bundle(baseline, "student") if baseline else None
    )
    tried = _run_trials(bundle, photos, output, teacher_bundle, cache) if trials else None
    path = write_shortfall(analysis, output, tried)
    show(to_json(analysis, tried), as_json, lambda: terminal_table(analysis))
    if tried is not None and not as_json:
        show_table(trials_table(tried))
    say(f"Page: {path}")


def _run_trials(student: Any, photos: Photos, output: Path, teacher: Any, cache: Path | None) -> dict[str, Any]:
    """What `attar.distill.trials` finds, with the student's own teacher if it has one, and its cache."""
    from attar.distill.trials import run_trials
    from attar.runfolder import RunFolder

    taught = teacher if student.provenance.get("teacher") else None
    path = student.path
    kept = (RunFolder(path.parent).cache, path.with_name(f"{path.name}.teacher-cache"))
    cache = cache or next((folder for folder in kept if folder.is_dir()), None)
    return run_trials(student, photos, output / "trials", teacher=taught, cache=cache).to_json()
