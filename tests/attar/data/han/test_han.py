"""Han characters as photos: which, in which typefaces, and the same ones whenever they are written."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.data.builtin import write_source
from attar.data.han import characters, source, typefaces
from attar.data.han.drawing import photo
from attar.data.han.source import HanSpec, chosen
from attar.data.han.typefaces import TYPEFACES, Face, characters_of, installed
from attar.data.photos import DataSpec, Photos, read_photos
from attar.errors import InputError, MissingExtra
from attar.files import sha256
from attar.recipe import Recipe

pytest.importorskip("jieba")
SMALL = {"classes": 5, "photos": 3, "val_photos": 2, "size": 32}


@pytest.fixture(scope="module")
def faces() -> dict[str, tuple[Face, ...]]:
    try:
        return installed()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def written(faces: dict[str, tuple[Face, ...]], tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Whether it is packed -> the photos of `SMALL`."""
    folder = tmp_path_factory.mktemp("han")
    return {packed: source.write(folder, {**SMALL, "packed": packed}, workers=1) for packed in (True, False)}


# --- characters and typefaces ---------------------------------------------------------------------


def test_characters_come_by_how_often_they_are_written() -> None:
    ranked = characters.by_frequency()
    names, times = zip(*ranked)
    assert len(ranked) > 10_000 and len(set(names)) == len(names)
    assert list(times) == sorted(times, reverse=True) and names[0] == "一"
    assert all(characters.FIRST <= name <= characters.LAST for name in names)
    assert {"的", "我", "國"} <= set(names)


def test_without_jieba_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(characters, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"attar\[recipes\]"):
        characters.by_frequency.__wrapped__()


def test_missing_fonts_are_named_with_their_packages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"23 fonts are missing, such as NotoSansCJK-Thin.ttc.*fonts-hanazono"):
        installed([tmp_path])


def test_a_users_fonts_come_before_the_systems(faces: dict[str, tuple[Face, ...]], tmp_path: Path) -> None:
    [own] = faces["Hanazono Mincho"]
    (tmp_path / "deep").mkdir()
    shutil.copy(own.path, tmp_path / "deep" / own.path.name)
    [ours] = installed([tmp_path, *typefaces.places()])["Hanazono Mincho"]
    assert ours.path == tmp_path / "deep" / own.path.name


def test_ten_thousand_characters_can_be_drawn(faces: dict[str, tuple[Face, ...]]) -> None:
    classes = chosen(HanSpec(classes=10_000), faces)
    names = {each.character for each in classes}
    assert len(names) == 10_000 and [each.number for each in classes] == list(range(10_000))
    for typeface in TYPEFACES:
        if typeface.held_out:  # validation shows every class in every typeface that it has
            assert names <= characters_of(faces[typeface.name][0])


def test_a_long_tail_goes_by_the_root_of_the_frequency(faces: dict[str, tuple[Face, ...]]) -> None:
    times = dict(characters.by_frequency())
    classes = chosen(HanSpec(classes=3755, photos=500, tail=True), faces)
    counts = [each.photos for each in classes]
    assert counts[0] == 500 and counts == sorted(counts, reverse=True) and 1 <= counts[-1] < 30
    middle = classes[1000]
    assert middle.photos == round(500 * (times[middle.character] / times[classes[0].character]) ** 0.5)


# --- drawing --------------------------------------------------------------------------------------


def test_a_photo_is_a_function_of_its_seed(faces: dict[str, tuple[Face, ...]]) -> None:
    [face] = faces["AR PL UMing"]
    first, again, other = (photo("中", face, 48, seed) for seed in (1, 1, 2))
    assert first == again != other
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (48, 48), "RGB")


