"""The app in a real Chromium: it tests itself, works without a network, and says what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from attar.benchmarks.predict import Model, predict
from attar.deploy.app.site import INDEX, SITE, WORKER
from attar.export.decision import members
from attar.files import sha256
from attar.hierarchy import Level
from attar.preprocessing import Preprocessing
from attar.quality import quality_of
from helpers.browser import accessible, faults, phone, visit, when
from helpers.phone_app import READY, ask, isolated, waited
from helpers.pictures import SHAPES, draw

pytestmark = pytest.mark.slow

TROUBLE = "document.getElementById('trouble') && !document.getElementById('trouble').hidden"
Serving = Callable[[Path], str]


def enter(browser: Browser, url: str, until: str = READY, **look: Any) -> tuple[Page, list[str]]:
    complaints: list[str] = []
    page = visit(browser, url, complaints, **look)
    isolated(page, until)
    return page, complaints


def photo(folder: Path, shape: str) -> Path:
    path = folder / f"{shape}.png"
    draw(shape, 77).save(path)
    return path


def expected(exports: Path, path: Path) -> list[str]:
    """What Python answers of the same file; several labels where they are as likely as the page can tell."""
    [found] = predict(exports / "litert-int8.tflite", path)
    return [label for label, share in found.top if share > found.top[0][1] - 0.04]


def facts(page: Page) -> str:
    """What the page says about its model; that comes somewhat after it is ready."""
    page.get_by_text("About this model").click()
    when(page, "document.querySelector('#facts dd')")
    return page.locator("#facts").inner_text()


def redescribe(site: Path, change: Callable[[dict[str, Any]], None], *files: str) -> None:
    """Change site.json as if the app had been written so, with the digests of some files made anew."""
    about = json.loads((site / SITE).read_text())
    change(about)
    about["files"] |= {name: sha256(site / name) for name in files}
    before = sha256(site / SITE)
    (site / SITE).write_text(json.dumps(about))
    for name in (WORKER, INDEX):
        (site / name).write_text((site / name).read_text().replace(before, sha256(site / SITE)))


def test_photos_are_answered_with_threads(
    browser: Browser, written: Path, exports: Path, serving: Serving, tmp_path: Path
) -> None:
    page, complaints = enter(browser, serving(written))
    for path in (photo(tmp_path, shape) for shape in SHAPES):
        assert ask(page, path) in expected(exports, path)
    assert page.locator("#answers li").count() == 3 and page.locator("#answers .share").first.inner_text().endswith("%")
    told = facts(page)
    assert "litert-int8.tflite" in told and "threads" in told and "Works:" in told
    assert not complaints


def test_without_a_network_it_starts_and_answers(
    browser: Browser, written: Path, exports: Path, serving: Serving, tmp_path: Path
) -> None:
    page, _ = enter(browser, serving(written))
    context, url = page.context, page.url
    page.close()
    context.set_offline(True)
    cold = context.new_page()
    cold.goto(url)
    when(cold, READY)
    path = photo(tmp_path, "cross")
    assert ask(cold, path) in expected(exports, path)
    assert cold.evaluate("fetch('nothing-here').then(() => 'answered', () => 'offline')") == "offline"


def test_an_answer_that_is_not_sure_says_so(
    browser: Browser, site: Path, exports: Path, serving: Serving, tmp_path: Path
) -> None:
    """The thresholds of the manifest are changed: none is reached, and two labels are likely enough."""
    path = photo(tmp_path, "cross")
    [python] = predict(exports / "litert-int8.tflite", path, top=3)
    second = python.top[1][1]

    def promise(sure: float | None) -> None:
        decision = {"sure": {"threshold": sure}, "set": {"threshold": second - 0.02}}
        redescribe(site, lambda about: [each.update(decision=decision) for each in about["models"]] and None)

    promise(1.1)
    page, _ = enter(browser, serving(site))
    ask(page, path)
    few = ", ".join(label for label, share in python.top if share >= second - 0.02)
    assert page.locator("#unsure").inner_text() == f"Not sure. One of these: {few}."
    assert page.locator("#heard").inner_text().endswith(f"One of these: {few}.") and not faults(page)
    promise(None)
    page, _ = enter(browser, serving(site))
    ask(page, path)
    assert page.locator("#unsure").is_hidden()
    Image.new("RGB", (500, 400)).save(path)
    ask(page, path)
    told = page.locator("#unsure").inner_text()
    assert told.startswith("The photo is darker than all that the model learned from. The photo is more blurred")


def test_the_page_decides_as_python_does(browser: Browser, written: Path, serving: Serving) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(12, 0.3), 300)
    of = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4]
    levels = [Level(tuple("abcde"), tuple(of)), Level(("z",), (0,) * 12)]
    decision = {
        "sure": {"threshold": 0.5},
        "groups": [{"threshold": 0.6}, {"threshold": None}],
        "set": {"threshold": 0.2},
    }
    page, _ = enter(browser, serving(written))
    for common in (None, rng.dirichlet(np.ones(12))):
        found = page.evaluate(
            """async ([rows, decision, common, levels]) => {
              const { decide } = await import(new URL("decide.js", location));
              return rows.map((row) => decide(row, decision, common, levels));
            }""",
            [
                probabilities.tolist(),
                decision,
                None if common is None else common.tolist(),
                [level.to_json() for level in levels],
            ],
        )
        model = Model("", (), Preprocessing(1), lambda pixels: pixels, decision, levels=tuple(levels))
        groups = [None if row.max() >= 0.5 else model.group(row) for row in probabilities]
        assert [each["group"] and tuple(each["group"].values()) for each in found] == groups
        assert 0 < sum(each is not None for each in groups) < 300
        inside = members(probabilities, common, 0.2)
        assert [each["sure"] for each in found] == (probabilities.max(1) >= 0.5).tolist()
        assert [sorted(each["among"]) for each in found] == [np.flatnonzero(row).tolist() for row in inside]
        assert all(each["among"][0] == row.argmax() for each, row in zip(found, probabilities))
    for size in (1, 3, 64):
        square = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        measured = page.evaluate(
            """async ([square, size]) => {
              const { qualityOf } = await import(new URL("quality.js", location));
              return qualityOf(Uint8Array.from(square), size, 9);
            }""",
            [square.ravel().tolist(), size],
        )
        assert measured == asdict(quality_of(square, 9))


def test_a_way_that_answers_differently_is_left_and_told(browser: Browser, site: Path, serving: Serving) -> None:
    """The golden answers of the LiteRT file are changed, so that it seems wrong here: ONNX Runtime takes its place."""

    def change(about: dict[str, Any]) -> None:
        for each in about["golden"]:
            each["answers"]["litert-int8.tflite"] = [[0, 0.5], [1, 0.5]]

    redescribe(site, change)
    page, _ = enter(browser, serving(site))
    assert "onnx-int8.onnx" in facts(page)
    assert "answered differently" in page.locator("#trouble").inner_text()


def test_a_browser_that_changes_photos_is_told(browser: Browser, site: Path, serving: Serving) -> None:
    """The pixels expected of a whole photo are those of another, so that this browser seems to change it."""
    page, _ = enter(browser, serving(site))
    assert page.locator("#trouble").is_hidden()
    about = json.loads((site / SITE).read_text())
    one, two = (each["pixels"] for each in about["photos"])
    shutil.copyfile(site / two, site / one)
    redescribe(site, lambda _: None, one)
    page, _ = enter(browser, serving(site))
    assert "This browser changes photos" in page.locator("#trouble").inner_text()


def test_where_no_way_is_right_nothing_is_answered(browser: Browser, site: Path, serving: Serving) -> None:
    def change(about: dict[str, Any]) -> None:
        for each in about["golden"]:
            each["answers"] = {name: [[0, 2.0]] for name in each["answers"]}

    redescribe(site, change)
    says = "document.getElementById('trouble')?.textContent.startsWith('No way')"
    page, _ = enter(browser, serving(site), until=says)
    assert page.locator("#choose").is_disabled() and page.locator("#watch").is_disabled()


@pytest.mark.parametrize("name", ["models/litert-int8.tflite", "labels.json", SITE])
def test_a_changed_file_is_never_used(browser: Browser, site: Path, serving: Serving, name: str) -> None:
    path = site / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    page = visit(browser, serving(site))
    when(page, "document.getElementById('trouble')?.textContent.includes('damaged')")
    assert page.locator("#choose").is_disabled()


UPDATE = """async () => {
  const known = await navigator.serviceWorker.ready;
  await known.update().catch(() => {});
  for (let worker; (worker = known.installing);) await new Promise((done) => { worker.onstatechange = done; });
  return known.waiting !== null;
}"""
"""Look for a new version until it is kept or was refused -> whether one waits to take over."""
ACTIVE = """() => new Promise((resolve) => {
  const look = () => serviceWorker.state === "activated" && resolve();
  serviceWorker.addEventListener("statechange", look);
  look();
})"""
"""Wait in a service worker until it answers new pages: somewhat after the last page of the one before is closed."""


def test_a_new_version_is_kept_beside_the_old_one_until_it_is_whole(
    browser: Browser, site: Path, serving: Serving, tmp_path: Path
) -> None:
    url = serving(site)
    page, _ = enter(browser, url)
    context = page.context
    redescribe(site, lambda about: about.update(name="Second"))
    (site / "labels.json").write_text('["damaged"]')
    page.reload()
    when(page, READY)
    page.evaluate(UPDATE)
    assert page.locator("#name").inner_text() == "Shapes" and ask(page, photo(tmp_path, "circle")) in SHAPES
    labels = json.dumps(["circle", "cross", "square"], indent=2) + "\n"
    (site / "labels.json").write_text(labels)
    while not page.evaluate(UPDATE):  # one that the browser began by itself may have met the damaged file
        pass
    [second] = [each for each in context.service_workers if each.evaluate("serviceWorker.state") == "installed"]
    page.close()
    second.evaluate(ACTIVE)
    fresh = context.new_page()
    fresh.goto(url)
    when(fresh, READY)
    assert fresh.locator("#name").inner_text() == "Second"
    assert len(fresh.evaluate("caches.keys()")) == 1


def test_a_reload_that_asks_for_everything_anew_starts_too(browser: Browser, written: Path, serving: Serving) -> None:
    page, _ = enter(browser, serving(written))
    tools = page.context.new_cdp_session(page)
    page.evaluate("() => { window.before = true; }")
    tools.send("Page.reload", {"ignoreCache": True})  # what Ctrl-Shift-R does: no service worker answers
    waited(page, f"!window.before && !navigator.serviceWorker.controller && {READY}")


def test_two_apps_of_one_host_keep_their_files_apart(
    browser: Browser, site: Path, serving: Serving, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    shutil.copytree(site, tmp_path / "host" / "one")
    redescribe(site, lambda about: about.update(name="Other"))
    shutil.copytree(site, tmp_path / "host" / "other")
    url = serving(tmp_path / "host")
    page, _ = enter(browser, f"{url}one/index.html")
    page.goto(f"{url}other/index.html")
    isolated(page)
    assert page.locator("#name").inner_text() == "Other" and len(page.evaluate("caches.keys()")) == 2
    page.context.set_offline(True)
    page.goto(f"{url}one/index.html")
    isolated(page)
    assert page.locator("#name").inner_text() == "Shapes"


def test_the_camera_answers_is_taken_and_ends(browser: Browser, written: Path, serving: Serving) -> None:
    page, complaints = enter(browser, serving(written))
    page.get_by_role("button", name="Use the camera").click()
    when(page, "document.querySelectorAll('#answers li').length === 3")
    page.get_by_role("button", name="Take this picture").click()
    when(page, "document.getElementById('photo').src.startsWith('blob:')")
    assert page.evaluate("document.getElementById('photo').decode().then(() => photo.naturalWidth)") > 0
    assert page.locator("#heard").inner_text() and page.locator("#camera").is_hidden()
    assert page.evaluate("document.getElementById('camera').srcObject") is None
    assert not complaints


@pytest.mark.parametrize(("element", "attribute"), [("photo", "src"), ("camera", "hidden")])
def test_no_answer_is_shown_under_another_picture(
    browser: Browser, written: Path, serving: Serving, tmp_path: Path, element: str, attribute: str
) -> None:
    page, _ = enter(browser, serving(written))
    assert ask(page, photo(tmp_path, "circle")) in SHAPES
    page.evaluate(
        """([element, attribute]) => {
          const read = () => document.getElementById("answers").textContent;
          self.beside = new Promise((resolve) => new MutationObserver(() => resolve(read()))
            .observe(document.getElementById(element), { attributeFilter: [attribute] }));
        }""",
        [element, attribute],
    )
    if element == "photo":
        page.set_input_files("#file", photo(tmp_path, "cross"))
    else:
        page.get_by_role("button", name="Use the camera").click()
    assert page.evaluate("self.beside") == ""
    when(page, "document.querySelector('#answers .label')")


def test_a_refused_camera_and_a_file_that_is_no_photo_are_told(
    browser: Browser, written: Path, serving: Serving, tmp_path: Path
) -> None:
    page, _ = enter(browser, serving(written))
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('Permission denied')); }"
    )
    page.get_by_role("button", name="Use the camera").click()
    when(page, TROUBLE)
    assert page.locator("#trouble").inner_text() == (
        "The camera cannot be used: Permission denied. Choose a photo instead."
    )
    (tmp_path / "notes.png").write_text("no photo")
    page.set_input_files("#file", tmp_path / "notes.png")
    when(page, "document.getElementById('trouble').textContent === 'This file cannot be read as a photo.'")
    assert ask(page, photo(tmp_path, "cross")) in SHAPES and page.locator("#trouble").is_hidden()


def test_twelve_megapixels_are_read_and_two_hundred_refused_by_their_header(
    browser: Browser, written: Path, exports: Path, serving: Serving, tmp_path: Path
) -> None:
    page, _ = enter(browser, serving(written))
    large, huge = tmp_path / "large.jpg", tmp_path / "huge.jpg"
    draw("circle", 3, 640).convert("RGB").resize((4000, 3000)).save(large)
    assert ask(page, large) in expected(exports, large)
    Image.new("L", (14200, 14200)).save(huge)
    tools = page.context.new_cdp_session(page)
    page.set_input_files("#file", huge)
    when(page, "document.getElementById('trouble').textContent.includes('This photo has 202 megapixels')")
    assert ask(page, photo(tmp_path, "cross")) in SHAPES
    assert tools.send("Runtime.getHeapUsage")["usedSize"] < 200e6


def test_every_language_has_every_text(browser: Browser, written: Path, serving: Serving) -> None:
    page, complaints = enter(browser, serving(written), locale="de-DE")
    assert (
        page.locator("#choose").inner_text() == "Foto auswählen"
        and page.evaluate("document.documentElement.lang") == "de"
    )
    texts = page.evaluate("import(new URL('texts.js', location)).then((module) => module.TEXTS)")
    words = {language: {name: sorted(_words(text)) for name, text in texts[language].items()} for language in texts}
    assert len(texts) == 3 and all(each == words["en"] for each in words.values())
    used = set(page.evaluate("Array.from(document.querySelectorAll('[data-text]'), (each) => each.dataset.text)"))
    assert used <= set(texts["en"])
    page.locator("#language").select_option("es")
    assert page.locator("#choose").inner_text() == "Elegir una foto" and not complaints


def _words(text: str) -> list[str]:
    return [part.partition("}")[0] for part in text.split("{")[1:]]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_axe_finds_nothing_and_nothing_runs_out_of_the_page(
    browser: Browser, site: Path, serving: Serving, tmp_path: Path, dark: bool, small: bool
) -> None:
    labels = ["Acer pseudoplatanus var. " + "extraordinarilylongname" * 6, "شجرة الدردار الأمريكية", "<b>square</b>"]
    (site / "labels.json").write_text(json.dumps(labels))
    redescribe(site, lambda about: about.update(notReady=["The student is at chance."]), "labels.json")
    wide = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark" if dark else "light"}
    page, complaints = enter(browser, serving(site), **(phone(dark) if small else wide))
    assert faults(page) == []
    for shape in SHAPES:
        assert ask(page, photo(tmp_path, shape)) in labels
    page.get_by_text("About this model").click()
    for size in ("100%", "200%"):
        page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), size
    assert faults(page) == [] and not complaints


def test_it_goes_by_keyboard_and_a_screen_reader_meets_names(
    browser: Browser, written: Path, serving: Serving, tmp_path: Path
) -> None:
    page, _ = enter(browser, serving(written))
    met = accessible(page)
    assert ("button", "Use the camera") in met and ("button", "Choose a photo") in met
    assert ("combobox", "Language") in met and ("heading", "Shapes") in met
    with page.expect_file_chooser() as chosen:  # before the first key: it takes its time
        for _ in range(3):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "choose"
        page.keyboard.press("Enter")
    chosen.value.set_files(photo(tmp_path, "square"))
    when(page, "document.getElementById('heard').textContent.includes('%')")
