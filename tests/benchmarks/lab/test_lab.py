"""The lab without a browser: its plan, what it takes from devices and what it refuses, over real HTTP."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from attar.benchmarks.lab import check
from attar.benchmarks.lab import laboratory as laboratories
from attar.benchmarks.lab import server as server_module
from attar.benchmarks.lab.agreement import judge
from attar.benchmarks.lab.inbox import LONGEST, Done, Failure, Hello, Ready, Refused, Round, VisitorDevice, parse
from attar.benchmarks.lab.laboratory import MOST_DEVICES, Laboratory
from attar.benchmarks.lab.plan import LabPlan, make_plan
from attar.benchmarks.lab.server import make_app
from attar.benchmarks.lab.session import Session
from attar.benchmarks.lab.visitor import describe, name
from attar.benchmarks.latency import record
from attar.benchmarks.latency.history import opened as database
from attar.benchmarks.latency.measure import BLOCK, MAX_SAMPLES, MIN_SAMPLES
from attar.benchmarks.latency.session import Keeper, Tracking
from attar.benchmarks.latency.stability import of_run
from attar.benchmarks.report.report import history_table
from attar.errors import GateError, InputError
from attar.export.manifest import FileEntry
from attar.export.web import assets
from attar.export.web.assets import Assets
from attar.files import sha256
from attar.serving.connections import LARGEST_HEAD, Bounds
from attar.serving.http import make_config

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

TOKEN = "the-token"
HANG = 600
"""Seconds that nothing here takes, however busy the machine is."""
BOUNDS = Bounds(idle=HANG)
EXPECTED = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
VERSIONS = dict.fromkeys(assets.PACKAGES, "1.2.3")


def entry(target: str, file: str) -> FileEntry:
    signature = {"input": {"name": "image"}, "output": {"name": "probabilities"}}
    return FileEntry(target, file, f"sha of {file}", 5, signature, "", {}, None, {})


ENTRIES = (entry("litert:fp32", "a.tflite"), entry("litert:int8", "b.tflite"), entry("onnx:fp32", "c.onnx"))


def plan(**changes: Any) -> LabPlan:
    about: dict[str, Any] = {
        "name": "net",
        "entries": ENTRIES,
        "contents": tuple(e.file.encode() for e in ENTRIES),
        "pixels": np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3),
        "expected": {e.file: EXPECTED for e in ENTRIES},
        "seconds": 1.0,
        "threads": 4,
        "versions": VERSIONS,
    }
    return LabPlan(**{**about, **changes})


def hello(
    webgpu: bool = False,
    isolated: bool = True,
    agent: str = "Mozilla/5.0 (Linux; Android 14) Chrome/150.0",
    timer: int = 1,
) -> Any:
    device = {"user_agent": agent, "isolated": isolated, "secure": isolated, "relaxed_simd": True, "cores": 8}
    return {"device": device, "webgpu": webgpu, "conditions": {"timer": timer, "battery": 0.5}}


def ready(job: int, **changes: Any) -> dict[str, Any]:
    about = {"job": job, "load": 9, "first": 8, "warmup": 20, "per": 2, "threads": 1, "answers": EXPECTED.tolist()}
    return {**about, **changes}


def turns(number: int, jobs: Any = range(3), sample: int = 7) -> dict[str, Any]:
    return {"number": number, "turns": [{"job": job, "samples": [sample] * BLOCK} for job in jobs]}


DONE: dict[str, Any] = {"conditions": {"timer": 1, "battery": 0.4}, "hidden": 1}


CHROME, FIREFOX = (f"Mozilla/5.0 (Linux; Android 14) {name}/150.0" for name in ("Chrome", "Firefox"))


class Clock:
    """A clock that stands still unless told."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


def take(kind: Any, value: Any) -> Any:
    return parse(kind, json.dumps(value).encode())


def opened(clock: Callable[[], int], **how: Any) -> Session:
    return Session(plan(), take(Hello, hello(**how)), clock)


# --- the plan -------------------------------------------------------------------------------------


def test_the_plan_holds_the_files_and_what_they_answered(small: Any) -> None:
    made = make_plan(small.exports, seconds=3, threads=2, versions=VERSIONS)
    assert [e.file for e in made.entries] == ["litert-fp32.tflite", "onnx-fp32.onnx"]
    assert made.contents == tuple((small.exports / e.file).read_bytes() for e in made.entries)
    golden = json.loads((small.exports / "golden/golden.json").read_text())
    assert made.pixels.shape == (len(golden["images"]), 32, 32, 3) and made.pixels.dtype == np.uint8
    for file, expected in made.expected.items():
        np.testing.assert_array_equal(expected, golden["files"][file]["probabilities"])
    plan = made.for_browser(made.jobs(webgpu=False))
    assert [job["url"] for job in plan["jobs"]] == ["files/0", "files/1"]
    assert all(sorted(order) == [0, 1] for order in plan["rounds"]) and len(plan["rounds"]) == MAX_SAMPLES // BLOCK
    assert len({tuple(order) for order in plan["rounds"]}) == 2
    json.dumps(plan, allow_nan=False)


