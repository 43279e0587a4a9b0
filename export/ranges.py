"""What activations are on calibration images, and the ranges that integers should cover.

The largest value ever seen sets the step of all the others, so one outlier can spoil a tensor. Remedies: leave out the
rarest values (percentile), or take the range whose rounding and clipping errors are least together (mean squared error;
both in Nagel et al., arXiv 2106.08295, section 3.1); or take the mean of each image's least and largest value, as those
who quantize while training do (Jacob et al., arXiv 1712.05877, section 3.1), where whole images are the outliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLES = 100_000
"""Values kept of a tensor over all images, evenly spread; its least and largest are of all values."""

PERCENTILE = 99.99
"""Share of the values that a percentile range covers on either side, in percent."""

SHRINKS = np.linspace(0.3, 1.0, 36)
"""Shares of the whole range that are tried for the least squared error."""


@dataclass
class Activation:
    """What one tensor holds.

    Attributes:
        lows, highs: each image's least and largest value, (N,).
        values: a sample of all values, (M,).
        means: each channel's mean, (C,); empty for tensors of several widths.
    """

    lows: np.ndarray
    highs: np.ndarray
    values: np.ndarray
    means: np.ndarray

    @property
    def low(self) -> float:
        """The least value of all."""
        return float(self.lows.min())

    @property
    def high(self) -> float:
        """The largest value of all."""
        return float(self.highs.max())


def stride(values: int, images: int) -> int:
    """Which of a tensor's values of one image are kept: every how manieth."""
    return max(1, values // -(-SAMPLES // images)) | 1  # odd: it meets every channel


def of_image(value: np.ndarray, images: int, channels_last: bool = True) -> Activation:
    """One image's values of a tensor, batch first; `images`: how many there will be."""
    flat = value.ravel()
    ordered = value if channels_last or value.ndim < 3 else np.moveaxis(value, 1, -1)
    channels = ordered.reshape(-1, ordered.shape[-1] if value.ndim else 1)
    return Activation(
        flat.min(keepdims=True), flat.max(keepdims=True), flat[:: stride(flat.size, images)].copy(), channels.mean(0)
    )


def joined(parts: list[Activation]) -> Activation:
    """All images' values of a tensor, or of several that are to have one range.

    In some formats, what is concatenated and what it becomes are such. They differ in channels, and have no means.
    """
    lows, highs, values = (np.concatenate([getattr(p, name) for p in parts]) for name in ("lows", "highs", "values"))
    alike = len({part.means.shape for part in parts}) == 1
    return Activation(lows, highs, values, np.mean([part.means for part in parts], axis=0) if alike else np.empty(0))


def whole(seen: Activation) -> tuple[float, float]:
    """The range of all values."""
    return seen.low, seen.high


def average(seen: Activation) -> tuple[float, float]:
    """From the mean of the images' least values to the mean of their largest ones."""
    return float(seen.lows.mean()), float(seen.highs.mean())


def percentile(seen: Activation, percent: float = PERCENTILE) -> tuple[float, float]:
    """The range that leaves out `100 - percent` percent of the values on either side."""
    low, high = np.percentile(seen.values, [100 - percent, percent])
    return float(low), float(high)


def least_squares(seen: Activation, bits: int = 8) -> tuple[float, float]:
    """The range, both ends shrunk alike, that integers represent the values in with least squared error.

    It always holds zero, which padding needs to be exact.
    """
    low, high = min(0.0, seen.low), max(0.0, seen.high)
    if low == high:
        return low, high
    errors = [np.square(seen.values - quantized(seen.values, low * s, high * s, bits)).mean() for s in SHRINKS]
    best = float(SHRINKS[int(np.argmin(errors))])
    return low * best, high * best


def quantized(values: np.ndarray, low: float, high: float, bits: int = 8) -> np.ndarray:
    """`values` after rounding to the integers of a range [low, high] that holds zero, and back."""
    scale = (high - low) / (2**bits - 1)
    zero = np.round(-low / scale)
    return (np.clip(np.round(values / scale) + zero, 0, 2**bits - 1) - zero) * scale


ESTIMATORS = {"whole": whole, "average": average, "percentile": percentile, "mse": least_squares}

DEAD = 1e-6
"""Narrower ranges are those of tensors that were zero on all images, such as behind a ReLU that never opened."""


def estimated(kind: str, seen: Activation) -> tuple[float, float]:
    """The range of one of `ESTIMATORS`, wide enough to be divided into steps.

    A tensor that was zero gets a range of one: another photo may open its ReLU, and with next to no range, the factor
    between two layers' steps is beyond what kernels take (XNNPACK refuses 256 and more, and crashed over it).
    """
    low, high = ESTIMATORS[kind](seen)
    start = min(0.0, low)
    return (low, high) if max(0.0, high) - start >= DEAD else (start, start + 1.0)
