"""The verbs. Each reads a bundle or a folder, writes one, and prints JSON with `--json`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attar.benchmarks.latency.gate import Judgement
    from attar.data.photos import Photos
    from attar.recipe import Recipe

app = typer.Typer(
    help="Distil a large vision teacher into a phone-sized student, export it, prove it, measure it.",
    epilog="Add `--debug` to a command to see where an error came from.",
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", add_completion=False,
)  # fmt: skip

RecipeFile = Annotated[
    Path | None, typer.Argument(help="Recipe (YAML). Without one, the defaults.", show_default=False)
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Photos: a folder of class/photo.jpg, a CSV of path,label, tar shards, or parquet files.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a recipe key, such as student.epochs=20. Repeatable.", show_default=False),
]
Duplicates = Annotated[
    bool, typer.Option("--allow-duplicates", help="Keep copies of photos in both splits, and photos of two labels.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of first weights, dropout and order.", show_default=False)]
MaxMs = Annotated[float | None, typer.Option(min=0, help="Median latency a file may have, ms.", show_default=False)]
MaxMb = Annotated[float | None, typer.Option(min=0, help="Size a file may have, MB.", show_default=False)]
MinTop1 = Annotated[float | None, typer.Option(min=0, max=100, help="Top-1 a file needs, percent.", show_default=False)]
History = Annotated[Path | None, typer.Option(help="SQLite file that measurements are added to.", show_default=False)]
Tag = Annotated[str | None, typer.Option(help="A name for this run in the history.", show_default=False)]
Against = Annotated[str | None, typer.Option(help="Tag of the runs to compare with.", show_default=False)]
FailIf = Annotated[
    list[str] | None,
    typer.Option(help="Fail on `p50 > 1.10x baseline`, beyond noise. Repeatable.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


HOST, ANDROID = "host", "android"
"""Where `bench` runs files: here, in the usual runtimes; on phones. Other names are those of other runtimes."""


@app.command()
def quickstart(output: Output = Path("quickstart"), as_json: Json = False) -> None:
    """The whole way on handwritten digits, in a few minutes.

    Example: `attar quickstart`
    """
    from attar.recipe import read_recipe

    recipe = read_recipe(Path(__file__).with_name("quickstart.yaml"))
    _run(recipe, output, as_json)


@app.command()
def run(
    recipe: RecipeFile = None, data: Data = None, output: Output = Path("runs/attar"),
    continue_from: Annotated[
        Path | None,
        typer.Option(help="An earlier run: begin with its models, keep its validation photos.", show_default=False),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure latency for two seconds, and do not look where it goes.")
    ] = False,
    allow_duplicates: Duplicates = False, overrides: Set = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Photos to verified phone files and a report, in one command.

    Run it again after an interruption: it continues.

    Example: `attar run --data photos/ --output runs/flowers`
    """
    short = ["bench.quick=true", "bench.seconds=2"] if quick else []
    _run(_recipe(recipe, data, [*short, *(overrides or [])], allow_duplicates), output, as_json, continue_from)


