"""What was gained and what was given up: latency, accuracy, and the report that shows both."""

from attar.benchmarks.latency.measure import bench
from attar.benchmarks.report.compare import compare
from attar.benchmarks.report.report import write_report

__all__ = ["bench", "compare", "write_report"]
