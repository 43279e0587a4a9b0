"""The gate on real exported files."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attar.bundle import read_bundle
from attar.data.photos import DataSpec, Photos, labels_of, read_photos
from attar.deploy.release.gate import gate
from attar.deploy.release.gate_page import markdown
from attar.deploy.release.gate_page import page as page_of
from attar.deploy.release.keys import create
from attar.deploy.release.ledger import LOOKS, Look, level, opened
from attar.deploy.release.publish import publish, status
from attar.deploy.release.verdict import Limits
from attar.errors import GateError, InputError
from attar.export.export import export_student
from attar.export.manifest import read_manifest, write_manifest
from attar.export.runners import open_runner
from attar.files import digest_of
from attar.metrics import expected_calibration_error
from attar.students import divide_logits, load, save
from helpers import warm
from helpers.browser import browsing, chromium, faults, visit
from helpers.once import made_once
from helpers.pictures import SHAPES, draw
from helpers.small import make_student

pytestmark = pytest.mark.slow
TARGETS = ["onnx:fp32", "onnx:fp16"]


@dataclass(frozen=True)
class Runs:
    """Two runs on the same photos: one trained for two steps, one for twenty-five."""

    folder: Path
    photos: Photos

    @property
    def poor(self) -> Path:
        return self.folder / "poor" / "exports"

    @property
    def good(self) -> Path:
        return self.folder / "good" / "exports"


@pytest.fixture(scope="session")
def runs(shared: Path) -> Runs:
    def make(folder: Path) -> None:
        for shape in SHAPES:
            (folder / "photos" / shape).mkdir(parents=True)
            for number in range(60):
                draw(shape, number).save(folder / "photos" / shape / f"{number}.png")
        photos = read_photos(DataSpec(str(folder / "photos")))
        for name, steps in {"poor": 2, "good": 25}.items():
            make_student("mobilenetv3_small_050", photos, folder / name / "student", steps=steps)
            student = read_bundle(folder / name / "student")
            export_student(student, TARGETS, folder / name / "exports", photos=photos, max_drop=100.0)

    folder = made_once(shared / "gate", make)
    return Runs(folder, read_photos(DataSpec(str(folder / "photos"))))


def asked(exports: Path, photos: Photos) -> np.ndarray:
    """The ONNX file's probabilities of each validation photo, asked without the gate."""
    from attar.data.photos import load_pixels
    from attar.preprocessing import Preprocessing

    runner = open_runner(exports / "onnx-fp32.onnx")
    return runner.predict(load_pixels(photos.val, Preprocessing.from_json(runner.preprocessing)))


def right(exports: Path, photos: Photos) -> np.ndarray:
    """Whether the ONNX file is right about each validation photo."""
    return asked(exports, photos).argmax(1) == labels_of(photos.val)


def calibration_error(exports: Path, photos: Photos) -> float:
    return expected_calibration_error(asked(exports, photos), labels_of(photos.val))


def test_the_better_files_ship_and_the_figures_are_the_files_own(runs: Runs, tmp_path: Path) -> None:
    made = gate(runs.poor, runs.good, runs.photos, ledger=tmp_path / "ledger.jsonl", seconds=0.5)
    before, now = right(runs.poor, runs.photos), right(runs.good, runs.photos)
    assert now.mean() > before.mean() + 0.2, "the two students are too much alike for this test"
    assert [each.target for each in made.verdicts] == TARGETS
    first = made.verdicts[0]
    assert first.top1 == (before.mean(), now.mean())
    assert (first.won, first.lost) == ((now & ~before).sum(), (before & ~now).sum())
    assert [each.photo for each in first.flips] == [
        runs.photos.name(photo) for photo, lost in zip(runs.photos.val, before & ~now) if lost
    ]
    names = {each.name for each in first.checks}
    assert names == {"gain", "flips", "classes", "pinned", "labels", "calibration", "promises", "size", "latency"}
    assert made.ship and made.sentence.startswith("Ship: onnx:fp32: ")
    assert made.sentence.endswith("; 1 more file passes.")
    assert first.calibration and first.calibration.champion == pytest.approx(calibration_error(runs.poor, runs.photos))
    assert first.calibration.challenger == pytest.approx(calibration_error(runs.good, runs.photos))
    assert f"{100 * first.calibration.challenger:.1f}" in markdown(made)
    assert f"{100 * first.calibration.challenger:.1f}% now." in page_of(made)
    measured = next(each.words for each in first.checks if each.name == "latency")
    assert "times as long" in measured
    assert made.look == 1


