"""A comparison on three devices as a report shows it, made of plain data: no model has to be trained for it."""

from __future__ import annotations

from typing import Any

from attar.benchmarks.report.comparison import (
    Bin,
    Choice,
    ClassRow,
    Comparison,
    Device,
    EveryClass,
    Example,
    Interval,
    Latency,
    Row,
    Sensitivity,
    Timing,
)

TARGETS = ("litert:fp32", "litert:fp16", "litert:int8", "onnx:fp32", "coreml:w8")
KINDS = ("Convolution (NHWC, QC8) IGEMM", "Convolution (NHWC, QC8) DWConv", "Add (ND)", "Fully Connected", "Softmax")


def comparison() -> Comparison:
    """Long names, several devices with other choices, every section."""
    rows = (_row("teacher", "teacher", 0.93), _row("student", "student", 0.9), *(_row(t, "file", 0.9) for t in TARGETS))
    changes = tuple(_change(f"a class with a rather long name {i}", rows, -0.05 * (i + 1)) for i in range(3))
    devices = (
        _device("Google Pixel 8 Pro with a long name", "android", "litert:int8", 1.0),
        _device("AMD EPYC", "host", "litert:int8", 0.5),
        _device("Linux, Headless Chrome 150.0.0.0", "browser", "onnx:fp32", 20.0),
    )
    layers = tuple({"layer": f"network/blocks.{i}/conv_dw/Conv2d;", "score": 0.01 / (i + 1)} for i in range(30))
    return Comparison(
        title="a student from a teacher",
        rows=rows,
        classes=12,
        images=400,
        choice=devices[0].choice,
        compared=("teacher", "litert:int8"),
        changes=changes,
        failed=(),
        set_aside=(),
        notes=("A note.",),
        provenance=_provenance(),
        devices=devices,
        sensitivity=Sensitivity("litert:int8", "a scan", layers, 0.02),
        every_class=_every_class(),
    )


def _every_class() -> EveryClass:
    """Sixty classes; of the first five, each has lost more photos than the one before it."""
    names = tuple(f"a class with a rather long name {i}" for i in range(60))
    after = tuple(max(0, 9 - i) if i < 5 else 9 for i in range(60))
    right = {"teacher": (9,) * 60, "litert:int8": after}
    wrong = tuple(names[-1] if i < 5 else "" for i in range(60))
    return EveryClass(names, (10,) * 60, right, wrong, tuple(i + 1 if i < 5 else 0 for i in range(60)))


def _row(name: str, kind: Any, top1: float) -> Row:
    share = Interval(top1, top1 - 0.03, top1 + 0.03)
    about = name.replace(":", "-") + (".tflite" if kind == "file" else "")
    difference = None if kind == "student" else Interval(0.0, -0.01, 0.01)
    bins = (Bin(100, 0.5, 0.45), Bin(300, 0.95, 0.9))
    return Row(name, kind, about, 1_500_000, share, share, difference, 0.9, 0.04, bins, None, "why", None, "here")


def _device(name: str, kind: str, chosen: str, factor: float) -> Device:
    timings = tuple(_timing(target, factor * (i + 1)) for i, target in enumerate(TARGETS[:4]))
    reasons = ("It is the fastest of the 4 files timed here.", "It weighs 1.50 MB.")
    choice = Choice(chosen.replace(":", "-") + ".tflite", chosen, reasons)
    return Device(name, kind, "9 cores, an operating system", timings, choice, ("These times cannot be trusted.",))


def _timing(target: str, p50: float) -> Timing:
    operators = tuple(
        {"name": f"network/blocks.{i}", "operator": KINDS[i % 5], "nanoseconds": 1e4 * p50 * (40 - i)}
        for i in range(40)
    )
    latency = Latency(
        p50,
        1.2 * p50,
        2 * p50,
        100,
        3.0,
        1.5,
        12_000_000,
        1,
        "A runtime 1.2",
        "2026-01-01T00:00:00+00:00",
        (0.98 * p50, None),
    )
    return Timing(target, "A runtime, 1 thread", latency, True, operators, 12 * p50)


def _change(label: str, rows: tuple[Row, ...], value: float) -> ClassRow:
    photo = Example("folder/photo.jpg", label, label, 0.9, "another", 0.8)
    change = Interval(value, value - 0.1, value + 0.1)
    return ClassRow(label, 40, {row.name: 0.5 for row in rows}, change, value < -0.1, (photo,) * 4, 9, (photo,), 1)


def _provenance() -> dict[str, Any]:
    machine = {"cpu": "a CPU", "os": "Linux", "python": "3.11", "cores": 2, "governor": None, "load_average": [0.1]}
    model = {"name": "a model", "fingerprint": "0" * 64, "seed": 0}
    return {
        "attar": "0",
        "made": "2026-01-01T00:00:00+00:00",
        "student": model,
        "teacher": model,
        "packages": {"torch": "2"},
        "data": {"fingerprint": "1" * 64, "split_seed": 0, "val": 400},
        "compared_on": machine,
        "timed_on": machine,
        "preprocessing": {"size": 224, "crop": 1.0, "interpolation": "bicubic"},
    }
