"""What was gained and what was given up: latency, accuracy, and the report that shows both."""

from benchmarks.compare import compare
from benchmarks.latency import bench
from benchmarks.report import write_report

__all__ = ["bench", "compare", "write_report"]
