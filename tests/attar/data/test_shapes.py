"""Long photos are warned of, where a centre crop would lose their ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from attar.data.builtin import photos_of
from attar.data.photos import DataSpec, read_photos
from attar.data.shapes import warned_of
from attar.recipe import DataPart


def written(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    for number, (width, height) in enumerate(sizes):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((width, height), 60).convert("RGB").save(place / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("sizes", "long"),
    [
        ([(100, 20)] * 12, True),
        ([(20, 100)] * 12, True),
        ([(40, 20)] * 12, False),
        ([(100, 20)] * 4 + [(30, 20)] * 8, False),
    ],
)
def test_most_photos_decide(tmp_path: Path, sizes: list[tuple[int, int]], long: bool) -> None:
    photos = read_photos(DataSpec(str(written(tmp_path, sizes))))
    warnings = [warning for warning in warned_of(photos, "crop").warnings if "as long as wide" in warning]
    assert bool(warnings) == long
    assert not long or ("median 5.0" in warnings[0] and "student.fit=squash" in warnings[0])
    assert warned_of(photos, "pad").warnings == warned_of(photos, "squash").warnings == photos.warnings


def test_a_run_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = DataPart(path=str(written(tmp_path / "photos", [(100, 20)] * 12)))
    photos_of(data, tmp_path)
    assert "student.fit=squash" in "".join(capsys.readouterr().err.split("\n"))
    photos_of(data, tmp_path, fit="pad")
    assert "student.fit" not in capsys.readouterr().err
