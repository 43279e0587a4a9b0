"""The page of `attar.benchmarks.studies.families`: docs/support.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attar.extras import OPTIONAL
from attar.students.families import FAMILIES

ACCELERATORS = ("onnx:fp32", "onnx:int8")
"""Files for the CPU that the emulated NPU runs too."""

_INTRODUCTION = """# Students and where they run

Written by `python -m attar.benchmarks.studies.families`: {students} students of {families} families, trained briefly on
the quickstart's digits, drawn larger. The last rows are the quickstart's own student and the solar cells', trained as
their recipes say. [targets.md](targets.md) has twelve students as every target, with latencies.

In every cell: the share of validation photos with the student's own top-1, in percent. "no" is a file that was not
written, because it did not convert or did not answer as its student does; the reasons are [below](#reasons).
"""


LEAST = 0.95
"""Of a hundred photos: a share of equal answers below this is no rounding."""


def page(rows: Mapping[str, Mapping[str, Any]], targets: Sequence[str], on_gpu: Sequence[str]) -> str:
    """All rows of the record as Markdown."""
    families = {row["family"] for row in rows.values()}
    heads = ["student", "family", "pixels", "parameters, M", "GMACs", "top-1, %", *targets]
    accelerators = [f"{target}, NPU" for target in ACCELERATORS]
    accelerators += [f"{target}, GPU" for target in on_gpu] + [f"{target}, operators on the GPU" for target in on_gpu]
    lines = [
        _INTRODUCTION.format(students=len({row["student"] for row in rows.values()}), families=len(families)),
        *_table(heads, [_on_cpu(name, row, targets) for name, row in rows.items()]),
        "",
        *_measured_on(rows, targets),
        "",
        "## Files for the CPU on other hardware",
        "",
        _photos_elsewhere(rows),
        "",
        *_table(["student", *accelerators], [_elsewhere(name, row, on_gpu) for name, row in rows.items()]),
        "",
        "## Integers in one piece",
        "",
        "XNNPACK's partitions of `litert:int8`, and the operators that split it.",
        "",
        *_table(["student", "partitions", "outside"], [_pieces(name, row) for name, row in rows.items()]),
        "",
        "## Reasons",
        "",
        *_reasons(rows, targets, on_gpu),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _on_cpu(name: str, row: Mapping[str, Any], targets: Sequence[str]) -> list[str]:
    files = row["files"]
    cells = [_percent(files[target]) if target in files else "no" for target in targets]
    size = f"{row['size']}" if row["size"] == row["at"] else f"{row['size']} (GMACs at {row['at']})"
    figures = [f"{row['parameters'] / 1e6:.2f}", f"{row['multiply_adds'] / 1e9:.2f}", f"{100 * row['top1']:.1f}"]
    return [_title(name, row), row["family"] or "another", size, *figures, *cells]


def _title(name: str, row: Mapping[str, Any]) -> str:
    return name if name == row["student"] else f"{name}: {row['student']}"


def _percent(measured: Mapping[str, Any]) -> str:
    return f"{100 * measured['agreement']:.1f}"


def _elsewhere(name: str, row: Mapping[str, Any], on_gpu: Sequence[str]) -> list[str]:
    cells = []
    for target in ACCELERATORS:
        others = row["files"].get(target, {}).get("others", {})
        npu = next((each for place, each in others.items() if "NPU" in place), None)
        cells.append(_percent(npu) if npu else "no")
    gpu = [row["gpu"].get(target, {}) for target in on_gpu]
    cells += [_percent(each) if "agreement" in each else "no" for each in gpu]
    cells += [f"{each['on_gpu']} of {each['operators']}" if "on_gpu" in each else "none" for each in gpu]
    return [_title(name, row), *cells]


def _photos_elsewhere(rows: Mapping[str, Mapping[str, Any]]) -> str:
    npu = [
        each["images"] for row in rows.values() for file in row["files"].values() for each in file["others"].values()
    ]
    gpu = [each["images"] for row in rows.values() for each in row["gpu"].values() if "images" in each]
    return f"ONNX files in the emulated NPU, on {_span(npu)} photos, and LiteRT's on WebGPU, on {_span(gpu)} photos."


def _pieces(name: str, row: Mapping[str, Any]) -> list[str]:
    partitions = row["files"].get("litert:int8", {}).get("partitions")
    if not partitions:
        return [_title(name, row), "no file", "no file"]
    outside = Counter(partitions["outside"])
    listed = ", ".join(f"{count} {operator}" for operator, count in outside.items())
    return [_title(name, row), str(partitions["delegated"]), listed or "none"]


def _reasons(rows: Mapping[str, Mapping[str, Any]], targets: Sequence[str], on_gpu: Sequence[str]) -> list[str]:
    lines = []
    for name, row in rows.items():
        for target in targets:
            if target not in row["files"]:
                lines.append(f"- {_title(name, row)}, `{target}`: {_one_line(row['reasons'].get(target, 'not made'))}")
        for target in on_gpu:
            text = row["gpu"].get(target, {}).get("reason") or row["gpu"].get(target, {}).get("remark")
            if text:
                lines.append(f"- {_title(name, row)}, `{target}` on the GPU: {_one_line(text)}")
            if row["gpu"].get(target, {}).get("agreement", 1.0) < LEAST:
                lines.append(
                    f"- {_title(name, row)}, `{target}` on the GPU: wrong there. `attar verify --gpu` finds it."
                )
    return lines or ["None: every file of every student is there, and runs whole."]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300].replace("|", "/").replace("<", "&lt;")


def _measured_on(rows: Mapping[str, Mapping[str, Any]], targets: Sequence[str]) -> list[str]:
    """What the figures are of: photos, machines, versions."""
    if not rows:
        return []
    files = [(target, row["files"][target]["images"]) for row in rows.values() for target in row["files"]]
    emulated = [count for target, count in files if target.startswith("qnn:")]
    others = [count for target, count in files if not target.startswith("qnn:")]
    machines = sorted({f"{row['device']['cpu']}, {row['device']['cores']} cores" for row in rows.values()})
    extras = {"litert", "coreml", "onnx", "qnn"}
    names = {item.distribution for item in OPTIONAL if item.extra in extras}
    used = {(name, number) for row in rows.values() for name, number in row["versions"].items() if name in names}
    versions = sorted(f"{name} {number}" for name, number in used if number)
    unlisted = [family for family in FAMILIES if family not in {row["family"] for row in rows.values()}]
    lines = [
        f"Photos: {_span(others)}; in the emulated NPU (`qnn:*`) {_span(emulated)}. The NPU and the GPU say nothing of "
        f"latency here. Machines: {'; '.join(machines)}. {', '.join(versions)}."
    ]
    return [*lines, f"Not measured yet: {', '.join(unlisted)}."] if unlisted else lines


def _span(counts: Sequence[int]) -> str:
    if not counts:
        return "none"
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
