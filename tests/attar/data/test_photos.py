"""Finding, checking and splitting a user's photos, however they are laid out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import INaturalist

from attar.data import splitting
from attar.data.photolist import write_list
from attar.data.photos import DataSpec, Photos, in_threads, labels_of, load_pixels, looks_of, read_photos
from attar.data.sample import Sample
from attar.errors import InputError
from attar.preprocessing import Preprocessing


def photo(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(path)
    return path


def tree(root: Path, counts: dict[str, int]) -> Path:
    for place, (folder, count) in enumerate(counts.items()):
        for number in range(count):
            photo(root / folder / f"{number}.png", 1000 * place + number)
    return root


def read(root: Path, **options: object) -> Photos:
    return read_photos(DataSpec(str(root), **options))


def placed(photos: Photos, root: Path) -> dict[str, set[str]]:
    return {
        which: {f"{photos.labels[p.label]}:{p.path.relative_to(root).as_posix()}" for p in getattr(photos, which)}
        for which in ("train", "val")
    }


def refused(root: Path, match: str, of: Path | None = None, **options: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(of or root, **options)
    assert str(root) in str(caught.value) or "val_fraction" in str(caught.value)


# --- layouts -------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {"rose": 4, "tulip": 8}))
    assert photos.labels == ("rose", "tulip")
    assert Counter(p.label for p in photos.train) == {0: 3, 1: 6}
    assert Counter(p.label for p in photos.val) == {0: 1, 1: 2}
    assert photos.summary() == "2 classes, 9 training and 3 validation photos"


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test"])
def test_own_split(tmp_path: Path, val: str) -> None:
    photos = read(tree(tmp_path, {"train/a": 2, "train/b": 2, f"{val}/a": 1, f"{val}/b": 1}))
    assert placed(photos, tmp_path) == {
        "train": {"a:train/a/0.png", "a:train/a/1.png", "b:train/b/0.png", "b:train/b/1.png"},
        "val": {f"a:{val}/a/0.png", f"b:{val}/b/0.png"},
    }


def test_val_goes_before_test(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "test/a": 3}))
    assert placed(photos, tmp_path)["val"] == {"a:val/a/0.png"}


def test_train_alone_is_split(tmp_path: Path) -> None:
    (tmp_path / ".thumbnails").mkdir()
    tree(tmp_path / "__MACOSX" / "train" / "a", {"x": 1})
    photos = read(tree(tmp_path, {"train/a": 4, "train/b": 4}))
    assert photos.labels == ("a", "b") and len(photos.train) == 6 and len(photos.val) == 2


def test_train_can_be_a_class(tmp_path: Path) -> None:
    assert read(tree(tmp_path, {"bus": 2, "car": 2, "train": 2})).labels == ("bus", "car", "train")


def test_names_with_spaces_and_accents_and_nested_folders(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {"Rosa canina/2021/May": 2, "Rosa canina/2022": 2, "گل محمدی": 2, "été, 'x'": 2}))
    assert photos.labels == ("Rosa canina", "été, 'x'", "گل محمدی")


def test_composed_and_decomposed_accents_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    tree(tmp_path, {f"train/{composed}": 2, "train/b": 2, f"val/{decomposed}": 1, "val/b": 1})
    assert read(tmp_path).labels == ("b", composed)


def test_symlinked_folders(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", {"a": 2, "b": 2})
    (tmp_path / "photos").mkdir()
    for name in "ab":
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert len(read(tmp_path / "photos").train) == 2


def test_other_files_are_no_photos(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 2, "b": 2})
    for name in ("a/notes.txt", "a/.DS_Store", "b/._1.jpg", "b/Thumbs.db", "loose.png"):
        (tmp_path / name).write_bytes(b"x")
    photos = read(tmp_path)
    assert len(photos.train) + len(photos.val) == 4 and photos.set_aside == ()


def species(number: int, name: str) -> str:
    return f"{number:05d}_Plantae_Tracheophyta_Magnoliopsida_Rosales_Rosaceae_{name}"


def test_inaturalist_2021(tmp_path: Path) -> None:
    folders = [species(0, "Rosa_canina"), species(1, "Rosa_rubiginosa"), species(2, "Malus_sylvestris")]
    tree(tmp_path, {f"2021_train/{f}": 3 for f in folders} | {f"2021_valid/{f}": 1 for f in folders})
    photos = read(tmp_path)
    assert set(photos.labels) == {"Rosa canina", "Rosa rubiginosa", "Malus sylvestris"}
    for version, which in (("2021_train", photos.train), ("2021_valid", photos.val)):
        theirs = INaturalist(str(tmp_path), version=version)
        expected = {
            (name, " ".join(theirs.all_categories[category].split("_")[-2:])) for category, name in theirs.index
        }
        assert {(p.path.name, photos.labels[p.label]) for p in which} == expected


def test_inaturalist_2021_without_valid_is_split(tmp_path: Path) -> None:
    tree(tmp_path, {f"2021_train_mini/{species(i, name)}": 4 for i, name in enumerate(("Rosa_a", "Rosa_b"))})
    photos = read(tmp_path)
    assert photos.labels == ("Rosa a", "Rosa b") and len(photos.val) == 2


def test_species_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    plant = species(0, "Oenanthe_a")
    animal = "00001_Animalia_Chordata_Aves_Passeriformes_Muscicapidae_Oenanthe_a"
    assert read(tree(tmp_path, {f"2021_train/{plant}": 2, f"2021_train/{animal}": 2})).labels == (plant, animal)


def test_inaturalist_2017(tmp_path: Path) -> None:
    tree(tmp_path, {"2017/Plantae/Rosa canina": 2, "2017/Plantae/Malus": 2, "2017/Aves/Rosa canina": 2})
    theirs = INaturalist(str(tmp_path), version="2017")
    assert read(tmp_path).labels == tuple(sorted(theirs.all_categories))


# --- refusals ------------------------------------------------------------------------------------


def test_refusals(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no images found")
    refused(tree(tmp_path / "one", {"a": 3}), r"only one class \('a'\).*a folder of its own")
    unpacked = tree(tmp_path / "unpacked", {"photos/a": 3, "photos/b": 3})
    refused(unpacked, rf"\(a, b\): if these are the classes, give {unpacked / 'photos'}")
    refused(tree(tmp_path / "lone", {"a": 3, "b": 1, "c": 1}), "class 'b' has only one readable photo.*1 more")
    refused(tree(tmp_path / "gap", {"train/a": 2, "val/a": 1, "val/b": 1}), "class 'b' has no readable training photo")
    refused(tree(tmp_path / "line", {"a\nb": 2, "c": 2}), "not one line")
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        refused(tmp_path, "not between 0 and 1", val_fraction=fraction)


def test_no_readable_validation_photo(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 2, "train/b": 2})
    (tmp_path / "val" / "a").mkdir(parents=True)
    (tmp_path / "val" / "a" / "x.png").write_bytes(b"")
    refused(tmp_path, "no readable validation photo")


def test_a_class_without_a_readable_photo_is_not_dropped_silently(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 2, "b": 2, "c": 1})
    (tmp_path / "c" / "0.png").write_bytes(b"")
    refused(tmp_path, "no photo of class 'c' can be used.*0.png: empty file.*Mend")


def test_a_folder_name_that_is_no_text(tmp_path: Path) -> None:
    tree(tmp_path, {os.fsdecode(b"caf\xe9"): 2, "b": 2})
    with pytest.raises(InputError, match="not one line of UTF-8"):
        read(tmp_path)


def test_a_file_name_that_is_no_text_is_fine(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 2, "b": 2})
    photo(tmp_path / "a" / "x.png").rename(tmp_path / "a" / os.fsdecode(b"caf\xe9.png"))
    assert read(tmp_path) == read(tmp_path)


def test_bad_photos_are_set_aside_by_name(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "b" / "short.png")
    os.truncate(tmp_path / "b" / "short.png", 2000)
    photos = read(tmp_path)
    assert [(s.path.name, s.reason.split(" ")[0]) for s in photos.set_aside] == [
        ("empty.jpg", "empty"),
        ("short.png", "damaged"),
    ]
    assert len(photos.train) + len(photos.val) == 8 and photos.summary().endswith("2 set aside")


# --- split and fingerprint -----------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_split_properties(counts: list[int], fraction: float, seed: int) -> None:
    photos = [
        Sample(Path(f"{label}/{i}"), f"{label}/{i}", str(label), None)
        for label, count in enumerate(counts)
        for i in range(count)
    ]
    digests = {item.name: item.name for item in photos}

    def sides() -> list[str]:
        return splitting.split(Path("x"), photos, digests, val_fraction=fraction, seed=seed)

    split = sides()
    assert split == sides()
    for label, count in enumerate(counts):
        val = sum(s == "val" for s, item in zip(split, photos) if item.label == str(label))
        assert 1 <= val <= count - 1
    if min(counts) * min(fraction, 1 - fraction) >= 2:  # large enough for the share to hold in each class
        for label, count in enumerate(counts):
            val = sum(s == "val" for s, item in zip(split, photos) if item.label == str(label))
            assert abs(val - count * fraction) <= 1.5


def test_a_rare_class_stands_on_both_sides(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {"common": 80, "rare": 2}), val_fraction=0.1)
    assert {p.label for p in photos.val} == {p.label for p in photos.train} == {0, 1}


def test_seed_decides_the_split(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 12, "b": 12})
    assert read(tmp_path, seed=1) == read(tmp_path, seed=1)
    assert read(tmp_path, seed=1).val != read(tmp_path, seed=2).val
    assert read(tmp_path, seed=1).fingerprint != read(tmp_path, seed=2).fingerprint


def test_fingerprint_follows_content_label_and_name_but_not_place(tmp_path: Path) -> None:
    original = read(tree(tmp_path / "one", {"a": 4, "b": 4})).fingerprint
    assert read(tree(tmp_path / "two", {"a": 4, "b": 4})).fingerprint == original
    seen = {original}
    photo(tmp_path / "two" / "a" / "0.png", 77)
    seen.add(read(tmp_path / "two").fingerprint)
    (tmp_path / "two" / "a" / "0.png").rename(tmp_path / "two" / "a" / "00.png")
    seen.add(read(tmp_path / "two").fingerprint)
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "A")
    seen.add(read(tmp_path / "two").fingerprint)
    assert len(seen) == 4


# --- photos without labels -----------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_photos_without_labels_lie_beside_or_inside(inside: bool, tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", {"a": 4, "b": 4})
    folder = root / "more" if inside else tmp_path / "more"
    labelled = read(root)
    for number in range(3):
        photo(folder / "deep" / f"{number}.png", 5000 + number)
    (folder / "torn.png").write_bytes(b"no image")
    photos = read(root, unlabelled=str(folder))
    assert [(p.path.name, p.label) for p in photos.unlabelled] == [("0.png", -1), ("1.png", -1), ("2.png", -1)]
    assert (photos.labels, photos.train, photos.val) == (labelled.labels, labelled.train, labelled.val)
    assert photos.fingerprint == labelled.fingerprint and [s.path.name for s in photos.set_aside] == ["torn.png"]
    assert photos.summary().endswith("3 without labels, 1 set aside")
    photo(folder / "deep" / "3.png", 5003)
    more = read(root, unlabelled=str(folder))
    assert more.unlabelled_fingerprint != photos.unlabelled_fingerprint and labelled.unlabelled_fingerprint == ""


def test_a_labelled_photo_is_no_unlabelled_one(tmp_path: Path) -> None:
    """Else a copy of a validation photo would be trained on."""
    root = tree(tmp_path / "photos", {"a": 4, "b": 4})
    held_out = read(root).val[0].path
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "copy.png").write_bytes(held_out.read_bytes())
    with pytest.raises(InputError, match=r"more: no photo that can be used as an unlabelled one \(1 set aside\)"):
        read(root, unlabelled=str(tmp_path / "more"))
    photo(tmp_path / "more" / "new.png", 5000)
    photos = read(root, unlabelled=str(tmp_path / "more"))
    assert [p.path.name for p in photos.unlabelled] == ["new.png"]
    assert [(s.path.name, "among the labelled" in s.reason) for s in photos.set_aside] == [("copy.png", True)]


def test_a_missing_folder_of_photos_without_labels(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", {"a": 4, "b": 4})
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read(root, unlabelled=str(tmp_path / "nowhere"))


# --- pixels --------------------------------------------------------------------------------------


def listed(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A folder of added photos: name, label and split of each."""
    for number, (name, _, _) in enumerate(rows):
        photo(folder / name, 30_000 + number)
    lines = "".join(f"{','.join(row)}\n" for row in rows)
    (folder / "metadata.csv").write_text(f"file_name,label,split\n{lines}")
    return folder


