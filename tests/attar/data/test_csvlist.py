"""CSV files that list photos, as spreadsheets and scripts write them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from attar.errors import InputError
from helpers.photo_trees import names, photo, read, tree


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(path)
    assert str(path) in str(caught.value)


def table(path: Path, rows: Iterable[Iterable[str]], encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_with_split_and_relative_or_absolute_paths(tmp_path: Path, encoding: str) -> None:
    away = photo(tmp_path / "away" / "x.png", 9)
    here = [photo(tmp_path / "lists" / f"p {i}.png", i) for i in range(3)]
    rows = [
        ("path", "label", "split"),
        (here[0].name, "a", "train"),
        (str(away), "b, c", "train"),
        (here[1].name, "a", "val"),
        ("../lists/" + here[2].name, "b, c", "val"),
    ]
    photos = read(table(tmp_path / "lists" / "photos.csv", rows, encoding))
    assert photos.labels == ("a", "b, c")
    assert [(p.path, p.label) for p in photos.train] == [(here[0], 0), (away, 1)]
    assert [(p.path, p.label) for p in photos.val] == [(here[1], 0), (here[2], 1)]


def test_csv_without_split(tmp_path: Path) -> None:
    rows = [(photo(tmp_path / f"{i}.png", i).name, "ab"[i % 2]) for i in range(8)]
    photos = read(table(tmp_path / "photos.csv", [("path", "label"), *rows]))
    assert len(photos.train) == 6 and Counter(p.label for p in photos.val) == {0: 1, 1: 1}


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([("file", "class"), ("a.png", "a")], "columns path,label"),
        ([], "columns path,label"),
        ([("path", "label")], "names the columns path, label and no photo"),
        ([("path", "label"), ("a.png", "")], "line 2: needs a path, a label"),
        ([("path", "label", "split"), ("a.png", "a", "later")], "line 2: needs .* split of train, val"),
        ([("path", "label"), ("a.png", "a"), (), ("./a.png", "b")], "line 4: ./a.png is listed twice"),
        ([("path", "label", "split"), ("a.png", "a", "val"), ("b.png", "b", "")], "Fill the column for all"),
        ([("path", "label"), ("a.png", "a"), ("b.png", "b")], "none of its 2 images can be used.*no such file"),
    ],
)
def test_bad_csv(tmp_path: Path, rows: list[tuple[str, ...]], match: str) -> None:
    refused(table(tmp_path / "photos.csv", rows), match)


def test_not_a_csv(tmp_path: Path) -> None:
    refused(photo(tmp_path / "photo.png"), "not readable as a UTF-8 CSV")


def written(root: Path, header: str, line: str, encoding: str = "utf-8") -> Path:
    """A CSV of the photos in a/ and b/, each line made from a pattern."""
    tree(root, {"a": 3, "b": 3})
    lines = [line.format(path=f"{c}/{n}.png", label=c) for c in "ab" for n in range(3)]
    (root / "list.csv").write_text("\r\n".join([header, *lines]), encoding=encoding)
    return root / "list.csv"


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("path, label", "{path}, {label}"),
        ("path,label", '"{path}", "{label}"'),
        (' path ,"label" ', "{path} ,{label} "),
        ('"path", "label"', '"{path}", "{label}"'),
        ("Path,Label", "{path},{label}"),
        ("path;label", "{path};{label}"),
        ("path\tlabel", "{path}\t{label}"),
        ("label, path, note", '{label}, {path}, "x, y"'),
        ("path,label", "{path},{label},,"),
        ("path,label,,", "{path},{label},,"),
    ],
)
def test_spaces_quotes_and_separators(header: str, line: str, tmp_path: Path) -> None:
    photos = read(written(tmp_path, header, line))
    assert photos.labels == ("a", "b") and photos.counts() == {"a": 3, "b": 3} and photos.set_aside == ()
    assert names(photos)["val"][0].startswith("a/")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_utf_16_as_spreadsheets_write_it(encoding: str, tmp_path: Path) -> None:
    assert read(written(tmp_path, "path,label", "{path},é{label}", encoding)).labels == ("éa", "éb")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("path,label\na/0.png,rust, light\n", 'line 2: 3 fields, but the first line names 2 .*"rust, light"'),
        ('path,label\na/0.png,a\n"x\ny",b,c\n', "line 4: 3 fields"),
        ("path,label,label\na/0.png,a,b\n", "line 1: the column label is named twice"),
        ("path,label\na/0.png,a\0b\n", "line 2: holds a NUL byte"),
        ("p\0a\0t\0h\0,\0l\0\n", "line 1: holds a NUL byte"),
        ('path,label\n"a/0.png,a\n', "not readable as CSV .unexpected end of data"),
        ("path,label\n" + "x" * 200_000 + ",a\n", "line 2: not readable as CSV .field larger than field limit"),
        ("path|label\na/0.png|a\n", "must name the columns path,label"),
        ("path,label\na/0.png\n", "line 2: needs a path, a label"),
        ("path, label\n\n", "names the columns path, label and no photo"),
    ],
)
def test_lines_that_are_not_what_they_seem(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text, newline="")
    refused(tmp_path / "list.csv", match)


def test_splits_of_a_list_in_any_usual_spelling(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 4, "b": 4})
    sides = ("Train", "training", "Val", "test")
    lines = ["path,label,split", *(f"{c}/{n}.png,{c},{sides[n]}" for c in "ab" for n in range(4))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    photos = read(tmp_path / "list.csv")
    assert names(photos)["val"] == ["a/2.png", "b/2.png"] and len(photos.train) == 4
    assert photos.notes == ("2 photos of the split 'test' are left alone",)
