"""What the activations of a float .tflite file are on calibration images, and the ranges that integers should cover.

The largest value ever seen sets the step of all the others, so one outlier can spoil a tensor. Two remedies
(both in Nagel et al., arXiv 2106.08295, section 3.1): leave out the rarest values (percentile), or take the range
whose rounding and clipping errors are least together (mean squared error).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from attar.extras import require

SAMPLES = 2048
"""Values kept of a tensor for each image, evenly spread over it."""

PERCENTILE = 99.99
"""Share of the values that a percentile range covers on either side, in percent."""

SHRINKS = np.linspace(0.3, 1.0, 36)
"""Shares of the whole range that are tried for the least squared error."""


@dataclass
class Statistics:
    """Of each activation, by its name: a sample of its values (M,), and the mean of each channel (C,)."""

    values: dict[str, np.ndarray] = field(default_factory=dict)
    means: dict[str, np.ndarray] = field(default_factory=dict)


def observe(content: bytes, images: np.ndarray) -> Statistics:
    """Run a float .tflite file with one float input on normalized images (N, H, W, 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that intermediate tensors need memory
        interpreter = require("ai_edge_litert.interpreter").Interpreter(
            model_content=content, experimental_preserve_all_tensors=True, num_threads=1
        )
    interpreter.allocate_tensors()
    [image] = interpreter.get_input_details()
    made = {image["index"], *(index for op in interpreter._get_ops_details() for index in op["outputs"])}
    watched = [d for d in interpreter.get_tensor_details() if d["dtype"] is np.float32 and d["index"] in made]
    values: dict[str, list[np.ndarray]] = {tensor["name"]: [] for tensor in watched}
    means: dict[str, list[np.ndarray]] = {tensor["name"]: [] for tensor in watched}
    for one in images:
        interpreter.set_tensor(image["index"], one[None])
        interpreter.invoke()
        for tensor in watched:
            value = interpreter.get_tensor(tensor["index"])
            flat = value.ravel()
            # An odd stride meets every channel.
            stride = max(1, flat.size // SAMPLES) | 1
            values[tensor["name"]].append(np.concatenate([flat[::stride], [flat.min(), flat.max()]]))
            means[tensor["name"]].append(value.reshape(-1, value.shape[-1] if value.ndim else 1).mean(0))
    return Statistics(
        {name: np.concatenate(parts) for name, parts in values.items()},
        {name: np.mean(parts, axis=0) for name, parts in means.items()},
    )


def percentile(values: np.ndarray, percent: float = PERCENTILE) -> tuple[float, float]:
    """The range that leaves out `100 - percent` percent of the values on either side."""
    low, high = np.percentile(values, [100 - percent, percent])
    return float(low), float(high)


def least_squares(values: np.ndarray, bits: int = 8) -> tuple[float, float]:
    """The range, both ends shrunk alike, that an asymmetric quantizer represents `values` with least squared error.

    It always holds zero, which padding needs to be exact.
    """
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if low == high:
        return low, high
    errors = [np.square(values - quantized(values, low * s, high * s, bits)).mean() for s in SHRINKS]
    best = float(SHRINKS[int(np.argmin(errors))])
    return low * best, high * best


def quantized(values: np.ndarray, low: float, high: float, bits: int = 8) -> np.ndarray:
    """`values` after rounding to the integers of a range [low, high] that holds zero, and back."""
    scale = (high - low) / (2**bits - 1)
    zero = np.round(-low / scale)
    return (np.clip(np.round(values / scale) + zero, 0, 2**bits - 1) - zero) * scale


ESTIMATORS = {"percentile": percentile, "mse": least_squares}