@app.command()
def teach(
    recipe: RecipeFile = None, data: Data = None, output: Output = Path("runs/attar/teacher"),
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(help="A teacher's bundle to average with others: give two or more.", show_default=False),
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(help="Of each bundle of an ensemble, in their order; by default all alike.", show_default=False),
    ] = None,
    allow_duplicates: Duplicates = False, overrides: Set = None, seed: Seed = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Fit a teacher (any timm model) to photos: fine-tuning, adapters, a linear probe, zero-shot; or join several.

    Example: `attar teach --data photos/ --set teacher.name=vit_base_patch16_224 --set teacher.method=probe`
    """
    from attar.errors import InputError
    from attar.teachers import teach

    joined = {"members": [str(path) for path in ensemble or ()], "weights": weight or ()}
    given = [f"teacher.{key}={json.dumps(value)}" for key, value in joined.items() if value]
    if ensemble:
        given.append("teacher.method=ensemble")
    made = _recipe(recipe, data, [*given, *(overrides or [])], allow_duplicates)
    if made.teacher is None:
        raise InputError("The recipe has no teacher. Add teacher: {name: ...}.")
    _refuse_existing(output)
    photos = _photos(made, output)
    seed = made.seed if seed is None else seed
    _show_bundle(teach(photos, made.teacher, output, views=made.views, seed=seed), as_json)


@app.command()
def teachers(
    names: Annotated[
        list[str] | None, typer.Argument(help="timm models; by default those tried here.", show_default=False)
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of their images, pixels; by default each one's own.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 64,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Families of teachers: input size, parameters, and the memory that a batch needs.

    Example: `attar teachers vit_large_patch14_reg4_dinov2 --size 224`
    """
    from attar.teachers.families import needs_of, table

    needs = list(needs_of(names or (), size=size, batch=batch))
    show([each.to_json() for each in needs], as_json, lambda: table(needs, batch))
    _say_local_weights()


@app.command()
def students(
    names: Annotated[
        list[str] | None, typer.Argument(help="timm models; by default those measured here.", show_default=False)
    ] = None,
    classes: Annotated[int, typer.Option(min=1, help="Classes that the head tells apart.")] = 100,
    head: Annotated[str, typer.Option(help="dwsconv, or stock: timm's own.")] = "dwsconv",
    as_json: Json = False,
) -> None:
    """Students: the image size they were made for, parameters, and pretrained weights.

    Example: `attar students mobilenetv3_large_100 --classes 10000 --head stock`
    """
    from attar.students.families import about_students, table

    found = list(about_students(names or (), classes=classes, head=head))
    show([each.to_json() for each in found], as_json, lambda: table(found))
    _say_local_weights()


def _say_local_weights() -> None:
    """Weights that need no network, to be named as `checkpoint` of a teacher or student."""
    from attar.console import say
    from attar.pretrained.files import installed_weights

    local = installed_weights()
    if local:
        say("Weights that installed packages bring, for teacher.checkpoint or student.checkpoint:")
        for each in local:
            say(f"  {each}")


@app.command()
def distill(
    recipe: RecipeFile = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher's bundle; without one, labels alone.", show_default=False)
    ] = None,
    data: Data = None, output: Output = Path("runs/attar/student"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the teacher cache, shared by students.", show_default=False)
    ] = None,
    qat: Annotated[
        Path | None,
        typer.Option(help="Train this student's bundle on for its integer file instead.", show_default=False),
    ] = None,
    allow_duplicates: Duplicates = False, overrides: Set = None, seed: Seed = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Fit a student to photos, by labels and a teacher.

    Example: `attar distill --teacher runs/attar/teacher --data photos/ --set student.name=mobilenetv3_small_100`
    """
    from attar.distill import distill_student, quantization_aware

    made = _recipe(recipe, data, overrides, allow_duplicates)
    _refuse_existing(output)
    photos = _photos(made, output)
    seed = made.seed if seed is None else seed
    how: Any = {"teacher": teacher, "views": made.views, "cache": cache, "seed": seed}
    if qat is not None:
        bundle = quantization_aware(qat, photos, made.student, output, **how)
    else:
        bundle = distill_student(photos, made.student, output, **how)
    _show_bundle(bundle, as_json)


@app.command()
def export(
    bundle: Annotated[Path, typer.Argument(help="The student's bundle.")],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Such as litert:int8, litert:all, or all. Repeatable.", show_default=False),
    ] = None,
    data: Data = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: exports/ beside the bundle.")] = None,
    max_drop: Annotated[float, typer.Option(help="Points of top-1 that a file may lose.")] = 1.0,
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

    Example: `attar export runs/attar/student -t litert:int8 -t coreml:fp16`
    """
    from attar.bundle import read_bundle
    from attar.export import Limits, choose_targets, export_student
    from attar.recipe import Recipe

    student = read_bundle(bundle, "student")
    names = target or list(Recipe().targets)
    choose_targets(names)  # before the photos are read
    output = output or bundle.resolve().parent / "exports"
    limits = Limits(time_limit, None if memory_limit is None else int(memory_limit * 1e9), jobs)
    manifest = export_student(
        student, names, output, photos=_photos_of(student, data), max_drop=max_drop, force=force, limits=limits,
        author=author, license=license,
    )  # fmt: skip
    _show_manifest(manifest, output, as_json)


