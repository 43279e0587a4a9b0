"""Exported files in a browser: its runtimes, from npm, and LiteRT on WebGPU."""
