"""Groups of labels from names and tables, and what is no hierarchy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.errors import InputError
from attar.hierarchy import Level, read_levels, summed

LABELS = (
    "Bellis perennis",
    "Bellis annua",
    "Aster × frikartii",
    "Rosa canina var. alba",
    "moss",
    "Mixed leaves of Two",
)


def test_genera_are_the_first_words_of_species() -> None:
    [level] = read_levels("binomial", LABELS)
    groups = [level.names[group] for group in level.of]
    assert groups == ["Bellis", "Bellis", "Aster", "Rosa", "moss", "Mixed"]
    assert Level.from_json(level.to_json()) == level


def test_a_table_makes_levels_as_deep_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "tree.csv"
    path.write_text("Parent, Label\nBellis,a\nBellis,b\nAster,c\nAsteraceae,Bellis\nAsteraceae,Aster\nelsewhere,z\n")
    genus, family = read_levels(path, ("a", "b", "c", "d"))
    assert genus == Level(("Bellis", "Aster", "d"), (0, 0, 1, 2))
    assert family == Level(("Asteraceae", "d"), (0, 0, 0, 1))


def test_probabilities_of_a_group_are_those_of_its_labels() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    of = np.array([1, 0, 1, 2])
    assert np.allclose(summed(probabilities, of), probabilities @ np.eye(3)[of])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label,parent\na,b\nb,c\nc,b\n", r"circle: b > c > b"),
        ("label,parent\na,a\n", r"circle: a > a"),
        ("label,parent\na,b\na,c\n", r"line 3: a has two parents, b and c"),
        ("label,parent\nappel,b\n", r"none of its labels is one of the model's .* Did you mean"),
        ("label,parent\na,\n", r"line 2: needs a label and its parent"),
        ("label,group\na,b\n", r"must name the columns label,parent"),
        ("", r"must name the columns label,parent"),
        ('label,parent\n"a,b\n', r"not readable"),
    ],
)
def test_what_is_no_hierarchy_is_refused_in_words(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "tree.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        read_levels(path, ("a", "apple"))


def test_other_files_and_other_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file. A hierarchy is 'binomial', or a CSV"):
        read_levels("binomal", ("a", "b"))
    (tmp_path / "tree.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"not readable as a UTF-8"):
        read_levels(tmp_path / "tree.csv", ("a", "b"))
    with pytest.raises(InputError, match=r"no label looks like a species' name"):
        read_levels("binomial", ("cat", "dog"))
