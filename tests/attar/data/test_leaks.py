"""The same photo in training and validation, or in two classes."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.data.leaks import RESAVED, look, near_copies
from attar.errors import InputError
from helpers.photo_trees import names, read, tree

VAL_OF_01 = ["a/0.bmp", "a/14.bmp", "a/18.bmp", "b/11.bmp", "b/3.bmp", "b/7.bmp"]
FINGERPRINT_OF_01 = "c58d9b163388729d5594f46ac05bc4f7235fb90a22d045ecc30f2aedb2a8dd4b"


def copy(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / source, root / target)


def test_copies_stay_on_one_side_of_attars_split(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 12, "b": 12})
    alone = names(read(tmp_path))
    for number in range(12):
        copy(tmp_path, f"a/{number}.png", f"a/{number}-again.png")
    photos = read(tmp_path)
    sides = {name: side for name, _, side, _ in photos.listing}
    assert len(sides) == 36
    assert all(sides[f"a/{n}.png"] == sides[f"a/{n}-again.png"] for n in range(12))
    assert photos.warnings == (
        "24 files are copies of 12 photo(s), kept on one side (such as a/0-again.png and a/0.png)",
    )
    loose = read(tmp_path, allow_duplicates=True)
    assert loose.warnings == () and any(n.endswith("again.png") for n in names(loose)["val"])
    assert loose.fingerprint != photos.fingerprint
    for number in range(12):
        (tmp_path / "a" / f"{number}-again.png").unlink()
    assert names(read(tmp_path)) == alone


def test_a_class_of_copies_of_one_photo_cannot_be_split(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 1, "b": 3})
    copy(tmp_path, "a/0.png", "a/1.png")
    with pytest.raises(InputError, match=r"'a' has only one readable photo .copies do not count"):
        read(tmp_path)


def test_the_split_and_fingerprint_of_version_01_stay_where_there_are_no_copies(tmp_path: Path) -> None:
    """Made by version 0.1 from the same 24 photos, so its runs and teacher caches go on."""
    for number in range(24):
        place = tmp_path / "ab"[number % 2] / f"{number}.bmp"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number * 9, dtype=np.uint8)).save(place)
    for allowed in (False, True):
        photos = read(tmp_path, allow_duplicates=allowed)
        assert names(photos)["val"] == VAL_OF_01
        assert photos.fingerprint == FINGERPRINT_OF_01


def test_training_copies_of_validation_photos_are_not_trained_on(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 4, "train/b": 4})
    for label in "ab":
        for number in range(2):
            copy(tmp_path, f"train/{label}/{number}.png", f"val/{label}/x{number}.png")
    photos = read(tmp_path)
    assert len(photos.train) == 4 and len(photos.val) == 4
    assert photos.set_aside[0].path.name == "0.png"
    assert photos.set_aside[0].reason == "the same photo is a validation photo, val/a/x0.png"
    assert photos.warnings[0].startswith("4 training photos are copies of validation photos and are not trained on")
    both = read(tmp_path, allow_duplicates=True)
    assert len(both.train) == 8 and both.warnings[0].startswith("4 training photos are copies of validation photos (")


def test_a_photo_of_two_labels_is_set_aside_and_both_are_named(tmp_path: Path) -> None:
    tree(tmp_path, {"cell": 6, "flower": 6})
    copy(tmp_path, "cell/1.png", "flower/z.png")
    photos = read(tmp_path)
    assert photos.counts() == {"cell": 5, "flower": 6}
    assert [s.reason for s in photos.set_aside] == [
        "labelled 'cell', and its copy flower/z.png is labelled 'flower'",
        "labelled 'flower', and its copy cell/1.png is labelled 'cell'",
    ]
    assert photos.warnings[0].startswith(
        "2 photos have two labels and are set aside (such as cell/1.png: labelled 'cell'"
    )
    assert read(tmp_path, allow_duplicates=True).counts() == {"cell": 6, "flower": 7}


def test_a_class_whose_photos_all_have_another_label_too_is_named(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 2, "b": 4, "c": 4})
    for number in range(2):
        copy(tmp_path, f"a/{number}.png", f"b/a{number}.png")
    with pytest.raises(InputError, match=r"no photo of class 'a' can be used.*labelled 'b'"):
        read(tmp_path)


def scene(number: int) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((96, 96), Image.Resampling.BICUBIC)


def test_photos_that_look_alike_are_warned_of(tmp_path: Path) -> None:
    for number in range(8):
        for split in ("train", "val"):
            place = tmp_path / split / "ab"[number % 2] / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            scene(number + (100 if split == "val" and number > 0 else 0)).save(place, quality=95)
    scene(0).resize((80, 80)).save(tmp_path / "val" / "a" / "0.jpg", quality=40)
    photos = read(tmp_path)
    assert len(photos.train) == len(photos.val) == 8
    assert photos.warnings[-1].startswith(
        "1 of 8 validation photos look like a training photo (such as val/a/0.jpg and"
    )


def test_looks_of_other_photos_differ_and_flat_ones_have_none() -> None:
    looks = {str(number): look(scene(number)) for number in range(60)}
    smaller = {f"{number}, smaller": look(scene(number).resize((60, 60))) for number in range(0, 60, 7)}
    assert near_copies(looks, smaller) == [(name, name.split(",")[0]) for name in smaller]
    assert near_copies(looks, {str(number): look(scene(number)) for number in range(60, 300)}) == []
    assert (
        look(Image.new("RGB", (50, 40), "red")) == ""
        and near_copies(looks, {"flat": ""}) == near_copies({}, looks) == []
    )


@pytest.mark.parametrize("kind", ["digits", "solar cells"])
def test_photos_saved_anew_are_found_and_others_are_not(kind: str) -> None:
    images = _digits() if kind == "digits" else _cells()
    looks = {str(number): look(image) for number, image in enumerate(images)}
    again = {f"again {number}": look(_saved(image)) for number, image in enumerate(images[:200])}
    # Photos without contrast are not compared.
    compared = {name: value for name, value in again.items() if value and looks[name.split()[1]]}
    assert len(compared) > 180 and len(near_copies(looks, compared, RESAVED)) == len(compared)
    others = {name: value for name, value in looks.items() if int(name) >= len(images) // 2}
    first = {name: value for name, value in looks.items() if name not in others}
    assert len(near_copies(first, others, RESAVED)) <= len(others) / 1000


def _digits() -> list[Image.Image]:
    from sklearn.datasets import load_digits

    greys = [Image.fromarray((grey * 255 / 16).round().astype("uint8")) for grey in load_digits().images]
    return [grey.resize((32, 32), Image.Resampling.BICUBIC) for grey in greys]


def _cells() -> list[Image.Image]:
    elpv = pytest.importorskip("elpv_dataset")
    return [Image.open(path) for path in sorted((Path(elpv.__file__).parent / "data" / "images").glob("*.png"))[:1000]]


def _saved(image: Image.Image) -> Image.Image:
    """Smaller by a third, as a JPEG of quality 60."""
    stream = io.BytesIO()
    small = image.convert("RGB").resize((round(image.width * 2 / 3), round(image.height * 2 / 3)))
    small.save(stream, "JPEG", quality=60)
    return Image.open(stream)


def test_too_many_pairs_to_compare_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"a": 8, "b": 8})
    assert not any("too many pairs" in warning for warning in read(tmp_path).warnings)
    monkeypatch.setattr("attar.data.leaks.MAX_PAIRS", 10)
    assert any("too many pairs" in warning for warning in read(tmp_path).warnings)
