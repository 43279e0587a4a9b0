"""attar: distil a large vision teacher into a phone-sized student, export it, prove it, measure it.

The top-level folders are the architecture. This package holds what all of them share (images,
labels, the preprocessing contract, the bundle, metrics, the recipe, the training loop) and, on top,
the command line (`attar.cli`) and the run that joins every stage (`attar.pipeline`).

Importing `attar` is instant: it loads no torch and no converter.
"""

__version__ = "0.1.0"
