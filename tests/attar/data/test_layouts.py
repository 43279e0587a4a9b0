"""Which folders are classes, which are splits, and which are neither. Each case was read as something else before."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from attar.data.sample import split_word
from attar.errors import InputError
from attar.files import write_json
from helpers.photo_trees import names, photo, read, tree
from helpers.unprivileged import without_root

CLASSES = ("cell", "flower", "temple")


def refused(root: Path, match: str, **options: object) -> None:
    with pytest.raises(InputError, match=match):
        read(root, **options)


# --- splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("Train", "Val"),
        ("training", "validation"),
        ("train", "dev"),
        ("train", "test"),
        ("TRAIN", "Valid"),
        ("Training_Set", "Test_Set"),
        ("train2017", "val2017"),
        ("train-data", "eval"),
        ("Training", "Testing"),
    ],
)
def test_splits_in_any_usual_spelling(train: str, val: str, tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {f"{train}/{c}": 3 for c in CLASSES} | {f"{val}/{c}": 1 for c in CLASSES}))
    assert photos.labels == CLASSES
    assert names(photos)["val"] == sorted(f"{val}/{c}/0.png" for c in CLASSES) and len(photos.train) == 9
    assert photos.layout == f"a folder per class, in {train}/ and {val}/"


def test_words_that_are_no_split() -> None:
    assert [split_word(word) for word in ("trains", "valley", "data", "set", "", "contest", "2017")] == [None] * 7


def test_a_second_held_out_split_is_left_alone_and_said(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1, "Test/a": 4, "extra/a": 1}))
    assert len(photos.val) == 2 and photos.layout.endswith("in train/ and val/")
    assert [(each.path.name, each.reason) for each in photos.skipped] == [
        ("Test", "a second held-out split, left alone (4 photos)"),
        ("extra", "beside the splits, not read (1 photos)"),
    ]


def test_stray_folders_beside_train(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {**{f"train/{c}": 3 for c in CLASSES}, "plots": 2}))
    assert photos.labels == CLASSES and [each.path.name for each in photos.skipped] == ["plots"]
    assert "  layout: a folder per class in train/, split by attar" in photos.block()


def test_train_may_be_a_class_but_not_in_doubt(tmp_path: Path) -> None:
    vehicles = tree(tmp_path / "vehicles", {"bus/a": 2, "car": 2, "train": 2})
    assert read(vehicles).labels == ("bus", "car", "train")
    refused(tree(tmp_path / "doubt", {"train/a": 2, "train/b": 2, "more/a": 2}), "train/ may hold .* or be a class")


def test_splits_that_cannot_be_read_as_such(tmp_path: Path) -> None:
    refused(tree(tmp_path / "flat", {"Train": 4, "Val": 2}), "Train: holds photos but no folder per class")
    refused(tree(tmp_path / "held", {"val/a": 2, "val/b": 2, "test/a": 2}), "val/ and test/ but no training folder")
    refused(tree(tmp_path / "two", {"Train/a": 2, "training/a": 2, "val/a": 2}), "Train/ and training/ are all named")


def test_splits_below_a_folder_of_an_archive_and_inside_classes(tmp_path: Path) -> None:
    wrapped = read(tree(tmp_path / "w", {f"data-1.0/{s}/{c}": 2 for s in ("train", "val") for c in "ab"}))
    assert wrapped.labels == ("a", "b") and wrapped.layout.endswith("below data-1.0/") and len(wrapped.val) == 4
    inside = read(tree(tmp_path / "i", {f"{c}/{s}": 2 for s in ("Train", "Test") for c in "ab"}))
    assert inside.labels == ("a", "b") and {n.split("/")[1] for n in names(inside)["val"]} == {"Test"}


# --- classes -------------------------------------------------------------------------------------


SYSTEM = (".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found")


@pytest.mark.parametrize("folder", [*SYSTEM, "System Volume Information"])
@pytest.mark.parametrize("place", ["", "a/", "a/deep/", "b/"])
def test_folders_of_systems_are_never_read(place: str, folder: str, tmp_path: Path) -> None:
    tree(tmp_path, {"a": 3, "a/deep": 1, "b": 4, f"{place}{folder}": 2})
    photos = read(tmp_path)
    assert photos.labels == ("a", "b") and len(photos.train) + len(photos.val) == 8
    assert [each.path.name for each in photos.skipped] == [folder]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    """A class of links only was gone, and another half gone."""
    store, root = tree(tmp_path / "store", {f"{c}/{d}": 3 for c in CLASSES for d in "12"}), tmp_path / "photos"
    (root / "flower").mkdir(parents=True)
    for day in "12":
        (root / "flower" / day).symlink_to(store / "flower" / day)
    (root / "cell").symlink_to(store / "cell")
    for number in range(2):
        photo(root / "temple" / f"{number}.png", number)
    (root / "temple" / "more").symlink_to(store / "temple")
    (root / "temple" / "loop").symlink_to(root)
    (root / "again").symlink_to(root)
    photos = read(root)
    assert photos.counts() == {"cell": 6, "flower": 6, "temple": 8}
    assert sorted(each.path.name for each in photos.skipped) == ["again", "loop"]


def test_a_class_that_is_a_link_to_another_is_named(tmp_path: Path) -> None:
    tree(tmp_path, {"b": 3, "c": 3})
    (tmp_path / "a").symlink_to(tmp_path / "b")
    refused(tmp_path, "/a: a link to a folder that is read already, .*/b")
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    refused(tmp_path, "/a: a link to nothing, where a class is expected")


@pytest.mark.parametrize("split", ["", "train/"])
def test_a_class_that_would_vanish_is_named(split: str, tmp_path: Path) -> None:
    tree(tmp_path, {f"{split}cell": 3, f"{split}flower": 3, f"{split}temple": 0})
    refused(tmp_path, "class 'temple' has no photo: the folder is empty. Add photos")
    for number in range(3):
        (tmp_path / split / "temple" / f"{number}.mpo").write_bytes(b"x")
    (tmp_path / split / "temple" / "deep").mkdir()
    (tmp_path / split / "temple" / "deep" / "README").write_bytes(b"x")
    refused(tmp_path, r"class 'temple' has no photo: it holds 3 \.mpo, 1 without a suffix")
    photo(tmp_path / split / "temple" / "deep" / "1.png", 1)
    photo(tmp_path / split / "temple" / "deep" / "2.png", 2)
    assert read(tmp_path).notes[-1] == "no photos by their names: 3 .mpo, 1 without a suffix"


def test_groups_of_classes_are_said_and_can_be_taken_apart(tmp_path: Path) -> None:
    tree(tmp_path, {"machines/cell": 3, "scenes/flower": 3, "scenes/temple": 3})
    photos = read(tmp_path)
    assert photos.labels == ("machines", "scenes")
    assert photos.notes == (
        "class 'scenes' is one class, of the folders flower, temple. If those are the classes, add "
        "--set data.classes=inner",
    )
    inner = read(tmp_path, classes="inner")
    assert inner.labels == CLASSES and inner.notes == ()
    refused(tmp_path, "data.classes: 'both' is neither", classes="both")


def test_photos_in_no_class_are_counted(tmp_path: Path) -> None:
    photo(tree(tmp_path, {"a": 2, "b": 2}) / "loose.png", 9)
    assert read(tmp_path).notes == (f"1 photos right in {tmp_path} have no class and are not read",)
    photo(tmp_path / "flat" / "x.png", 8)
    refused(tmp_path / "flat", "no images found. What was seen: 1 photos right in .*flat have no class")


def test_the_block_names_the_first_ten_classes_and_the_rest(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {f"c{number:02d}": 2 for number in range(13)}))
    assert photos.block() == [
        "Photos: 13 classes, 13 training and 13 validation photos",
        "  layout: a folder per class, split by attar",
        f"  classes: {', '.join(f'c{number:02d} 2' for number in range(10))}, and 3 more with 6 photos",
    ]
    about = photos.to_json()
    assert len(about["photos_per_class"]) == 13 and about["layout"] and about["skipped"] == []


# --- what attar wrote ----------------------------------------------------------------------------

WRITTEN = {
    "run.json": {"schema": 1, "recipe": "x"},
    "bundle.json": {"architecture": {}, "labels": []},
    "manifest.json": {"bundle": {}, "files": []},
}


@pytest.mark.parametrize("name", list(WRITTEN))
@pytest.mark.parametrize("place", ["out", "runs/out", "a/out"])
def test_what_attar_wrote_is_no_data(place: str, name: str, tmp_path: Path) -> None:
    """`cd photos; attar run --data . -o out`, twice: the run's golden photos became a class."""
    tree(tmp_path, {"a": 3, "b": 3, f"{place}/golden": 2, f"{place}/exports/golden": 2})
    write_json(tmp_path / place / name, WRITTEN[name])
    photos = read(tmp_path)
    assert photos.counts() == {"a": 3, "b": 3} and [each.path.name for each in photos.skipped] == ["out"]
    refused(tmp_path / place, "not a folder of photos")


