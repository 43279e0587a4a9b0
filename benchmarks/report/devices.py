"""The devices that files were measured on, from records: what each file costs there, and which one to take for it.

A file can run on a device in several ways (on a phone's CPU and GPU, by two runtimes in a browser): of each the last
record counts, and the file's figure is that of the fastest way whose answers are right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite
from statistics import median
from typing import Any

from attar.benchmarks.latency.history import device_key
from attar.benchmarks.latency.intervals import percentile_estimates
from attar.benchmarks.latency.record import HOST, Record
from attar.benchmarks.latency.roofline import floors_of
from attar.benchmarks.latency.stability import of_run
from attar.benchmarks.report.comparison import Choice, Device, Latency, Needs, Row, Timing
from attar.benchmarks.report.recommend import choose
from attar.benchmarks.units import listed

TOLERANCE = 0.02
"""Largest difference of a probability on a device that tells no verdict of its own; as the browser lab's."""
_PHONES = ("Android", "iOS", "iPadOS")


def devices_of(
    records: Iterable[Record],
    digests: dict[str, str],
    rows: Sequence[Row],
    needs: Needs | None = None,
    images: int | None = None,
) -> tuple[Device, ...]:
    """The devices, phones first.

    Args:
        records: oldest first.
        digests: SHA-256 -> target of the files that count; records of other content do not.
        rows: the files' accuracy and size.
        needs: what the file to take has to meet.
        images: photos that the accuracy is of; see `attar.benchmarks.report.recommend.choose`.
    """
    by_device: dict[str, dict[tuple[str, str], Record]] = {}
    for each in records:
        if each.sha256 in digests:
            # A file measured anew by the same runtime takes the place of its earlier record, wherever that stood.
            by_device.setdefault(device_key(each.device), {})[each.sha256, each.runtime["name"]] = each
    groups = [list(latest.values()) for latest in by_device.values()]
    groups.sort(key=lambda group: max(each.measured for each in group), reverse=True)
    groups.sort(key=lambda group: _rank(group[0].device))
    names = _names([group[-1].device for group in groups])
    return tuple(_device(name, group, digests, rows, needs, images) for name, group in zip(names, groups))


def host_of(devices: Sequence[Device]) -> Device | None:
    """The last used machine of those that ran attar itself."""
    return next((each for each in devices if each.kind == HOST), None)


def latency_of(measured: Record) -> Latency:
    """A record's figures, milliseconds."""
    share = {name: value / 1e6 for name, value in measured.percentiles.items()}
    (median_of,) = percentile_estimates(measured.rounds, (50,))
    floor = next(iter(floors_of([measured])), None)
    return Latency(
        **share,
        samples=len(measured.samples),
        load=median(measured.load) / 1e6,
        first=median(measured.first) / 1e6,
        peak_memory=measured.peak_memory,
        threads=measured.threads,
        runtime=f"{measured.runtime['name']} {measured.runtime['version']}",
        measured=measured.measured,
        interval=(median_of.low / 1e6, median_of.high / 1e6 if isfinite(median_of.high) else None),
        floor=floor,
    )


def kind_of(device: dict[str, Any]) -> str:
    """`android`, `browser` or `host`."""
    return str(device.get("kind", HOST))


def agrees(agreement: dict[str, Any] | None) -> bool | None:
    """Whether a record's answers were right; None where nobody looked."""
    if agreement is None:
        return None
    if "agrees" in agreement:
        return bool(agreement["agrees"])
    return agreement["max_error"] is not None and agreement["max_error"] <= TOLERANCE


