"""Two models on the same photos: which is better, whether that is beyond chance, and on which photos they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attar.answers import most_probable
from attar.benchmarks.predict import BATCH, Model
from attar.benchmarks.report.comparison import Interval
from attar.benchmarks.units import percent, points
from attar.data.photos import Photo, Photos, labels_of
from attar.data.pixels import Pixels
from attar.errors import InputError
from attar.metrics import bootstrap_interval, paired_interval, sign_test

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Difference:
    """A photo about which two models answer differently."""

    photo: str
    label: str
    first: str
    second: str


@dataclass(frozen=True)
class Pair:
    """Two models on the same photos.

    Attributes:
        names: of the two.
        images: photos.
        top1: of each, a share with its 95% bootstrap interval.
        gain: top-1 of the second minus the first's, with its paired 95% interval (`attar.metrics.paired_interval`).
        won, lost: photos that only the second, and only the first, has right.
        p: two-sided, that won and lost differ by chance (McNemar's exact test).
        agreement: share of photos with the same answer, right or wrong.
        differences: the photos with two answers.
    """

    names: tuple[str, str]
    images: int
    top1: tuple[Interval, Interval]
    gain: Interval
    won: int
    lost: int
    p: float
    agreement: float
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.gain.low <= 0 <= self.gain.high:
            return f"Neither is shown to be better: {points(self.gain.value)} points, {self._ends}."
        better = self.names[self.gain.value > 0]
        return f"{better} is better by {abs(100 * self.gain.value):.1f} points, {self._ends}."

    @property
    def _ends(self) -> str:
        return f"95% interval of the gain {points(self.gain.low)} to {points(self.gain.high)}"


def pair(models: tuple[Model, Model], photos: Photos, names: tuple[str, str]) -> Pair:
    """Ask two models about the validation photos of a data set.

    Raises:
        InputError: the models do not have the photos' classes, in the same order.
    """
    for model, name in zip(models, names):
        if model.labels != photos.labels:
            strange = sorted(set(model.labels) ^ set(photos.labels))[:3]
            what = f"such as {', '.join(map(repr, strange))}" if strange else "in another order"
            raise InputError(
                f"{name}: its {len(model.labels)} classes are not those {len(photos.labels)} of {photos.spec.path}, "
                f"{what}. Compare models of the same classes, on their photos (--data)."
            )
    labels = labels_of(photos.val)
    first, second = (_answers(model, photos.val) for model in models)
    return compared(first, second, labels, photos.labels, [photos.name(photo) for photo in photos.val], names)


def _answers(model: Model, photos: Sequence[Photo]) -> np.ndarray:
    """The most probable class of each photo, int64 (images,)."""
    pixels = Pixels(photos, model.preprocessing, "Reading photos")
    return most_probable(model.answer(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)).best


def compared(
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    photos: Sequence[str],
    names: tuple[str, str],
) -> Pair:
    """The same of answers that are there already: class indices (N,), as the labels; and the photos' names."""
    answers = first, second
    right = [(each == labels).astype(int) for each in answers]
    gain = right[1] - right[0]
    won, lost = int((gain > 0).sum()), int((gain < 0).sum())
    differ = np.flatnonzero(answers[0] != answers[1]).tolist()
    return Pair(
        names=names,
        images=len(labels),
        top1=(_interval(right[0]), _interval(right[1])),
        gain=Interval(float(gain.mean()), *paired_interval(gain)),
        won=won,
        lost=lost,
        p=float(sign_test(np.array(won), np.array(lost))),
        agreement=1 - len(differ) / len(labels),
        differences=tuple(
            Difference(photos[i], classes[labels[i]], classes[answers[0][i]], classes[answers[1][i]]) for i in differ
        ),
    )


def _interval(right: np.ndarray) -> Interval:
    return Interval(float(right.mean()), *bootstrap_interval(right.astype(float)))


def tables(compared: Pair, most: int = 20) -> Any:
    """For a terminal: the two models, the verdict, and the photos on which they differ."""
    from rich.console import Group
    from rich.text import Text

    words = (
        f"{compared.verdict} On {compared.images} photos {compared.won} are right only in the second and "
        f"{compared.lost} only in the first (McNemar's exact p = {compared.p:.2g}); "
        f"{percent(compared.agreement)} get the same answer."
    )
    parts: list[Any] = [_models(compared), Text(words)]
    if compared.differences:
        parts.append(_photos(compared.differences[:most]))
    if (left := len(compared.differences) - most) > 0:
        parts.append(Text(f"And {left} more photos: --json has all."))
    return Group(*parts)


def _models(compared: Pair) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for title in ("Model", "Top-1", "95% interval"):
        table.add_column(title, justify="left" if title == "Model" else "right", overflow="fold")
    for name, top1 in zip(compared.names, compared.top1):
        table.add_row(Text(name), percent(top1.value), f"{percent(top1.low)} to {percent(top1.high)}")
    return table


def _photos(differences: Sequence[Difference]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from attar.errors import in_line

    table = Table(header_style="bold")
    for title in ("Photo", "Shows", "First", "Second"):
        table.add_column(title, overflow="fold")
    for each in differences:
        cells = [Text(in_line(text)) for text in (each.photo, each.label, each.first, each.second)]
        for cell, answer in zip(cells[2:], (each.first, each.second)):
            cell.stylize("green" if answer == each.label else "red")
        table.add_row(*cells)
    return table
