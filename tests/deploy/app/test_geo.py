"""The app with a prior of place and season: the numbers are Python's, and the place counts only where it should."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from playwright.sync_api import Browser, Page

from attar.deploy.app import site as sites
from attar.deploy.app.site import GEO, SITE, write_site
from attar.errors import InputError
from attar.export.manifest import read_manifest
from attar.geo.combine import Combination
from attar.geo.files import ABOUT, WEIGHTS, Prior, save
from attar.geo.located import open_located
from attar.geo.places import Place
from attar.geo.prior import GeoPrior
from attar.geo.snippets import JAVASCRIPT
from helpers.browser import accessible, visit, when
from helpers.phone_app import ask, isolated, next_frame
from helpers.pictures import draw
from helpers.priors import random_prior

pytestmark = pytest.mark.slow

HERE = {"latitude": 48.137154, "longitude": 11.576124}
PLACED = "!document.getElementById('placed').hidden"
ANSWERED = "document.querySelector('#answers .label')"


def sure_prior(folder: Path, labels: tuple[str, ...], label: str) -> Path:
    """One label lives everywhere, and no other anywhere."""
    model = GeoPrior(len(labels), width=8, blocks=1).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([14.0 if each == label else -14.0 for each in labels]))
    save(Prior(model, labels, np.ones(len(labels), int), combination=Combination(0.0001, 2.0)), folder)
    return folder


def sided_prior(folder: Path, labels: tuple[str, ...]) -> Path:
    """In the south the first label lives, or with a date the second; in the north the third."""
    model = GeoPrior(3, width=3, blocks=1).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.stem.weight[[0, 1, 2], [2, 2, 6]] = torch.tensor([-1.0, 1.0, 1.0])  # how far south, how far north, dated
        model.head.weight.copy_(torch.tensor([[40.0, 0, -40], [40, 0, 25], [0, 40, 0]]))
        model.head.bias.copy_(torch.tensor([-9.0, -30, -9]))
    save(Prior(model, labels, np.ones(3, int), combination=Combination(0.001, 2.0)), folder)
    return folder


SCRIPT = """
import { readFileSync } from "node:fs";
const { aboutOf, openGeo, dayOf } = await import(process.argv[2]);
const { about, file, labels, weights, asked, days } = JSON.parse(readFileSync(0));
const geo = openGeo(about, new Uint8Array(readFileSync(weights)));
const photo = (row) => Float32Array.from(row);
const answers = asked.map(({ place, day, row }) => Array.from(geo.joined(photo(row), place, day)));
const likely = asked.map(({ place, day }) => place && Array.from(geo.likely(place, day)));
const described = aboutOf(JSON.parse(readFileSync(file)), labels);
const row = photo(asked[0].row);
const same = geo.joined(row, null, 0) === row;
const dated = days.map(([y, m, d, h]) => dayOf(new Date(y, m, d, h)));
console.log(JSON.stringify({ answers, likely, same, described, days: dated }));
"""


@pytest.mark.parametrize("how", [Combination(0.005, 1.0), Combination(0.1, 0.5), Combination(0.3, 2.0)])
def test_the_pages_numbers_are_pythons(tmp_path: Path, how: Combination) -> None:
    """Probabilities to 1e-6, at places all over the globe, with dates and without."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    names = tuple("abcdefg")
    prior = random_prior(tmp_path / "geo", names, how)
    located = open_located(prior, names[::-1])
    random = np.random.default_rng(1)
    rows = random.dirichlet(np.full(7, 0.4), 60).astype(np.float32)
    places = [Place(*random.uniform([-90, -180, 0], [90, 180, 366]).tolist()) for _ in rows]
    places[:5] = [Place(90, 0, 0), Place(-90, 180, 366), Place(0, -180, 1), Place(0, 0, 0), Place(48.1, 11.6, 152)]
    asked = [
        {"place": {"latitude": each.latitude, "longitude": each.longitude}, "day": each.day, "row": row}
        for each, row in zip(places, rows.tolist())
    ]
    asked.append({"place": None, "day": 100, "row": rows[0].tolist()})
    days = [[2024, 0, 1, 0], [2024, 1, 29, 12], [2023, 11, 31, 23], [2024, 11, 31, 1]]
    given = {"about": sites._geo(located), "weights": str(prior / WEIGHTS), "asked": asked, "days": days}
    given |= {"file": str(prior / ABOUT), "labels": names[::-1]}
    (tmp_path / "run.mjs").write_text(SCRIPT)
    command = ["node", str(tmp_path / "run.mjs"), str(JAVASCRIPT)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert {**told["described"], "file": GEO} == given["about"]
    assert told["same"] and told["days"] == [1, 60, 365, 366]
    np.testing.assert_allclose(told["answers"][:-1], located(rows, places), atol=1e-6)
    assert told["answers"][-1] == rows[0].tolist()
    assert np.std(told["likely"][:-1], axis=0).max() > 0.05
    assert np.abs(np.array(told["answers"][:-1]) - rows).max() > 0.2


def labels_of(exports: Path) -> tuple[str, ...]:
    return tuple(read_manifest(exports).bundle["labels"])


SHOWN = "[...document.querySelectorAll('#answers span')].map((each) => each.textContent)"


def shares(page: Page, script: str = SHOWN) -> dict[str, float]:
    """What the page shows: label -> share in percent."""
    texts = page.evaluate(script)
    return {label: float(text.rstrip("%")) for label, text in zip(texts[::2], texts[1::2], strict=True)}


def camera(page: Page) -> None:
    page.click("#watch")
    when(page, f"!document.getElementById('camera').hidden && {ANSWERED}")  # until it is on, an earlier answer is shown


@pytest.fixture
def rare(browser: Browser, written: Path, serving: Callable) -> str:
    """The label for which the camera's picture alone is taken least."""
    page = visit(browser, serving(written))
    isolated(page)
    camera(page)
    *_, label = shares(page)
    page.context.close()
    return label


@pytest.fixture
def app(browser: Browser, installed: None, exports: Path, serving: Callable, tmp_path: Path) -> Callable[..., Page]:
    """Open an app with a prior, by default one in which `label` lives everywhere and no other label anywhere."""

    def opened(label: str = "", place: dict[str, float] | None = HERE, prior: Path | None = None, **look: Any) -> Page:
        prior = prior or sure_prior(tmp_path / "geo", labels_of(exports)[::-1], label)
        write_site(exports, tmp_path / "site", name="Shapes", geo=prior)
        page = visit(browser, serving(tmp_path / "site"), **look)
        isolated(page)
        if place:
            page.context.set_geolocation(place)
            page.context.grant_permissions(["geolocation"])
        return page

    return opened


def test_the_camera_is_answered_with_the_place_until_that_is_to_be_ignored(app: Callable, rare: str) -> None:
    page = app(rare)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(f"{request.url} {request.post_data}"))
    camera(page)
    when(page, PLACED)
    assert "this device only" in page.locator("#placed").inner_text()
    assert shares(page)[rare] > 99, "the answer changes together with the words about it"
    page.click("#shutter")
    when(page, "!document.getElementById('photo').hidden")
    assert next(iter(shares(page))) == rare
    camera(page)
    when(page, PLACED)
    alone = shares(page, f"() => {{ document.getElementById('ignore-place').click(); return {SHOWN}; }}")
    assert page.locator("#placed").is_hidden() and alone[rare] < 99, "no frame is waited for"
    next_frame(page)
    assert shares(page)[rare] < 99
    page.reload()
    isolated(page)
    assert page.get_by_label("Ignore my location").is_checked()
    assert not [each for each in requests if "48.13" in each or "11.57" in each]