def test_added_photos_move_no_other_and_bring_their_split_and_classes(tmp_path: Path) -> None:
    base = tree(tmp_path / "base", {"b": 12, "d": 12})
    alone = read(base)
    more = listed(tmp_path / "more", [("1.png", "b", "val"), ("2.png", "a", "train"), ("3.png", "d", "train")])
    both = read(base, added=str(more))
    assert both.labels == ("a", "b", "d")
    assert both.listing == (
        *alone.listing,
        *(
            (f"more/{name}", label, side, both.listing[24 + i][3])
            for i, (name, label, side) in enumerate(
                [("1.png", "b", "val"), ("2.png", "a", "train"), ("3.png", "d", "train")]
            )
        ),
    )
    assert [both.labels[each.label] for each in both.train[: len(alone.train)]] == [
        alone.labels[each.label] for each in alone.train
    ]
    assert both.fingerprint != alone.fingerprint
    assert [both.name(each) for each in (*both.train, *both.val) if both.is_added(each)] == [
        "more/2.png",
        "more/3.png",
        "more/1.png",
    ]
    assert any("no validation photo shows 1 of the classes ('a')" in note for note in both.notes)
    assert set(looks_of(both)) == {name for name, *_ in both.listing}


def test_without_a_split_added_photos_are_trained_on_and_copies_are_left_out(tmp_path: Path) -> None:
    base = tree(tmp_path / "base", {"b": 12, "d": 12})
    more = tree(tmp_path / "more", {"b": 2, "d": 1})  # all but one are copies of the base's
    photo(more / "d" / "new.png", 31_000)
    both, alone = read(base, added=str(more)), read(base)
    assert both.listing[24:] == (("more/d/new.png", "d", "train", both.listing[24][3]),)
    assert both.val and [each.path for each in both.val] == [each.path for each in alone.val]
    assert [item.reason for item in both.set_aside] == ["among the other photos already"] * 3


