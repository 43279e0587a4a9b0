"""What LiteRT's benchmark_model prints is read to the microsecond, in all its dialects, or refused."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.benchmarks.android import benchmark_model
from attar.benchmarks.android.benchmark_model import RUNS, Unreadable, command, known_flags, operators, outside, parse
from helpers.standin.benchmark_model import statistics_of

times = st.integers(min_value=1, max_value=99_999)
few = st.lists(times, min_size=1, max_size=RUNS)


def printed(warmup: list[int], timed: list[int], prefix: str = "INFO: ", old: bool = False, init: int = 2500) -> str:
    """The lines that count, among others, as tflite/tools/benchmark/benchmark_model.cc prints them."""
    phases = [statistics_of(taken).partition(" p5=")[0] if old else statistics_of(taken) for taken in (warmup, timed)]
    memory = (
        "Peak memory footprint (MB): init=1.25 overall=2.5"
        if old
        else "Memory footprint delta from the start of the tool (MB): init=1.25 overall=2.5"
    )
    lines = [
        "STARTING!",
        "Log parameter values verbosely: [0]",
        "Graph: [/data/local/tmp/x.tflite]",
        "Created TensorFlow Lite XNNPACK delegate for CPU.",
        "Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate.",
        "The input model file size (MB): 1.71",
        f"Initialized session in {init / 1e3}ms.",
        "Running benchmark for at least 10 iterations and at least 0.3 seconds but terminate if exceeding 60 seconds.",
        phases[0],
        "",
        f"Running benchmark for at least {RUNS} iterations and at least 0 seconds but terminate if exceeding 60 s.",
        phases[1],
        "",
        f"Inference timings in us: Init: {init}, First inference: {warmup[0]}, "
        f"Warmup (avg): {statistics.fmean(warmup):g}, Inference (avg): {statistics.fmean(timed):g}",
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE",
        memory,
    ]
    return "".join(f"{prefix if line else ''}{line}\n" for line in lines)


@given(st.lists(times, min_size=1, max_size=50), few, st.sampled_from(["", "INFO: ", "I tflite  : "]), st.booleans())
def test_every_inference_comes_back(warmup: list[int], timed: list[int], prefix: str, old: bool) -> None:
    out = parse(printed(warmup, timed, prefix, old))
    assert out.timed.inferences() == tuple(timed)
    assert (out.init, out.first, out.warmup.count, out.memory) == (2500, warmup[0], len(warmup), int(2.5 * 2**20))
    assert out.delegated == {"XNNPACK": 1} and out.operators == ()


@given(st.lists(st.integers(100_000, 50_000_000), min_size=RUNS, max_size=RUNS))
def test_long_inferences_come_back_to_the_digits_of_a_mean(timed: list[int]) -> None:
    inferences = parse(printed([7], timed)).timed.inferences()
    assert (inferences[0], inferences[2]) == (timed[0], timed[2])
    assert abs(inferences[1] - timed[1]) <= 2 + 3e-5 * max(timed)
    assert min(timed) <= inferences[1] <= max(timed)


@given(few, st.integers(min_value=1), st.text())
def test_lines_it_does_not_know_do_not_matter(timed: list[int], place: int, noise: str) -> None:
    lines = printed([5, 6], timed).splitlines()
    lines.insert(place % len(lines), " ".join(noise.split()).replace("=", " "))
    assert parse("\n".join(lines)).timed.inferences() == tuple(timed)


@given(st.lists(times, min_size=2, max_size=9), few, st.data())
def test_a_text_without_a_line_that_counts_is_refused(warmup: list[int], timed: list[int], data: Any) -> None:
    lines = printed(warmup, timed).splitlines()
    needed = [number for number, line in enumerate(lines) if "count=" in line or "Inference timings" in line]
    del lines[data.draw(st.sampled_from(needed))]
    with pytest.raises(Unreadable):
        parse("\n".join(lines))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for given_text in (text, printed([1, 2], [1, 2, 3]) + text, text + printed([1, 2], [1, 2, 3])):
        try:
            assert parse(given_text).timed.count >= 1
        except Unreadable:
            pass


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("first=9 curr=4 min=4", "first=9 curr=4 min=5"),  # less than the least
        ("avg=6 ", "avg=60 "),
        ("curr=4 min", "curr=four min"),
        (" min=4 max=9 avg=6", ""),  # cut short
        ("Inference (avg): 6", "Inference (avg): 66"),
        ("First inference: 7", "First inference: 3"),
        ("Init: 2500", "Init: 1e999"),
    ],
)
def test_what_contradicts_itself_is_refused(old: str, new: str) -> None:
    text = printed([7, 8], [9, 5, 4])
    parse(text)
    assert old in text
    with pytest.raises(Unreadable):
        parse(text.replace(old, new))


def test_more_inferences_than_asked_for_are_not_taken_for_a_few() -> None:
    with pytest.raises(Unreadable, match="4 inferences"):
        parse(printed([1], [1, 2, 3, 4])).timed.inferences()


def test_inferences_that_are_all_alike() -> None:
    text = printed([3, 3], [5, 5, 5])
    assert "curr=5(all same)" in text
    assert parse(text).timed.inferences() == (5, 5, 5)


PROFILE = """\
INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                QUANTIZE\t    0.199\t    0.203\t  1.328%\t  1.328%\t     0.000\t        1\t[tfl.quantize]:0
\t   TfLiteXNNPackDelegate\t   15.000\t   15.100\t 98.672%\t100.000%\t     0.000\t        1\t[probabilities]:9

