"""The report in a real browser: it fits a phone's screen, can be read by everyone, and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from attar.benchmarks.report.comparison import EveryClass
from attar.benchmarks.report.report import write_report
from helpers.browser import accessible, browsing, phone, visit
from helpers.reported import comparison

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

pytestmark = pytest.mark.slow

CONTRASTS = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (c) => [0, 1, 2].reduce((sum, i) => { const v = c[i] / 255;
    return sum + [0.2126, 0.7152, 0.0722][i] * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
  const behind = (node) => { for (; node; node = node.parentElement) {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour; } return [255, 255, 255]; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const ink = rgb(node instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(walker.currentNode.data.trim() + ' ' + (a + 0.05) / (b + 0.05));
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(comparison(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_every_text_stands_out(page: Path, browser: Browser, width: int, dark: bool) -> None:
    complaints: list[str] = []
    wide = {"viewport": {"width": width, "height": 900}, "color_scheme": "dark" if dark else "light"}
    tab = visit(browser, page.as_uri(), complaints, **(phone(dark) if width == 390 else wide))
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == dark
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(CONTRASTS) == []
    shown = "getComputedStyle(document.querySelector('.at-{}')).display !== 'none'"
    assert tab.evaluate(shown.format("narrow")) == (width == 390) != tab.evaluate(shown.format("wide"))
    assert complaints == []


def test_the_answer_is_on_a_phones_first_screen(page: Path, browser: Browser) -> None:
    tab = visit(browser, page.as_uri(), **phone())
    assert tab.locator("h1").inner_text() == "Which file to ship depends on the device"
    assert tab.evaluate("document.querySelector('.take .file').getBoundingClientRect().bottom") < 844
    assert tab.locator(".take .file").first.inner_text() == "litert-int8.tflite"


def test_what_a_screen_reader_meets_has_a_name_and_what_scrolls_a_place_in_the_order(
    page: Path, browser: Browser
) -> None:
    tab = visit(browser, page.as_uri())
    met = accessible(tab)
    assert all(name for role, name in met if role in ("table", "image", "heading", "region"))
    assert ("table", "Every model and file") in met and ("columnheader", "Type of operator") in met
    reached = "[...document.querySelectorAll('.wide')].every((each) => each.tabIndex === 0 && each.ariaLabel)"
    assert tab.evaluate(reached)
    tab.keyboard.press("Tab")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_nothing_is_fetched(page: Path, browser: Browser) -> None:
    names = visit(browser, page.as_uri()).evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    assert all(name.startswith("data:image/jpeg") for name in names)


def test_hostile_names_run_nothing(page: Path, browser: Browser) -> None:
    tab = visit(browser, page.as_uri())
    own = tab.evaluate("document.scripts.length")
    name = "</script><img src=x onerror='window.reached = 1'>"
    changed, every = replace(comparison().changes[0], label=name), comparison().every_class
    assert every
    every = replace(every, names=(name, *every.names[1:]), taken_for=(name,) * 60)
    written = write_report(replace(comparison(), changes=(changed,), every_class=every), page.parent / "hostile")
    tab.goto(written.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert (
        tab.locator("#every-class tbody").get_by_text("onerror").count() == 26
    )  # what each of 25 is taken for, and one name
    assert tab.locator("h3").get_by_text("onerror").count() == 1
    assert tab.evaluate("window.reached ?? null") is None and tab.evaluate("document.scripts.length") == own


def test_every_class_is_found_sorted_and_paged_by_keyboard(page: Path, browser: Browser) -> None:
    complaints: list[str] = []
    tab = visit(browser, page.as_uri(), complaints)
    box = tab.locator("#every-class")
    box.locator("summary").focus()
    tab.keyboard.press("Enter")
    names, status = box.locator("tbody th"), box.get_by_role("status")
    assert status.inner_text() == "1 to 25 of 60" and names.count() == 25
    assert names.first.inner_text().endswith("name 4")  # the one that lost most
    assert box.locator("tbody tr").first.inner_text().split("\t")[1:] == [
        "10",
        "90.0%",
        "50.0%",
        "−40.0",
        "a class with a rather long name 59, 5×",
    ]
    assert box.get_by_role("button", name="Previous").is_disabled()
    tab.keyboard.press("Tab")
    tab.keyboard.type("NAME 5")
    assert status.inner_text() == "1 to 11 of 11" and names.first.inner_text().endswith("name 5")
    tab.keyboard.press("Control+A")
    tab.keyboard.press("Delete")
    for key in ("Tab", "Tab", "Enter", "Enter"):  # the order, then "Next" (the button before it is disabled), twice
        tab.keyboard.press(key)
    assert status.inner_text() == "51 to 60 of 60" and box.get_by_role("button", name="Next").is_disabled()
    box.get_by_label("Order").select_option("name")
    assert status.inner_text() == "1 to 25 of 60" and names.first.inner_text().endswith("name 0")
    box.get_by_label("Find a class").fill("nowhere")
    assert status.inner_text() == "No class has this in its name." and names.count() == 0
    assert complaints == []


def test_ten_thousand_classes_stay_small_and_open_at_once(page: Path, browser: Browser) -> None:
    count = 10_000
    names = tuple(f"Species {i % 100} of the genus {i // 100}" for i in range(count))
    right = {"teacher": (9,) * count, "litert:int8": tuple(i % 10 for i in range(count))}
    every = EveryClass(names, (10,) * count, right, (names[0],) * count, (1,) * count)
    written = write_report(replace(comparison(), every_class=every), page.parent / "many")
    assert written.stat().st_size < 5_000_000
    tab = visit(browser, written.as_uri())
    box = tab.locator("#every-class")
    box.locator("summary").click()
    box.get_by_label("Find a class").fill("genus 77")
    assert box.get_by_role("status").inner_text() == "1 to 25 of 100"
    assert tab.evaluate("document.querySelectorAll('#every-class *').length") < 500  # rows are made as they are shown
