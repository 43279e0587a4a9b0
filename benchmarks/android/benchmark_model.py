"""LiteRT's `benchmark_model`: its command line, and what it prints.

It prints no list of inferences, only statistics of each phase: count, first, last (`curr`), least, greatest, mean. Of
three inferences these give every single one back, so it is asked for three at a time (`RUNS`) and started often: each
sample is then one real inference, and each start is also one more measurement of loading and of the first inference.

The parser passes over lines it does not know (delegates talk a lot, and each version talks differently), and refuses a
text in which what counts is missing or does not add up.

The output's source: tflite/tools/benchmark/benchmark_model.cc and benchmark_tflite_model.cc of google-ai-edge/LiteRT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

RUNS = 3
"""Timed inferences of one start: the most that the printed statistics give back one by one."""
PROFILED_RUNS = 30
"""Timed inferences of the start that tells where the time goes."""
PHASE_SECONDS = 60
"""A phase (warm-up, timing) starts no other inference after this."""

DELEGATES = {
    "cpu": ("XNNPACK", ("use_xnnpack", "use_cpu")),
    "gpu": ("GPU", ("use_gpu",)),
    "nnapi": ("NNAPI", ("use_nnapi",)),
}
"""Accelerator -> the name of its delegate in the output, and the flag that asks for it: the first one known counts."""

_NUMBER = r"[-+0-9.eE]+"
_STATISTICS = re.compile(
    rf"\bcount=(\d+)(?: first=({_NUMBER}))? curr=({_NUMBER})(\(all same\))?"
    rf"(?: min=({_NUMBER}) max=({_NUMBER}) avg=({_NUMBER}) std=\S+)?"
)
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER}), "
    rf"Warmup \(avg\): ({_NUMBER}), Inference \(avg\): ({_NUMBER})"
)
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init={_NUMBER} overall=({_NUMBER})"
)
_APPLIED = re.compile(
    r"Explicitly applied (\w+) delegate, and the model graph will be "
    r"(?:completely executed by the delegate|partially executed by the delegate w/ (\d+) delegate kernels)"
)
_REPLACED = re.compile(r"Replacing (\d+) out of \d+ node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions")
_FLAG = re.compile(r"^\s*--(\w+)=", re.MULTILINE)
_ERROR = re.compile(r"\b(?:ERROR|FATAL): *(.+)$", re.MULTILINE)


class Unreadable(ValueError):
    """Output that lacks what counts, or contradicts itself."""


@dataclass(frozen=True)
class Statistics:
    """One phase: how many inferences, and their microseconds."""

    count: int
    first: float
    last: float
    least: float
    greatest: float
    mean: float

    def inferences(self) -> tuple[int, ...]:
        """Microseconds of each inference, in order; only for at most `RUNS` of them.

        Exact below 100 milliseconds; above, the middle one of three is known to the six digits that a mean is
        printed with, unless it is the least or the greatest.
        """
        if self.count > RUNS:
            raise Unreadable(f"{self.count} inferences where at most {RUNS} were asked for")
        if self.count < RUNS:
            return tuple(int(value) for value in (self.first, self.last)[: self.count])
        ends = (self.first, self.last)
        middle = round(3 * self.mean - sum(ends))
        if self.least < min(ends):
            middle = int(self.least)
        elif self.greatest > max(ends):
            middle = int(self.greatest)
        middle = int(min(max(middle, self.least), self.greatest))
        return int(self.first), middle, int(self.last)


@dataclass(frozen=True)
class Output:
    """What one start printed. Microseconds and bytes; `memory` is the growth of peak resident memory since the start.

    `delegated` maps each delegate that took a part of the model to the number of its partitions.
    """

    init: float
    first: float
    warmup: Statistics
    timed: Statistics
    memory: int | None
    delegated: dict[str, int]
    operators: tuple[dict[str, Any], ...]


def known_flags(text: str) -> frozenset[str]:
    """The flags in the output of `benchmark_model --help`: they differ between versions."""
    return frozenset(_FLAG.findall(text))


def command(
    program: str, graph: str, accelerator: str, threads: int, options: Set[str], *, profile: bool = False
) -> list[str]:
    """The words that run one file once: a warm-up, then `RUNS` (or `PROFILED_RUNS`) timed inferences.

    Raises:
        Unreadable: the program lacks a flag that is needed.
    """
    _, spellings = DELEGATES[accelerator]
    flag = next((spelling for spelling in spellings if spelling in options), None)
    needed = {"graph", "num_threads", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs"}
    missing = sorted(needed - options) + ([spellings[0]] if flag is None else [])
    if missing:
        raise Unreadable(f"it has no --{', --'.join(missing)}")
    runs = PROFILED_RUNS if profile else RUNS
    words = [
        program,
        f"--graph={graph}",
        f"--num_threads={threads}",
        f"--{flag}=true",
        "--warmup_runs=2",
        "--warmup_min_secs=0.3",
        f"--num_runs={runs}",
        "--min_secs=0",
        f"--max_secs={PHASE_SECONDS}",
    ]
    if profile and "enable_op_profiling" in options:
        words.append("--enable_op_profiling=true")
    return words


def answering(
    words: Sequence[str], image: str, shape: Sequence[int], answer: str, options: Set[str]
) -> list[str] | None:
    """The same command for one inference of a given image, whose answer is kept; None where this version cannot.

    Args:
        words: what `command` gave.
        image: file with the bytes of the input.
        shape: of the input.
        answer: file to write the bytes of the output to.
        options: the flags that the version has.
    """
    given = {
        "input_layer": "image",
        "input_layer_shape": ",".join(map(str, shape)),
        "input_layer_value_files": f"image:{image}",
        "output_filepath": answer,
    }
    if not given.keys() <= options:
        return None
    once = {"warmup_runs": "1", "warmup_min_secs": "0", "num_runs": "1"}
    kept = [word for word in words if word.partition("=")[0].lstrip("-") not in once]
    return kept + [f"--{name}={value}" for name, value in {**once, **given}.items()]


def parse(text: str) -> Output:
    """Read what one start printed.

    Raises:
        Unreadable: a part that counts is missing, or the parts contradict each other.
    """
    body, _, profile = text.partition("Operator-wise Profiling Info")
    phases = [_statistics(match) for match in _STATISTICS.finditer(_without_tables(body))]
    timings = _TIMINGS.search(text)
    if timings is None or len(phases) != 2:
        raise Unreadable("no inference timings" if timings is None else f"{len(phases)} phases instead of two")
    init, first, warm, mean = (_number(value) for value in timings.groups())
    warmup, timed = phases
    if not (_near(mean, timed.mean) and _near(warm, warmup.mean) and first == warmup.first):
        raise Unreadable("the summary is not that of the inferences")
    memory = _MEMORY.search(text)
    return Output(
        init,
        first,
        warmup,
        timed,
        int(_number(memory[1]) * 2**20) if memory else None,
        _delegated(text),
        operators(profile),
    )


def failure(text: str) -> str:
    """Why a start failed, in its own words."""
    errors = [match.strip() for match in _ERROR.findall(text)]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(dict.fromkeys(errors[-2:])) or (lines[-1] if lines else "it printed nothing")


def operators(profile: str) -> tuple[dict[str, Any], ...]:
    """Where the time goes, slowest first: `{"name", "operator", "nanoseconds"}`, the mean of an inference.

    A delegate is one operator of the graph; where it tells what happens inside, that stands in its place.
    """
    graph, _, inside = profile.partition("Delegate internal:")
    rows = _rows(graph)
    inner = _rows(inside)
    if inner:
        rows = [row for row in rows if "Delegate" not in row["operator"]] + inner
    return tuple(sorted(rows, key=lambda row: -row["nanoseconds"]))


def outside(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Operators that no delegate took, of those in a profile."""
    return [row["operator"] for row in rows if "Delegate" not in row["operator"] + row["name"]]