@app.command()
def verify(
    exports: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The student's bundle, if it was moved.", show_default=False)
    ] = None,
    data: Data = None,
    max_drop: Annotated[float, typer.Option(help="Points of top-1 that a file may lose.")] = 1.0,
    arm: Annotated[bool, typer.Option("--arm", help="Also run LiteRT files on an emulated ARM (qemu).")] = False,
    as_json: Json = False,
) -> None:
    """Prove again that every exported file is whole and still computes what its student does.

    Example: `attar verify runs/attar/exports`
    """
    from attar.export import verify
    from attar.runfolder import exports_of

    folder = exports_of(exports)
    student = _student_of(folder, bundle)
    manifest = verify(folder, bundle=student, photos=_photos_of(student, data), max_drop=max_drop, arm=arm)
    _show_manifest(manifest, folder, as_json)


@app.command()
def bench(
    exports: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for all files together, after warm-up.")] = 10.0,
    cool_down: Annotated[float, typer.Option(min=0, help="Seconds of rest after each round of all files.")] = 0.0,
    history: History = None, tag: Tag = None, against: Against = None, fail_if: FailIf = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: beside the exports folder.")] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="Where the files run: host (here, in their usual runtimes), litert-compiled, tensorflow, "
            "or android (phones over adb).",
        ),
    ] = HOST,
    device: Annotated[
        str | None,
        typer.Option(help="Serial number of the phone, or all; default: the only one.", show_default=False),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="What of the phone: cpu, gpu or nnapi.")] = "cpu",
    benchmark_model: Annotated[
        Path | None,
        typer.Option(help="LiteRT's program for the phone; by default $ATTAR_BENCHMARK_MODEL.", show_default=False),
    ] = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="Also show where each file's time goes: its slowest operators.")
    ] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Measure latency on this machine or on Android phones, all files interleaved in one run.

    Example: `attar bench runs/attar/exports --threads 2`
    """
    from attar.benchmarks.latency.session import Tracking, measurement
    from attar.benchmarks.report.report import judgements_table, operators_table, records_table
    from attar.console import say
    from attar.runfolder import exports_of

    folder = exports_of(exports)
    how: dict[str, Any] = {"threads": threads, "seconds": seconds, "cool_down": cool_down}
    how["output"] = output or folder.resolve().parent
    tracking, elsewhere = Tracking(history, tag, against, tuple(fail_if or ())), None
    if runtime == ANDROID:
        from attar.benchmarks.android import bench as elsewhere  # type: ignore[assignment]

        how |= {"device": device, "accelerator": accelerator, "tool": benchmark_model}
    else:
        _refuse_phone_options(device, accelerator, benchmark_model)
        how["runtime"] = None if runtime == HOST else runtime
    found = measurement(folder, tracking, elsewhere, **how)
    show(found.to_json(), as_json, lambda: records_table(found))
    if found.judgements and not as_json:
        show(None, False, lambda: judgements_table(found.judgements))
    for record in found.records if operators and not as_json else ():
        if record.operators:
            show(None, False, partial(operators_table, record))
    for floor in found.floors:
        say(f"{floor}.")
    say(str(found.verdict))
    _refuse_failed(found.judgements)


@app.command()
def history(
    path: Annotated[Path, typer.Argument(help="SQLite file made by `attar bench --history`.")],
    merge: Annotated[
        list[Path] | None,
        typer.Option(help="Another one, whose measurements are added. Repeatable.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """The measurements kept in a database, and joining those of several labs.

    Example: `attar history lab.sqlite --merge colleague.sqlite`
    """
    from attar.benchmarks.latency.history import opened
    from attar.benchmarks.report.report import history_table
    from attar.console import say

    with opened(path, create=bool(merge) and not path.exists()) as lab:
        for other in merge or ():
            with opened(other) as more:
                added = lab.merge(more)
            say(f"{other}: {added.records} new measurements, {added.tags} new tags")
        records, tags = lab.records(), lab.tags()
    listed = [{**record.to_json(), "tags": tags.get(record.run, [])} for record in records]
    show(listed, as_json, lambda: history_table(records, tags))


@app.command()
def lab(
    exports: Annotated[
        Path | None, typer.Argument(help="Exports folder, or the run it belongs to.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for phones on this network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="At most, where the browser allows more than one.")] = 4,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for all files together, after warm-up.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="End after the first finished device.")] = False,
    history: History = None, tag: Tag = None, against: Against = None, fail_if: FailIf = None,
    install: Annotated[bool, typer.Option("--install", help="Fetch the browser's runtimes first (needs npm).")] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file: serve by HTTPS.", exists=True, show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Its private key, if in a file of its own.", exists=True, show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: beside the exports folder.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Measure in browsers: a phone opens one page, no cable and no app. Serves until Ctrl-C.

    Example: `attar lab runs/attar --host 0.0.0.0`
    """
    from attar.benchmarks.lab import assets, check, lab, results_table
    from attar.benchmarks.latency.session import Keeper, Tracking
    from attar.benchmarks.report.report import judgements_table
    from attar.console import say
    from attar.errors import InputError
    from attar.runfolder import exports_of

    if install:
        say(f"Installed: {assets.install().folder}")
    if exports is None:
        if install:
            return
        raise InputError("Give an exports folder, such as `attar lab runs/attar/exports`.")
    folder = exports_of(exports)
    keeper = Keeper(Tracking(history, tag, against, tuple(fail_if or ())))
    found = lab(
        folder, host=host, port=port, seconds=seconds, threads=threads, once=once,
        output=output or folder.resolve().parent, certificate=certificate, key=key, keep=keeper.keep,
    )  # fmt: skip
    records = found.records
    show([record.to_json() for record in records], as_json, (lambda: results_table(records)) if records else None)
    check(found)
    judgements = keeper.judged(records)
    if judgements and not as_json:
        show(None, False, lambda: judgements_table(judgements))
    _refuse_failed(judgements)