def test_typefaces_and_characters_look_different(faces: dict[str, tuple[Face, ...]]) -> None:
    """A photo is nearer to another of its character than to most of other characters: mean over many."""

    def ink(character: str, name: str, seed: int) -> np.ndarray:
        with Image.open(io.BytesIO(photo(character, faces[name][0], 32, seed))) as image:
            grey = np.asarray(image.convert("L").resize((10, 10), Image.Resampling.BOX), np.float32)
        away = np.abs(grey - np.median(grey))
        return (away - away.mean()) / away.std()

    ours = [
        (ink(c, "WenQuanYi Zen Hei", 2 * i), ink(c, "AR PL UMing", 2 * i + 1))
        for i, c in enumerate("一口川火木水山田大人")
    ]
    same = np.mean([(a * b).mean() for a, b in ours])
    others = np.mean([(a * ours[j][1]).mean() for i, (a, _) in enumerate(ours) for j in range(len(ours)) if i != j])
    assert same > others + 0.08


# --- what is written --------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_photos_are_read_as_they_were_written(written: dict[bool, Path], packed: bool) -> None:
    photos = read_photos(DataSpec(str(written[packed])))
    top = [name for name, _ in characters.by_frequency()[:5]]
    assert sorted(photos.labels) == sorted(top)

    def counts(split: str) -> set[int]:
        return set(Counter(each.label for each in getattr(photos, split)).values())

    assert counts("train") == {3} and counts("val") == {2}


def test_both_forms_hold_the_same_photos(written: dict[bool, Path]) -> None:
    def content(photos: Photos) -> Counter[bytes]:
        pixels = (np.asarray(Image.open(io.BytesIO(_bytes(photo)))) for photo in (*photos.train, *photos.val))
        return Counter(each.tobytes() for each in pixels)

    packed, plain = (content(read_photos(DataSpec(str(written[form])))) for form in (True, False))
    assert packed == plain and len(packed) == 25


def _bytes(photo: object) -> bytes:
    part = getattr(photo, "part", None)
    path: Path = photo.path  # type: ignore[attr-defined]
    return path.read_bytes()[part.offset : part.offset + part.size] if part else path.read_bytes()


def test_validation_shows_typefaces_that_training_never_shows(
    faces: dict[str, tuple[Face, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "photo", lambda character, face, size, seed: face.typeface.encode())
    spec = HanSpec(classes=3000, photos=12, val_photos=4)
    classes = tuple(chosen(spec, faces)[::500])
    shown = {
        split: {name.decode() for _, _, name in source._photos(spec, faces, source._Part(Path(), split, classes))}
        for split in ("train", "val")
    }
    held_out = {each.name for each in TYPEFACES if each.held_out}
    assert shown["val"] == held_out and shown["train"] == {each.name for each in TYPEFACES} - held_out


def test_a_writer_that_was_killed_goes_on(written: dict[bool, Path], tmp_path: Path) -> None:
    for packed, path in written.items():
        copy = tmp_path / path.name
        shutil.copytree(path, copy)
        before = sha256(copy)
        part = next(copy.glob("val-*.tar")) if packed else next((copy / "train").iterdir())
        shutil.rmtree(part) if part.is_dir() else part.unlink()
        assert source.write(tmp_path, {**SMALL, "packed": packed}, workers=1) == copy and sha256(copy) == before
        kept = {item: item.stat().st_mtime_ns for item in copy.rglob("*.tar")}
        source.write(tmp_path, {**SMALL, "packed": packed}, workers=1)
        assert kept == {item: item.stat().st_mtime_ns for item in copy.rglob("*.tar")}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"clases": 5}, r"data\.options\.clases: .* Did you mean 'classes'"),
        ({"classes": 10_001}, r"data\.options\.classes: .*10000"),
        ({"photos": 0}, r"data\.options\.photos"),
        ({"size": "large"}, r"data\.options\.size"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        write_source("han", tmp_path, options)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_has_options_for_this_source_only() -> None:
    recipe = Recipe.model_validate({"data": {"source": "han", "options": {"classes": 100, "tail": True}}})
    assert recipe.to_json()["data"]["options"] == {"classes": 100, "tail": True}
    assert "options" not in Recipe.model_validate({"data": {"source": "digits"}}).to_json()["data"]
    with pytest.raises(ValueError, match="options are those of source han"):
        Recipe.model_validate({"data": {"source": "digits", "options": {"classes": 100}}})
