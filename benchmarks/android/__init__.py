"""Latency of LiteRT files on Android phones, by adb and the official `benchmark_model`."""

from attar.benchmarks.android.measure import ACCELERATORS, bench

__all__ = ["ACCELERATORS", "bench"]