def test_in_small_batches_the_verdict_is_the_same(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"ledger": tmp_path / "ledger.jsonl", "targets": TARGETS[:1], "seconds": 0}
    at_once = gate(runs.poor, runs.good, runs.photos, **how)
    monkeypatch.setattr("attar.deploy.release.gate.BATCH", 7)
    assert gate(runs.poor, runs.good, runs.photos, **how).to_json() == at_once.to_json()


def test_the_other_way_round_nothing_ships(runs: Runs, tmp_path: Path) -> None:
    made = gate(runs.good, runs.poor, runs.photos, ledger=tmp_path / "ledger.jsonl", seconds=0)
    assert not made.ship and "points worse" in made.sentence
    assert "1 more file fails" in made.sentence


def test_files_against_themselves_do_not_ship(runs: Runs, tmp_path: Path) -> None:
    made = gate(runs.good, runs.good, runs.photos, ledger=tmp_path / "ledger.jsonl", targets=["onnx:fp32"], seconds=0)
    verdict = made.verdicts[0]
    assert not made.ship and (verdict.won, verdict.lost, verdict.p) == (0, 0, 1.0)
    assert [each.name for each in verdict.checks if not each.passed] == ["gain"]


@pytest.fixture
def half(runs: Runs, tmp_path: Path) -> Path:
    """Exports of which the first file is the poor student's, and the second the good one's."""
    shutil.copytree(runs.poor, tmp_path / "half")
    first, second = (
        next(each for each in read_manifest(exports).files if each.target == target)
        for exports, target in zip((runs.poor, runs.good), TARGETS)
    )
    shutil.copyfile(runs.good / second.file, tmp_path / "half" / second.file)
    write_manifest(replace(read_manifest(runs.poor), files=(first, second)), tmp_path / "half")
    return tmp_path / "half"


def test_the_primary_file_shows_the_gain_and_the_others_are_within_the_margin(
    runs: Runs, half: Path, tmp_path: Path
) -> None:
    """The challenger's first file is better than that of `half`, and its second one is the same."""
    how: dict[str, Any] = {"ledger": tmp_path / "ledger.jsonl", "seconds": 0}
    each = gate(half, runs.good, runs.photos, **how)
    assert [verdict.ship for verdict in each.verdicts] == [True, False] and "primary" not in each.to_json()
    margin = Limits(margin=0.3)
    made = gate(half, runs.good, runs.photos, limits=margin, primary=TARGETS[0], **how)
    assert made.ship and made.look == 2 and made.to_json()["primary"] == TARGETS[0]
    better, same = made.verdicts
    assert better.p == each.verdicts[0].p and "is refuted" not in better.sentence
    assert (same.won, same.lost) == (0, 0) and "a loss of 30 points is refuted" in same.sentence
    assert "no better by its onnx:fp32, or loses 30 points or more by another file" in markdown(made)
    text = page_of(made)
    assert text.index("McNemar") < text.index("Tango") and text.index(">onnx:fp32<") < text.index(">onnx:fp16<")
    # Whoever names the other file looks again, and it does not show a gain, though it is within the margin.
    other = gate(half, runs.good, runs.photos, limits=margin, primary=TARGETS[1], **how)
    assert not other.ship and other.look == 3
    assert [verdict.target for verdict in other.verdicts] == TARGETS[::-1]
    assert other.sentence.startswith("Hold: onnx:fp16: 0.0 points better")
    # Without a primary file, both are within the margin.
    assert gate(half, runs.good, runs.photos, limits=margin, **how).ship


