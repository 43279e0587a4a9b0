"""A stand-in for an Android phone, its processor's program format, and its `benchmark_model`."""