def test_float_files_run_on_webgpu_too_where_it_is() -> None:
    jobs = plan().jobs(webgpu=True)
    assert [(job.entry.file, job.backend) for job in jobs[3:]] == [("a.tflite", "webgpu"), ("c.onnx", "webgpu")]
    assert jobs[3].runtime == "LiteRT.js (WebGPU)" and jobs[2].runtime == "ONNX Runtime Web (wasm)"


def test_without_good_golden_vectors_there_is_no_plan(small: Any, tmp_path: Path) -> None:
    exports = shutil.copytree(small.exports, tmp_path / "exports")
    (exports / "golden/0.png").unlink()
    with pytest.raises(InputError, match=r"golden.*attar export"):
        make_plan(exports, seconds=1, threads=1, versions=VERSIONS)
    (exports / "onnx-fp32.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"onnx-fp32.onnx: changed"):
        make_plan(exports, seconds=1, threads=1, versions=VERSIONS)
    with pytest.raises(InputError, match="positive"):
        make_plan(exports, seconds=0, threads=1, versions=VERSIONS)


# --- agreement ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "agrees", "top1"),
    [
        (EXPECTED, True, 1.0),
        (EXPECTED + 0.01, True, 1.0),
        (EXPECTED + 0.03, False, 1.0),
        (EXPECTED[::-1], False, 0.0),
        (np.zeros((2, 3)), False, 0.5),
        (EXPECTED * 1e300, False, 1.0),
        (np.where(EXPECTED == 0.8, np.nan, EXPECTED), False, 0.5),
    ],
)
def test_what_agrees(answers: np.ndarray, agrees: bool, top1: float) -> None:
    verdict = judge(answers, EXPECTED)
    assert verdict["agrees"] is agrees and verdict["top1"] == top1 and verdict["images"] == 2
    json.dumps(verdict, allow_nan=False)


def test_zeros_do_not_agree_with_many_small_probabilities() -> None:
    expected = np.full((1, 5000), 1 / 5000)
    assert judge(np.zeros((1, 5000)), expected)["max_error"] < 0.02
    assert not judge(np.zeros((1, 5000)), expected)["agrees"]
    assert judge(expected, expected)["agrees"]


# --- what is taken, and what is refused -----------------------------------------------------------

KINDS = [(Hello, hello()), (Ready, ready(0)), (Round, turns(0)), (Done, DONE), (Failure, {"job": 0, "error": "x"})]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(KINDS), st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_nonsense_is_refused_and_never_breaks(kind: Any, body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse(kind[0], body)
    assert refused.value.status == 422 and len(refused.value.reason) <= 200


@given(st.data())
def test_one_wrong_value_anywhere_is_refused_or_within_bounds(data: Any) -> None:
    kind, good = data.draw(st.sampled_from(KINDS))
    places = list(_places(good))
    place = data.draw(st.sampled_from(places))
    value = _with(good, place, data.draw(JSON))
    try:
        parsed = parse(kind, json.dumps(value).encode()).model_dump_json()
    except Refused:
        return
    assert "NaN" not in parsed and "Infinity" not in parsed and "\x1b" not in json.loads(json.dumps(parsed))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("sample", [0, -1, LONGEST, 1.5, "7", None, True, [7]])
def test_a_sample_is_a_positive_whole_number_below_a_minute(sample: Any) -> None:
    with pytest.raises(Refused):
        take(Round, turns(0, sample=sample))


@pytest.mark.parametrize("count", [0, BLOCK - 1, BLOCK + 1])
def test_a_block_has_the_planned_count(count: int) -> None:
    with pytest.raises(Refused):
        take(Round, {"number": 0, "turns": [{"job": 0, "samples": [7] * count}]})


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**8)), max_size=30))
def test_no_more_time_is_taken_than_has_passed(steps: list[tuple[int, int]]) -> None:
    """Whatever a device says, and whenever: the samples taken fit in the time since the plan was handed out."""
    clock = Clock()
    session = opened(clock)
    begin = clock.now
    clock.now += 100
    for job in range(3):
        session.ready(take(Ready, ready(job)))
    taken = 0
    for passed, sample in steps:
        clock.now += passed
        before = [list(work.samples) for work in session.work]
        try:
            session.round(take(Round, turns(taken, sample=sample)))
            taken += 1
        except Refused as refused:
            assert "more than has passed" in refused.reason
            assert [work.samples for work in session.work] == before
        assert sum(2 * sum(work.samples) for work in session.work) <= clock.now - begin