def test_a_place_that_cannot_be_had_is_told(app: Callable, exports: Path) -> None:
    page = app(labels_of(exports)[0], place=None)
    camera(page)
    when(page, PLACED)
    assert page.locator("#placed").inner_text().startswith("Answered without a place: ")
    accessible(page)


def test_a_chosen_photo_is_answered_with_its_own_place_and_day_and_never_with_the_phones(
    app: Callable, exports: Path, tmp_path: Path
) -> None:
    from attar.benchmarks.predict import predict

    prior = sided_prior(tmp_path / "prior", labels_of(exports))
    plain, placed, dated = (tmp_path / name for name in ("plain.jpg", "placed.jpg", "dated.jpg"))
    picture = draw("cross", 77)
    picture.save(plain)
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "S", 2: (33.0, 27.0, 0.0), 3: "W", 4: (70.0, 40.0, 0.0)})
    picture.save(placed, exif=exif)
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:12:31 12:00:00"
    picture.save(dated, exif=exif)

    def python(path: Path, **how: Any) -> dict[str, float]:
        return dict(predict(exports / "litert-int8.tflite", path, **how)[0].top)

    def shown(path: Path) -> dict[str, float]:
        ask(page, path)
        return {label: share / 100 for label, share in shares(page).items()}

    page = app(prior=prior)
    camera(page)
    when(page, PLACED)
    page.click("#shutter")  # else its next frame is taken for the photo's answer
    when(page, "!document.getElementById('photo').hidden")
    by_file = {path: python(path, geo=prior) for path in (dated, placed, plain)}
    there = python(plain, geo=prior, at=Place(HERE["latitude"], HERE["longitude"], 152))
    for path, says in (
        (dated, "The photo’s own place and date"),
        (placed, "The photo’s own place was"),
        (plain, "none"),
    ):
        assert shown(path) == pytest.approx(by_file[path], abs=0.02)
        assert says in page.locator("#placed").inner_text()
    answers = [*by_file.values(), there]
    assert by_file[plain] == python(plain)
    for number, one in enumerate(answers):  # so that none can be taken for another
        assert all(max(abs(one[label] - other[label]) for label in one) > 0.05 for other in answers[:number])
    ask(page, dated)
    page.evaluate("document.getElementById('answers').replaceChildren()")
    page.get_by_label("Ignore my location").check()
    when(page, f"document.getElementById('placed').hidden && {ANSWERED}")
    alone = {label: share / 100 for label, share in shares(page).items()}
    assert alone == pytest.approx(by_file[plain], abs=0.02)