def test_a_file_of_such_a_name_does_not_make_a_class_vanish(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "manifest.json").write_text('{"files": ["0.png"]}')
    (tmp_path / "b" / "run.json").write_text("{")
    assert read(tmp_path).counts() == {"a": 3, "b": 3}


# --- what is not to be opened --------------------------------------------------------------------


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 3, "b": 3})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "b" / "s.jpg"))
    (tmp_path / "b" / "null.png").symlink_to("/dev/zero")
    (tmp_path / "b" / "gone.png").symlink_to("nowhere")
    (tmp_path / "b" / "self.png").symlink_to("self.png")
    photos = read(tmp_path)
    assert photos.counts() == {"a": 3, "b": 3}
    assert sorted(each.path.name for each in photos.skipped) == ["null.png", "pipe.png", "s.jpg"]
    assert {each.path.name for each in photos.set_aside} == {"gone.png", "self.png"}


@pytest.mark.parametrize("name", ["pipe", "pipe.csv", "pipe.tar", "pipe.parquet"])
def test_a_pipe_as_the_data(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)
    refused(tmp_path / name, f"{name}: (neither a folder nor a file|not a regular file), so it is not opened")


def test_a_pipe_in_a_list_is_set_aside(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 3, "b": 3})
    os.mkfifo(tmp_path / "pipe.png")
    rows = ["path,label", "pipe.png,a", *(f"{c}/{n}.png,{c}" for c in "ab" for n in range(3))]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert [each.reason for each in read(tmp_path / "list.csv").set_aside] == [
        "not a regular file, so it is not opened"
    ]


def test_a_folder_that_may_not_be_read_is_named() -> None:
    with without_root() as folder:
        tree(folder, {"a": 2, "b": 2, "b/secret": 2})
        (folder / "b" / "secret").chmod(0)
        try:
            refused(folder, r"b/secret: cannot be read \(Permission denied\). Allow reading it")
        finally:
            (folder / "b" / "secret").chmod(0o700)
