"""Zips of the app's "Save my observations". tests/deploy/app/test_observations.py imports those of a real page."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attar.data.observations import Observation, Review, Row, read_observation, write_metadata
from attar.deploy.collect import saved
from attar.deploy.collect.saved import import_saved
from attar.deploy.collect.store import Kept, opened
from attar.errors import InputError
from helpers.command import in_process
from helpers.observed import jpeg, observation_of

Files = dict[str, bytes | str]


def observed(number: int, **changes: Any) -> tuple[Observation, bytes]:
    """What a phone keeps: nobody's name is in it."""
    photo = jpeg(number)
    return read_observation(observation_of(photo, **changes), "made"), photo


def table(rows: list[tuple[Observation, bytes]]) -> str:
    return "".join(write_metadata(Row(f"photos/{each.id}.jpg", each, each.said) for each, _ in rows))


def zipped(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_saved(path: Path, rows: list[tuple[Observation, bytes]]) -> Path:
    photos = {f"photos/{each.id}.jpg": photo for each, photo in rows}
    return zipped(path, {**photos, "metadata.csv": table(rows)})


def test_each_observation_keeps_its_id_and_comes_once(tmp_path: Path) -> None:
    rows = [observed(1), observed(2, verdict="other", text="a hat"), observed(2, verdict="unknown")]
    path, people = as_saved(tmp_path / "saved.zip", rows), tmp_path / "people"
    done = import_saved(people, path, "Ana")
    assert (done.new, done.known, done.left_out) == (3, 0, ())
    done = import_saved(people, path, "Ana")
    assert (done.new, done.known, done.left_out) == (0, 3, ())
    with opened(people) as store:
        found = [each.observation for each in store.observations()]
        assert found == [each.model_copy(update={"contributor": "Ana"}) for each, _ in rows]
        store.invite("Ana", quota=1)
        assert [each.used for each in store.invitations()] == [0]
        # The phone has them still, and sends them by an invitation of the same name.
        assert {store.add(each, photo, each.image) for each, (_, photo) in zip(found, rows)} == {Kept.KNOWN}


def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path) -> None:
    good, other, gone, broken, large, taken = (observed(number) for number in range(6))
    broken = (broken[0].model_copy(update={"image": "0" * 64}), broken[1])
    rows = [good, other, gone, broken, large, taken]
    content: Files = {f"photos/{each.id}.jpg": photo for each, photo in rows}
    content[f"photos/{other[0].id}.jpg"] = b"no photo"
    del content[f"photos/{gone[0].id}.jpg"]
    content[f"photos/{large[0].id}.jpg"] = bytes(saved.LARGEST + 1)
    import_saved(tmp_path / "people", as_saved(tmp_path / "one.zip", [taken]), "Ben")
    done = import_saved(
        tmp_path / "people", zipped(tmp_path / "saved.zip", {**content, "metadata.csv": table(rows)}), "Ana"
    )
    assert (done.new, done.known) == (1, 0)
    assert {each.path.stem: each.reason for each in done.left_out} == {
        str(other[0].id): "not an image that Pillow can read",
        str(gone[0].id): "is not in the zip",
        str(broken[0].id): "The photo is not the one that the observation names: its SHA-256 differs.",
        str(large[0].id): "has more than 10 MiB",
        str(taken[0].id): "Another observation has this id. Each needs an id of its own.",
    }


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., None]:
    """Refuses a zip of this content or these files in one sentence, and keeps nothing."""

    def refused(match: str, content: bytes | Files, who: str = "Ana") -> None:
        path = tmp_path / "saved.zip"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            zipped(path, content)
        with pytest.raises(InputError, match=match):
            import_saved(tmp_path / "people", path, who)
        assert not (tmp_path / "people").exists()

    return refused


