"""Logits of many classes in few bytes: the k most probable classes, and the mass of all others.

10,000 classes take 20 kB a photo and view in half precision, and nearly all of it says "no". Kept are the k largest
log-probabilities with their classes, and one number for the rest, whose mass is spread evenly when the answer is read
(as in FKD, Shen and Xing, arXiv 2112.01528, section 3.2, "marginal re-norm" being the variant without the rest). Every
loss then reads logits as before.

k is the smallest with a stated error: the mean Kullback-Leibler divergence of what is read from what was said, at the
temperature of the losses. A high temperature lifts the tail, and what distinguishes the classes in it is what packing
loses: where no small k will do, all logits are stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from attar.metrics import kl_divergence

MANY = 1_000
"""Up to so many classes all logits are stored."""
BOUND = 0.01
"""Largest mean divergence of the packed answers, nats."""
SAMPLE = 256
"""Photos that k is chosen on."""
_LEAST = -60.0
"""Log-mass of a rest that is nothing."""


@dataclass(frozen=True)
class TopK:
    """How answers are packed.

    Attributes:
        k: classes that are kept.
        classes: of how many.
        temperature: the largest at which the answers may be used.
        divergence: mean divergence of the answers that k was chosen on, at that temperature, nats.
    """

    k: int
    classes: int
    temperature: float
    divergence: float = 0.0

    @property
    def dtype(self) -> np.dtype:
        """One photo's packed answer."""
        index = "<u2" if self.classes <= 1 << 16 else "<u4"
        return np.dtype([("index", index, (self.k,)), ("log_probability", "<f2", (self.k,)), ("rest", "<f2")])

    def pack(self, logits: np.ndarray) -> np.ndarray:
        """Float logits (N, classes) -> packed answers (N,)."""
        log_probabilities = _log_softmax(logits)
        largest, index = log_probabilities.topk(self.k, dim=1)
        rest = log_probabilities.scatter(1, index, float("-inf")).logsumexp(1).clamp(min=_LEAST)
        packed = np.empty(len(logits), dtype=self.dtype)
        packed["index"], packed["log_probability"], packed["rest"] = index, largest, rest
        return packed

    def unpack(self, packed: np.ndarray) -> np.ndarray:
        """Packed answers (N,) -> logits, float32 (N, classes), which are log-probabilities up to rounding."""
        others = np.float32(np.log(self.classes - self.k))
        logits = np.repeat(packed["rest"].astype(np.float32)[:, None] - others, self.classes, axis=1)
        np.put_along_axis(
            logits, packed["index"].astype(np.int64), packed["log_probability"].astype(np.float32), axis=1
        )
        return logits


def choose(logits: np.ndarray, temperature: float, bound: float = BOUND) -> TopK | None:
    """The packing with the smallest k, a power of two, that stays within the bound on a sample.

    Args:
        logits: a sample of answers, float (N, classes).
        temperature: the largest of the losses that read them.
        bound: largest mean divergence, nats.

    Returns:
        None if that k would take more than half of what all logits take.
    """
    packing = TopK(8, logits.shape[1], temperature)
    while packing.dtype.itemsize <= packing.classes:  # half of two bytes per class
        error = divergence(logits, packing.unpack(packing.pack(logits)), temperature)
        if error <= bound:
            return replace(packing, divergence=error)
        packing = replace(packing, k=2 * packing.k)
    return None


def divergence(said: np.ndarray, read: np.ndarray, temperature: float) -> float:
    """Mean Kullback-Leibler divergence KL(said || read) of the softened answers, in nats; logits (N, classes)."""
    p, q = (_log_softmax(logits, temperature).exp().numpy() for logits in (said, read))
    return kl_divergence(p, q)


def _log_softmax(logits: np.ndarray, temperature: float = 1.0) -> torch.Tensor:
    return torch.log_softmax(torch.from_numpy(np.asarray(logits, dtype=np.float64)) / temperature, dim=1)
