"""YAML of recipes: what is read, and what is refused in one line within a second."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attar import yaml_text
from attar.errors import InputError
from attar.recipe import read_recipe

# PyYAML itself writes some line breaks of Unicode as spaces.
text = st.text(st.characters(min_codepoint=32, max_codepoint=0x1FFFF, exclude_categories=("Cc", "Cs", "Zl", "Zp")))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(text, below, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(value=plain)
def test_plain_data_survives_as_pyyaml_writes_it(value: object) -> None:
    assert yaml_text.parse(yaml.safe_dump(value, allow_unicode=True), "here") == value


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="{}[]:,&*!|>-#%@`'\" \n\tab01.~\0\ud800\U0001f33b", max_size=40) | st.text(max_size=40))
def test_any_other_text_is_a_value_or_one_error(text: str) -> None:
    try:
        yaml_text.parse(text, "here")
    except InputError as error:
        assert str(error).startswith("here")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (LAUGHS, "line 2: .*aliases"),
        ("a: " + "[" * 5000, "nested over 20"),
        ("a: " + "{b: " * 5000, "nested over 20"),
        ("seed: 1\nseed: 2", "line 2: .*'seed' is there twice"),
        ("student: {size: 64}\nstudent: {size: 96}", "'student' is there twice"),
        ("student: {lr: .inf}", "line 1: .*no number to use"),
        ("views: {aspect: .nan}", "no number to use"),
        ("seed: !!int x", "invalid literal"),
        ("seed: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("1: 2", "key 1 is no text"),
        ("? [a]\n: b", "no text"),
        ("a: \0", "special characters are not allowed"),
        ("a: b: c", "line 1"),
        ("seed: 99999999999999999999999", "less than"),
        ("seed: -1", "greater than"),
        ("student: {epochs: 1000000000000}", "less than or equal"),
        ("student: {lr: 1.0e+300}", "less than or equal"),
        ("seed: 0b", "valid integer"),
        ("author: 5", "valid string"),
        ("- a", "a recipe is a mapping"),
    ],
)
def test_a_recipe_that_surprises_is_refused_at_once(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(InputError, match=problem) as caught:
        read_recipe(path)
    assert time.process_time() - start < 5 and str(path) in str(caught.value) and len(str(caught.value)) < 500


def test_a_date_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("author: 2024-13-45\nlicense: 2024-12-24")
    recipe = read_recipe(tmp_path / "a.yaml")
    assert (recipe.author, recipe.license) == ("2024-13-45", "2024-12-24")


@pytest.mark.parametrize("content", [b"\xff\xfea\0:\0", b"a: \xe9", b"a: " + b"x" * (2 << 20)])
def test_other_encodings_and_sizes_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"UTF-16|UTF-8|over 1 MB"):
        read_recipe(tmp_path / "a.yaml")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, problem in (
        (tmp_path / "fifo", "is no file"),
        (tmp_path, "is a folder"),
        (tmp_path / "x", "no such file"),
    ):
        with pytest.raises(InputError, match=problem):
            read_recipe(path)


@pytest.mark.parametrize("text", ["student.lr=.inf", "student.epochs=x", "seed=[", "student.size=&a [*a]", "student=5"])
def test_errors_of_set_say_so(text: str) -> None:
    with pytest.raises(InputError, match="--set"):
        read_recipe(None, [text])


@pytest.mark.parametrize("name", ["\U0001f33b photos", "a: b", "[x]", "~", "null", "a#b", "\udce9", "'\""])
def test_the_photos_place_is_data_and_no_yaml(name: str) -> None:
    assert read_recipe(None, [], {"path": name, "source": None}).data.path == name
