"""Answers about photos, with what place and season say of each photo that has them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attar.errors import InputError, in_line
from attar.geo.files import Prior, load
from attar.geo.fit import predict
from attar.geo.places import Place, as_arrays


class Located:
    """A prior beside a model.

    Args:
        prior: of the model's labels.
        labels: the model's, in the order of its answers.
        source: of the prior, for messages.

    Raises:
        InputError: the prior has other labels than the model.
    """

    def __init__(self, prior: Prior, labels: Sequence[str], source: str) -> None:
        number = {label: each for each, label in enumerate(prior.labels)}
        lacking = [label for label in labels if label not in number]
        more = sorted(set(prior.labels) - set(labels))
        if lacking or more:
            one = f"{in_line(lacking[0])!r} of the model" if lacking else f"its {in_line(more[0])!r}"
            raise InputError(
                f"{source}: a prior of {len(prior.labels)} other labels than the model's {len(labels)}; {one} has no "
                "counterpart. Fit it anew with: attar geo TABLE --student BUNDLE"
            )
        self.prior = prior
        self.order = np.array([number[label] for label in labels])
        """The prior's number of each label of the model."""
        self.observed = prior.observed[self.order]
        """Whether each label of the model was ever met."""
        self._model = copy.deepcopy(prior.model).double()  # as the app computes, so that both agree to many digits

    def __call__(self, probabilities: np.ndarray, places: Sequence[Place | None]) -> np.ndarray:
        """Join what photos and places say.

        Args:
            probabilities: of photos, float (N, labels).
            places: of each, None where it is not known.

        Returns:
            float (N, labels), of the same dtype; photos without a place keep their answers bit for bit.
        """
        known, degrees, days = as_arrays(places)
        if not known.any() or self.prior.combination.weight == 0:
            return probabilities
        likely = predict(self._model, degrees, days)[:, self.order]
        joined = probabilities.copy()
        joined[known] = self.prior.combination(probabilities[known], likely, self.observed).astype(probabilities.dtype)
        return joined


def open_located(path: Path, labels: Sequence[str]) -> Located:
    """The prior in a folder, beside a model of these labels."""
    return Located(load(path), labels, str(path))