============================== Top by Computation Time ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t   TfLiteXNNPackDelegate\t   15.000\t   15.100\t 98.672%\t100.000%\t     0.000\t        1\t[probabilities]:9
\t                QUANTIZE\t    0.199\t    0.203\t  1.328%\t  1.328%\t     0.000\t        1\t[tfl.quantize]:0

Number of nodes executed: 2
============================== Summary by node type ==============================
\t             [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t   TfLiteXNNPackDelegate\t        1\t    15.100\t    98.672%\t   100.000%\t     0.000\t        1

Timings (microseconds): count=30 first=15199 curr=15303 min=15199 max=15400 avg=15303 std=10
Memory (bytes): count=0
2 nodes observed
"""

INSIDE = """
Delegate internal:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\tConvolution (NHWC, QC8) IGEMM\t0.398\t0.407\t2.658%\t2.658%\t0.000\t1\tDelegate/Convolution (NHWC, QC8) IGEMM:0
\tConvolution (NHWC, QC8) DWConv\t0.428\t0.500\t4.317%\t6.975%\t0.000\t13\tDelegate/Convolution (NHWC, QC8) DWConv:1
"""


def test_the_profile_of_a_delegated_graph() -> None:
    out = parse(printed([7], [8, 9, 10]) + PROFILE)
    assert [row["operator"] for row in out.operators] == ["TfLiteXNNPackDelegate", "QUANTIZE"]
    assert out.operators[1] == {"name": "[tfl.quantize]:0", "operator": "QUANTIZE", "nanoseconds": pytest.approx(203e3)}
    assert outside(out.operators) == ["QUANTIZE"]
    assert out.timed.inferences() == (8, 9, 10)


def test_what_happens_inside_a_delegate_stands_in_its_place() -> None:
    rows = operators(PROFILE + INSIDE)
    assert [(row["operator"], row["nanoseconds"]) for row in rows] == [
        ("Convolution (NHWC, QC8) DWConv", pytest.approx(13 * 500e3)),
        ("Convolution (NHWC, QC8) IGEMM", pytest.approx(407e3)),
        ("QUANTIZE", pytest.approx(203e3)),
    ]
    assert outside(rows) == ["QUANTIZE"]


def test_a_profile_of_older_versions_with_a_start_column() -> None:
    text = PROFILE.replace("\t  [first]", "\t  [start]\t  [first]").replace("\t    0.199\t", "\t    0.000\t    0.199\t")
    assert operators(text)[-1]["nanoseconds"] == pytest.approx(203e3)


def test_the_profile_of_loading_is_no_phase() -> None:
    loading = "Profiling Info for Benchmark Initialization:\nTimings (microseconds): count=1 curr=11409\n"
    text = printed([7], [8, 9, 10])
    assert parse(text + loading + PROFILE).timed.inferences() == (8, 9, 10)
    assert parse(loading + text + PROFILE).timed.inferences() == (8, 9, 10)


APPLIED = "Explicitly applied GPU delegate, and the model graph will be"


@pytest.mark.parametrize(
    ("line", "delegated"),
    [
        (f"{APPLIED} partially executed by the delegate w/ 3 delegate kernels.", {"GPU": 3}),
        (f"{APPLIED} completely executed by the delegate.", {"GPU": 1}),
        ("Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.", {}),
        (
            "Replacing 89 out of 89 node(s) with delegate (LITERT_CL) node, yielding 1 partitions for subgraph 0.",
            {"GPU": 1},
        ),
        ("Replacing 0 out of 89 node(s) with delegate (LITERT_CL) node, yielding 0 partitions for subgraph 0.", {}),
        ("GPU acceleration is unsupported on this platform.", {}),
    ],
)
def test_which_delegate_took_the_graph(line: str, delegated: dict[str, int]) -> None:
    lines = [text for text in printed([7], [8]).splitlines() if "XNNPACK delegate" not in text]
    assert parse("\n".join([f"INFO: {line}", *lines])).delegated == delegated


HELP = """\
ERROR: usage: ./benchmark_model <flags>
Flags:
\t--num_runs=50                     \tint32\toptional\texpected number of runs, see also min_secs, max_secs
\t--min_secs=1                      \tfloat\toptional\tminimum number of seconds
\t--max_secs=150                    \tfloat\toptional\tmaximum number of seconds
\t--num_threads=-1                  \tint32\toptional\tnumber of threads
\t--warmup_runs=1                   \tint32\toptional\tminimum number of runs performed on initialization
\t--warmup_min_secs=0.5             \tfloat\toptional\tminimum number of seconds to rerun for
\t--graph=                          \tstring\toptional\tgraph file name
\t--enable_op_profiling=false       \tbool\toptional\tenable op profiling
"""


def test_the_command_line_keeps_to_the_flags_of_the_version() -> None:
    flags = known_flags(HELP + "\t--use_xnnpack=false   \tbool\toptional\t-\n")
    words = command("./benchmark_model", "/x/0.tflite", "cpu", 4, flags)
    assert words[0] == "./benchmark_model" and {word.partition("=")[0][2:] for word in words[1:]} <= flags
    assert {"--graph=/x/0.tflite", "--num_threads=4", "--use_xnnpack=true", f"--num_runs={RUNS}"} <= set(words)
    assert "--enable_op_profiling=true" in command("b", "g", "cpu", 1, flags, profile=True)
    assert "--enable_op_profiling=true" not in command(
        "b", "g", "cpu", 1, flags - {"enable_op_profiling"}, profile=True
    )
    newer = known_flags(HELP + "\t--use_cpu=true   \tbool\toptional\t-\n")
    assert "--use_cpu=true" in command("b", "g", "cpu", 1, newer)
    with pytest.raises(Unreadable, match="no --use_gpu"):
        command("b", "g", "gpu", 1, flags)
    with pytest.raises(Unreadable, match="no --warmup_min_secs"):
        command("b", "g", "cpu", 1, flags - {"warmup_min_secs"})


def test_a_failure_is_told_in_its_own_words() -> None:
    text = "INFO: STARTING!\nERROR: Failed to apply GPU delegate.\nERROR: Benchmarking failed.\n"
    assert benchmark_model.failure(text) == "Failed to apply GPU delegate. Benchmarking failed."
    assert benchmark_model.failure("sh: ./benchmark_model: not executable: 64-bit ELF file\n").endswith(
        "64-bit ELF file"
    )
    assert benchmark_model.failure("") == "it printed nothing"