def _device(
    name: str,
    group: Sequence[Record],
    digests: dict[str, str],
    rows: Sequence[Row],
    needs: Needs | None,
    images: int | None,
) -> Device:
    about, kind = group[-1].device, kind_of(group[-1].device)
    order = [row.name for row in rows]
    timings = sorted((_timing(each, digests) for each in group), key=lambda each: order.index(each.target))
    device = Device(name, kind, _about(about), tuple(timings), Choice(None, None, ()), _notes(group, digests))
    priced = [replace(row, latency=best.latency if (best := device.best(row.name)) else None) for row in rows]
    # Elsewhere only the files that ran there are in question; here also Core ML's, for an iPhone.
    choice = choose([row for row in priced if row.latency or kind == HOST or row.kind != "file"], needs, images)
    chosen = device.best(choice.target or "")
    return replace(device, choice=_with_way(choice, chosen, device) if chosen else choice)


def _with_way(choice: Choice, chosen: Timing, device: Device) -> Choice:
    others = [each for each in device.timings if each.target == chosen.target and each is not chosen]
    faster = f", faster than by {listed([each.way for each in others])}" if others else ""
    return replace(choice, reasons=(*choice.reasons, f"Measured by {chosen.way}{faster}."))


def _timing(each: Record, digests: dict[str, str]) -> Timing:
    profiled = (each.conditions.get("profile") or {}).get("inference")
    return Timing(
        digests[each.sha256],
        _way(each),
        latency_of(each),
        agrees(each.agreement),
        each.operators or None,
        None if profiled is None else profiled / 1e6,
    )


def _way(each: Record) -> str:
    name = each.runtime["name"]
    if "WebGPU" in name or each.runtime.get("accelerator", "cpu") != "cpu":
        return name
    return f"{name}, {each.threads} thread{'s' if each.threads > 1 else ''}"


def _notes(group: Sequence[Record], digests: dict[str, str]) -> tuple[str, ...]:
    notes = [
        f"{digests[each.sha256]} by {_way(each)} does not answer there as where it was verified: it is not taken."
        for each in group
        if agrees(each.agreement) is False
    ]
    runs: dict[str, list[Record]] = {}
    for each in group:
        runs.setdefault(each.run, []).append(each)
    verdicts = [of_run(run) for key, run in runs.items() if key]
    notes += dict.fromkeys(str(verdict) for verdict in verdicts if not verdict.trusted)
    if any(max(each.conditions.get("thermal_status", [0])) > 0 for each in group):
        notes.append("It said that it was too hot while it was measured.")
    if any(each.conditions.get("ended") for each in group):
        notes.append("Its page was closed before the measurement was complete.")
    return tuple(notes)


def _rank(device: dict[str, Any]) -> int:
    """Phones first, then this machine, then browsers of computers."""
    kind = kind_of(device)
    if kind == HOST:
        return 1
    mobile = kind == "android" or str(device.get("os") or "").startswith(_PHONES)
    return 0 if mobile else 2


def _names(devices: Sequence[dict[str, Any]]) -> list[str]:
    plain = [_name(each) for each in devices]
    names = []
    for number, (name, each) in enumerate(zip(plain, devices)):
        alike = plain.count(name) > 1
        mark = str(each.get("serial") or "")[:4] or str(1 + plain[:number].count(name))
        names.append(f"{name} ({mark})" if alike else name)
    return names


def _name(device: dict[str, Any]) -> str:
    kind = kind_of(device)
    if kind == "browser":
        parts = [device.get(key) for key in ("model", "browser")]
        parts.insert(1, None if device.get("model") else device.get("os"))
        return ", ".join(str(each) for each in parts if each) or "a browser that tells nothing"
    own = device.get("model") or device.get("cpu") or device.get("os")
    return str(own or ("an Android phone" if kind == "android" else "this machine"))


def _about(device: dict[str, Any]) -> str:
    """What is not in the name already."""
    facts = [str(device[key]) for key in ("cpu", "soc", "os", "browser", "gpu") if device.get(key)]
    distinct = [each for i, each in enumerate(facts) if not any(each in other for other in (_name(device), *facts[:i]))]
    cores = device.get("cores")
    if cores:
        distinct.append(f"{cores} core{'s' if cores > 1 else ''}")
    return ", ".join(distinct)
