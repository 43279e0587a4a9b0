"""The server of observations over real connections: friends at once, and strangers of all kinds."""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from attar.deploy.collect.cleaning import LARGEST, MAX_PIXELS
from attar.deploy.collect.store import Store
from helpers.observed import jpeg, observation_of
from helpers.receiving import receiving

pytestmark = pytest.mark.slow


@dataclass
class Collect:
    """A running server."""

    port: int
    store: Store
    token: str

    def put(
        self, observation: dict[str, Any], photo: bytes, token: str | None = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        header = base64.b64encode(json.dumps(observation).encode()).decode()
        path = f"/{token or self.token}/observations/{observation['id']}"
        return self.ask("PUT", path, photo, {"X-Observation": header, **headers})

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content.startswith(b"{") else {}
        finally:
            connection.close()


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Collect]:
    with receiving(tmp_path / "collect") as (port, store):
        yield Collect(port, store, store.invite("Ana", quota=5000))


def test_an_observation_is_taken_once_and_named_after_its_sender(collect: Collect) -> None:
    photo = jpeg(1)
    own = observation_of(photo, contributor="somebody else", place={"latitude": 48.137154, "longitude": 11.575382})
    assert collect.put(own, photo) == (201, {"kept": "new"}) and collect.put(own, photo) == (200, {"kept": "known"})
    [kept] = collect.store.observations()
    assert kept.observation.contributor == "Ana" and kept.observation.place
    assert kept.observation.place.latitude == 48.14
    assert collect.ask("GET", f"/{collect.token}") == (200, {"contributor": "Ana", "used": 1, "quota": 5000})
    assert collect.put({**own, "predicted": "elm"}, photo)[0] == 409
    spent = collect.store.invite("Ben", quota=1)
    for photo, expected in [(jpeg(2), 201), (jpeg(3), 403)]:
        assert collect.put(observation_of(photo), photo, token=spent)[0] == expected
    status, _ = collect.ask("OPTIONS", f"/{collect.token}/observations/{own['id']}")
    assert status == 200


def test_a_thousand_observations_of_twenty_senders_at_once(collect: Collect) -> None:
    photos = [jpeg(number, 640) for number in range(1000)]
    sent = [observation_of(photo) for photo in photos]
    seconds: list[float] = []

    def send(sender: int) -> list[int]:
        statuses = []
        for number in range(sender, 1000, 20):
            start = time.perf_counter()
            statuses.append(collect.put(sent[number], photos[number])[0])
            seconds.append(time.perf_counter() - start)
        return statuses

    with ThreadPoolExecutor(20) as pool:
        assert {status for statuses in pool.map(send, range(20)) for status in statuses} == {201}
    kept = {str(each.observation.id) for each in collect.store.observations()}
    assert kept == {each["id"] for each in sent}
    print(f"p50 {statistics.median(seconds):.3f} s, p99 {sorted(seconds)[989]:.3f} s")


def test_strangers_and_their_inventions_are_refused_and_leave_nothing(collect: Collect) -> None:
    photo = jpeg(1)
    own = observation_of(photo)
    name = own["id"]
    header = base64.b64encode(json.dumps(own).encode()).decode()
    path = f"/{collect.token}/observations/{name}"
    bomb = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(bomb, "PNG")
    asked = {
        "wrong token": (404, lambda: collect.put(own, photo, token="x" * 32)),
        "no header": (400, lambda: collect.ask("PUT", path, photo)),
        "no base64": (400, lambda: collect.ask("PUT", path, photo, {"X-Observation": "{}"})),
        "no object": (400, lambda: collect.ask("PUT", path, photo, {"X-Observation": "W10="})),
        "deep": (
            400,
            lambda: collect.ask("PUT", path, photo, {"X-Observation": base64.b64encode(b"[" * 9000).decode()}),
        ),
        "other id": (400, lambda: collect.ask("PUT", path[:-4] + "0000", photo, {"X-Observation": header})),
        "unknown key": (400, lambda: collect.put({**own, "serial": 1}, photo)),
        "other photo": (409, lambda: collect.put(own, jpeg(200))),
        "no photo": (422, lambda: collect.put(observation_of(b"text"), b"text")),
        "bomb": (422, lambda: collect.put(observation_of(bomb.getvalue()), bomb.getvalue())),
        "long head": (431, lambda: collect.put(own, photo, Cookie="x" * 16000)),
        "other method": (405, lambda: collect.ask("POST", path, photo)),
        "outside": (404, lambda: collect.ask("GET", "/../../etc/passwd")),
    }
    for what, (status, ask) in asked.items():
        found, answer = ask()
        assert found == status, (what, found, answer)
        if status not in (404, 405) or what == "wrong token":
            assert answer["error"], what
    assert list(collect.store.observations()) == [] and not (collect.store.folder / "photos").exists()


