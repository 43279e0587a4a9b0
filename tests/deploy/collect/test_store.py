"""The store of observations: none lost, none doubled, none changed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.data.observations import Observation, read_observation
from attar.deploy.collect.store import NAME, Action, Decision, Kept, Refused, Store, in_force, opened
from attar.errors import InputError
from attar.files import digest_of
from helpers.observed import jpeg, observation_of

ROOT = Path(__file__).parents[3]


def observation(photo: bytes, **changes: object) -> Observation:
    return read_observation(observation_of(photo, contributor="Ana") | changes, "made")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "collect", create=True) as store:
        store.invite("Ana", quota=50)
        yield store


def test_an_observation_is_kept_with_its_photo_once(store: Store) -> None:
    photo = jpeg(1)
    first, second = observation(photo), observation(photo)
    sent = first.image
    assert [store.add(each, photo, sent) for each in (first, second, first)] == [Kept.NEW, Kept.NEW, Kept.KNOWN]
    kept = list(store.observations())
    assert [each.observation for each in kept] == [first, second] and [each.number for each in kept] == [1, 2]
    assert list(store.observations(after=1)) == kept[1:]
    assert store.photo(kept[0].photo).read_bytes() == photo
    assert len(list((store.folder / "photos").glob("*/*.jpg"))) == 1


def test_what_was_sent_to_an_earlier_attar_is_known_when_it_comes_again(store: Store) -> None:
    photo = jpeg(1)
    plain = observation_of(photo, contributor="Ana")
    as_kept = plain | {"label": "", "text": "", "place": None}  # a row of before there were circumstances
    row = (plain["id"], digest_of(as_kept), "0" * 64, "Ana", plain["time"], json.dumps(as_kept))
    columns = "(id, digest, photo, contributor, received, content)"
    with sqlite3.connect(store.folder / NAME) as connection:
        connection.execute(f"INSERT INTO observations {columns} VALUES (?, ?, ?, ?, ?, ?)", row)
    again = read_observation(plain, "again")
    assert store.add(again, photo, again.image) is Kept.KNOWN
    [kept] = store.observations()
    assert kept.observation == again and again.backend is None


def test_an_id_belongs_to_one_observation_and_a_hash_to_one_photo(store: Store) -> None:
    photo = jpeg(1)
    first = observation(photo)
    store.add(first, photo, first.image)
    other = first.model_copy(update={"predicted": "elm"})
    with pytest.raises(Refused, match="id of its own"):
        store.add(other, photo, other.image)
    with pytest.raises(Refused, match="SHA-256"):
        store.add(observation(jpeg(2)), photo, first.image)
    assert len(list(store.observations())) == 1


def test_an_invitation_has_a_token_a_quota_and_an_end(store: Store) -> None:
    token = store.invite("Ben", quota=1)
    assert (
        store.contributor(token) == "Ben" and store.contributor(token + "x") is None and store.contributor("") is None
    )
    assert token not in (store.folder / NAME).read_bytes().decode("latin-1")
    with pytest.raises(InputError, match="Ben has an invitation already"):
        store.invite("Ben")
    photo = jpeg(1)
    own = observation(photo, contributor="Ben")
    assert store.add(own, photo, own.image) is Kept.NEW
    more = observation(photo, contributor="Ben")
    with pytest.raises(Refused, match="used up"):
        store.add(more, photo, more.image)
    assert store.add(own, photo, own.image) is Kept.KNOWN  # what is there already stays there
    store.revoke("Ben")
    assert store.contributor(token) is None
    with pytest.raises(InputError, match="Ben"):
        store.revoke("Ben")
    used = {each.contributor: (each.used, each.revoked is not None) for each in store.invitations()}
    assert used == {"Ana": (0, False), "Ben": (1, True)}


def test_twenty_senders_at_once_lose_and_double_nothing(store: Store) -> None:
    photos = [jpeg(number) for number in range(25)]
    sent = [observation(photo) for photo in photos]

    def send(seed: int) -> int:
        order = list(range(25))
        random.Random(seed).shuffle(order)
        with opened(store.folder) as own:
            return sum(own.add(sent[i], photos[i], sent[i].image) is Kept.NEW for i in order)

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(send, range(20))) == 25
    assert {each.observation.id for each in store.observations()} == {each.id for each in sent}
    assert len(list(store.observations())) == 25


def test_a_quota_holds_for_senders_at_the_same_time(store: Store) -> None:
    store.invite("Ben", quota=3)
    photo = jpeg(1)

    def send(_: int) -> bool:
        with opened(store.folder) as own:
            each = observation(photo, contributor="Ben")
            try:
                return own.add(each, photo, each.image) is Kept.NEW
            except Refused:
                return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(16))) == 3


SENDER = """
import sys
from pathlib import Path
from attar.deploy.collect.store import opened
from test_store import jpeg, observation
with opened(Path(sys.argv[1])) as store:
    for number in range(10_000):
        photo = jpeg(number)
        each = observation(photo)
        store.add(each, photo, each.image)
        print(each.id, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by SIGKILL")
def test_killed_at_any_moment_nothing_that_was_answered_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "collect"
    with opened(folder, create=True) as store:
        store.invite("Ana", quota=10**6)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{Path(__file__).parent}"}
    answered: set[UUID] = set()
    for round_ in range(6):
        command = [sys.executable, "-c", SENDER, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout
        chance = random.Random(round_)
        for _ in range(chance.randrange(1, 30)):
            answered.add(UUID(process.stdout.readline().strip()))
        time.sleep(chance.uniform(0, 0.02))  # somewhere in a later one
        process.send_signal(signal.SIGKILL)
        lines = process.communicate()[0].splitlines(keepends=True)
        answered |= {UUID(line.strip()) for line in lines if line.endswith("\n")}
    with opened(folder) as store:
        kept = list(store.observations())
        assert answered <= {each.observation.id for each in kept} and len(answered) > 6
        for each in kept:
            content = store.photo(each.photo).read_bytes()
            assert hashlib.sha256(content).hexdigest() == each.photo


def test_decisions_are_a_log_and_two_reviewers_do_not_overwrite_each_other(store: Store) -> None:
    photo = jpeg(1)
    own = observation(photo)
    store.add(own, photo, own.image)
    name = str(own.id)
    first = store.decide(name, "Ana", Action.ACCEPT)
    with pytest.raises(Refused, match="Ana has decided meanwhile"):
        store.decide(name, "Ben", Action.RELABEL, "elm")
    second = store.decide(name, "Ben", Action.RELABEL, "elm", seen=first)
    assert (found := in_force(store.decisions(name))) and (found.reviewer, found.label) == ("Ben", "elm")
    store.decide(name, "Ben", Action.UNDO, seen=second)
    assert (found := in_force(store.decisions(name))) and found.action is Action.ACCEPT
    assert [each.action for each in store.decisions(name)] == [Action.ACCEPT, Action.RELABEL, Action.UNDO]
    with sqlite3.connect(store.folder / NAME) as raw, pytest.raises(sqlite3.IntegrityError, match="only added"):
        raw.execute("DELETE FROM decisions")


@given(st.lists(st.sampled_from(Action), max_size=12))
def test_what_is_in_force_is_what_undo_leaves(actions: list[Action]) -> None:
    decisions = [Decision(number, "Ana", action, "", "") for number, action in enumerate(actions, 1)]
    left: list[int] = []
    for number, action in enumerate(actions, 1):
        left = left[:-1] if action is Action.UNDO else [*left, number]
    found = in_force(decisions)
    assert (found.number if found else None) == (left[-1] if left else None)


def test_what_was_imported_counts_towards_no_quota(tmp_path: Path) -> None:
    with opened(tmp_path, create=True) as store:
        token = store.invite("Ana", quota=1)
        for number in (1, 2):
            made = observation(jpeg(number))
            store.add(made, jpeg(number), made.image, invited=False)
        assert [each.used for each in store.invitations()] == [0]
        assert store.contributor(token) == "Ana"
        own = observation(jpeg(3))
        assert store.add(own, jpeg(3), own.image) is Kept.NEW
        assert [each.used for each in store.invitations()] == [1]
        more = observation(jpeg(4))
        with pytest.raises(Refused, match="used up"):
            store.add(more, jpeg(4), more.image)
        assert store.add(more, jpeg(4), more.image, invited=False) is Kept.NEW


def test_what_came_before_version_3_counts_as_it_did(tmp_path: Path) -> None:
    with opened(tmp_path, create=True) as store:
        store.invite("Ana", quota=1)
        store.add(made := observation(jpeg(1)), jpeg(1), made.image, invited=False)
    with sqlite3.connect(tmp_path / NAME) as raw:  # as version 2 had it
        raw.executescript("ALTER TABLE observations DROP COLUMN invited; PRAGMA user_version = 2")
    with opened(tmp_path) as store:
        assert [each.used for each in store.invitations()] == [1]
        assert not list(store.doubts()) and [each.observation for each in store.observations()] == [made]


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no observations here"), opened(tmp_path / "none"):
        pass
    assert not (tmp_path / "none").exists()
    (tmp_path / NAME).write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(InputError, match="not a database"), opened(tmp_path):
        pass
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / NAME) as raw:
        raw.execute("CREATE TABLE something (a)")
    with pytest.raises(InputError, match="not a database of observations"), opened(tmp_path / "other"):
        pass


def test_a_folder_of_version_1_goes_on_and_takes_doubts(tmp_path: Path) -> None:
    with opened(tmp_path, create=True) as store:
        store.invite("Ana")
        store.add(made := observation(jpeg(1)), jpeg(1), made.image)
    with sqlite3.connect(tmp_path / NAME) as raw:  # as version 1 had it
        raw.executescript("DROP INDEX doubts_of; DROP TABLE doubts; ALTER TABLE observations DROP COLUMN invited;")
        raw.execute("PRAGMA user_version = 1")
    with opened(tmp_path) as store:
        id = str(made.id)
        assert store.doubt(id, "the teacher says elm") and not store.doubt(id, "the teacher says elm")
        store.decide(id, "Ben", Action.ACCEPT)
        assert store.doubt(id, "it says so again")
        assert [(of, each.seen, each.reason) for of, each in store.doubts()] == [
            (id, 0, "the teacher says elm"),
            (id, 1, "it says so again"),
        ]
        assert [each.number for _, each in store.doubts(after=1)] == [2]
