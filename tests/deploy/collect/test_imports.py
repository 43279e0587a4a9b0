"""Labelled photos from a folder, as observations of the person who sent them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from attar.benchmarks.predict import Model
from attar.data.observations import Verdict
from attar.deploy.collect import imports
from attar.deploy.collect.imports import import_photos
from attar.deploy.collect.store import opened
from attar.errors import InputError
from attar.files import sha256
from attar.preprocessing import Preprocessing
from helpers.pictures import SHAPES, draw

LABELS = tuple(sorted(SHAPES))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that answers its first label, whatever it sees. tests/e2e/test_first_round.py imports with a real one."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"any")

    def answer(pixels: np.ndarray) -> np.ndarray:
        assert pixels.shape[1:] == (32, 32, 3) and pixels.dtype == np.uint8
        return np.tile(np.float32([0.5, 0.3, 0.2]), (len(pixels), 1))

    monkeypatch.setattr(imports, "open_model", lambda _: Model("any", LABELS, Preprocessing(32), answer))
    yield path


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """Three photos: of the model's first label, of another one, and of none."""
    folder = tmp_path / "sent"
    for label in (*LABELS[:2], "star"):
        (folder / label).mkdir(parents=True)
        draw(LABELS[0], LABELS.index(label) if label in LABELS else 7).save(folder / label / "1.png")
    return folder


def test_a_photo_is_confirmed_corrected_or_something_else(sent: Path, model: Path, tmp_path: Path) -> None:
    (sent / "star" / "2.png").write_bytes(b"no photo")
    done = import_photos(tmp_path / "people", sent, "Ana", model)
    assert (done.new, done.known, [each.path.name for each in done.left_out]) == (3, 0, ["2.png"])
    with opened(tmp_path / "people") as store:
        found = list(store.observations())
        assert not store.invitations()
        assert all(store.photo(each.photo).is_file() for each in found)
    said = {each.observation.verdict: each.observation for each in found}
    assert (said[Verdict.CONFIRMED].predicted, said[Verdict.CONFIRMED].probability) == (LABELS[0], 0.5)
    assert (said[Verdict.CORRECTED].label, said[Verdict.OTHER].text) == (LABELS[1], "star")
    assert {each.contributor for each in said.values()} == {"Ana"}
    assert {each.model for each in said.values()} == {sha256(model)}
    assert said[Verdict.CONFIRMED].image == sha256(sent / LABELS[0] / "1.png")


def test_again_nothing_comes_twice_and_what_is_new_comes(sent: Path, model: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "people", create=True) as store:
        store.invite("Ana", quota=1)
    import_photos(tmp_path / "people", sent / LABELS[0] / "..", "Ana", model)
    draw(LABELS[1], 11).save(sent / LABELS[1] / "2.png")
    done = import_photos(tmp_path / "people", sent, "Ana", model)
    assert (done.new, done.known) == (1, 3)
    assert import_photos(tmp_path / "people", sent, "Ben", model).new == 4
    with opened(tmp_path / "people") as store:
        assert [each.used for each in store.invitations()] == [0]


def test_bad_input_leaves_no_folder(sent: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for match, place, who in (
        ("no such folder", tmp_path / "none", "Ana"),
        ("no photos with a label", tmp_path / "nothing", "Ana"),
        ("--by", sent, "A\nna"),
        ("--by", sent, " Ana"),
    ):
        with pytest.raises(InputError, match=match):
            import_photos(tmp_path / "people", place, who, model)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        import_photos(tmp_path / "people", sent, "Ana", tmp_path / "nothing")
    assert not (tmp_path / "people").exists()


def test_a_name_that_cannot_be_kept_is_told_before_anything_is_kept(sent: Path, model: Path, tmp_path: Path) -> None:
    (sent / "star").rename(sent / "st\u00adar")
    with pytest.raises(InputError, match=r"cannot be shown\. Rename its folder"):
        import_photos(tmp_path / "people", sent, "Ana", model)
    assert not (tmp_path / "people").exists()