@app.command()
def compare(
    model: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    other: Annotated[
        Path | None,
        typer.Argument(help="Then two models on the same photos: runs, bundles or files.", show_default=False),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher's bundle; by default the one beside exports/.", show_default=False)
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The student's bundle, if it was moved.", show_default=False)
    ] = None,
    max_ms: MaxMs = None, max_mb: MaxMb = None, min_top1: MinTop1 = None,
    data: Data = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Teacher, student and every file on the same photos: accuracy, agreement, calibration, size, latency.

    Of two runs, bundles or files: which one is better, beyond chance or not, and the photos on which they differ.

    Example: `attar compare runs/attar`, or `attar compare runs/one runs/two`
    """
    from attar.errors import InputError

    if other is not None:
        if given := [each for each in (teacher, max_ms, max_mb, min_top1) if each is not None]:
            raise InputError(f"{given[0]}: two models are compared by their answers alone. Leave such options out.")
        _compare_two(model, other, bundle, data, as_json)
        return
    from attar.benchmarks.report.report import terminal_table

    comparison, _ = _compare(model, teacher, bundle, data, (max_ms, max_mb, min_top1))
    show(comparison.to_json(), as_json, lambda: terminal_table(comparison))


@app.command()
def report(
    exports: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher's bundle; by default the one beside exports/.", show_default=False)
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The student's bundle, if it was moved.", show_default=False)
    ] = None,
    max_ms: MaxMs = None, max_mb: MaxMb = None, min_top1: MinTop1 = None,
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
) -> None:  # fmt: skip
    """Write the report: which file to ship for which device, what was gained and what was given up.

    Example: `attar report runs/attar --max-ms 5 --format html --format md`
    """
    from attar.benchmarks import write_report
    from attar.benchmarks.report.report import DEFAULT, check_formats, is_file
    from attar.console import say
    from attar.errors import InputError
    from attar.files import require_writable
    from attar.runfolder import exports_of

    check_formats(format or ())
    if format and output and is_file(output):
        raise InputError(f"--format with --output {output}: the file's ending says the format. Give one of the two.")
    output = output or exports_of(exports).resolve().parent
    require_writable(output.parent if is_file(output) else output, "--output")  # before a minute of work
    comparison, _ = _compare(exports, teacher, bundle, data, (max_ms, max_mb, min_top1), history, sensitivity)
    path = write_report(comparison, output, format or DEFAULT)
    show(comparison.to_json(), as_json, None)
    say(f"Report: {path}")


@app.command()
def shortfall(
    student: Annotated[Path, typer.Argument(help="The student's bundle.")],
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher's bundle; by default the one beside it.", show_default=False)
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Another student's bundle, such as one without a teacher.", show_default=False)
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also train on briefly, to find what may help. Takes a while.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the teacher cache, for --probe.", show_default=False)
    ] = None,
    data: Data = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: shortfall/ beside it.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Where a student falls short: frequent and rare classes, classes that lost, new confusions.

    Compares it with its teacher, with another student, or both, on the validation photos.

    Example: `attar shortfall runs/attar/student --baseline runs/labels-alone/student`
    """
    from attar.benchmarks.report.error_analysis import shortfall
    from attar.benchmarks.report.error_analysis_page import probe_table, terminal_table, to_json, write_shortfall
    from attar.bundle import read_bundle
    from attar.console import say
    from attar.runfolder import beside

    bundle, teacher = read_bundle(student, "student"), teacher or beside(student, "teacher")
    teacher_bundle = read_bundle(teacher, "teacher") if teacher else None
    output = output or student.resolve().parent / "shortfall"
    photos = _photos_of(bundle, data, unlabelled=probe)
    found = shortfall(
        bundle, photos, output, teacher=teacher_bundle, baseline=read_bundle(baseline, "student") if baseline else None
    )
    tried = _probe(bundle, photos, output, teacher_bundle, cache) if probe else None
    path = write_shortfall(found, output, tried)
    show(to_json(found, tried), as_json, lambda: terminal_table(found))
    if tried is not None and not as_json:
        show(None, False, lambda: probe_table(tried))
    say(f"Page: {path}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed here, in which version, and what each part enables.

    Example: `attar doctor`
    """
    from attar.cli.doctor import examine, table

    parts = examine()
    show(parts, as_json, lambda: table(parts))


# --- what the verbs share ------------------------------------------------------------------------


def _run(recipe: Recipe, output: Path, as_json: bool, continue_from: Path | None = None) -> None:
    from attar.benchmarks.report.report import terminal_table
    from attar.cli.pipeline import run
    from attar.console import say
    from attar.files import read_json
    from attar.runfolder import RunFolder

    comparison = run(recipe, output, continue_from)
    if comparison is None:  # in ranks other than the first
        return
    data = read_json(RunFolder(output).provenance)["data"] if as_json else None
    show({**comparison.to_json(), "data": data}, as_json, lambda: terminal_table(comparison))
    say(f"Report: {output / 'report.html'}")


def _recipe(path: Path | None, data: Path | None, overrides: list[str] | None, duplicates: bool = False) -> Recipe:
    from attar.recipe import read_recipe

    given: dict[str, Any] = {"path": str(data), "source": None} if data is not None else {}
    given |= {"allow_duplicates": True} if duplicates else {}
    return read_recipe(path, overrides or [], given)


def _photos(recipe: Recipe, output: Path) -> Photos:
    """The recipe's photos; what a source writes goes beside the output, as in a run's folder."""
    from attar.data.builtin import photos_of
    from attar.runfolder import RunFolder

    return photos_of(recipe.data, RunFolder(output.parent).data, thorough=True, fit=recipe.student.fit)


def _photos_of(student: Any, data: Path | None, unlabelled: bool = False) -> Photos:
    """The photos a bundle was made from, or others the user gives, split the same way; unlabelled ones if asked."""
    from dataclasses import replace

    from attar.data.photos import DataSpec, read_photos
    from attar.errors import InputError
    from attar.provenance import data_of

    made_here = bool(student.provenance.get("data"))  # saved by a script, a bundle does not say
    spec = DataSpec(str(data)) if data and not made_here else data_of(student.provenance)
    if unlabelled and made_here and (more := student.provenance["data"].get("unlabelled")):
        spec = replace(spec, unlabelled=more["path"])
    bundle = student.path
    if spec.keep and not Path(spec.keep).is_file():  # the run's folder was moved
        spec = replace(spec, keep=str(bundle.parent / "photos.json"))
    photos = read_photos(replace(spec, path=str(data)) if data else spec, thorough=True)
    _warn_of_changes(student, photos)
    if photos.labels != student.labels:
        raise InputError(
            f"{photos.spec.path}: its {len(photos.labels)} classes are not those {len(student.labels)} of {bundle}. "
            "Give --data the photos the student was made from."
        )
    return photos


def _warn_of_changes(student: Any, photos: Photos) -> None:
    """Figures of other photos than the student's own are no figures of what was held out."""
    from attar.cli.continuing import what_changed
    from attar.console import say
    from attar.runfolder import RunFolder

    made_from = (student.provenance.get("data") or {}).get("fingerprint")
    if made_from and made_from != photos.fingerprint:
        changed = what_changed(RunFolder(student.path.parent), photos)
        say(
            f"Warning: {student.path} was made from other photos than are in {photos.spec.path} now: {changed}. Its "
            "accuracy on them may count photos that it was trained on."
        )


def _student_of(exports: Path, bundle: Path | None) -> Any:
    from attar.bundle import read_bundle
    from attar.export import read_manifest
    from attar.runfolder import beside

    recorded = Path(read_manifest(exports).bundle["path"])
    return read_bundle(bundle or beside(exports, "student") or exports / recorded, "student")


def _compare_two(first: Path, second: Path, bundle: Path | None, data: Path | None, as_json: bool) -> None:
    from attar.benchmarks.predict import open_model
    from attar.benchmarks.report.pairwise import pair, tables

    models = (open_model(first), open_model(second))
    photos = _photos_of(_judge(first, second, bundle), data)
    found = pair(models, photos, (str(first), str(second)))
    show(found.to_json(), as_json, lambda: tables(found))


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
    return _student_of(model if (model / NAME).is_file() else model.resolve().parent, None)


def _compare(
    exports: Path, teacher: Path | None, bundle: Path | None, data: Path | None,
    needs: tuple[float | None, float | None, float | None], history: Path | None = None, sensitivity: bool = False,
) -> tuple[Any, Path]:  # fmt: skip
    from attar.benchmarks.latency.record import read
    from attar.benchmarks.report.compare import compare
    from attar.benchmarks.report.recommend import Needs
    from attar.export import read_manifest
    from attar.runfolder import beside, exports_of

    folder = exports_of(exports)
    output = folder.resolve().parent
    student = _student_of(folder, bundle)
    photos = _photos_of(student, data)
    records = [*_kept_in(history), *read(output)]
    if sensitivity:
        from attar.benchmarks.report.sensitivity import measure

        measure(student, photos, read_manifest(folder).files, output)
    comparison = compare(
        folder, bundle=student.path, teacher=teacher or beside(folder, "teacher"),
        photos=photos, output=output, records=sorted(records, key=lambda each: each.measured),
        needs=Needs(needs[0], needs[1], None if needs[2] is None else needs[2] / 100),
    )  # fmt: skip
    return comparison, folder


def _kept_in(history: Path | None) -> list[Any]:
    """The records of a database of measurements."""
    from attar.benchmarks.latency.history import opened

    if history is None:
        return []
    with opened(history) as lab:
        return lab.records()


def _probe(student: Any, photos: Photos, output: Path, teacher: Any, cache: Path | None) -> dict[str, Any]:
    """What `attar.distill.trials` finds, with the student's own teacher if it has one, and its cache."""
    from attar.distill.trials import probe
    from attar.runfolder import RunFolder

    taught = teacher if student.provenance.get("teacher") else None
    path = student.path
    kept = (RunFolder(path.parent).cache, path.with_name(f"{path.name}.teacher-cache"))
    cache = cache or next((folder for folder in kept if folder.is_dir()), None)
    return probe(student, photos, output / "probe", teacher=taught, cache=cache).to_json()


def _refuse_phone_options(device: str | None, accelerator: str, benchmark_model: Path | None) -> None:
    """Nobody who names a phone wants figures of this machine."""
    from attar.errors import InputError

    given = {"device": device, "accelerator": accelerator != "cpu", "benchmark-model": benchmark_model}
    named = next((name for name, value in given.items() if value), None)
    if named:
        raise InputError(f"--{named}: is about phones. Add --runtime android.")


def _refuse_failed(judgements: Sequence[Judgement]) -> None:
    from attar.errors import GateError

    failed = [each for each in judgements if each.outcome == "failed"]
    if failed:
        raise GateError("Slower or larger than the baseline: " + "; ".join(map(str, failed)) + ".")


def _refuse_existing(output: Path) -> None:
    from attar.errors import InputError

    if output.exists():
        raise InputError(f"{output}: exists already. Choose another --output, or remove it.")


def show(value: Any, as_json: bool, table: Any) -> None:
    """A result: as JSON on stdout, or as the table that `table` makes, in the first rank."""
    from attar.train.distributed import is_first

    if not is_first():
        return
    if as_json:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        # Bytes of a file's name that are no text are printed as JSON escapes them: \udce9.
        print(text.encode("utf-8", "backslashreplace").decode())
    elif table is not None:
        from rich.console import Console

        console, made = Console(highlight=False), table()
        _fold(console, made)
        console.print(made)


def _fold(console: Any, made: Any) -> None:
    """Let the cells of a table that is too wide take several lines: rich would cut them to `litert…`."""
    columns = getattr(made, "columns", ())
    if columns and console.measure(made, options=console.options.update(max_width=1000)).maximum > console.width:
        for column in columns:
            column.no_wrap, column.overflow = False, "fold"


def _show_bundle(bundle: Any, as_json: bool) -> None:
    from attar import readiness
    from attar.console import say

    metrics = {key: value for key, value in bundle.metrics.items() if key != "history"}
    taught = (bundle.provenance.get("teacher") or {}).get("metrics")
    about = {"path": str(bundle.path), "kind": bundle.kind, "name": bundle.name, "metrics": metrics}
    about["data"] = bundle.provenance.get("data")
    show({**about, "readiness": readiness.judged(metrics, taught).to_json()}, as_json, None)
    say(readiness.told(bundle.kind.capitalize(), bundle.name, metrics, taught))
    say(f"-> {bundle.path}")


def _show_manifest(manifest: Any, folder: Path, as_json: bool) -> None:
    from attar.console import say
    from attar.export.manifest import files_table

    show(manifest.to_json(), as_json, lambda: files_table(manifest))
    say(f"Files: {folder}")
