"""The app gets a later model from a release folder, in Chromium: the right ones are taken, hostile ones refused."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from attar.benchmarks.predict import predict
from attar.data.photos import DataSpec, read_photos
from attar.deploy.app import site as sites
from attar.deploy.app.site import INDEX, SITE, write_site
from attar.deploy.release.keys import create, load
from attar.deploy.release.publish import change, publish, rollback, status
from attar.errors import InputError
from attar.export.export import export_student
from attar.export.web.assets import Assets
from attar.files import sha256
from helpers.browser import visit, when
from helpers.command import in_process
from helpers.hostile import Folders, Maker, followed, held, offered, payload_of, release_of, released, with_file
from helpers.once import made_once
from helpers.phone_app import READY, ask, isolated, next_frame
from helpers.pictures import SHAPES, draw
from helpers.releasing import Cut, Host, State, hosting, state_of
from helpers.small import DROP, make_student

pytestmark = pytest.mark.slow

HOSTILE = 500
NAMES = dict(zip(SHAPES, ("round", "crossed", "boxed")))
"""What the second student calls the shapes: its answers are told apart from the first one's."""


@pytest.fixture(scope="session")
def second(shared: Path) -> Path:
    """`litert:fp32` of another student, with other labels and a larger image."""

    def make(folder: Path) -> None:
        for shape, name in NAMES.items():
            (folder / "photos" / name).mkdir(parents=True)
            for number in range(12):
                draw(shape, number).save(folder / "photos" / name / f"{number}.png")
        photos = read_photos(DataSpec(str(folder / "photos")))
        student = make_student("mobilenetv3_small_050", photos, folder / "student", seed=1, side=48)
        export_student(student, ["litert:fp32"], folder / "exports", photos=photos, max_drop=DROP)

    return made_once(shared / "second", make) / "exports"


@dataclass(frozen=True)
class World:
    """A release folder's life, and the app that was written at number 2.

    Attributes:
        states: what the folder held at each number: 1 the first model, 2 another key is trusted, 3 the second model, 4
            rolled back to the first one, 5 the first key is revoked, 6 the second model again.
    """

    site: Path
    folder: Path
    first: Path
    second: Path
    key: Path
    spare: Path
    stranger: Path
    states: dict[int, State]


