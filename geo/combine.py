"""How the prior of place and season changes a photo's answer.

    p(label) ~ p(label | photo) * max(prior(label | place, day), floor) ^ weight

iNaturalist's server multiplies with a floor in this way (weight 1, floor 0.005). Here both are fitted on photos with
places. A label that was never observed keeps its probability as it is, against the others' mean. Without a place
nothing is computed, so the answer is the photo's bit for bit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FLOORS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Combination:
    """A floor in (0, 1] and a weight of at least 0; at 0 the prior changes nothing."""

    floor: float = 0.005
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.floor <= 1 and 0 <= self.weight <= 100):
            raise ValueError(f"a floor is in (0, 1] and a weight between 0 and 100, not {self.floor} and {self.weight}")

    def __call__(self, probabilities: np.ndarray, prior: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Combine, in float64.

        Args:
            probabilities: of the photo's labels, float (N, labels), rows that sum to 1.
            prior: of its place and day, float (N, labels), in [0, 1].
            observed: whether a label has any observation, bool (labels,).

        Returns:
            float64 (N, labels), rows that sum to 1; the very same array where the weight is 0.
        """
        if self.weight == 0:
            return probabilities
        factor = np.maximum(prior.astype(np.float64), self.floor) ** self.weight
        if observed.any():
            factor = np.where(observed, factor, factor[:, observed].mean(1, keepdims=True))
        combined = probabilities.astype(np.float64) * factor
        summed: np.ndarray = combined / combined.sum(1, keepdims=True)
        return summed

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def fit(probabilities: np.ndarray, prior: np.ndarray, observed: np.ndarray, labels: np.ndarray) -> Combination:
    """The floor and weight under which photos' labels, int (N,), are likeliest, and no more weight than that shows.

    Of those that are worse than the best by at most one standard error of the paired difference, the smallest weight
    (the one-standard-error rule: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3). So a prior
    that tells nothing gets none. The arguments are those of `Combination`. The photos must be others than those that
    the model was trained on.
    """
    rows = np.arange(len(labels))

    def losses(choice: Combination) -> np.ndarray:
        own = choice(probabilities, prior, observed)[rows, labels].astype(np.float64)
        return -np.log(np.maximum(own, 1e-12))

    choices = [Combination(floor, weight) for weight in WEIGHTS for floor in (FLOORS if weight else FLOORS[:1])]
    each = np.stack([losses(choice) for choice in choices])
    worse = each - each[each.mean(1).argmin()]
    close = worse.mean(1) <= worse.std(1) / np.sqrt(len(labels)) + 1e-12
    weight = min(choice.weight for choice, near in zip(choices, close) if near)
    own = [number for number, choice in enumerate(choices) if choice.weight == weight]
    return choices[min(own, key=lambda number: each[number].mean())]


def gain_in_words(told: dict[str, Any]) -> str:
    """What photos gain (`attar.geo.gain`), as one sentence."""
    return (
        f"On {told['photos']:,} photos in {told['cells']} places that the prior had not seen: "
        f"{100 * told['alone']:.1f}% right alone, {100 * told['with_place']:.1f}% with place and season "
        f"({100 * told['gain']:+.1f} points, 95% interval {100 * told['low']:+.1f} to {100 * told['high']:+.1f})."
    )