def test_an_added_photo_that_was_held_out_is_not_trained_on(tmp_path: Path) -> None:
    base = tree(tmp_path / "base", {"b": 12, "d": 12})
    more = listed(tmp_path / "more", [("1.png", "b", "val")])
    write_list(tmp_path / "photos.json", read(base, added=str(more)).listing)
    listed(more, [("1.png", "b", "train")])
    refused(more, "was a validation photo of the run", base, added=str(more), keep=str(tmp_path / "photos.json"))
    refused(tmp_path / "none", "no such folder or CSV file. data.added", base, added=str(tmp_path / "none"))


def test_load_pixels_in_order(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {"a": 10, "b": 10}))
    pixels = load_pixels(photos.train, Preprocessing(8, crop=1.0))
    assert pixels.shape == (len(photos.train), 8, 8, 3) and pixels.dtype == np.uint8
    for image, item in zip(pixels, photos.train):
        assert np.array_equal(image, np.asarray(Image.open(item.path)))
    assert labels_of(photos.train).tolist() == [p.label for p in photos.train]


def test_a_photo_lost_since_the_check_is_named(tmp_path: Path) -> None:
    photos = read(tree(tmp_path, {"a": 2, "b": 2}))
    photos.train[1].path.unlink()
    with pytest.raises(InputError, match=f"{photos.train[1].path.name}: changed since"):
        load_pixels(photos.train, Preprocessing(8))


def test_threads_keep_the_order_beyond_what_they_hold_at_a_time() -> None:
    assert list(in_threads(lambda item: item * item, range(2500))) == [item * item for item in range(2500)]


def test_an_error_drops_the_items_that_wait() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            raise KeyboardInterrupt
        import time

        time.sleep(0.1)  # a busy machine may be late to notice the error
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(work, range(2000)))
    assert len(done) < 200


@given(names=st.lists(st.text("abcé ü'", min_size=1, max_size=8).map(str.strip).filter(bool), unique=True, min_size=2))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_labels_are_the_folder_names_sorted(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tree(tmp_path_factory.mktemp("names"), dict.fromkeys(names, 2))
    assert read(root).labels == tuple(sorted(names))