@pytest.fixture(scope="module")
def world(exports: Path, second: Path, runtimes: Assets, tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    key, spare, stranger = (create(root / "keys" / f"{name}.pem").path for name in ("one", "two", "stranger"))
    folder, states = root / "models", {}

    def known(number: int) -> None:
        states[number] = state_of(folder)
        assert payload_of(held(states[number], "current.json"))["number"] == number

    publish(exports, folder, key, app="shapes")
    known(1)
    change(folder, key, trust=[spare.with_suffix(".json")])
    known(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sites, "find", lambda: runtimes)
        write_site(exports, root / "site", name="Shapes", releases="../models", trust=[folder])
    publish(second, folder, key, without_gate=True)
    known(3)
    rollback(folder, key)
    known(4)
    change(folder, spare, revoke=[load(key).public.id])
    known(5)
    rollback(folder, spare, to=3)
    known(6)
    return World(root / "site", folder, exports, second, key, spare, stranger, states)


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    """Offers what the phone knows already."""
    with hosting(Host(world.site, offered=world.states[2])) as host:
        yield host


class Phone:
    """The app in a browser of its own."""

    def __init__(self, browser: Browser, host: Host) -> None:
        self.host = host
        self.complaints: list[str] = []
        self.page = visit(browser, host.url, self.complaints)
        isolated(self.page)
        self.looked(1)

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    @property
    def news(self) -> str:
        """What came of the last look: the name of a text."""
        return self.page.locator("#facts").get_attribute("data-news") or ""

    @property
    def facts(self) -> str:
        return self.page.locator("#facts").text_content() or ""

    def looked(self, times: int) -> None:
        when(self.page, f"Number(document.getElementById('facts').dataset.looks) >= {times}")

    def rested(self) -> int:
        """Wait until no look goes on -> how many there were: none of them is taken for a later one."""
        self.looked(1)  # the page looks by itself after its start
        self.page.evaluate(REST)
        return int(self.page.locator("#facts").get_attribute("data-looks") or 0)

    def look(self, state: State | None = None) -> str:
        """Look for a release now -> what came of it."""
        times = self.rested()
        if state is not None:
            self.host.offered = state
        self.page.evaluate("dispatchEvent(new Event('online'))")
        self.looked(times + 1)
        return self.news

    def online(self) -> None:
        """Have a network again: the browser itself says so to the page, which looks."""
        times = self.rested()
        self.context.set_offline(False)
        self.looked(times + 1)

    def answer(self, photo: Path) -> tuple[str, float]:
        """The first answer, and its share in percent."""
        label = ask(self.page, photo)
        return label, float(self.page.locator("#answers .share").first.inner_text().rstrip("%"))

    def again(self, until: str = READY) -> None:
        """Open it once more, as later."""
        context, url = self.context, self.page.url
        self.page.close()
        self.page = context.new_page()
        self.page.goto(url)
        isolated(self.page, until)

    def kept(self) -> dict[str, Any]:
        """What the phone knows of releases."""
        found: dict[str, Any] = self.page.evaluate(
            "import(new URL('kept.js', location)).then((kept) => kept.releases())"
        )
        return found

    def keep(self, **known: Any) -> None:
        """Make it know something else."""
        self.page.evaluate(
            """(more) => import(new URL("kept.js", location)).then(
              (kept) => kept.changeReleases((known) => ({ ...known, ...more })))""",
            known,
        )


REST = """async () => {
  const looking = ({ held, pending }) => [...held, ...pending].some(({ name }) => name.startsWith("attar-releases"));
  while (looking(await navigator.locks.query())) await new Promise((resolve) => setTimeout(resolve, 10));
}"""


@pytest.fixture
def phone(browser: Browser, host: Host) -> Phone:
    return Phone(browser, host)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "cross.png"
    draw("cross", 77).save(path)
    return path


def python(exports: Path, photo: Path, file: str) -> tuple[str, Any]:
    """What Python answers. The page rounds, and its kernels may be half a step of an integer file apart."""
    [found] = predict(exports / file, photo, top=1)
    label, share = found.top[0]
    return label, pytest.approx(100 * share, abs=0.5)


def first_answer(world: World, photo: Path) -> str:
    return python(world.first, photo, "litert-int8.tflite")[0]


def second_answer(world: World, photo: Path) -> tuple[str, Any]:
    return python(world.second, photo, "litert-fp32.tflite")


def test_a_good_release_is_taken_and_a_rollback_too(phone: Phone, world: World, photo: Path) -> None:
    assert phone.news == "upToDate" and phone.answer(photo)[0] == first_answer(world, photo)
    assert "The app’s own model." in phone.facts
    assert phone.look(world.states[3]) == "updateTaken"
    assert phone.answer(photo) == second_answer(world, photo) and phone.answer(photo)[0] in NAMES.values()
    assert "Number 3 (" in phone.facts and "litert-fp32.tflite" in phone.facts and "48 x 48" in phone.facts
    assert phone.look() == "upToDate"
    phone.context.set_offline(True)
    phone.again()
    assert phone.answer(photo) == second_answer(world, photo), "without a network, after a cold start"
    phone.page.get_by_text("About this model").click()
    with phone.page.expect_navigation():
        phone.page.click("#card")
    assert phone.page.locator("body").inner_text().strip() == (world.second / "MODEL_CARD.md").read_text().strip()
    phone.page.goto(phone.host.url)
    isolated(phone.page)
    phone.online()
    assert phone.look(world.states[4]) == "updateTaken"
    assert phone.answer(photo)[0] == first_answer(world, photo) and "The app’s own model." in phone.facts
    phone.again()
    assert phone.answer(photo)[0] == first_answer(world, photo) and phone.kept()["seen"]["number"] == 4
    assert phone.look(world.states[3]) == "updateRefused", "the number that was rolled back"
    assert not [each for each in phone.complaints if "ERR_INTERNET_DISCONNECTED" not in each]


def test_who_was_away_for_long_follows_new_keys_through_the_history(phone: Phone, world: World, photo: Path) -> None:
    assert phone.look(world.states[6]) == "updateTaken"
    assert phone.answer(photo) == second_answer(world, photo)
    assert {f"history/{number}.json" for number in (2, 3, 4, 5)} <= {*phone.host.asked}
    assert [key["x"] for key in phone.kept()["seen"]["keys"]] == [load(world.spare).public.x]
    # The revoked key signs nothing any more.
    forged = with_file(world.states[6], load(world.key), "app/labels.json", b'["evil"]')
    assert phone.look(forged) == "updateRefused" and phone.look(world.states[6]) == "upToDate"


def test_five_hundred_hostile_releases_are_refused_and_the_old_model_goes_on_answering(
    phone: Phone, world: World, photo: Path
) -> None:
    folders = Folders(*(world.states[number] for number in (2, 3, 4)), load(world.key), load(world.stranger))
    made = list(Maker(folders, 0).all(HOSTILE))
    phone.host.states = [each.state for each in made]
    before = phone.kept()
    label = first_answer(world, photo)
    outcomes = []
    for start in range(0, HOSTILE, 50):
        outcomes += phone.page.evaluate(OFFER, [start, min(HOSTILE, start + 50)])
        taken = [(each.kind, *told) for each, told in zip(made, outcomes) if told[0] not in each.outcomes]
        assert not taken and phone.answer(photo)[0] == label
    told = Counter(each.kind for each in made)
    print(f"{len(outcomes)} refused of {len(told)} kinds")
    assert len(told) > 80 and sum(news == "updateRefused" for news, _ in outcomes) > 0.8 * HOSTILE
    assert phone.kept() == before and "The app’s own model." in phone.facts
    assert phone.look(world.states[3]) == "updateTaken" and phone.answer(photo) == second_answer(world, photo)


OFFER = """async ([start, end]) => {
  const kept = await import(new URL("kept.js", location));
  const known = await kept.releases();
  const facts = document.getElementById("facts").dataset;
  const outcomes = [];
  for (let number = start; number < end; number++) {
    await fetch(`../offer/${number}`);
    const looks = Number(facts.looks);
    dispatchEvent(new Event("online"));
    while (Number(facts.looks) === looks) await new Promise((resolve) => setTimeout(resolve, 2));
    outcomes.push([facts.news, facts.detail]);
    await kept.changeReleases(() => known); // each is offered to the same phone, which has loaded nothing yet
    for (const name of await caches.keys()) if (name.startsWith("attar-releases")) await caches.delete(name);
  }
  return outcomes;
}"""


def test_a_release_that_fails_here_is_left_and_the_next_one_taken(phone: Phone, world: World, photo: Path) -> None:
    """Signed well: wrong golden answers, a file that is no model, labels that are too few."""
    good, key = world.states[3], load(world.key)
    name = "app/models/litert-fp32.tflite"
    files = {each["name"]: held(good, f"files/{each['sha256']}") for each in release_of(good)["files"]}
    about = json.loads(files["app/model.json"])
    for each in about["golden"]:
        each["answers"] = {file: [[0, 2.0]] for file in each["answers"]}
    before = phone.kept()
    for changed, content in (
        ("app/model.json", json.dumps(about).encode()),
        ("app/model.json", b"[" * 9999),
        (name, bytes(1000)),
        (name, files[name][: len(files[name]) // 2]),
        ("app/labels.json", b'["one", "two"]'),
        ("app/golden/0.png", b"no photo"),
    ):
        bad = with_file(good, key, changed, content)
        assert phone.look(bad) == "updateFailed", changed
        assert "Number 3 failed its test on this device" in phone.facts
        assert phone.answer(photo)[0] == first_answer(world, photo)
        phone.host.asked.clear()
        assert phone.look(bad) == "updateFailed" and phone.host.asked == ["current.json"], "not loaded again"
        phone.keep(**before)
    assert phone.look(good) == "updateTaken" and phone.answer(photo) == second_answer(world, photo)


def test_a_release_that_kills_the_page_or_no_longer_runs_gives_way_to_the_one_before(
    phone: Phone, world: World, photo: Path
) -> None:
    assert phone.look(world.states[3]) == "updateTaken"
    digest = phone.kept()["good"][0]["digest"]
    phone.keep(trial={"digest": digest, "times": 3})
    phone.again()
    assert phone.answer(photo) == second_answer(world, photo), "a fourth try"
    phone.keep(trial={"digest": digest, "times": 4})
    phone.again()
    assert phone.answer(photo)[0] == first_answer(world, photo) and phone.look() == "updateFailed"
    phone.keep(failed={})
    assert phone.look() == "updateTaken"
    phone.page.evaluate(
        """async () => {
          const name = (await caches.keys()).find((each) => each.startsWith("attar-releases"));
          const cache = await caches.open(name);
          for (const each of await cache.keys()) await cache.put(each, new Response("damaged"));
        }"""
    )
    phone.host.away = True  # else the look after the start may have brought them again
    phone.again()
    assert phone.answer(photo)[0] == first_answer(world, photo), "its files are damaged"
    assert phone.look() == "updateUnreached"
    phone.host.away = False
    assert phone.look() == "updateTaken" and phone.answer(photo) == second_answer(world, photo)


def test_a_release_without_a_card_works_without_one(phone: Phone, world: World, photo: Path) -> None:
    release = release_of(world.states[3])
    files = [each for each in release["files"] if each["name"] != "app/MODEL_CARD.md"]
    assert phone.look(released(world.states[3], load(world.key), {**release, "files": files})) == "updateTaken"
    phone.again()
    assert phone.answer(photo) == second_answer(world, photo) and phone.page.locator("#card").is_hidden()


def test_a_load_that_was_cut_off_goes_on(phone: Phone, world: World, photo: Path) -> None:
    good = world.states[3]
    files = {each["name"]: f"files/{each['sha256']}" for each in release_of(good)["files"]}
    model = files["app/models/litert-fp32.tflite"]
    assert phone.look({**good, model: Cut(held(good, model))}) == "updateUnreached"
    assert phone.answer(photo)[0] == first_answer(world, photo)
    loaded = {each for each in phone.host.asked if each.startswith("files/")}
    phone.host.asked.clear()
    phone.host.offered = good  # before the page is opened, which looks by itself
    phone.again()
    phone.looked(1)
    assert phone.news == "updateTaken"
    again = [each for each in phone.host.asked if each.startswith("files/")]
    assert model in loaded and {*again} & loaded == {model} and len(again) == len({*again})
    assert phone.answer(photo) == second_answer(world, photo)


def test_no_answer_is_two_models_and_an_observation_names_its_own(phone: Phone, world: World, photo: Path) -> None:
    page, label = phone.page, first_answer(world, photo)
    assert phone.answer(photo)[0] == label
    assert phone.look(world.states[3]) == "updateTaken"
    assert page.locator("#answers .label").first.inner_text() == label, "it stays as it was given"
    page.click("#no")
    shown = page.locator("#found li").all_inner_texts()
    assert {*shown} == {*SHAPES}, "the labels of the model that answered"
    page.keyboard.press("Escape")
    page.click("#yes")
    when(page, "!document.getElementById('kept').hidden")
    phone.answer(photo)
    page.click("#no")
    assert {*page.locator("#found li").all_inner_texts()} == {*NAMES.values()}
    page.keyboard.press("Escape")
    page.click("#yes")
    when(page, "!document.getElementById('kept').hidden")
    told = page.evaluate(
        """async () => {
          const kept = await import(new URL("kept.js", location));
          const records = await Promise.all((await kept.numbers()).map(kept.one));
          return records.map(({ text }) => JSON.parse(text));
        }"""
    )
    files = (world.first / "litert-int8.tflite", world.second / "litert-fp32.tflite")
    assert [(each["predicted"], each["model"]) for each in told] == [
        (label, sha256(files[0])),
        (second_answer(world, photo)[0], sha256(files[1])),
    ]


def test_the_camera_keeps_its_model_until_it_is_off(phone: Phone, world: World, photo: Path) -> None:
    page = phone.page
    page.get_by_role("button", name="Use the camera").click()
    when(page, "document.querySelectorAll('#answers li').length === 3")
    phone.host.offered = world.states[3]
    page.evaluate("dispatchEvent(new Event('online'))")
    when(page, "document.getElementById('facts').dataset.news === 'updating'")
    for _ in range(5):
        assert next_frame(page) in SHAPES
    page.wait_for_timeout(4000)  # in which it would have been tested and used, were the camera off
    assert phone.news == "updating" and phone.kept()["trial"] is None
    page.get_by_role("button", name="Take this picture").click()
    when(page, "document.getElementById('facts').dataset.news === 'updateTaken'")
    assert phone.answer(photo) == second_answer(world, photo)


def begun(world: World, place: Path) -> tuple[Path, Path]:
    """The release folder as it was at number 2, to go on from, and a key."""
    folder, key = place / "models", place / "keys" / "one.pem"  # without what the key saw of the other folder
    for name in world.states[2]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held(world.states[2], name))
    key.parent.mkdir()
    shutil.copyfile(world.key, key)
    return folder, key


def test_a_channel_goes_to_its_share_of_the_phones(
    browser: Browser, host: Host, world: World, photo: Path, tmp_path: Path
) -> None:
    folder, key = begun(world, tmp_path)
    publish(world.second, folder, key, channel="beta", share=0.25, without_gate=True)
    drawn = []
    phones = [Phone(browser, host) for _ in range(2)]
    for phone, share in zip(phones, (0.2499, 0.25)):
        drawn.append(phone.kept()["draw"])
        assert 0 <= drawn[-1] < 1
        phone.again()
        phone.looked(1)
        assert phone.kept()["draw"] == drawn[-1], "drawn once"
        phone.keep(draw=share)
    assert drawn[0] != drawn[1]
    assert [phone.look(state_of(folder)) for phone in phones] == ["updateTaken", "upToDate"]
    assert phones[0].answer(photo) == second_answer(world, photo)
    assert phones[1].answer(photo)[0] == first_answer(world, photo)
    shares = phones[0].page.evaluate(
        """async () => {
          const { channelOf } = await import(new URL("release.js", location));
          const channels = { stable: { share: 1 }, beta: { share: 0.25 }, alpha: { share: 0.5 } };
          return Array.from({ length: 1000 }, (_, at) => channelOf({ channels }, at / 1000));
        }"""
    )
    assert Counter(shares) == {"beta": 250, "alpha": 500, "stable": 250}
    change(folder, key, end="beta")
    assert [phone.look(state_of(folder)) for phone in phones] == ["updateTaken", "upToDate"]
    assert phones[0].answer(photo)[0] == first_answer(world, photo)


# --- deltas --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gentle(world: World, tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of number 2 with the same student as number 3, trained a little further."""
    folder, key = begun(world, tmp_path_factory.mktemp("gentle"))
    publish(tuned, folder, key, without_gate=True)
    return folder


def changes(folder: Path, world: World) -> dict[str, dict[str, Any]]:
    """The files that the page loads of a folder and that a phone does not have, by name."""
    had = {each["sha256"] for each in release_of(world.states[2])["files"]}
    return {
        each["name"]: each
        for each in release_of(state_of(folder))["files"]
        if each["name"].startswith("app/") and each["sha256"] not in had
    }


def test_a_student_that_was_trained_on_is_loaded_by_a_delta(
    phone: Phone, world: World, gentle: Path, tuned: Path, photo: Path
) -> None:
    phone.host.sent.clear()
    assert phone.look(state_of(gentle)) == "updateTaken"
    assert phone.answer(photo) == python(tuned, photo, "litert-int8.tflite") and "Number 3 (" in phone.facts
    new = changes(gentle, world)
    loaded = {name: size for name, size in phone.host.sent.items() if name.startswith("files/")}
    whole = sum(each["bytes"] for each in new.values())
    print(f"{sum(loaded.values()):,} of {whole:,} bytes")
    assert sum(loaded.values()) < whole / 2
    model = new["app/models/litert-int8.tflite"]["sha256"]
    [delta] = [each for each in release_of(state_of(gentle))["files"] if each["name"].endswith(f"/{model}")]
    assert f"files/{delta['sha256']}" in loaded and f"files/{model}" not in loaded
    assert not phone.complaints


def test_a_delta_that_fails_gives_way_to_the_whole_file(phone: Phone, world: World) -> None:
    chance = random.Random(1)
    kinds = offered(chance.randbytes(1000), chance.randbytes(1000), bytes(9))
    old = {name: chance.randbytes(40_000) for name in kinds}
    new = {name: bytes(each ^ (chance.random() < 0.1) for each in content) for name, content in old.items()}
    deltas = {name: offered(old[name], new[name], bytes(each ^ 1 for each in old[name]))[name] for name in old}
    key = load(world.key)
    first = followed(world.states[2], key, {f"app/more/{name}": each for name, each in old.items()}, ())
    second = followed(first, key, {f"app/more/{name}": each for name, each in new.items()}, deltas.values())
    assert phone.look(first) == "updateTaken"
    phone.page.evaluate(COUNTING)
    phone.host.asked.clear()
    assert phone.look(second) == "updateTaken"
    files, asked = phone.kept()["good"][0]["files"], phone.host.asked
    for name, delta in deltas.items():
        assert files[f"more/{name}"]["sha256"] == delta.new
        assert (f"files/{delta.digest}" in asked) == (name != "larger than the file"), name
        assert (f"files/{delta.new}" in asked) == (name != "nothing"), name
    grown = phone.page.evaluate("self.grown")
    assert len(grown) > 10 and max(grown) < 5_000_000, "of a bomb of ten million bytes"
    phone.again()
    phone.looked(1)  # the facts are there before
    assert phone.kept()["good"][0]["number"] == 4 and "Number 4 (" in phone.facts, "all files are the right ones"


COUNTING = """() => {
  self.grown = [];
  const Real = DecompressionStream;
  self.DecompressionStream = class {
    constructor(format) {
      const at = self.grown.push(0) - 1;
      const real = new Real(format);
      const count = new TransformStream({
        transform(part, control) { self.grown[at] += part.length; control.enqueue(part); },
      }, undefined, { highWaterMark: 0 });
      Object.assign(this, { writable: real.writable, readable: real.readable.pipeThrough(count) });
    }
  };
}"""
"""Write down what each stream gives."""


def test_deltas_are_signed_checked_and_the_same_again(
    world: World, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, key = begun(world, tmp_path)
    publish(tuned, folder, key, channel="beta", share=0.5, without_gate=True)
    _, releases = status(folder)
    [delta] = releases["beta"].deltas
    had, new = (
        next(each for each in releases[name].files if each.name == "app/models/litert-int8.tflite")
        for name in ("stable", "beta")
    )
    assert (delta.old, delta.new) == (had.sha256, new.sha256) and delta.file.bytes <= new.bytes / 2
    written = json.loads((folder / "releases" / f"{status(folder)[0].channels['beta'].release}.json").read_text())
    assert {*written} == {"app", "model", "targets", "files", "schema"}, "a page that knows no deltas wants these"
    assert all({*each} == {"name", "sha256", "bytes"} for each in written["files"])
    assert not publish(tuned, folder, key, channel="beta", without_gate=True).new
    own = status(folder)[0].channels["stable"].release
    assert not publish(world.first, folder, key).new, "what stable has, whatever beta has of it"
    publish(world.first, folder, key, channel="beta")
    assert {each.name for each in status(folder)[1]["beta"].deltas} and "stable has these files: no gate is asked"
    assert not publish(world.first, folder, key).new and status(folder)[0].channels["stable"].release == own
    publish(tuned, folder, key, without_gate=True)
    publish(tuned, folder, key, channel="beta")
    pointer, _ = status(folder)
    assert pointer.channels["stable"].release == pointer.channels["beta"].release
    attar = in_process(monkeypatch, capfd)
    code, out, err = attar("releases", folder, "--json")
    [told] = json.loads(out)["channels"]["stable"]["deltas"]
    assert code == 0 and told == {"file": "litert-int8.tflite", "from": had.sha256, "bytes": delta.file.bytes}, err
    code, out, err = attar("releases", folder)
    assert code == 0 and "litert-int8" in out, err
    (folder / "files" / had.sha256).write_bytes(b"of another release, and damaged")
    with pytest.raises(InputError, match=f"{had.sha256}.*not what its name says"):
        status(folder)
    (folder / "files" / had.sha256).unlink()
    with pytest.raises(InputError, match="missing"):
        status(folder)


# --- what is written -----------------------------------------------------------------------------


def test_a_release_has_what_the_page_needs_and_no_code(world: World, exports: Path, tmp_path: Path) -> None:
    _, releases = status(world.folder)
    names = {each.name.removeprefix("app/") for each in releases["stable"].files if each.name.startswith("app/")}
    assert {"model.json", "labels.json", "MODEL_CARD.md", "models/litert-fp32.tflite", "golden/0.png"} <= names
    assert not [name for name in names if name.endswith((".js", ".mjs", ".html", ".wasm", ".css"))]
    publish(exports, tmp_path / "plain", world.key, web=False)
    assert not [each for each in status(tmp_path / "plain")[1]["stable"].files if each.name.startswith("app/")]
    about = json.loads((world.site / SITE).read_text())["releases"]
    assert (about["app"], about["number"], about["address"], len(about["keys"])) == ("shapes", 2, "../models", 2)


@pytest.mark.usefixtures("installed")
def test_an_app_says_whom_it_trusts(
    world: World, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    public, out, empty = world.key.with_suffix(".json"), tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    write_site(
        exports, out, releases="https://models.example/plants/", trust=[public, world.spare.with_suffix(".json")]
    )
    about = json.loads((out / SITE).read_text())["releases"]
    assert about["keys"] == [load(each).public.to_json() for each in (world.key, world.spare)]
    assert (about["number"], about["sha256"]) == (0, "")
    assert "connect-src 'self' https://models.example/plants/;" in (out / INDEX).read_text()
    for releases, trust, said in [
        (None, [public], "--trust: for --releases"),
        ("../models", [], "say with --trust who signs"),
        ("../models", [world.folder, public], "one release folder"),
        ("../models", [empty], "nothing was published here"),
        ("../models", [exports / "labels.json"], "holds no JSON object"),
        ("http://models.example", [public], "https:// only"),
        ("//models.example", [public], "not an address"),
        ("models; script-src *", [public], "not an address"),
    ]:
        with pytest.raises(InputError, match=said):
            write_site(exports, tmp_path / "other", releases=releases, trust=trust)
    assert not (tmp_path / "other").exists()
    shutil.copytree(world.folder, out / "releases")
    with pytest.raises(InputError, match="a release folder, which would be removed"):
        write_site(exports, out)
    attar = in_process(monkeypatch, capfd)
    code, _, err = attar("app", exports, "-o", tmp_path / "new", "--releases", "../models", "--trust", world.folder)
    assert code == 0 and json.loads((tmp_path / "new" / SITE).read_text())["releases"]["number"] == 6, err
