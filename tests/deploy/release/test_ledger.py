"""The ledger of looks at sets of photos."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.deploy.release.ledger import CHANCE, LOOKS, Look, level, opened, sample, shared
from attar.errors import InputError
from attar.files import digest_of


def photos(*numbers: int) -> tuple[str, ...]:
    """The sample of a set of photos."""
    return sample([digest_of(number) for number in numbers])


SET = photos(*range(100))


def look(photos: tuple[str, ...] = SET, pair: str = "pair", ship: bool = False) -> Look:
    return Look("2026-01-01T00:00:00+00:00", photos, pair, level(), ship)


def test_all_looks_together_take_the_chance_that_there_is():
    assert LOOKS * level() == pytest.approx(CHANCE)


def test_each_new_pair_is_a_look_and_a_pair_asked_again_is_none(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for number, pair in enumerate(["a", "b", "a", "c"]):
        with opened(path) as ledger:
            assert ledger.number(SET, pair) == [1, 2, 1, 3][number]
            ledger.add(look(pair=pair))
    with opened(path) as ledger:
        assert [each.pair for each in ledger.of(SET)] == ["a", "b", "c"]
        assert ledger.number(photos(*range(100, 200)), "a") == 1


def test_a_set_is_used_up(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with opened(path) as ledger:
        for number in range(LOOKS):
            ledger.add(look(pair=str(number)))
        assert ledger.number(SET, "0") == 1, "what was decided can be asked again"
        with pytest.raises(InputError, match=r"ledger\.jsonl.*new validation photos"):
            ledger.number(SET, "one more")


@pytest.mark.parametrize("damage", ["{}", "no JSON", '{"at": 1}', '{"at"'])
def test_a_damaged_ledger_is_no_empty_one(tmp_path, damage):
    path = tmp_path / "ledger.jsonl"
    with opened(path) as ledger:
        ledger.add(look())
    path.write_text(path.read_text() + damage + "\n")
    with pytest.raises(InputError, match=r"ledger\.jsonl: line 2"), opened(path):
        pass


def _add(path: Path, number: int) -> None:
    with opened(path) as ledger:
        ledger.number(SET, str(number))
        ledger.add(look(pair=str(number)))


def test_many_processes_lose_no_look(tmp_path):
    path = tmp_path / "runs" / "ledger.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add, args=(path, number)) for number in range(8)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    with opened(path) as ledger:
        assert {each.pair for each in ledger.of(SET)} == {*map(str, range(8))}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--ledger"), opened(tmp_path / "file" / "ledger.jsonl"):
        pass


def test_photos_that_are_added_do_not_renew_a_set(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with opened(path) as ledger:
        for number in range(LOOKS):
            ledger.add(look(photos(*range(100 + 4 * number)), str(number)))
        with pytest.raises(InputError, match="new validation photos"):
            ledger.number(photos(*range(200)), "new")
        assert ledger.number(photos(*range(150, 400)), "new") == 1, "most of its photos were never asked"


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 3000), st.integers(200, 3000), st.integers(200, 3000))
def test_samples_tell_how_many_photos_two_sets_share(start, first, second):
    one, other = range(first), range(start, start + second)
    true = len({*one} & {*other}) / min(first, second)
    assert shared(photos(*one), photos(*other)) == pytest.approx(true, abs=0.12)


def test_other_files_are_no_ledger(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for place in (tmp_path / "bytes", tmp_path, Path("/")):
        with pytest.raises(InputError, match="ledger"), opened(place):
            pass