def test_what_the_app_never_saves_is_refused_in_words(refused: Callable[..., None], tmp_path: Path) -> None:
    [(observation, photo)] = rows = [observed(1)]
    whole, text = as_saved(tmp_path / "whole.zip", rows).read_bytes(), table(rows)
    refused("not a whole zip", b"")
    refused("not a whole zip", whole[:-1])
    refused("not a whole zip", whole[-40:])
    refused(r"metadata\.csv is not in the zip", {f"photos/{observation.id}.jpg": photo})
    refused(r"metadata\.csv .* can't decode", {"metadata.csv": b"\xff\xfe"})
    refused("has no observation", {"metadata.csv": text.splitlines(keepends=True)[0]})
    refused("not a table of observations", {"metadata.csv": "path,label\n"})
    refused("is not inside the folder", {"metadata.csv": text.replace("photos/", "../photos/")})
    refused("not as the app saves it", {"metadata.csv": text.replace("photos/", "elsewhere/")})
    reviewed = Row(f"photos/{observation.id}.jpg", observation, "elm", Review.RELABEL, "Rev")
    refused("not as the app saves it", {"metadata.csv": "".join(write_metadata([reviewed]))})
    refused(
        "not as the app saves it",
        {"metadata.csv": table([(observation.model_copy(update={"contributor": "Eve"}), photo)])},
    )
    refused("--by", whole, who=" Ana")
    with pytest.raises(InputError, match="no such file"):
        import_saved(tmp_path / "people", tmp_path / "none.zip", "Ana")


def test_a_zip_is_bounded_before_it_is_unpacked(
    refused: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [observed(1), observed(2)]
    whole = as_saved(tmp_path / "whole.zip", rows).read_bytes()
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("something is unpacked"))
    locator = b"PK\6\7" + bytes(16)
    refused("more than 50,000 files or 2 GiB", whole[:-22] + locator + whole[-22:])
    long = bytearray(whole)
    long[-10:-6] = struct.pack("<L", saved.MOST * 200 + 1)
    refused("more than 50,000 files or 2 GiB", bytes(long))
    start = whole.index(b"PK\1\2") + 24  # where the directory has a file's unpacked size
    large = whole[:start] + struct.pack("<L", saved.LARGEST_ZIP + 1) + whole[start + 4 :]
    refused("more than 50,000 files or 2 GiB", large)
    monkeypatch.setattr(saved, "MOST", 2)
    refused("more than 50,000 files or 2 GiB", whole)


def test_a_file_that_unpacks_to_more_than_it_says_takes_no_memory(tmp_path: Path) -> None:
    [(observation, _)] = rows = [observed(1)]
    bomb = f"photos/{observation.id}.jpg"
    path = zipped(tmp_path / "saved.zip", {bomb: bytes(200 << 20), "metadata.csv": table(rows)})
    small = path.read_bytes().replace(struct.pack("<L", 200 << 20), struct.pack("<L", 1000))
    path.write_bytes(small)
    assert len(small) < 1 << 20
    tracemalloc.start()
    try:
        done = import_saved(tmp_path / "people", path, "Ana")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert [each.reason for each in done.left_out] == ["is damaged (Bad CRC-32 for file 'x')".replace("x", bomb)]


def test_a_thousand_damaged_zips_are_read_or_refused(tmp_path: Path) -> None:
    draw, path = random.Random(0), tmp_path / "saved.zip"
    rows = [observed(number) for number in range(3)]
    whole = as_saved(path, rows).read_bytes()
    outcomes = set()
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 2, 20))):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            with saved._archive(path) as archive:
                for row in saved._rows(archive, path):
                    saved._unpacked(archive, row.file_name, saved.LARGEST)
            outcomes.add("read")
        except (InputError, saved._Unusable) as error:
            outcomes.add(type(error).__name__)
    assert outcomes == {"read", "InputError", "_Unusable"}


def test_the_command_says_what_a_zip_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    attar, path = in_process(monkeypatch, capfd), as_saved(tmp_path / "Saved.ZIP", [observed(1)])
    words = ("collect", tmp_path / "people", "--import", path)
    code, printed, _ = attar(*words, "--by", "Ana", "--json")
    assert (code, json.loads(printed)) == (0, {"new": 1, "known": 0, "left_out": []})
    for more in (("--by", "Ana", "--model", path), ()):
        code, _, message = attar(*words, *more)
        assert code == 2 and "a zip needs --by NAME, and no --model" in message
