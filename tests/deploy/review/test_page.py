"""The page of reviewers in a real Chromium: by keyboard, with two people at once, and as it is seen."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from attar.data.observations import read_observation
from attar.deploy.collect.store import Action, Store, in_force, opened
from attar.deploy.review.queue import Queue
from attar.deploy.review.server import make_app
from attar.serving.http import make_server
from helpers.browser import accessible, browsing, chromium, faults, phone, visit, when
from helpers.observed import jpeg, observation_of

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)>"
RTL = "شجرة الدردار الأمريكية"
LONG = "Acer pseudoplatanus var. " + "extraordinarilylongname" * 6
SAID: list[dict[str, Any]] = [
    {"verdict": "corrected", "label": "elm", "probability": 0.99},
    {"verdict": "other", "text": HOSTILE, "probability": 0.95},
    {"verdict": "corrected", "label": RTL, "probability": 0.6},
    {"verdict": "confirmed", "predicted": LONG, "probability": 0.4},
    {"verdict": "unknown", "probability": 0.5},
]


@dataclass
class Served:
    url: str
    store: Store

    def decisions(self) -> list[tuple[str, Action, str]]:
        """Of each observation, in the order of arrival: who decided what, as it stands."""
        found = [in_force(self.store.decisions(str(each.observation.id))) for each in self.store.observations()]
        return [(each.reviewer, each.action, each.label) for each in found if each]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium()
    with browsing() as browser:
        yield browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with opened(tmp_path / "plants", create=True) as store:
        store.invite("Ana")
        for number, said in enumerate(SAID):
            photo = jpeg(40 * number + 7, side=64)
            observation = read_observation(observation_of(photo, contributor="Ana", **said), "made")
            store.add(observation, photo, observation.image)
        likely = ["oak", "ash", "ash", LONG, "ash"]  # so that the order of arrival is that of disagreement
        opinions = {each.photo: [(label, 0.7), ("elm", 0.2)] for each, label in zip(store.observations(), likely)}
        store.keep_opinions("t", opinions)
        listening = socket.create_server(("127.0.0.1", 0))
        labels = ["ash", "elm", "oak", *(f"Genus{number} species" for number in range(10_000))]
        server = make_server(make_app(store, Queue(store, "t"), labels, "token"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}/token/", store)
        server.should_exit = True
        thread.join()


def enter(browser: Browser, served: Served, name: str = "Ben", **look: Any) -> tuple[Page, list[str]]:
    """Open the page and say who one is."""
    complaints: list[str] = []
    page = visit(browser, served.url, complaints, **look)
    page.get_by_role("dialog").get_by_label("Name").fill(name)
    page.keyboard.press("Enter")
    when(page, "!document.querySelector('dialog[open]') && !document.getElementById('observation').hidden")
    return page, complaints


def person(page: Page) -> str:
    return page.locator("#person").inner_text()


def heard(page: Page, text: str) -> None:
    when(page, f"document.getElementById('heard').textContent.startsWith({json.dumps(text)})")


def test_everything_goes_by_keyboard_and_can_be_taken_back(browser: Browser, served: Served) -> None:
    page, complaints = enter(browser, served)
    assert person(page) == "No, it is elm" and page.locator("#count-open").inner_text() == "5"
    page.keyboard.press("a")
    heard(page, "Accepted")
    assert person(page) == f"Something else: {HOSTILE}", "text of strangers is text"
    page.keyboard.press("r")
    page.keyboard.type("oa")
    page.keyboard.press("Enter")
    heard(page, "Relabelled as oak")
    page.keyboard.press("x")
    heard(page, "Rejected")
    assert served.decisions() == [
        ("Ben", Action.ACCEPT, ""),
        ("Ben", Action.RELABEL, "oak"),
        ("Ben", Action.REJECT, ""),
    ]
    assert page.locator("#count-open").inner_text() == "2"
    page.keyboard.press("u")
    heard(page, "Taken back")
    assert person(page) == f"No, it is {RTL}" and len(served.decisions()) == 2
    page.keyboard.press("ArrowLeft")
    when(page, "document.getElementById('label').textContent === 'oak'")
    page.keyboard.press("u")
    heard(page, "Taken back")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert person(page) == f"No, it is {RTL}" and served.decisions() == [("Ben", Action.ACCEPT, "")]
    assert not complaints


def test_a_key_right_after_the_name_counts(browser: Browser, served: Served) -> None:
    """Before the dialog has told that it is closed."""
    page = visit(browser, served.url)
    page.get_by_role("dialog").get_by_label("Name").fill("Ben")
    page.evaluate(
        """() => {
          document.querySelector("#naming form").requestSubmit();
          document.dispatchEvent(new KeyboardEvent("keydown", { key: "a" }));
        }"""
    )
    heard(page, "Accepted")
    assert served.decisions() == [("Ben", Action.ACCEPT, "")]


def test_enter_before_the_labels_came_counts(browser: Browser, served: Served) -> None:
    page, _ = enter(browser, served)
    held: list[Route] = []
    page.route("**/labels", lambda route: held.append(route))
    page.keyboard.press("r")
    page.keyboard.type("oa")
    page.keyboard.press("Enter")
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    heard(page, "Relabelled as oak")


def test_when_all_are_decided_the_page_says_so(browser: Browser, served: Served) -> None:
    page, complaints = enter(browser, served)
    for _ in SAID:
        page.keyboard.press("a")
        heard(page, "Accepted")
        page.evaluate("document.getElementById('heard').textContent = ''")
    when(page, "document.getElementById('empty').textContent.startsWith('Nothing waits')")
    page.keyboard.press("u")  # the last one of one's own, which is not shown any more
    page.get_by_role("button", name="Decided").click()
    when(page, "!document.getElementById('observation').hidden")
    assert not complaints


def test_somebody_elses_decision_is_shown_instead_of_overwritten(browser: Browser, served: Served) -> None:
    ben, complaints = enter(browser, served)
    eva, _ = enter(browser, served, "Eva")
    ben.keyboard.press("x")
    heard(ben, "Rejected")
    eva.keyboard.press("a")
    when(eva, "!document.getElementById('alarm').hidden")
    assert eva.locator("#alarm").inner_text() == "Not decided: Ben has decided meanwhile: reject"
    assert eva.locator("#decisions li").all_inner_texts()[0].startswith("Rejected by Ben")
    assert served.decisions() == [("Ben", Action.REJECT, "")]
    assert not complaints


def test_a_doubt_is_told_until_somebody_decides(browser: Browser, served: Served) -> None:
    last = [str(each.observation.id) for each in served.store.observations()][-1]
    served.store.doubt(last, f"the teacher says {HOSTILE}")
    page, complaints = enter(browser, served)
    assert page.locator("#doubt").inner_text() == f"Look again: the teacher says {HOSTILE}."
    page.keyboard.press("a")
    heard(page, "Accepted")
    when(page, "document.getElementById('doubt').hidden")
    assert not complaints


def test_a_label_is_found_by_any_word_and_a_new_one_can_be_given(browser: Browser, served: Served) -> None:
    page, complaints = enter(browser, served)
    page.keyboard.press("/")
    options = page.get_by_role("option")
    assert options.first.inner_text() == "oak", "the teacher's answer comes first"
    page.keyboard.type("SPECIES genus99")
    when(page, "document.querySelectorAll('#found li').length > 1")
    assert options.all_inner_texts()[0] == "Genus99 species"
    milliseconds = page.evaluate(
        """async () => {
          const { searchOf } = await import("./search.js");
          const find = searchOf(Array.from({ length: 10000 }, (_, n) => `Génus${n} species var. ${n % 97}`));
          const began = performance.now();
          const found = [find("var genus777"), find("spec"), find("日本")];
          return [found.map((each) => each.length), performance.now() - began];
        }"""
    )
    assert milliseconds[0] == [11, 50, 0]
    page.keyboard.press("Control+A")
    page.keyboard.type(HOSTILE)
    when(page, "document.querySelector('#found .new')")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    heard(page, "Relabelled")
    assert served.decisions() == [("Ben", Action.RELABEL, HOSTILE)]
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    assert len(served.decisions()) == 1 and not complaints


def test_a_lost_connection_is_told_and_nothing_is_pretended(browser: Browser, served: Served) -> None:
    page, _ = enter(browser, served)
    page.context.set_offline(True)
    page.keyboard.press("a")
    when(page, "!document.getElementById('alarm').hidden")
    assert "connection is lost" in page.locator("#alarm").inner_text() and person(page) == "No, it is elm"
    page.context.set_offline(False)
    page.keyboard.press("a")
    heard(page, "Accepted")
    assert page.locator("#alarm").is_hidden() and len(served.decisions()) == 1


def test_screen_readers_meet_names_and_keys(browser: Browser, served: Served) -> None:
    page, _ = enter(browser, served)
    met = accessible(page)
    for name in ("Accept A", "Relabel R", "Reject X", "Undo U", "Previous ←", "Next →"):
        assert ("button", name) in met
    assert ("image", "Photo, which the model calls ash") in met
    page.keyboard.press("r")
    assert any(role == "combobox" for role, _ in accessible(page))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_axe_finds_nothing_and_nothing_runs_out_of_the_page(
    browser: Browser, served: Served, dark: bool, small: bool
) -> None:
    look = (
        phone(dark)
        if small
        else {"viewport": {"width": 1440, "height": 900}} | {"color_scheme": "dark" if dark else "light"}
    )
    page, complaints = enter(browser, served, **look)
    for _ in SAID:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), person(page)
        assert faults(page) == []
        page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    when(page, "document.querySelector('#found li')")
    assert faults(page) == [] and not complaints
    page.keyboard.press("Escape")
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