def test_a_device_is_measured_and_its_records_say_how(tmp_path: Path) -> None:
    clock = Clock()
    session = opened(clock)
    clock.now += 10**9
    for job in range(3):
        assert session.ready(take(Ready, ready(job)))["agrees"]
    for number in range(MIN_SAMPLES // BLOCK):
        session.round(take(Round, turns(number, sample=7 + number)))
    records = session.done(take(Done, DONE))
    record.append(records, tmp_path)
    assert record.read(tmp_path) == records and [r.file for r in records] == ["a.tflite", "b.tflite", "c.onnx"]
    first = records[0]
    assert first.samples == tuple(7 + number for number in range(MIN_SAMPLES // BLOCK) for _ in range(BLOCK))
    assert first.block == BLOCK and first.run and {each.run for each in records} == {first.run}
    assert first.runtime == {"name": "LiteRT.js (wasm)", "version": "1.2.3"} and first.sha256 == "sha of a.tflite"
    assert (first.load, first.first, first.warmup, first.threads) == ((9,), (8,), 20, 1)
    assert first.device["kind"] == "browser" and first.device["os"] == "Android 14" and first.device["cores"] == 8
    assert first.conditions == {
        "battery": [0.5, 0.4],
        "timer_nanoseconds": [1, 1],
        "inferences_per_sample": 2,
        "hidden": 1,
    }
    assert first.agreement is not None and first.agreement["agrees"] is True and first.agreement["top1"] == 1


@pytest.mark.parametrize(
    ("sample", "per", "refused", "trusted"),
    [
        (1, 1, True, None),
        (2499, 2, True, None),
        (2500, 2, False, False),
        (24_900, 2, False, False),
        (25_000, 2, False, True),
        (5, 10_000, False, True),
    ],
)
def test_a_sample_is_no_finer_than_the_clock(sample: int, per: int, refused: bool, trusted: bool | None) -> None:
    """Below one step of the clock no browser can measure; below ten the figures are not to be trusted."""
    clock = Clock()
    session = opened(clock, timer=5000)
    clock.now += 10**12
    for job in range(3):
        session.ready(take(Ready, ready(job, per=per)))
    if refused:
        with pytest.raises(Refused, match=r"shorter than one step of the clock, 5000 ns"):
            session.round(take(Round, turns(0, sample=sample)))
        assert not any(work.samples for work in session.work)
        return
    for number in range(MIN_SAMPLES // BLOCK):
        session.round(take(Round, turns(number, sample=sample)))
    records = session.done(take(Done, DONE))
    verdict = of_run(records)
    assert verdict.trusted is trusted and ("steps of the browser's clock" in str(verdict)) is not trusted
    assert records[0].load == records[0].first == (5000,)  # told as 9 and 8 ns: less than a step is a step


def test_order_and_counts_are_the_plans() -> None:
    clock = Clock()
    session = opened(clock)
    clock.now += 10**12
    for wrong in (
        ready(3),
        ready(0, threads=5),
        ready(0, answers=EXPECTED[:1].tolist()),
        ready(0, answers=[[1.0, 0.0]] * 2),
        ready(0, answers=[]),
    ):
        with pytest.raises(Refused):
            session.ready(take(Ready, wrong))
    assert not any(work.active for work in session.work)
    for job in range(2):
        session.ready(take(Ready, ready(job)))
    session.failed(take(Failure, {"job": 2, "error": "no kernel"}))
    for wrong in (turns(1, range(2)), turns(0, range(3)), turns(0, [0]), turns(0, [0, 0]), turns(0, [0, 1, 1])):
        with pytest.raises(Refused):
            session.round(take(Round, wrong))
    session.round(take(Round, turns(0, range(2))))
    session.round(take(Round, turns(0, range(2), sample=99)))  # told again: heard once
    assert [len(work.samples) for work in session.work] == [BLOCK, BLOCK, 0] and session.work[0].samples[0] == 7
    with pytest.raises(Refused, match="samples"):
        session.done(take(Done, DONE))
    with pytest.raises(Refused, match="too late"):
        session.ready(take(Ready, ready(2)))
    for number in range(1, MAX_SAMPLES // BLOCK):
        session.round(take(Round, turns(number, range(2))))
    with pytest.raises(Refused, match="enough"):
        session.round(take(Round, turns(MAX_SAMPLES // BLOCK, range(2))))
    assert [r.file for r in session.done(take(Done, DONE))] == ["a.tflite", "b.tflite"]


def test_a_page_that_is_not_isolated_has_one_thread() -> None:
    clock = Clock()
    session = opened(clock, isolated=False)
    clock.now += 10**9
    with pytest.raises(Refused, match="threads 2"):
        session.ready(take(Ready, ready(0, threads=2)))
    session.ready(take(Ready, ready(0)))


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Mobile "
            "Safari/537.36",
            "Android 14, Chrome 150.0.0.0",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.1 Mobile/15E148 Safari/604.1",
            "iOS 18.1, Safari 18.1",
        ),
        ("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Android 15, Firefox 140.0"),
        ("\x1b[31mred\x07\nnonsense", "a browser that tells nothing"),
    ],
)
def test_devices_by_their_user_agent(agent: str, shown: str) -> None:
    device = take(VisitorDevice, hello(agent=agent)["device"])
    description = describe(device)
    assert name(description) == shown and description["user_agent"].isprintable()


def test_a_device_may_not_write_to_the_terminal() -> None:
    about = {**hello()["device"], "model": "\x1b]0;owned\x07 [bold]Pixel[/bold]", "platform": "x" * 120}
    assert "\x1b" not in name(describe(take(VisitorDevice, about)))
    with pytest.raises(Refused):
        take(VisitorDevice, {**about, "model": "x" * 121})


# --- over HTTP ------------------------------------------------------------------------------------


class Client:
    """A real HTTP client; every request on a fresh connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
        connection.putrequest(method, path, skip_host="host" in headers)
        for key, value in headers.items():
            connection.putheader(key.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, {key.lower(): value for key, value in response.getheaders()}, content

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        status, _, body = self.ask("GET", f"/{TOKEN}/{path}", **headers)
        return status, body

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any]:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = {"content_type": "application/json", **headers}
        status, _, content = self.ask("POST", f"/{TOKEN}/{path}", body, **headers)
        return status, json.loads(content)

    def begin(self, **how: Any) -> str:
        status, reply = self.post("sessions", hello(**how))
        assert status == 200, reply
        return f"sessions/{reply['session']}"

    def measure(self, rounds: int = MIN_SAMPLES // BLOCK, **changes: Any) -> str:
        """Tell all but the end."""
        session = self.begin()
        for job in range(3):
            assert self.post(f"{session}/ready", ready(job, **changes))[0] == 200
        for number in range(rounds):
            assert self.post(f"{session}/round", turns(number))[0] == 200
        return session


@contextmanager
def serving(laboratory: Laboratory, runtimes: Assets, bounds: Bounds = BOUNDS, **how: Any) -> Iterator[Client]:
    config = make_config(make_app(laboratory, runtimes, TOKEN, **how), bounds=bounds, lifespan="on")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Client(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    """Files of the right names in place of the runtimes: no browser loads them here."""
    folder = tmp_path_factory.mktemp("assets")
    for file in assets.FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    (folder / "secret.txt").write_text("not in the table")
    return Assets(folder, VERSIONS, dict.fromkeys(assets.PACKAGES, "MIT"))


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory(plan(), tmp_path / "run")


@pytest.fixture
def client(laboratory: Laboratory, runtimes: Assets) -> Iterator[Client]:
    with serving(laboratory, runtimes) as client:
        yield client


def test_the_page_and_all_that_it_loads_are_served_by_attar(client: Client) -> None:
    status, headers, page = client.ask("GET", f"/{TOKEN}/")
    assert status == 200 and b"<title>attar lab</title>" in page
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    for file in ("lab.js", "lab.css", "measure.js", "runtimes.js", "post.js", "device.js"):
        status, headers, _ = client.ask("GET", f"/{TOKEN}/{file}")
        assert status == 200 and headers["content-type"].startswith(("text/javascript", "text/css"))
        assert headers["x-content-type-options"] == "nosniff"
    for file in assets.FILES:
        assert client.get(f"vendor/{file}") == (200, file.encode())
    assert client.get("files/1") == (200, b"b.tflite")
    assert client.get("pixels") == (200, plan().pixels.tobytes())
    assert json.loads(client.get("about")[1])["runtimes"][0] == "@litertjs/core 1.2.3 (MIT)"


@pytest.mark.parametrize("path", ["/", "/wrong/", "/the-toke/", "/the-token2/", "//the-token/", "/favicon.ico", "/%00"])
def test_without_the_token_there_is_nothing(client: Client, path: str) -> None:
    assert client.ask("GET", path)[0] == 404
    assert client.ask("POST", f"{path}sessions", b"{}", content_type="application/json")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "vendor/../secret.txt",
        "vendor/secret.txt",
        "vendor/%2e%2e/secret.txt",
        "vendor//etc/passwd",
        "/etc/passwd",
        "vendor/",
        "vendor",
        "files/",
        "files/9",
        "files/-1",
        "files/a.tflite",
        "..%5csecret",
        "page/",
        "sessions",
        "server.py",
    ],
)
def test_only_the_table_is_served(client: Client, path: str) -> None:
    status, content = client.get(path)
    assert status in (404, 405) and b"not in the table" not in content and b"root:" not in content


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "a b", "127.0.0.1@x"]
)
def test_a_foreign_name_for_this_machine_is_refused(client: Client, host: str) -> None:
    assert client.get("", host=host)[0] in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1:9", "192.168.1.20:8000", "[::1]:8000"])
def test_the_labs_own_names_are_served(client: Client, host: str) -> None:
    assert client.get("", host=host)[0] == 200


def test_only_the_labs_own_page_may_post(client: Client) -> None:
    body = json.dumps(hello()).encode()
    assert client.post("sessions", body, origin="https://evil.example")[0] == 403
    assert client.post("sessions", body, origin="null")[0] == 403
    assert client.post("sessions", body, content_type="text/plain")[0] == 415
    assert client.post("sessions", body, origin=f"http://127.0.0.1:{client.port}")[0] == 200
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.ask(method, f"/{TOKEN}/sessions")[0] == 405


def test_an_oversized_message_is_refused(client: Client, laboratory: Laboratory) -> None:
    session = client.begin()
    status, reply = client.post(f"{session}/round", b" " * (1 << 20))
    assert status == 413 and "bytes" in reply["error"]
    # Without a length that could be looked at first: in chunks.
    with socket.create_connection(("127.0.0.1", client.port), timeout=HANG) as raw:
        head = f"POST /{TOKEN}/{session}/round HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(40):
            try:
                raw.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
            except OSError:  # it has hung up
                break
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    assert all(not work.samples for work in laboratory.sessions[session.split("/")[1]].work)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"number": NaN, "turns": []}',
        b'{"number": 1e999, "turns": []}',
        b'{"number": 0, "turns": [{"job": 0, "samples": [' + b"9" * 5000 + b"]}]}",
    ],
)
def test_nonsense_is_refused_and_the_lab_goes_on(client: Client, body: bytes) -> None:
    session = client.begin()
    for kind in ("ready", "round", "done", "failed"):
        assert client.post(f"{session}/{kind}", body)[0] == 422
    assert client.post("sessions", body)[0] == 422
    assert client.post(f"{session}/nothing", body)[0] == 404 and client.post("sessions/x/round", turns(0))[0] == 404
    assert client.post(f"{session}/ready", ready(0))[0] == 200


def test_a_phone_that_hangs_up_in_a_message_is_no_error(capfd: pytest.CaptureFixture[str], client: Client) -> None:
    session = client.begin()
    head = f"POST /{TOKEN}/{session}/round HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=HANG) as raw:
        raw.sendall(f'{head}Content-Length: 1000\r\n\r\n{{"number"'.encode())
        time.sleep(0.3)
    time.sleep(0.3)
    assert client.post(f"{session}/ready", ready(0))[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_forged_sum_is_refused(client: Client, laboratory: Laboratory) -> None:
    session = client.measure(rounds=1)
    status, reply = client.post(f"{session}/round", turns(1, sample=50_000_000_000))
    assert status == 422 and "more than has passed" in reply["error"]
    assert client.post(f"{session}/ready", ready(0, load=LONGEST - 1))[1]["agrees"]  # told again: the first counts
    assert all(work.samples == [7] * BLOCK for work in laboratory.sessions[session.split("/")[1]].work)


def test_two_phones_at_once_keep_apart(client: Client, laboratory: Laboratory) -> None:
    one, two = client.begin(agent="Android 13"), client.begin(agent="Android 14")
    for job in range(3):
        for session in (one, two):
            client.post(f"{session}/ready", ready(job))
    for number in range(MIN_SAMPLES // BLOCK):
        for session, sample in ((one, 5), (two, 9)):
            assert client.post(f"{session}/round", turns(number, sample=sample))[0] == 200
    for session in (two, one):
        status, reply = client.post(f"{session}/done", DONE)
        assert status == 200 and len(reply["records"]) == 3
    kept = record.read(laboratory.output)
    assert kept == laboratory.records and len(kept) == 6
    assert {(r.device["os"], set(r.samples).pop()) for r in kept} == {("Android 13", 5), ("Android 14", 9)}


def test_an_end_told_twice_is_written_once(client: Client, laboratory: Laboratory) -> None:
    session = client.measure()
    first, again = (client.post(f"{session}/done", DONE) for _ in range(2))
    assert first == again and first[0] == 200 and len(record.read(laboratory.output)) == 3
    assert client.post(f"{session}/round", turns(5))[0] == 410 and client.post(f"{session}/closed", {})[0] == 200
    assert len(record.read(laboratory.output)) == 3 and laboratory.finished == 1


@pytest.mark.parametrize(("rounds", "kept"), [(MIN_SAMPLES // BLOCK - 1, 0), (MIN_SAMPLES // BLOCK, 3)])
def test_of_a_closed_tab_only_enough_is_kept(
    client: Client, laboratory: Laboratory, rounds: int, kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    session = client.measure(rounds=rounds)
    assert client.post(f"{session}/closed", {})[0] == 200
    assert len(record.read(laboratory.output)) == kept
    assert all(r.conditions["ended"] == "the page went away" for r in laboratory.records)
    assert "went away" in capsys.readouterr().err and client.post(f"{session}/done", DONE)[0] == 410
    assert client.post(f"{client.measure()}/done", DONE)[0] == 200  # and the lab goes on


def test_a_device_that_falls_silent_is_ended(tmp_path: Path, runtimes: Assets) -> None:
    laboratory = Laboratory(plan(), tmp_path)
    with serving(laboratory, runtimes) as client:
        session = client.measure()
        laboratory.patience = 0.5  # not before: a busy machine may take longer between two messages
        while not laboratory.records:
            time.sleep(0.05)
        assert len(record.read(tmp_path)) == 3
        assert client.post(f"{session}/round", turns(5))[0] == 410


def test_a_flood_of_devices_is_held_back(client: Client) -> None:
    sessions = [client.begin() for _ in range(MOST_DEVICES)]
    status, reply = client.post("sessions", hello())
    assert status == 429 and reply["error"] == "16 devices are measuring. Try again when one has finished."
    client.post(f"{sessions[0]}/closed", {})
    client.begin()


def test_devices_may_come_and_go_for_ever(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended sessions are forgotten, the first ones first; running ones and records never are."""
    monkeypatch.setattr(laboratories, "MOST_SESSIONS", 20)
    running = [laboratory.hello(take(Hello, hello()))["session"] for _ in range(2)]
    measured_by(laboratory, 7)
    for _ in range(50):
        laboratory.closed(laboratory.hello(take(Hello, hello()))["session"])
    assert len(laboratory.sessions) == 20 and len(laboratory.records) == 3
    for session in running:
        assert laboratory.ready(session, take(Ready, ready(0)))["agrees"]


# --- who has no token ------------------------------------------------------------------------------


@contextmanager
def connected(client: Client, count: int, say: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that say no more than this."""
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", client.port), timeout=HANG))
            held[-1].sendall(say)
        yield held
    finally:
        for each in held:
            each.close()


def closed(connection: socket.socket, seconds: float = HANG) -> bool:
    """Whether the lab closes it in this time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.parametrize("say", [b"", b"GET / HTTP/1.1\r\nHost: local"], ids=["silent", "half a head"])
def test_connections_that_ask_nothing_stop_nobody(client: Client, say: bytes) -> None:
    with connected(client, 300, say) as held:
        assert client.get("about")[0] == 200 and client.begin()
        assert all(closed(each) for each in held[:100])  # the first ones made room
        assert not closed(held[-1], 0.1)


def test_an_address_takes_no_other_addresss_place(laboratory: Laboratory, runtimes: Assets) -> None:
    with serving(laboratory, runtimes, Bounds(in_all=8, per_address=4, idle=HANG)) as client:
        other = socket.create_connection(("127.0.0.1", client.port), timeout=HANG, source_address=("127.0.0.2", 0))
        with other, connected(client, 6) as held:
            assert all(closed(each) for each in held[:2])  # once all six are there
            assert not any(closed(each, 0.1) for each in (*held[2:], other))


def test_who_is_being_served_makes_no_room_for_who_is_not(laboratory: Laboratory, runtimes: Assets) -> None:
    with serving(laboratory, runtimes, Bounds(per_address=3, idle=HANG)) as client:
        name = client.begin()
        body = json.dumps(ready(0)).encode()
        head = f"POST /{TOKEN}/{name}/ready HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", client.port), timeout=HANG) as slow:
            slow.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            assert slow.recv(100).startswith(b"HTTP/1.1 100")  # now it is being served
            with connected(client, 10) as held:
                assert all(closed(each) for each in held[:7])
                slow.sendall(body)
                assert slow.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "say",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: local",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
    ],
    ids=["silent", "half a head", "an answer", "an answer before the body"],
)
def test_who_takes_its_time_is_hung_up_on(laboratory: Laboratory, runtimes: Assets, say: bytes) -> None:
    """Also one that sends a little now and then: the time is for the whole head, and an unread body buys none."""
    with serving(laboratory, runtimes, Bounds(idle=0.5)) as client:
        begin = time.monotonic()
        with pytest.raises(OSError), connected(client, 1, say) as [slow]:
            while time.monotonic() - begin < HANG:
                slow.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - begin > 0.4
        with connected(client, 1) as [another]:
            assert closed(another), "the lab goes on"


def test_a_body_that_drips_is_not_waited_for(
    laboratory: Laboratory, runtimes: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_BODY_SECONDS", 0.4)
    head = f"POST /{TOKEN}/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with (
        serving(laboratory, runtimes) as client,
        connected(client, 1, f"{head}Content-Length: 1000\r\n\r\n".encode()) as [slow],
    ):
        for _ in range(6):
            slow.sendall(b" ")
            time.sleep(0.1)
        assert slow.recv(100).startswith(b"HTTP/1.1 408") and not laboratory.sessions


@pytest.mark.parametrize("where", ["one header", "many headers", "the address"])
def test_a_head_is_bounded(client: Client, where: str) -> None:
    size = LARGEST_HEAD + 1000
    headers = {"one header": [b"X: " + b"x" * size], "many headers": [b"X%d: x" % n for n in range(size // 4)]}
    path = b"/the-token/" + (b"x" * size if where == "the address" else b"about")
    head = b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers.get(where, [])])
    with connected(client, 1, head + b"\r\n\r\n") as [talking]:
        answer = talking.recv(100)
        assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    with connected(client, 1) as [talking], pytest.raises(OSError):
        for _ in range(2000):  # in pieces, without an end
            talking.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 4096)
            time.sleep(0.001)
    assert client.get("about")[0] == 200


def test_other_answers_are_said_loudly(
    client: Client, laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    session = client.measure(answers=EXPECTED[::-1].tolist())
    assert "DISAGREES: a.tflite on Android 14, Chrome 150.0" in capsys.readouterr().err
    assert client.post(f"{session}/done", DONE)[0] == 200
    kept = record.read(laboratory.output)
    assert all(r.agreement is not None and r.agreement["agrees"] is False for r in kept)
    with pytest.raises(GateError, match=r"a\.tflite"):
        check(laboratory)


def test_a_device_with_a_coarse_clock_is_told_so(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    session = client.begin(timer=5)
    for job in range(3):
        client.post(f"{session}/ready", ready(job))
    for number in range(MIN_SAMPLES // BLOCK):
        client.post(f"{session}/round", turns(number))
    reply = client.post(f"{session}/done", DONE)[1]
    assert "a.tflite, b.tflite, c.onnx lasts fewer than 10 steps of the browser's clock" in reply["doubt"]
    assert reply["doubt"].split() == capsys.readouterr().err.split()[-len(reply["doubt"].split()) :]
    assert client.post(f"{client.measure()}/done", DONE)[1]["doubt"] is None


def test_numbers_that_are_none_disagree(client: Client, laboratory: Laboratory) -> None:
    session = client.measure(answers=[[None, 0.5, 0.5], [0.0, 0.0, 1.0]])
    assert client.post(f"{session}/done", DONE)[0] == 200
    assert [r.agreement["max_error"] for r in record.read(laboratory.output) if r.agreement] == [None] * 3


def test_a_device_on_which_no_file_runs(client: Client, laboratory: Laboratory) -> None:
    session = client.begin()
    for job in range(3):
        assert client.post(f"{session}/failed", {"job": job, "error": "no wasm\x1b[2J"})[0] == 200
    assert client.post(f"{session}/done", DONE) == (200, {"records": [], "doubt": None})
    with pytest.raises(GateError, match="No file ran"):
        check(laboratory)


def test_what_cannot_be_written_can_be_sent_again(client: Client, laboratory: Laboratory) -> None:
    session = client.measure()
    laboratory.output.parent.mkdir(exist_ok=True)
    laboratory.output.write_text("a file where the folder should be")
    status, reply = client.post(f"{session}/done", DONE)
    assert status == 507 and "run" in reply["error"]
    laboratory.output.unlink()
    assert client.post(f"{session}/done", DONE)[0] == 200 and len(record.read(laboratory.output)) == 3


def test_what_is_sent_again_is_in_the_history_once(tmp_path: Path, runtimes: Assets) -> None:
    history, output = tmp_path / "lab.sqlite", tmp_path / "run"
    output.write_text("a file where the folder should be")
    with serving(Laboratory(plan(), output, keep=Keeper(Tracking(history, "v1")).keep), runtimes) as client:
        session = client.measure()
        assert client.post(f"{session}/done", DONE)[0] == 507
        output.unlink()
        assert client.post(f"{session}/done", DONE)[0] == 200
    with database(history) as lab:
        assert sorted(each.file for each in lab.records("v1")) == [entry.file for entry in ENTRIES]


def measured_by(laboratory: Laboratory, sample: int, agent: str = FIREFOX) -> None:
    """A device's way through the lab, without HTTP."""
    name = laboratory.hello(take(Hello, hello(agent=agent)))["session"]
    for job in range(3):
        laboratory.ready(name, take(Ready, ready(job)))
    for number in range(MIN_SAMPLES // BLOCK):
        laboratory.round(name, take(Round, turns(number, sample=sample + number % 2)))
    laboratory.done(name, take(Done, DONE))


def test_phones_are_kept_in_the_history_and_judged_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "lab.sqlite"
    for sample in (1000, 1002, 998):
        measured_by(Laboratory(plan(), tmp_path, keep=Keeper(Tracking(history, "v1")).keep), sample)
    with database(history) as lab:
        assert len(lab.records("v1")) == 9
        shown = Console(width=200, record=True, file=io.StringIO())
        shown.print(history_table(lab.records(), lab.tags()))
        assert "Android 14, Firefox 150.0" in shown.export_text()

    def judged(sample: int, *agents: str) -> list[str]:
        keeper = Keeper(Tracking(history, against="v1", fail_if=("p50 > 1.10x baseline",)))
        laboratory = Laboratory(plan(), tmp_path, keep=keeper.keep)
        for agent in agents:
            measured_by(laboratory, sample, agent)
        return [each.outcome for each in keeper.judged(laboratory.records)]

    assert judged(1003, FIREFOX) == ["passed"] * 3
    assert judged(1150, FIREFOX.replace("150.0", "151.0")) == ["failed"] * 3  # an updated browser, the same phone
    with pytest.raises(InputError, match="not on this device"):
        judged(1003, CHROME)
    capsys.readouterr()
    assert judged(1003, CHROME, FIREFOX) == ["passed"] * 3  # what can be judged is, and of the other it is told
    assert "not on this device" in capsys.readouterr().err


def test_a_baseline_that_is_not_there_is_told_before_anybody_measures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run has this tag"):
        Keeper(Tracking(tmp_path / "lab.sqlite", against="v1"))


def test_once_a_device_has_finished_the_server_is_told(tmp_path: Path, runtimes: Assets) -> None:
    finished: list[bool] = []
    with serving(Laboratory(plan(), tmp_path), runtimes, after=lambda: finished.append(True)) as client:
        session = client.measure()
        client.post(f"{session}/closed", {})
        client.post(f"{session}/done", DONE)
        assert not finished
        client.post(f"{client.measure()}/done", DONE)
        assert finished == [True]


# --- the runtimes ---------------------------------------------------------------------------------


def test_without_the_runtimes_the_remedy_is_named() -> None:
    with pytest.raises(InputError, match="attar lab --install"):
        assets.find()


def test_a_changed_runtime_is_refused(tmp_path: Path) -> None:
    for file in assets.FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    (tmp_path / "files.json").write_text(json.dumps({file: sha256(tmp_path / file) for file in assets.FILES}))
    for package in assets.PACKAGES:
        (tmp_path / package / "package.json").write_text('{"version": "1", "license": "MIT"}')
    assert assets.find(tmp_path).versions == dict.fromkeys(assets.PACKAGES, "1")
    (tmp_path / assets.FILES[3]).write_text("another")
    with pytest.raises(InputError, match=r"changed since.*--install"):
        assets.find(tmp_path)


def test_an_install_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(InputError, match="npm ci failed: network"):
        assets.install(tmp_path / "cache" / "lab")
    assert not (tmp_path / "cache" / "lab").exists()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="npm is not installed"):
        assets.install(tmp_path / "cache" / "lab")


def test_the_lock_pins_every_package_by_its_hash_and_names_no_registry() -> None:
    text = (Path(assets.__file__).parent / "npm" / "package-lock.json").read_text()
    packages = {key: value for key, value in json.loads(text)["packages"].items() if key}
    assert {f"node_modules/{name}" for name in assets.PACKAGES} <= set(packages)
    assert all(value["integrity"].startswith("sha512-") for value in packages.values()) and "resolved" not in text


# --- the way to it --------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, runtimes: Assets, small: Any) -> Callable[..., list[bytes]]:
    """Run the lab itself; its server answers one request, and ends. Returns what it answered."""
    from attar.benchmarks.lab import serve as module

    monkeypatch.setattr(module, "find", lambda: runtimes)

    def run(tmp_path: Path, *, tls: bool = False, **how: Any) -> list[bytes]:
        answers: list[bytes] = []
        original = uvicorn.Server.run

        def once(server: Any, sockets: list[socket.socket]) -> None:
            thread = threading.Thread(target=original, args=(server,), kwargs={"sockets": sockets})
            thread.start()
            try:
                with socket.create_connection(sockets[0].getsockname()[:2], timeout=HANG) as raw:
                    talking = _trusting().wrap_socket(raw, server_hostname="localhost") if tls else raw
                    talking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    answers.append(talking.recv(100))
            finally:
                server.should_exit = True
                thread.join()

        monkeypatch.setattr(uvicorn.Server, "run", once)
        module.lab(small.exports, output=tmp_path, **how)
        return answers

    return run


def _trusting() -> Any:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_on_loopback_the_address_holds_a_token_and_there_is_no_code_to_scan(
    shown: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [answer] = shown(tmp_path)
    printed = capsys.readouterr().err
    assert answer.startswith(b"HTTP/1.1 404") and "http://127.0.0.1:" in printed and "--host 0.0.0.0" in printed
    [token] = re.findall(r"http://127\.0\.0\.1:\d+/([\w-]+)/", printed)
    assert len(token) >= 22 and "█" not in printed
    assert socket.gethostbyname("localhost") == "127.0.0.1"


def test_on_the_network_there_is_a_code_to_scan(shown: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segno = pytest.importorskip("segno")
    shown(tmp_path, host="0.0.0.0")
    printed = capsys.readouterr().err
    [url] = re.findall(r"http://[\d.]+:\d+/[\w-]+/", printed.replace("\n", ""))
    assert "0.0.0.0" not in url and "one thread" in printed
    drawn = io.StringIO()
    segno.make(url, error="l").terminal(out=drawn, compact=True)
    assert drawn.getvalue().splitlines()[5] in printed


def test_with_a_certificate_it_is_served_by_https(
    shown: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "lab.pem", tmp_path / "lab.key"
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run(
        ["openssl", "req", *words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    [answer] = shown(tmp_path, tls=True, certificate=certificate, key=key)
    assert answer.startswith(b"HTTP/1.1 404") and "https://127.0.0.1:" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"lab\.key.*PEM"):
        shown(tmp_path, tls=True, certificate=key)


def test_a_port_that_is_taken_is_named(shown: Any, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match=rf"port {other.getsockname()[1]}: cannot listen"):
            shown(tmp_path, port=other.getsockname()[1])
    with pytest.raises(InputError, match=r"198\.51\.100\.7"):
        shown(tmp_path, host="198.51.100.7")
