"""`attar bench`, `attar lab` and `attar history`: latency, and where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attar.cli.app import Against, FailIf, History, Json, Tag, app
from attar.cli.shown import show, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attar.benchmarks.latency.gate import Judgement

HOST, ANDROID = "host", "android"
"""Where `bench` runs files: here, in the usual runtimes; on phones. Other names are those of other runtimes."""


@app.command()
def bench(
    exports: Annotated[Path, typer.Argument(help="Exports folder, or the run it belongs to.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for all files together, after warm-up.")] = 10.0,
    cool_down: Annotated[float, typer.Option(min=0, help="Seconds of rest after each round of all files.")] = 0.0,
    history: History = None,
    tag: Tag = None,
    against: Against = None,
    fail_if: FailIf = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: beside the exports folder.")] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="Where the files run: host (here, in their usual runtimes), litert-compiled, tensorflow, "
            "or android (phones over adb)."
        ),
    ] = HOST,
    device: Annotated[
        str | None, typer.Option(help="Serial number of the phone, or all; default: the only one.", show_default=False)
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
) -> None:
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
    measured = measurement(folder, tracking, elsewhere, **how)
    show(measured.to_json(), as_json, lambda: records_table(measured))
    if measured.judgements and not as_json:
        show_table(judgements_table(measured.judgements))
    for record in measured.records if operators and not as_json else ():
        if record.operators:
            show_table(operators_table(record))
    for floor in measured.floors:
        say(f"{floor}.")
    say(str(measured.verdict))
    _refuse_failed(measured.judgements)


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
    history: History = None,
    tag: Tag = None,
    against: Against = None,
    fail_if: FailIf = None,
    install: Annotated[bool, typer.Option("--install", help="Fetch the browser's runtimes first (needs npm).")] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file: serve by HTTPS.", exists=True, show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Its private key, if in a file of its own.", exists=True, show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: beside the exports folder.")] = None,
    as_json: Json = False,
) -> None:
    """Measure in browsers: a phone opens one page, no cable and no app. Serves until Ctrl-C.

    Example: `attar lab runs/attar --host 0.0.0.0`
    """
    from attar.benchmarks.lab import check, lab, results_table
    from attar.benchmarks.latency.session import Keeper, Tracking
    from attar.benchmarks.report.report import judgements_table
    from attar.console import say
    from attar.errors import InputError
    from attar.export.web import assets
    from attar.runfolder import exports_of

    if install:
        say(f"Installed: {assets.install().folder}")
    if exports is None:
        if install:
            return
        raise InputError("Give an exports folder, such as `attar lab runs/attar/exports`.")
    folder = exports_of(exports)
    keeper = Keeper(Tracking(history, tag, against, tuple(fail_if or ())))
    served = lab(
        folder,
        host=host,
        port=port,
        seconds=seconds,
        threads=threads,
        once=once,
        output=output or folder.resolve().parent,
        certificate=certificate,
        key=key,
        keep=keeper.keep,
    )
    records = served.records
    show([record.to_json() for record in records], as_json, (lambda: results_table(records)) if records else None)
    check(served)
    judgements = keeper.judged(records)
    if judgements and not as_json:
        show_table(judgements_table(judgements))
    _refuse_failed(judgements)


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