def _without_tables(text: str) -> str:
    """The text without the profile of loading, whose own statistics look like those of a phase."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("Timings (", "Memory (")))


def _statistics(match: re.Match[str]) -> Statistics:
    count, first, last, same, least, greatest, mean = match.groups()
    if mean is None:  # one inference, or all alike to the microsecond
        if int(count) != 1 and not same:
            raise Unreadable(f"statistics cut short: {match[0]}")
        return Statistics(int(count), *[_number(last)] * 5)
    statistics = Statistics(int(count), *map(_number, (first, last, least, greatest, mean)))
    ordered = (
        statistics.least <= min(statistics.first, statistics.last)
        and max(statistics.first, statistics.last) <= statistics.greatest
    )
    if statistics.count < 1 or statistics.least < 0 or not ordered or not statistics.least <= statistics.mean * 1.00001:
        raise Unreadable(f"statistics that cannot be: {match[0]}")
    if statistics.count == RUNS and not _near(sum(statistics.inferences()) / RUNS, statistics.mean):
        raise Unreadable(f"statistics that do not add up: {match[0]}")
    return statistics


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise Unreadable(f"no time or size: {text}")
    return value


def _near(one: float, other: float) -> bool:
    """Equal to the six digits that are printed."""
    return abs(one - other) <= 1 + 1e-5 * max(abs(one), abs(other))


def _delegated(text: str) -> dict[str, int]:
    delegated = {name: int(kernels or 1) for name, kernels in _APPLIED.findall(text)}
    if delegated:
        return delegated
    # The newer tool (LiteRT's CompiledModel) leaves it to the runtime to tell.
    names = {"XNNPACK": "XNNPack", "NNAPI": "Nnapi", "GPU": "CL|GL|Gpu|GPU|WEBGPU|Metal"}
    return {
        name: int(partitions)
        for replaced, delegate, partitions in _REPLACED.findall(text)
        for name, pattern in names.items()
        if int(replaced) and re.search(pattern, delegate)
    }


def _rows(section: str) -> list[dict[str, Any]]:
    """Rows of every table "Run Order" in a section; the other tables repeat them."""
    rows = []
    for table in re.split(r"=+ Run Order =+", section)[1:]:
        lines = [line for line in re.split(r"={5,}", table)[0].splitlines() if line.strip()]
        titles = [title.strip("[]").lower() for title in _cells(lines[0])] if lines else []
        for line in lines[1:]:
            cells = _cells(line)
            if len(cells) != len(titles):
                continue
            row = dict(zip(titles, cells))
            try:
                spent = float(row["avg ms"]) * 1e6 * max(1, int(row["times called"]))
                rows.append({"name": row["name"], "operator": row["node type"], "nanoseconds": spent})
            except (KeyError, ValueError):
                continue
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"\t|\s{2,}", line) if cell.strip()]