def test_the_same_answers_with_too_much_confidence_are_held_and_the_file_itself_is_not(
    runs: Runs, tmp_path: Path
) -> None:
    before = read_bundle(runs.folder / "poor" / "student")
    student = load(before)
    assert divide_logits(student, 0.05, before.preprocessing.size)
    save(student, tmp_path / "student", labels=before.labels, preprocessing=before.preprocessing)
    sure = tmp_path / "exports"
    export_student(read_bundle(tmp_path / "student"), TARGETS[:1], sure, photos=runs.photos, max_drop=100.0)
    assert (asked(sure, runs.photos).argmax(1) == asked(runs.poor, runs.photos).argmax(1)).all()

    def decided(challenger: Path) -> Any:
        limits = Limits(margin=0.3)
        ledger = tmp_path / "ledger.jsonl"
        made = gate(runs.poor, challenger, runs.photos, ledger=ledger, targets=TARGETS[:1], limits=limits, seconds=0)
        return made.verdicts[0]

    assert decided(runs.poor).ship
    held = decided(sure)
    assert [each.name for each in held.checks if not each.passed] == ["calibration"]
    assert held.calibration.challenger == pytest.approx(calibration_error(sure, runs.photos))
    assert held.sentence.startswith("Hold: its calibration error is ")


def test_a_set_of_photos_wears_out_whatever_the_training_photos_are(runs: Runs, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first = gate(runs.poor, runs.good, runs.photos, ledger=ledger, seconds=0)
    again = gate(runs.poor, runs.good, runs.photos, ledger=ledger, seconds=0)
    assert (first.look, again.look) == (1, 1)
    [look] = map(json.loads, ledger.read_text().splitlines())
    fewer = read_photos(DataSpec(str(runs.folder / "photos")))
    fewer = Photos(**{**vars(fewer), "train": fewer.train[:30], "fingerprint": "another"})
    assert gate(runs.good, runs.poor, fewer, ledger=ledger, seconds=0).look == 2
    with opened(ledger) as looks:
        for number in range(LOOKS):
            looks.add(Look("2026-01-01T00:00:00+00:00", tuple(look["photos"]), str(number), level(), False))
    with pytest.raises(InputError, match="new validation photos"):
        gate(runs.poor, runs.poor, runs.photos, ledger=ledger, seconds=0)
    assert gate(runs.poor, runs.good, runs.photos, ledger=ledger, seconds=0).look == 1


def test_a_look_is_known_by_what_it_was_known_by_before_there_were_primary_files(runs: Runs, tmp_path: Path) -> None:
    made = gate(runs.poor, runs.good, runs.photos, ledger=tmp_path / "ledger.jsonl", seconds=0)
    [look] = map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines())
    identities = sorted(digest_of([label, content]) for _, label, side, content in runs.photos.listing if side == "val")
    assert look["pair"] == digest_of([*map(list, made.digests), asdict(Limits()), {}, [], identities])


