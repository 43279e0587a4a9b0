"""What runs on the stand-in phone in the place of LiteRT's `benchmark_model`.

It understands the same flags (an unknown one is an error), really loads and runs the .tflite file with LiteRT on this
machine, and prints what it measured in the official format. `GPU` in its environment says what the phone's GPU does:
`takes` the models, takes only the one of some `NAME`, `refuses` to be applied, `hangs`, `crashes`, `lies` about its
answers, is `mute` about them, or is `stubborn` about the number of inferences; without it there is no GPU delegate.
`WITHOUT` names a flag that this build of the program lacks.
"""

from __future__ import annotations

import os
import resource
import signal
import statistics
import sys
import time

FLAGS: dict[str, str] = {
    "num_runs": "50",
    "min_secs": "1",
    "max_secs": "150",
    "num_threads": "-1",
    "warmup_runs": "1",
    "warmup_min_secs": "0.5",
    "graph": "",
    "enable_op_profiling": "false",
    "use_gpu": "false",
    "use_nnapi": "false",
    "use_xnnpack": "false",
    "input_layer": "",
    "input_layer_shape": "",
    "input_layer_value_files": "",
    "output_filepath": "",
}


def say(text: str = "") -> None:
    print(f"INFO: {text}" if text else text, file=sys.stderr)


def fail(text: str) -> int:
    print(f"ERROR: {text}", file=sys.stderr)
    print("ERROR: Benchmarking failed.", file=sys.stderr)
    return 1


def main(words: list[str]) -> int:
    flags = {name: value for name, value in FLAGS.items() if name != os.environ.get("WITHOUT")}
    if "--help" in words:
        print("usage: ./benchmark_model <flags>\nFlags:", file=sys.stderr)
        for name, value in flags.items():
            print(f"\t--{name}={value}".ljust(40) + "\tstring\toptional\t-", file=sys.stderr)
        return 1
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if name not in flags:
            return fail(f"Unconsumed cmdline flags: {word}")
        flags[name] = value
    say("STARTING!")
    say(f"Graph: [{flags['graph']}]")
    return measure(flags)


def measure(flags: dict[str, str]) -> int:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    before, start = peak(), time.perf_counter()
    interpreter = Interpreter(model_path=flags["graph"], num_threads=int(flags["num_threads"]))
    interpreter.allocate_tensors()
    loaded, init = peak(), 1e6 * (time.perf_counter() - start)
    say(f"Loaded model {flags['graph']}")
    if (problem := delegate(flags, interpreter)) is not None:
        return fail(problem)
    about = interpreter.get_input_details()[0]
    given = flags["input_layer_value_files"].partition(":")[2]
    if given:
        pixels = np.fromfile(given, about["dtype"]).reshape(
            [int(side) for side in flags["input_layer_shape"].split(",")]
        )
    else:
        pixels = np.random.default_rng().integers(0, 256, about["shape"]).astype(about["dtype"])
    interpreter.set_tensor(about["index"], pixels)
    say(f"Initialized session in {init / 1e3:g}ms.")
    limit = float(flags["max_secs"])
    warmup = phase(interpreter, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]), limit)
    runs = 50 if os.environ.get("GPU") == "stubborn" else int(flags["num_runs"])
    timed = phase(interpreter, runs, float(flags["min_secs"]), limit)
    say(
        f"Inference timings in us: Init: {init:.0f}, First inference: {warmup[0]}, "
        f"Warmup (avg): {statistics.fmean(warmup):g}, Inference (avg): {statistics.fmean(timed):g}"
    )
    say("Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE ...")
    overall = (peak() - before) / 1024
    say(
        f"Memory footprint delta from the start of the tool (MB): init={(loaded - before) / 1024:g} overall={overall:g}"
    )
    if flags.get("output_filepath"):
        if os.environ.get("GPU") == "mute":
            return fail("cannot write")
        answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        (1 - answer if os.environ.get("GPU") == "lies" else answer).tofile(flags["output_filepath"])
    if flags["enable_op_profiling"] == "true":
        profile(timed, interpreter)
    return 0


def delegate(flags: dict[str, str], interpreter: object) -> str | None:
    """Say what took the model, and return what went wrong."""
    gpu = os.environ.get("GPU")
    if flags["use_gpu"] != "true":
        say("Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate.")
        return None
    if gpu is None:
        say("GPU acceleration is unsupported on this platform.")
    elif gpu == "hangs":
        time.sleep(600)
    elif gpu == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif gpu == "refuses":
        return "Failed to apply GPU delegate."
    elif gpu in ("takes", "lies", "mute", "stubborn") or flags["graph"].endswith(gpu):
        say(
            "Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 2 "
            "delegate kernels."
        )
    else:
        say("Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.")
    return None


def phase(interpreter: object, least: int, seconds: float, limit: float) -> list[int]:
    say(
        f"Running benchmark for at least {least} iterations and at least {seconds:g} seconds but terminate if "
        f"exceeding {limit:g} seconds."
    )
    begin = now = time.perf_counter()
    taken: list[int] = []
    while (len(taken) < least or now < begin + seconds) and now <= begin + limit:
        start = time.perf_counter_ns()
        interpreter.invoke()  # type: ignore[attr-defined]
        taken.append((time.perf_counter_ns() - start) // 1000)
        now = time.perf_counter()
    say(statistics_of(taken))
    say()
    return taken


def statistics_of(taken: list[int]) -> str:
    """As tsl's StatsCalculator prints them; means and deviations with the six digits of a C++ stream."""
    text = f"count={len(taken)}"
    if min(taken) == max(taken):
        text += f" curr={taken[-1]}" + ("(all same)" if len(taken) > 1 else "")
    else:
        mean, spread = statistics.fmean(taken), int(statistics.pstdev(taken))
        text += f" first={taken[0]} curr={taken[-1]} min={min(taken)} max={max(taken)} avg={mean:g} std={spread}"
    ordered = sorted(taken)
    return text + "".join(
        f" {name}={ordered[min(len(taken) - 1, int(share * len(taken)))]}"
        for name, share in (("p5", 0.05), ("median", 0.5), ("p95", 0.95))
    )


def profile(taken: list[int], interpreter: object) -> None:
    """The delegate took the whole graph, so its time is that of the inference."""
    say("Operator-wise Profiling Info for Regular Benchmark Runs:")
    last = interpreter.get_output_details()[0]["name"]  # type: ignore[attr-defined]
    titles = ("[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]", "[Name]")
    numbers = (f"{taken[0] / 1e3:.3f}", f"{statistics.fmean(taken) / 1e3:.3f}", "100.000%", "100.000%", "0.000", "1")
    for title in ("Run Order", "Top by Computation Time"):
        print(f"============================== {title} ==============================", file=sys.stderr)
        print("\t" + "\t".join(titles), file=sys.stderr)
        print("\t" + "\t".join(("   TfLiteXNNPackDelegate", *numbers, f"[{last}]:1")), file=sys.stderr)
        print(file=sys.stderr)
    print(
        f"Timings (microseconds): {statistics_of(taken)}\nMemory (bytes): count=0\n1 nodes observed\n", file=sys.stderr
    )


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