def test_what_is_kept_of_an_answer_says_nothing_of_the_place(app: Callable, rare: str) -> None:
    page = app(rare)
    camera(page)
    when(page, f"{PLACED} && document.querySelector('#answers .label').textContent === {json.dumps(rare)}")
    page.click("#shutter")
    when(page, "!document.getElementById('photo').hidden && !document.getElementById('verdict').hidden")
    page.get_by_role("button", name="Yes").click()
    when(page, "!document.getElementById('kept').hidden")
    [number] = page.evaluate("import('./kept.js').then((kept) => kept.numbers())")
    record = json.loads(page.evaluate(f"import('./kept.js').then((kept) => kept.one({number}))")["text"])
    assert record["predicted"] == rare and record["place"] is None and record["with_geo"] is True
    assert record["probability"] < 0.99  # the photo's own


def test_a_site_says_what_its_prior_is_and_refuses_one_of_other_labels(
    installed: None, exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    labels = labels_of(exports)
    prior = random_prior(tmp_path / "geo", labels[::-1], Combination(0.01, 1.5))
    write_site(exports, tmp_path / "site", geo=prior)
    about = json.loads((tmp_path / "site" / SITE).read_text())
    told = {name: about["geo"][name] for name in ("order", "floor", "weight", "observed")}
    assert told == {"order": [2, 1, 0], "floor": 0.01, "weight": 1.5, "observed": [False, True, True]}
    assert GEO in about["files"] and (tmp_path / "site" / GEO).read_bytes() == (prior / WEIGHTS).read_bytes()
    random_prior(tmp_path / "mute", labels, Combination(0.01, 0.0))
    write_site(exports, tmp_path / "site", geo=tmp_path / "mute")
    assert json.loads((tmp_path / "site" / SITE).read_text())["geo"] is None
    assert not (tmp_path / "site" / GEO).exists() and "goes without it" in capsys.readouterr().err
    with pytest.raises(InputError, match="a prior of 2 other labels"):
        write_site(exports, tmp_path / "site", geo=random_prior(tmp_path / "pets", ("cat", "dog"), Combination()))
