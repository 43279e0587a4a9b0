"""What one file costs a fresh process: loading it, its first inference, and memory.

Run as `python -m attar.benchmarks.latency.cold_start FORMAT PATH THREADS`; prints one JSON object. A process that has
loaded other files has warm caches and memory to reuse, so each of these is measured in its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from attar.benchmarks.runtimes import runtime_for

_STATUS = Path("/proc/self/status")


def cold_start(format: str, path: str, threads: int) -> dict[str, int | None]:
    """Load a file and run it twice -> nanoseconds to load, nanoseconds of the first inference, bytes of memory."""
    runtime = runtime_for(format)
    runtime.preload()
    baseline = reset_peak()
    start = time.perf_counter_ns()
    session = runtime.load(path, threads)
    loaded = time.perf_counter_ns()
    session.set_input(np.zeros(session.shape, np.uint8))
    before = time.perf_counter_ns()
    session.infer()
    after = time.perf_counter_ns()
    session.infer()
    peak = peak_memory()
    growth = None if peak is None or baseline is None else max(0, peak - baseline)
    return {"load": loaded - start, "first": after - before, "peak_memory": growth}


def peak_memory() -> int | None:
    """Largest resident memory of this process since `reset_peak`, bytes."""
    if _STATUS.is_file():
        # Not getrusage: on Linux its figure starts with that of the process we were forked from.
        return _status("VmHWM")
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def reset_peak() -> int | None:
    """Forget earlier peaks where the system can (Linux, `clear_refs`) -> the memory to measure growth from."""
    if not _STATUS.is_file():
        return peak_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return peak_memory()


def _status(key: str) -> int | None:
    lines = _STATUS.read_text().splitlines()
    value = next((line.split()[1] for line in lines if line.startswith(f"{key}:")), None)
    return None if value is None else int(value) * 1024


if __name__ == "__main__":
    print(json.dumps(cold_start(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
