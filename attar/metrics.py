"""Accuracy, agreement and calibration of class probabilities, and paired bootstrap intervals.

Everywhere: `probabilities` is a float array (images, classes) whose rows sum to one; `labels` is an
int array (images,). Shares are in [0, 1]; tables multiply by 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESOLVED = 500
"""Photos on which one point of top-1 is five of them: from so many on, the loss that is measured decides. With fewer, a
file is refused only if the loss is beyond its limit for more than chance: one of 12 photos is no 8.33 points."""


def correct(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """Per image, whether the label is among the k most probable classes -> bool (images,).

    Ties count as numpy's stable sort ranks them: the lower class index first, as argmax does.
    """
    if k == 1:
        return probabilities.argmax(axis=1) == labels
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return (top == labels[:, None]).any(axis=1)


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Share of images whose label is among the k most probable classes."""
    return float(correct(probabilities, labels, k).mean())


def agreement(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Share of images on which both models' most probable class is the same."""
    return float((probabilities.argmax(axis=1) == reference.argmax(axis=1)).mean())


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: images, their mean confidence, and the share that was right."""

    images: int
    confidence: float
    accuracy: float


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> tuple[Bin, ...]:
    """Confidence against accuracy in equal-width bins, (b/bins, (b+1)/bins]; empty ones are left out."""
    return reliability_of(probabilities.max(axis=1), correct(probabilities, labels), bins)


def reliability_of(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> tuple[Bin, ...]:
    """The same of the confidence in each answer, float (images,), and whether it is right, bool (images,)."""
    confidence = confidence.astype(np.float64)
    bin_of = _bin_of(confidence, bins)
    return tuple(
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (bin_of == b for b in np.unique(bin_of))
    )


def _bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each confidence -> int, of its shape."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al., arXiv 1706.04599, eq. 3)."""
    return error_of_confidence(probabilities.max(axis=1), correct(probabilities, labels), bins)


def error_of_confidence(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """The same of the confidence in each answer, float (images,), and whether it is right, bool (images,)."""
    gaps = (each.images * abs(each.accuracy - each.confidence) for each in reliability_of(confidence, right, bins))
    return float(sum(gaps)) / len(right)


def calibration_change(
    confidence: np.ndarray, right: np.ndarray, level: float, bins: int = 15, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """How much larger a second model's expected calibration error is than a first one's on the same images.

    The interval is a paired percentile bootstrap: both models are resampled together, with two made-up images of mean
    confidence, of which one is right and one is wrong. Without them the interval of few images that are all right would
    have no width. A resample makes the error of a well calibrated model larger than that of a badly calibrated one, so
    the interval lies rather too near to zero.

    Args:
        confidence: of both in their answers, float (2, images).
        right: whether these are right, bool (2, images).
        level: how often the interval is to hold the truth.

    Returns:
        The change, and the ends of its interval, shares in [-1, 1].
    """
    images = confidence.shape[1]
    mean = confidence.mean(1, keepdims=True)
    confidence = np.hstack([confidence, mean, mean]).astype(np.float64)
    right = np.hstack([right, np.array([[True, False]] * 2)])
    bin_of, gaps = _bin_of(confidence, bins), right - confidence

    def change(chosen: np.ndarray) -> float:
        before, now = (
            np.abs(np.bincount(of[chosen], gap[chosen], minlength=bins)).sum() for of, gap in zip(bin_of, gaps)
        )
        return float(now - before) / len(chosen)

    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, images + 2, (images + 2,)) for _ in range(resamples))
    low, high = np.quantile([change(chosen) for chosen in drawn], [(1 - level) / 2, (1 + level) / 2])
    return change(np.arange(images)), float(low), float(high)


def auroc(own: np.ndarray, other: np.ndarray) -> float:
    """Share of pairs in which the own one, of (N,), has the larger value than the other, of (M,); equals count half."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(own, other).statistic / (len(own) * len(other)))


def kl_divergence(expected: np.ndarray, outputs: np.ndarray, least: float = 0.0) -> float:
    """Mean Kullback-Leibler divergence of `outputs` from those `expected`, probabilities (N, classes), in nats.

    `least` replaces smaller probabilities: of two that rounding made zero, nothing is known.
    """
    from scipy.special import rel_entr

    expected, outputs = (np.maximum(value.astype(np.float64), least) for value in (expected, outputs))
    return float(rel_entr(expected, outputs).sum(axis=1).mean())


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images (Efron and Tibshirani 1993, chapter 13).

    For a *paired* comparison of two models pass the per-image difference, such as
    `correct(a, labels).astype(float) - correct(b, labels)`: both are then resampled together.
    """
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 64:
        # Correctness takes few values: drawing how often each comes up is the same resampling, much faster.
        draws = rng.multinomial(len(values), counts / len(values), size=resamples)
        means = draws @ distinct / len(values)
    else:
        means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def two_way_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of `values` (seeds, photos) that holds for other seeds and for other photos.

    Each value is a mean plus an effect of its seed, one of its photo and a rest, all random (crossed random effects;
    Searle, Casella and McCulloch, Variance Components, 1992, section 4.4). Their variances come from the mean squares,
    one below zero counts as zero, and Student's t has Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946).
    Unlike a bootstrap of both (Owen, arXiv 0712.1111), which counts the rest three times and for seeds has only the few
    that there are, it holds the truth about as often as it says with five seeds: `python -m
    attar.benchmarks.studies.seeds`. With one seed it holds for other photos only.
    Fewer than two photos are a `ValueError`.
    """
    from scipy.stats import t

    seeds, photos = values.shape
    if photos < 2:
        raise ValueError("an interval of a mean needs at least two photos")
    mean, of_seeds, of_photos = values.mean(), values.mean(1), values.mean(0)
    by_photo = seeds * of_photos.var(ddof=1)
    spread, freedom = by_photo, by_photo**2 / (photos - 1)
    if seeds > 1:
        rest = values - of_seeds[:, None] - of_photos + mean
        alone = (rest**2).sum() / ((seeds - 1) * (photos - 1))
        by_seed = photos * of_seeds.var(ddof=1)
        if by_seed > alone:
            spread += by_seed - alone
            freedom += by_seed**2 / (seeds - 1) + alone**2 / ((seeds - 1) * (photos - 1))
    if not spread:
        return float(mean), float(mean)
    reach = t.ppf((1 + level) / 2, spread**2 / freedom) * np.sqrt(spread / values.size)
    return float(mean - reach), float(mean + reach)


def paired_interval(difference: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Interval of a mean difference that also holds for few images (Agresti and Min, Statistics in Medicine 24, 2005).

    A bootstrap of two images, both lost, has no spread and excludes zero. Here half an image is added to each cell of
    the table of (right, wrong) x (right, wrong) before its normal interval is taken.

    Args:
        difference: per image one minus the other, each 0 or 1: (images,) of -1, 0 and 1.
        level: how often the interval is to hold the truth.

    Returns:
        Its ends, in [-1, 1].
    """
    won, lost, images = (difference > 0).sum() + 0.5, (difference < 0).sum() + 0.5, len(difference) + 2
    mean = (won - lost) / images
    reach = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(won + lost - images * mean**2) / images
    return float(max(-1.0, mean - reach)), float(min(1.0, mean + reach))


def sign_test(won: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Two-sided p-value that won and lost images differ by chance only (McNemar 1947, exact), element by element.

    Args:
        won: images on which one is right and the other wrong, integers of any shape.
        lost: those the other way round, the same shape.
    """
    from scipy.stats import binom

    return np.minimum(1.0, 2 * binom.cdf(np.minimum(won, lost), won + lost, 0.5))


def one_sided(won: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """P-value that so many more are won than lost by chance (McNemar 1947, exact); arguments as of `sign_test`."""
    from scipy.stats import binom

    p: np.ndarray = binom.sf(np.asarray(won) - 1, np.asarray(won) + lost, 0.5)
    return p


def beyond_chance(p: np.ndarray, rate: float = 0.05) -> np.ndarray:
    """Which of many tests (p-values, (N,)) stand out -> bool (N,), at most a share `rate` of them wrongly.

    Benjamini and Hochberg, J. R. Statist. Soc. B 57, 1995: of a thousand classes that lost nothing, fifty would each
    pass a test of their own.
    """
    from scipy.stats import false_discovery_control

    return false_discovery_control(p) <= rate if len(p) else np.zeros(0, dtype=bool)


def holm(p: np.ndarray) -> np.ndarray:
    """P-values (N,) adjusted for being N of them -> float (N,), in [0, 1].

    Those at most a level are, all together, wrong as seldom as one test of that level (Holm, Scandinavian Journal of
    Statistics 6, 1979).
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted
