"""The snippets of a prior compute what attar does. tests/deploy/app/test_geo.py runs the JavaScript, and
tests/deploy/sample/test_sample.py the Kotlin."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attar.geo.combine import Combination
from attar.geo.files import load
from attar.geo.fit import predict
from attar.geo.located import open_located
from attar.geo.places import Place
from attar.geo.snippets import FILES, write_snippets
from helpers.priors import random_prior

NAMES = tuple("abcdefg")


def python_of(folder: Path) -> Any:
    """The Python snippet of a prior's folder, as a module."""
    spec = importlib.util.spec_from_file_location("geo_prior", folder / "snippets" / "geo_prior.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("how", [Combination(0.005, 1.0), Combination(0.3, 2.0), Combination(0.1, 0.0)])
def test_python_without_attar_computes_the_same(how: Combination, tmp_path: Path) -> None:
    folder = random_prior(tmp_path / "geo", NAMES, how)
    labels = NAMES[::-1]
    prior, located = python_of(folder).GeoPrior(folder, labels), open_located(folder, labels)
    draw = np.random.default_rng(1)
    rows = draw.dirichlet(np.full(7, 0.4), 40)
    places = [Place(*draw.uniform([-90, -180], [90, 180]).tolist(), day=int(draw.integers(0, 367))) for _ in rows]
    places[:3] = [Place(90, 0, 0), Place(-90, 180, 366), Place(0, -180, 1)]
    found = [prior.joined(row, each.latitude, each.longitude, each.day) for row, each in zip(rows, places)]
    np.testing.assert_allclose(found, located(rows, places), atol=1e-9)
    one = places[7]
    [likely] = predict(load(folder).model, np.array([[one.latitude, one.longitude]]), np.array([one.day]))
    np.testing.assert_allclose(prior.likely(one.latitude, one.longitude, one.day), likely[::-1], atol=1e-5)


def test_other_labels_are_refused(tmp_path: Path) -> None:
    folder = random_prior(tmp_path / "geo", NAMES, Combination())
    with pytest.raises(ValueError, match="other labels"):
        python_of(folder).GeoPrior(folder, (*NAMES[:-1], "h"))


def test_every_prior_has_them_and_links_are_not_followed(tmp_path: Path) -> None:
    folder = random_prior(tmp_path / "geo", NAMES, Combination())
    (tmp_path / "mine").write_text("mine")
    (folder / "snippets" / "geo_prior.py").unlink()
    (folder / "snippets" / "geo_prior.py").symlink_to(tmp_path / "mine")
    write_snippets(folder)
    assert (tmp_path / "mine").read_text() == "mine" and not (folder / "snippets" / "geo_prior.py").is_symlink()
    assert {path.name for path in (folder / "snippets").iterdir()} == set(FILES)
