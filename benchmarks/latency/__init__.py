"""Latency on this machine: measured, judged, and kept as records."""
