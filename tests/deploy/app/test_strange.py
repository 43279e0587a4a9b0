"""The app of a file that says how familiar a photo is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from attar.benchmarks.predict import predict
from attar.data.strange import pictures
from attar.deploy.app import site as sites
from attar.export.web.assets import Assets
from helpers.browser import visit, when
from helpers.familiar import familiar_exports
from helpers.phone_app import ask, isolated
from helpers.pictures import draw

pytestmark = pytest.mark.slow

STRANGE = "This looks like nothing that the model knows."


@pytest.mark.parametrize("target", ["litert:fp32", "onnx:fp32"])
def test_something_else_is_told(
    browser: Browser, installed: None, runtimes: Assets, shared: Path, serving: Callable, tmp_path: Path, target: str
) -> None:
    exports, site = familiar_exports(shared), tmp_path / "site"
    sites.write_site(exports, site, name="Shapes", target=target)
    photos = {f"{name}.png": next(pictures(name, 1)) for name in ("covered lens", "screenshot", "noise")}
    photos |= {f"{number}.png": draw("cross", number) for number in (41, 42, 43)}
    for name, photo in photos.items():
        photo.save(tmp_path / name)
    page = visit(browser, serving(site))
    isolated(page)
    told = {}
    for name in photos:
        ask(page, tmp_path / name)
        told[name] = STRANGE in page.locator("#unsure").inner_text()
    when(page, "!document.getElementById('verdict').hidden")
    page.get_by_role("button", name="Yes", exact=True).click()
    when(page, "!document.getElementById('kept').hidden")
    record = page.evaluate("import(new URL('kept.js', location)).then((kept) => kept.oldest())")
    file = exports / f"{target.replace(':', '-')}.{'tflite' if 'litert' in target else 'onnx'}"
    answers = predict(file, [tmp_path / name for name in photos])
    expected = {each.photo: each.strange for each in answers}
    assert json.loads(record["text"])["familiarity"] == pytest.approx(answers[-1].familiarity, abs=0.02)
    assert {str(tmp_path / name): strange for name, strange in told.items()} == expected
    assert np.mean([told[name] for name in photos if name[0].isdigit()]) < 0.5
