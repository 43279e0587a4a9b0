"""`attar lab` as a person meets it: a real command, a real student's files, and a real headless Chromium."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from attar.benchmarks.latency import record
from attar.benchmarks.latency.measure import MIN_SAMPLES
from attar.data.photos import DataSpec, read_photos
from attar.export.export import export_student
from attar.export.manifest import read_manifest, write_manifest
from attar.export.web import assets
from attar.files import sha256
from helpers import warm
from helpers.browser import HANG, accessible, browsing, chromium, phone, visit, when
from helpers.small import DROP, make_student

for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert", "onnx", "onnxruntime", "uvicorn", "segno"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TARGETS = ["litert:fp32", "litert:int8", "onnx:fp32"]


@pytest.fixture(scope="module")
def cache(runtimes: assets.Assets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache folder with the runtimes in it, as `attar lab --install` leaves it."""
    chromium()
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        place = assets.place()
    place.parent.mkdir(parents=True)
    place.symlink_to(runtimes.folder)
    return folder


@pytest.fixture(scope="module")
def exports(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    photos = read_photos(DataSpec(str(shapes)))
    student = make_student("mobilenetv3_small_050", photos, folder / "student")
    export_student(student, TARGETS, folder / "exports", photos=photos, max_drop=DROP)
    return folder / "exports"


@pytest.fixture
def run(exports: Path, tmp_path: Path) -> Path:
    """A copy of the exports in a run's folder of its own."""
    return Path(shutil.copytree(exports, tmp_path / "run" / "exports"))


@dataclass
class Lab:
    """The running command."""

    process: subprocess.Popen[str]
    url: str
    messages: str

    def hears(self, text: str) -> str:
        """Read its messages until one has this text, or it ends."""
        end = time.monotonic() + HANG
        assert self.process.stderr is not None
        while text not in self.messages:
            ready, _, _ = select.select([self.process.stderr], [], [], max(0, end - time.monotonic()))
            line = os.read(self.process.stderr.fileno(), 4096).decode() if ready else ""
            assert line, f"never said: {text}\n{self.messages}"
            self.messages += line
        return self.messages

    def end(self, interrupt: bool = False) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and the printed records; with `interrupt`, after Ctrl-C."""
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        printed, errors = self.process.communicate(timeout=HANG)
        self.messages += errors
        return self.process.returncode, json.loads(printed)


@contextmanager
def lab(exports: Path, cache: Path, *words: str) -> Iterator[Lab]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache), "COLUMNS": "200"}
    command = warm.attar("lab", exports, "--json", *words)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=exports.parent
    )
    try:
        running = Lab(process, "", "")
        running.url = re.search(r"https?://\S+/", running.hears("Ctrl-C"))[0]  # type: ignore[index]
        yield running
    finally:
        process.kill()
        process.communicate()


NOW = "document.getElementById('now').textContent"
IS_READY = "!document.getElementById('start').disabled"


def begin(page: Page) -> None:
    when(page, IS_READY)
    page.locator("#start").click()


def ends(page: Page) -> str:
    """What the page says at its end, good or bad."""
    when(page, "document.getElementById('start').textContent === 'Measure again'")
    return page.locator("#now").inner_text()


def held(page: Page, place: str, times: int = 1) -> list[Route]:
    """Hold the first requests to an address, so that what the page does meanwhile lasts -> where they arrive."""
    routes: list[Route] = []
    page.route(f"**/{place}", lambda route: routes.append(route), times=times)
    return routes


def arrived(page: Page, routes: list[Route]) -> Route:
    """The next one that is held, once the page has asked."""
    while not routes:
        page.wait_for_timeout(20)
    return routes.pop(0)


def text(page: Page) -> str:
    return page.locator("body").inner_text()


def test_a_browser_measures_the_files_and_agrees_with_the_manifest(run: Path, cache: Path) -> None:
    complaints: list[str] = []
    with lab(run, cache, "--seconds", "1", "--once") as running, browsing() as browser:
        page = visit(browser, running.url, complaints, **phone())
        when(page, IS_READY)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "start"
        page.keyboard.press("Enter")
        assert ends(page) == "Done. 3 files measured; the lab has the results."
        assert page.evaluate("document.activeElement.id") == "start"
        assert text(page).count("agree\n") == 3 and complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.getElementById('start').offsetHeight") >= 48
        loaded = page.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
        assert len(loaded) > 8 and all(name.startswith(running.url) for name in loaded if not name.startswith("blob:"))
        code, printed = running.end()
    assert code == 0
    kept = record.read(run.parent)
    assert [r.target for r in kept] == TARGETS and [record.Record.from_json(value) for value in printed] == kept
    manifest = {e["file"]: e for e in json.loads((run / "manifest.json").read_text())["files"]}
    for r in kept:
        assert r.sha256 == manifest[r.file]["sha256"] and len(r.samples) >= MIN_SAMPLES and min(r.samples) > 1_000
        assert r.agreement is not None and r.agreement["agrees"] and r.agreement["max_error"] < 1e-3
        assert r.device["kind"] == "browser" and "Chrome" in r.device["browser"] and r.device["isolated"]
        assert 1 <= r.threads <= 4 and r.conditions["timer_nanoseconds"][0] <= 20_000
        assert r.runtime["version"] == {"litert": "2.5.3", "onnx": "1.30.0"}[r.target.split(":")[0]]


def test_what_a_screen_reader_meets_has_a_name(run: Path, cache: Path) -> None:
    with lab(run, cache, "--seconds", "30") as running, browsing() as browser:
        page = visit(browser, running.url)
        when(page, IS_READY)
        assert ("button", "Start") in accessible(page)
        rounds = held(page, "round", 2)
        begin(page)
        arrived(page, rounds).continue_()
        when(page, f"{NOW}.startsWith('Measuring')")  # until the second round is heard
        met = accessible(page)
        assert {("button", "Stop"), ("progressbar", "Progress"), ("heading", "Files")} <= set(met)
        assert {("columnheader", "Answers"), ("columnheader", "Median"), ("heading", "This browser")} <= set(met)
        rows = [name for role, name in met if role == "rowheader"]
        assert [row.split(" ")[0] for row in rows] == ["litert-fp32.tflite", "litert-int8.tflite", "onnx-fp32.onnx"]
        assert all(name for role, name in met if role in ("button", "progressbar", "table", "link", "heading"))
        assert "%" in page.evaluate("document.querySelector('[role=status]').textContent")
        begin(page)  # which is Stop now
        arrived(page, rounds).continue_()
        assert ends(page) == "Stopped."
        running.hears("went away")


def test_other_answers_than_the_manifests_are_loud_and_end_in_1(run: Path, cache: Path) -> None:
    golden = json.loads((run / "golden/golden.json").read_text())
    rows = golden["files"]["litert-int8.tflite"]["probabilities"]
    rows[0] = rows[0][::-1] if rows[0][0] != rows[0][-1] else [1.0, 0.0, 0.0]
    (run / "golden/golden.json").write_text(json.dumps(golden))
    manifest = read_manifest(run)
    write_manifest(replace(manifest, guide={**manifest.guide, "golden": sha256(run / "golden")}), run)
    with lab(run, cache, "--seconds", "0.5", "--once") as running, browsing() as browser:
        page = visit(browser, running.url)
        begin(page)
        ends(page)
        [alarm] = [name for role, name in accessible(page) if role == "StaticText" and "gives other answers" in name]
        assert "litert-int8.tflite" in alarm and "disagree" in text(page)
        code, printed = running.end()
    assert code == 1 and "DISAGREES: litert-int8.tflite" in running.messages
    assert "Error: Other answers" in running.messages
    assert [r["agreement"]["agrees"] for r in printed] == [True, False, True]


def test_a_file_that_does_not_load_does_not_stop_the_others(run: Path, cache: Path) -> None:
    broken = run / "litert-fp32.tflite"
    broken.write_bytes(b"\x00" * 64)
    manifest = read_manifest(run)
    golden = json.loads((run / "golden/golden.json").read_text())
    golden["files"][broken.name]["sha256"] = sha256(broken)
    (run / "golden/golden.json").write_text(json.dumps(golden))
    files = (replace(manifest.files[0], sha256=sha256(broken)), *manifest.files[1:])
    write_manifest(replace(manifest, files=files, guide={**manifest.guide, "golden": sha256(run / "golden")}), run)
    with lab(run, cache, "--seconds", "0.5", "--once") as running, browsing() as browser:
        page = visit(browser, running.url)
        begin(page)
        assert ends(page) == "Done. 2 files measured; the lab has the results."
        assert "does not run" in text(page)
        code, printed = running.end()
    assert code == 0 and [r["file"] for r in printed] == ["litert-int8.tflite", "onnx-fp32.onnx"]
    assert "litert-fp32.tflite does not run: " in running.messages


def test_over_plain_http_there_is_one_thread_and_a_coarse_clock(run: Path, cache: Path) -> None:
    """A name that is not localhost is no secure context, as on a phone."""
    host = socket.gethostname().lower()
    rules = f"--host-resolver-rules=MAP {host} 127.0.0.1"
    with lab(run, cache, "--seconds", "0.5", "--once") as running, browsing(rules) as browser:
        page = visit(browser, running.url.replace("127.0.0.1", host))
        when(page, "!document.getElementById('insecure').hidden")
        begin(page)
        assert ends(page).startswith("Done. 3 files")
        assert "plain HTTP" in text(page)
        code, printed = running.end()
    assert code == 0 and all(r["threads"] == 1 and r["device"]["secure"] is False for r in printed)
    for r in printed:
        [timer, _] = r["conditions"]["timer_nanoseconds"]
        per = r["conditions"]["inferences_per_sample"]
        assert timer >= 50_000 and r["p50"] * per >= timer
    # 50 steps are aimed at. One inference takes fewer, unless the machine is very busy with each of the files.
    assert any(r["conditions"]["inferences_per_sample"] > 1 for r in printed)


def test_float_files_run_on_webgpu_too(run: Path, cache: Path) -> None:
    """On an adapter made of software: slow, but it is WebGPU."""
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    with lab(run, cache, "--seconds", "0.5", "--once") as running, browsing(*flags) as browser:
        page = visit(browser, running.url)
        if not page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("this Chromium has no WebGPU adapter made of software")
        begin(page)
        assert ends(page).startswith("Done. 5 files")
        code, printed = running.end()
    assert code == 0
    on_gpu = [r for r in printed if r["runtime"]["name"].endswith("(WebGPU)")]
    assert [r["file"] for r in on_gpu] == ["litert-fp32.tflite", "onnx-fp32.onnx"]
    assert all(r["agreement"]["agrees"] and "swiftshader" in r["device"]["gpu"] for r in on_gpu)


def test_a_closed_tab_and_two_phones_at_once(run: Path, cache: Path) -> None:
    with lab(run, cache, "--seconds", "1") as running, browsing() as browser:
        left = visit(browser, running.url)
        files = held(left, "files/0")
        begin(left)
        arrived(left, files)
        when(left, f"{NOW}.startsWith('Loading')")
        left.close()
        running.hears("went away; too little was measured to keep. The lab goes on.")
        pages = [visit(browser, running.url), visit(browser, running.url)]
        for page in pages:
            begin(page)
        assert [ends(page) for page in pages] == ["Done. 3 files measured; the lab has the results."] * 2
        code, printed = running.end(interrupt=True)
    assert code == 0 and len(printed) == 6 and sorted(r["target"] for r in printed) == sorted(TARGETS * 2)
    assert len(record.read(run.parent)) == 6


def test_a_lost_connection_loses_nothing(run: Path, cache: Path) -> None:
    with lab(run, cache, "--seconds", "0.5", "--once") as running, browsing() as browser:
        page = visit(browser, running.url)
        rounds = held(page, "round")
        begin(page)
        first = arrived(page, rounds)
        page.context.set_offline(True)
        first.continue_()
        when(page, f"{NOW}.startsWith('Connection lost.')")
        page.context.set_offline(False)
        assert ends(page).startswith("Done. 3 files")
        code, printed = running.end()
    assert code == 0 and all(len(r["samples"]) >= MIN_SAMPLES for r in printed)


def test_without_the_runtimes_the_command_says_how(run: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "empty")}
    command = warm.attar("lab", run)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "attar lab --install" in done.stderr and "Traceback" not in done.stderr