def test_new_classes_are_told_beside_and_a_lost_class_holds(runs: Runs, tmp_path: Path) -> None:
    two = tmp_path / "two"
    for shape in SHAPES[:2]:
        shutil.copytree(runs.folder / "photos" / shape, two / shape)
    photos = read_photos(DataSpec(str(two)))
    student = make_student("mobilenetv3_small_050", photos, tmp_path / "student", steps=2)
    export_student(student, TARGETS[:1], tmp_path / "exports", photos=photos, max_drop=100.0)
    ledger = tmp_path / "ledger.jsonl"
    made = gate(tmp_path / "exports", runs.good, runs.photos, ledger=ledger, targets=TARGETS[:1], seconds=0)
    squares = [photo for photo in runs.photos.val if runs.photos.labels[photo.label] == "square"]
    assert made.new[0] == len(squares) and made.verdicts[0].images == len(runs.photos.val) - len(squares)
    assert made.new[1] > len(squares) / 2
    lost = gate(runs.good, tmp_path / "exports", runs.photos, ledger=ledger, targets=TARGETS[:1], seconds=0)
    assert "it no longer has 1 class (square)" in lost.sentence
    with pytest.raises(InputError, match=r"none of .*'square'"):
        gate(runs.good, tmp_path / "exports", photos, ledger=ledger, seconds=0, targets=TARGETS[:1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"targets": ["onnx:int8"]}, "no file onnx:int8.*onnx:fp32"),
        ({"pinned": "circle/nothing.png\n"}, "circle/nothing.png"),
        ({"slices": "photo,slice\nnothing.png,dark\n"}, "nothing.png"),
        ({"slices": "photo,group\ncircle/1.png,dark\n"}, "columns photo and slice"),
        ({"slices": "photo,slice\ncircle/1.png\n"}, "line 2 lacks"),
        ({"slices": "slice,photo\ndark\n"}, "line 2 lacks"),
        ({"champion": "nowhere"}, "nowhere: nothing is there"),
        (
            {"primary": "onnx:fp33", "limits": Limits(margin=0.1)},
            "--primary onnx:fp33: none .*Did you mean 'onnx:fp32'",
        ),
        ({"primary": "onnx:fp16", "targets": ["onnx:fp32"]}, "--primary onnx:fp16: none of the files that are asked"),
        ({"primary": "onnx:fp32"}, "--primary: needs --margin"),
    ],
)
def test_bad_input_is_one_clear_error_and_no_look(runs: Runs, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    for name in ("pinned", "slices"):
        if name in given:
            path = tmp_path / f"{name}.csv"
            path.write_text(given[name])
            given = {**given, name: path}
    champion = tmp_path / given.pop("champion") if "champion" in given else runs.poor
    with pytest.raises(InputError, match=said):
        gate(champion, runs.good, runs.photos, ledger=tmp_path / "ledger.jsonl", seconds=0, **given)
    assert not (tmp_path / "ledger.jsonl").exists()


def seen_number(folder: Path) -> int:
    return status(folder)[0].number


def attar(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(warm.attar(*words), capture_output=True, text=True)


def test_the_command_writes_a_page_and_a_table_and_exits_by_the_decision(runs: Runs, tmp_path: Path) -> None:
    pinned = tmp_path / "pinned.txt"
    [one, *_] = [each for each, is_right in zip(runs.photos.val, right(runs.good, runs.photos)) if is_right]
    pinned.write_text(f"{runs.photos.name(one)}\n")
    common = ["--data", runs.folder / "photos", "--ledger", tmp_path / "ledger.jsonl", "--seconds", "0"]
    held = attar(
        "gate", runs.folder / "good", runs.folder / "poor", *common, "--pinned", pinned, "-o", tmp_path / "held"
    )
    assert held.returncode == 1, held.stderr
    assert "Hold: " in held.stdout.replace("\n", " ")
    told = json.loads((tmp_path / "held" / "gate.json").read_text())
    assert not told["ship"] and told["looks"] == LOOKS
    text = (tmp_path / "held" / "gate.md").read_text()
    assert text.startswith("**Hold: ") and "| onnx:fp32 |" in text
    assert told["files"][0]["flips"][0]["photo"] in text
    shipped = attar("gate", runs.poor, runs.good, *common, "--json", "-o", tmp_path / "other")
    data = json.loads(shipped.stdout)
    assert shipped.returncode == 0 and data["ship"] and data["sentence"].startswith("Ship: ")
    assert data["limits"]["margin"] == 0
    key = create(tmp_path / "key.pem").path
    publish(runs.poor, tmp_path / "site", key)
    with pytest.raises(GateError, match="Hold: "):
        publish(runs.good, tmp_path / "site", key, gate=tmp_path / "held" / "gate.json")
    publish(runs.good, tmp_path / "site", key, gate=tmp_path / "other" / "gate.json")
    assert seen_number(tmp_path / "site") == 2
    strange = attar("gate", runs.poor, tmp_path / "none", *common)
    assert strange.returncode == 2 and "manifest.json" in strange.stderr


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_is_accessible_and_nothing_of_it_is_wider_than_the_screen(
    runs: Runs, tmp_path: Path, dark: bool, width: int
) -> None:
    from attar.deploy.release.gate_page import write_gate
    from attar.deploy.release.verdict import Flip

    chromium()
    made = gate(runs.good, runs.poor, runs.photos, ledger=tmp_path / "ledger.jsonl", seconds=0)
    hostile = Flip("<img src=x onerror=document.title='no'>" + "x" * 200, "<b>", "شجرة")
    first = replace(made.verdicts[0], flips=(hostile, *made.verdicts[0].flips))
    path = write_gate(replace(made, verdicts=(first, *made.verdicts[1:])), tmp_path)
    with browsing() as browser:
        scheme = "dark" if dark else "light"
        page = visit(browser, path.as_uri(), viewport={"width": width, "height": 900}, color_scheme=scheme)
        assert page.title() == "Hold: attar gate"
        assert page.locator("img").count() == 0
        assert faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