def test_a_large_body_is_refused_before_it_is_read(collect: Collect) -> None:
    with socket.create_connection(("127.0.0.1", collect.port), timeout=600) as raw:
        own = observation_of(b"")
        header = base64.b64encode(json.dumps(own).encode()).decode()
        head = f"PUT /{collect.token}/observations/{own['id']} HTTP/1.1\r\nHost: x\r\nX-Observation: {header}\r\n"
        raw.sendall(f"{head}Content-Length: {LARGEST + 1}\r\n\r\n".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")


def test_ten_thousand_hostile_requests_leave_the_server_well(collect: Collect) -> None:
    def attack(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(500):
            with socket.create_connection(("127.0.0.1", collect.port), timeout=600) as raw:
                kind = generator.randrange(4)
                path = "/" + "".join(generator.choices("abc/.%\\?#", k=generator.randrange(200)))
                if kind == 0:
                    raw.sendall(generator.randbytes(generator.randrange(2000)))
                elif kind == 1:
                    raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                elif kind == 2:
                    forged = f"PUT /{collect.token}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nshort"
                    raw.sendall(forged.encode())
                else:
                    raw.sendall(f"PUT /{collect.token}/observations/x HTTP/1.1\r\nHost: x\r\n".encode())

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(attack, range(20)))
    photo = jpeg(1)
    assert collect.put(observation_of(photo), photo)[0] == 201
    assert len(list(collect.store.observations())) == 1
    assert sorted(path.name for path in collect.store.folder.parent.iterdir()) == ["collect"]


def test_two_hundred_damaged_photos_are_mended_or_refused_and_nothing_else_happens(collect: Collect) -> None:
    """Photos of five formats, cut, with bits turned, with forged sizes, repeated or mixed."""
    chance = random.Random(3)
    image, whole = Image.effect_noise((90, 70), 80).convert("RGB"), []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        stream = io.BytesIO()
        image.save(stream, kind)
        whole.append(stream.getvalue())

    def damaged() -> bytes:
        photo, other = bytearray(chance.choice(whole)), chance.choice(whole)
        how = chance.randrange(4)
        if how == 0:
            return bytes(photo[: chance.randrange(len(photo))])
        if how == 1:
            for _ in range(chance.randrange(1, 30)):
                photo[chance.randrange(len(photo))] ^= 1 << chance.randrange(8)
            return bytes(photo)
        if how == 2:  # most sizes stand in the first bytes
            at = chance.randrange(40)
            return bytes(photo[:at] + chance.randbytes(8) + photo[at + 8 :])
        return bytes(photo[: chance.randrange(len(photo))]) + other[chance.randrange(len(other)) :]

    photos = [damaged() for _ in range(200)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda photo: collect.put(observation_of(photo), photo), photos))
    statuses = [status for status, _ in answers]
    assert set(statuses) == {201, 422} and all(told["error"] for status, told in answers if status == 422)
    kept = list(collect.store.observations())
    assert len(kept) == statuses.count(201)
    for each in kept:
        with Image.open(collect.store.photo(each.photo)) as opened:
            assert opened.format == "JPEG" and opened.width * opened.height <= MAX_PIXELS
            opened.load()
    assert sorted(path.name for path in collect.store.folder.parent.iterdir()) == ["collect"]
