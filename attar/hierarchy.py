"""Labels in groups: species in genera, genera in families, whatever a table or the names themselves say.

Where no label is sure enough, an app can still name the group that is. A level of groups gives each label one group: at
the first level its parent, at the second its parent's parent, and a label without one stands alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.errors import InputError, did_you_mean

BINOMIAL = "binomial"
"""The hierarchy of names such as "Bellis perennis": the first word is the genus."""

_SPECIES = re.compile(r"([A-Z][a-z]+(?:-[a-z]+)?) (?:× ?)?[a-z][a-z-]+\b")
_MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class Level:
    """Groups of labels.

    Attributes:
        names: of the groups.
        of: of each label, the number of its group.
    """

    names: tuple[str, ...]
    of: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"names": list(self.names), "of": list(self.of)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Level:
        """Read back what `to_json` wrote."""
        return Level(tuple(value["names"]), tuple(value["of"]))


def read_levels(given: str | Path, labels: Sequence[str]) -> tuple[Level, ...]:
    """The levels of a hierarchy, the nearest first.

    Args:
        given: `binomial`, or a CSV file with the columns `label` and `parent`; a parent may have a line of its own.
        labels: the model's.

    Raises:
        InputError: no such file or columns, a label with two parents, a circle, or no label of the model in it.
    """
    parents = _genera(labels) if str(given) == BINOMIAL else _read(Path(given), labels)
    chains = [_chain(label, parents, given) for label in labels]
    return tuple(_level(chains, depth) for depth in range(1, max(map(len, chains))))


def summed(probabilities: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Probabilities of labels (images, classes) -> those of groups, float64 (images, groups), summed in order."""
    groups = np.zeros((int(of.max()) + 1, len(probabilities)))
    for label, group in enumerate(of):
        groups[group] += probabilities[:, label]
    return groups.T


def _level(chains: Sequence[Sequence[str]], depth: int) -> Level:
    """Each label's ancestor at a depth, or the farthest that it has."""
    ancestors = [chain[min(depth, len(chain) - 1)] for chain in chains]
    names = list(dict.fromkeys(ancestors))
    numbers = {name: number for number, name in enumerate(names)}
    return Level(tuple(names), tuple(numbers[name] for name in ancestors))


def _chain(label: str, parents: Mapping[str, str], given: str | Path) -> list[str]:
    """A label, its parent, and so on."""
    chain = [label]
    while (parent := parents.get(chain[-1])) is not None:
        if parent in chain:
            circle = " > ".join([*chain[chain.index(parent) :], parent])
            raise InputError(f"{given}: the hierarchy goes in a circle: {circle}. Take one of these lines out.")
        chain.append(parent)
    return chain


def _genera(labels: Sequence[str]) -> dict[str, str]:
    found = {label: match[1] for label in labels if (match := _SPECIES.match(label))}
    if not found:
        raise InputError(
            f"hierarchy: {BINOMIAL}: no label looks like a species' name, such as 'Bellis perennis' (the first is "
            f"{labels[0]!r}). Give a CSV file of label,parent."
        )
    return found


def _read(path: Path, labels: Sequence[str]) -> dict[str, str]:
    parents: dict[str, str] = {}
    for line, label, parent in _rows(path):
        if not label or not parent:
            raise InputError(f"{path}, line {line}: needs a label and its parent.")
        if parents.setdefault(label, parent) != parent:
            raise InputError(f"{path}, line {line}: {label} has two parents, {parents[label]} and {parent}. Keep one.")
    if not parents.keys() & set(labels):
        hint = did_you_mean(next(iter(parents), ""), labels)
        raise InputError(f"{path}: none of its labels is one of the model's (such as {labels[0]!r}).{hint}")
    return parents


def _rows(path: Path) -> list[tuple[int, str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file. A hierarchy is {BINOMIAL!r}, or a CSV file of label,parent.")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, too large for a hierarchy.")
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        if not {"label", "parent"} <= set(columns):
            raise InputError(f"{path}: the first line must name the columns label,parent.")
        reader.fieldnames = columns
        return [(reader.line_num, *((row[name] or "").strip() for name in ("label", "parent"))) for row in reader]  # type: ignore[misc]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a UTF-8 CSV file ({error}).") from error
