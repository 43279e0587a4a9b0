"""The prior of place and season as files for phones: converted, asked about many places, and listed only if they agree.

They lie in the prior's folder, and its `prior.json` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attar import __version__
from attar.console import say
from attar.errors import AttarError, GateError, InputError, did_you_mean
from attar.export.capture_output import captured
from attar.export.geo_formats import FORMATS, answers_of
from attar.extras import require_installed, version
from attar.files import replacing, sha256, size
from attar.geo.files import Prior, PriorFile, describe, load
from attar.geo.fit import predict
from attar.geo.prior import INPUTS
from attar.geo.snippets import write_snippets

PLACES = 1_000
"""Places that a file is asked about, beside `CORNERS`."""
CORNERS = [(90, 0, 0), (-90, 180, 1), (0, 180, 366), (0, -180, 366), (0, 0, 0), (45, 179.999, 183), (-33.4, -70.6, 0)]
"""Latitude, longitude, day: poles, the date line, the year's ends, no day."""
LARGEST, MEAN = 0.02, 0.002
"""How far a file's answers may be from the prior's, at most and in the mean, of probabilities in [0, 1]. Weights in
half precision part by tenths of this; swapped coordinates, degrees taken for radians or days left out by much more."""


def export_prior(folder: Path | str, formats: Sequence[str]) -> Prior:
    """Write a prior's files beside it, each only if it computes what the prior does.

    Args:
        folder: the prior's (`attar.geo.files`).
        formats: of `FORMATS`, or `all`.

    Returns:
        The prior, with all its files.

    Raises:
        InputError: no prior, or no such format.
        MissingExtra: a format's packages are not installed.
        GateError: a file does not agree; what stood there stays.
    """
    folder = Path(folder)
    prior = load(folder)
    for kind in chosen(formats):
        file = FORMATS[kind].file
        with replacing(folder / file) as made:  # a file that does not agree leaves what stands there
            _convert(kind, prior, made)
            measured = _verified(kind, made, prior)
            versions = {package: version(package) for package in ("torch", *FORMATS[kind].needs)}
            entry = PriorFile(kind, file, sha256(made), size(made), measured, versions)
        others = tuple(each for each in prior.files if each.format != kind)
        prior = replace(prior, files=tuple(sorted((*others, entry), key=lambda each: list(FORMATS).index(each.format))))
        describe(prior, folder)
        write_snippets(folder)  # an earlier version's folder has none
        say(f"{entry.file}: {entry.bytes / 1e3:.0f} kB, within {entry.verification['max_abs_error']:.4f} of the prior")
    return prior


def verify_prior(folder: Path | str) -> Prior:
    """Prove a prior's files again.

    Raises:
        InputError: no prior, or one without files.
        GateError: a file is missing, changed, or does not compute what the prior does; the text names each.
    """
    folder = Path(folder)
    prior = load(folder)
    if not prior.files:
        raise InputError(f"{folder}: has no files to verify. Make them with: attar geo {folder} --export all")
    failures = []
    for entry in prior.files:
        path = folder / entry.file
        try:
            if not path.exists() or sha256(path) != entry.sha256:
                raise GateError("missing, damaged or changed: its SHA-256 is another one")
            _verified(entry.format, path, prior)
        except AttarError as error:
            failures.append(f"{entry.file}: {error}")
    if failures:
        raise GateError(f"{folder}: {len(failures)} failed:\n  " + "\n  ".join(failures))
    return prior


def probe(seed: int = 0) -> np.ndarray:
    """Places all over the globe and days all over the year, float32 (PLACES + corners, 3)."""
    random = np.random.default_rng(seed)
    latitude = np.degrees(np.arcsin(random.uniform(-1, 1, PLACES)))
    anywhere = np.column_stack([latitude, random.uniform(-180, 180, PLACES), random.integers(0, 367, PLACES)])
    return np.concatenate([anywhere, np.array(CORNERS, float)]).astype(np.float32)


def chosen(formats: Sequence[str]) -> list[str]:
    """The formats that are meant, which may be `all`.

    Raises:
        InputError: there is no such format.
        MissingExtra: a format's packages are not installed.
    """
    for name in formats:
        if name != "all" and name not in FORMATS:
            known = f"{', '.join(FORMATS)}, all"
            raise InputError(f"--export {name}: no format of a prior.{did_you_mean(name, FORMATS)} Known: {known}.")
    kinds = [kind for kind in FORMATS if kind in formats or "all" in formats]
    for kind in kinds:
        for package in FORMATS[kind].needs:
            require_installed(package.replace("-", "_"))
    return kinds


def _convert(kind: str, prior: Prior, path: Path) -> None:
    facts = {
        "attar": __version__,
        "what": "prior of place and season",
        "inputs": list(INPUTS),
        "labels": list(prior.labels),
        "prior": prior.weights_sha256,
    }
    if any("\n" in label or "\r" in label for label in prior.labels) and kind == "litert":
        raise InputError("A label holds a line break, which a TFLite label file cannot: rename the class.")
    try:
        with captured() as chatter:
            FORMATS[kind].convert(prior.model, facts, path)
    except AttarError:
        raise
    except Exception as error:  # converters raise anything
        raise GateError(f"{kind}: the converter failed: {error!r}\n{chatter.tail}") from error


def _verified(kind: str, path: Path, prior: Prior) -> dict[str, Any]:
    """What was measured of a file; a `GateError` if it is not the prior's."""
    where = probe()
    expected = predict(prior.model, where[:, :2], where[:, 2])
    answers, facts = answers_of(kind, path, where)
    if facts.get("labels") != list(prior.labels):
        raise GateError("its labels are others than the prior's")
    if answers.shape != expected.shape or not np.isfinite(answers).all():
        raise GateError(f"answers {answers.shape} of numbers that are not all finite, and {expected.shape} are due")
    error = np.abs(answers.astype(np.float64) - expected)
    measured = {"places": len(where), "max_abs_error": float(error.max()), "mean_abs_error": float(error.mean())}
    if error.max() > LARGEST or error.mean() > MEAN:
        row, label = np.unravel_index(error.argmax(), error.shape)
        latitude, longitude, day = where[row].tolist()
        raise GateError(
            f"diverges from the prior: by {error.max():.3f} at most and {error.mean():.4f} in the mean ({LARGEST} and "
            f"{MEAN} are allowed). Worst: latitude {latitude:.3f}, longitude {longitude:.3f}, day {day:.0f}, label "
            f"{prior.labels[label]}: {answers[row, label]:.3f} for {expected[row, label]:.3f}"
        )
    return measured
