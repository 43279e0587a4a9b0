"""What reviewers' browsers send, kind and unkind."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from attar.data.observations import read_observation
from attar.deploy.collect.store import Store, opened
from attar.deploy.review.queue import Queue
from attar.deploy.review.server import make_app
from attar.serving.http import make_server
from helpers.observed import jpeg, observation_of

TOKEN = "told-to-reviewers"


@dataclass
class Review:
    """A running server."""

    port: int
    store: Store

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, f"/{TOKEN}/{path}", content, headers or {})
            response = connection.getresponse()
            told = response.read()
            kind = response.headers["content-type"]
            return response.status, dict(response.headers), json.loads(told) if "json" in kind else told
        finally:
            connection.close()

    def first(self, state: str = "open") -> dict[str, Any]:
        return self.ask("GET", f"queue?state={state}")[2]["observations"][0]  # type: ignore[no-any-return]

    def decide(self, each: dict[str, Any], action: str, **more: Any) -> tuple[int, Any]:
        message = {"observation": each["id"], "reviewer": "Ben", "action": action, "seen": each["seen"], **more}
        status, _, told = self.ask("POST", "decisions", message)
        return status, told


@pytest.fixture
def review(tmp_path: Path) -> Iterator[Review]:
    with opened(tmp_path / "plants", create=True) as store:
        store.invite("Ana")
        for number in range(3):
            photo = jpeg(number)
            plain = observation_of(photo, contributor="Ana", verdict="corrected", label="elm", probability=number / 3)
            store.add(read_observation(plain, "made"), photo, plain["image"])
        listening = socket.create_server(("127.0.0.1", 0))
        server = make_server(make_app(store, Queue(store), ["oak", "elm"], TOKEN))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield Review(listening.getsockname()[1], store)
        server.should_exit = True
        thread.join()


def test_the_page_its_files_labels_and_photos_are_served(review: Review) -> None:
    status, headers, page = review.ask("GET", "")
    assert status == 200 and b"attar review" in page and "script-src 'self'" in headers["content-security-policy"]
    for name, kind in {
        "review.js": "text/javascript",
        "search.js": "text/javascript",
        "review.css": "text/css",
    }.items():
        assert review.ask("GET", name)[1]["content-type"].startswith(kind)
    assert review.ask("GET", "labels")[2] == {"labels": ["oak", "elm", "ash"]}
    each = review.first()
    status, headers, photo = review.ask("GET", f"photos/{each['photo']}.jpg")
    assert status == 200 and photo == review.store.photo(each["photo"]).read_bytes()
    assert headers["x-content-type-options"] == "nosniff"


def test_a_decision_is_kept_and_two_reviewers_do_not_overwrite_each_other(review: Review) -> None:
    each = review.first()
    status, told = review.decide(each, "relabel", label="oak")
    assert status == 200 and told["observation"]["decision"]["label"] == "oak"
    assert told["counts"] == {"open": 2, "decided": 1, "all": 3}
    status, told = review.decide(each, "reject", reviewer="Eva")
    assert status == 409 and told["error"] == "Ben has decided meanwhile: relabel oak"
    assert [known["action"] for known in told["observation"]["decisions"]] == ["relabel"]
    status, told = review.decide(told["observation"], "undo", reviewer="Eva")
    assert status == 200 and told["observation"]["decision"] is None
    assert [known.reviewer for known in review.store.decisions(each["id"])] == ["Ben", "Eva"]


def test_twenty_reviewers_at_once_make_one_decision(review: Review) -> None:
    each = review.first()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: statuses.append(review.decide(each, "accept", reviewer=f"R{n}")[0]))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 19 and len(review.store.decisions(each["id"])) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"action": "delete"}, 400),
        ({"seen": -1}, 400),
        ({"seen": 7}, 409),
        ({"seen": 2**70}, 409),
        ({"more": 1}, 400),
        ({"observation": "x"}, 404),
        ({"reviewer": ""}, 409),
        ({"reviewer": "Ben\x1b[31m"}, 409),
        ({"reviewer": "B" * 501}, 409),
        ({"label": "oak"}, 409),
        ({"action": "relabel"}, 409),
        ({"action": "relabel", "label": "a\u202eb"}, 409),
        ({"action": "undo"}, 409),
    ],
)
def test_what_is_no_decision_is_refused_and_not_kept(review: Review, change: dict[str, Any], status: int) -> None:
    each = review.first()
    message = {"observation": each["id"], "reviewer": "Ben", "action": "accept", "seen": 0, **change}
    found, _, told = review.ask("POST", "decisions", message)
    assert found == status and told["error"]
    assert not list(review.store.decided())


def test_bodies_are_bounded_and_other_places_are_none(review: Review) -> None:
    assert review.ask("POST", "decisions", b" " * 20_000)[0] == 413
    assert review.ask("POST", "decisions", b"[" * 10_000)[0] == 400
    assert review.ask("GET", "queue?state=mine")[0] == 400
    for path in ("photos/../collect.sqlite", "photos/" + "0" * 64 + ".jpg", "photos/%2e%2e%2fcollect.sqlite.jpg", "no"):
        assert review.ask("GET", path)[0] == 404, path


def test_who_does_not_know_the_address_sees_nothing(review: Review) -> None:
    for path in ("/", "/wrong/queue", f"/{TOKEN[:-1]}/queue"):
        connection = http.client.HTTPConnection("127.0.0.1", review.port, timeout=600)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()
    foreign = {"Origin": "https://elsewhere.example"}
    each = review.first()
    message = {"observation": each["id"], "reviewer": "Ben", "action": "accept", "seen": 0}
    assert review.ask("POST", "decisions", message, foreign)[0] == 403
    assert review.ask("GET", "queue", headers={"Host": "elsewhere.example"})[0] == 421
