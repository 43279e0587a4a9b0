"""`attar lab`: serve the page, show the way to it, and report what came back."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.benchmarks.lab.laboratory import Laboratory
from attar.benchmarks.lab.plan import make_plan
from attar.benchmarks.lab.visitor import name
from attar.benchmarks.latency.record import Record
from attar.benchmarks.units import number
from attar.console import say
from attar.errors import GateError
from attar.export.web.assets import find
from attar.extras import require
from attar.serving.addresses import address_of, is_loopback, listen, show_code
from attar.serving.http import make_server, own_names

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def lab(
    exports: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seconds: float = 10.0,
    threads: int = 4,
    once: bool = False,
    output: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    keep: Callable[[list[Record]], object] | None = None,
) -> Laboratory:
    """Serve the lab until Ctrl-C, or with `once` until a device has finished; returns what was measured.

    Args:
        exports: folder with a manifest.json.
        host: address to listen on; 0.0.0.0 for all of this machine's.
        port: 0 for any free one.
        seconds: time for all files of a device together, after warm-up.
        threads: at most, where a browser allows any; else one.
        once: end after the first finished device.
        output: folder whose benchmarks.jsonl the records are added to; by default the one around `exports`.
        certificate: PEM file; with one the page is served by HTTPS.
        key: its private key, if not in the same file.
        keep: is given each device's records as it finishes, before they are written.

    Raises:
        InputError: the runtimes are not installed, the exports are not fit, or the address cannot be had.
        MissingExtra: starlette, uvicorn or segno is not installed.
    """
    for module in ("starlette", "uvicorn", "segno"):
        require(module)
    assets = find()
    plan = make_plan(exports, seconds=seconds, threads=threads, versions=assets.versions)
    laboratory = Laboratory(plan, output or exports.resolve().parent, keep=keep)
    token = secrets.token_urlsafe(16)
    with listen(host, port) as listening:
        server = _server(laboratory, assets, token, once, certificate, key)
        scheme = "https" if certificate else "http"
        _show_the_way(f"{scheme}://{address_of(host)}:{listening.getsockname()[1]}/{token}/", host)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    laboratory.close()
    return laboratory


def check(laboratory: Laboratory) -> list[Record]:
    """The lab's records.

    Raises:
        GateError: a browser's answers disagreed with the manifest's, or a finished device measured nothing.
    """
    if laboratory.disagreements:
        raise GateError(f"Other answers than in the manifest: {'; '.join(laboratory.disagreements)}.")
    if laboratory.finished and not laboratory.records:
        raise GateError("No file ran in the browser.")
    return laboratory.records


def results_table(records: Sequence[Record]) -> Group:
    """For a terminal of 80 characters, a table a device; the records have the rest."""
    from rich.console import Group

    devices = {id(each.device): each.device for each in records}
    return Group(*(_table(name(device), [r for r in records if r.device is device]) for device in devices.values()))


def _table(title: str, records: Sequence[Record]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "bold"), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for heading in ("File", "Runtime", "Threads", "Answers", "p50 ms", "p90 ms"):
        table.add_column(heading, justify="right" if heading in ("Threads", "p50 ms", "p90 ms") else "left")
    for each in records:
        agrees = each.agreement is not None and each.agreement["agrees"]
        table.add_row(
            each.file,
            each.runtime["name"].replace("ONNX Runtime Web", "ORT Web"),
            str(each.threads),
            Text("agree", "green") if agrees else Text("DISAGREE", "bold red"),
            number(each.percentiles["p50"] / 1e6),
            number(each.percentiles["p90"] / 1e6),
        )
    return table


def _server(laboratory: Laboratory, assets: Any, token: str, once: bool, certificate: Any, key: Any) -> Any:
    from attar.benchmarks.lab.server import make_app

    def after() -> None:
        server.should_exit = once

    app = make_app(laboratory, assets, token, after=after, names=own_names())
    server = make_server(app, certificate, key)
    return server


def _show_the_way(url: str, host: str) -> None:
    if is_loopback(host):
        say(f"Open on this machine: {url}")
        say("A phone on the same network cannot reach that: give --host 0.0.0.0 for an address with a QR code.")
    else:
        say(f"Scan, or open on any device of this network: {url}")
        show_code(url)
        if url.startswith("http:"):
            say("Over plain HTTP browsers allow one thread and no WebGPU: docs/lab.md tells two ways around it.")
    say("Ctrl-C ends the lab.")
