"""The page is one safe, small, self-contained file, and every table shows the same figures."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from attar.benchmarks.latency.gate import Condition, judge
from attar.benchmarks.latency.history import opened
from attar.benchmarks.latency.intervals import Estimate
from attar.benchmarks.latency.session import Measurement, Ratio
from attar.benchmarks.latency.stability import Verdict
from attar.benchmarks.report.columns import columns
from attar.benchmarks.report.compare import compare
from attar.benchmarks.report.comparison import Choice, Comparison, Device, Example, Sensitivity
from attar.benchmarks.report.report import (
    FORMATS,
    history_table,
    judgements_table,
    markdown_table,
    picture,
    records_table,
    render,
    terminal_table,
    write_report,
)
from attar.benchmarks.report.summary import headline, markdown
from attar.benchmarks.studies.readme import BEGIN, END, block, replaced
from attar.errors import GateError, InputError
from attar.export.manifest import read_manifest
from helpers import warm

HOSTILE = '<script>alert("x")</script>'
OWN_SCRIPTS = [{"type": "application/json"}, {}]
"""The table of every class: its figures, and what searches them."""


class Tags(HTMLParser):
    """Collects what a browser would see as tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def an_example(small: Any) -> Example:
    """A photo of any class that changed."""
    return next(example for change in small.comparison.changes for example in (*change.lost, *change.won))


def with_examples(small: Any, examples: tuple[Example, ...]) -> Comparison:
    """The comparison with other photos."""
    change = replace(small.comparison.changes[0], lost=examples, lost_count=len(examples), won=(), won_count=0)
    return replace(small.comparison, changes=(change,))


def test_the_report_is_written(small: Any, tmp_path: Path) -> None:
    page = write_report(small.comparison, tmp_path)
    assert page == tmp_path / "report.html" and page.stat().st_size < 5_000_000
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(small.comparison.to_json()))
    assert str(small.folder) not in (tmp_path / "report.json").read_text()


def test_the_first_thing_said_is_the_file_to_take(small: Any) -> None:
    page = render(small.comparison)
    assert page.index(small.comparison.choice.file) < page.index("<table")


def test_it_says_which_runtime_a_file_needs_and_who_else_ran_it(small: Any) -> None:
    rows = small.comparison.rows
    [needed] = [entry.min_runtime for entry in read_manifest(small.exports).files if entry.min_runtime]
    assert {row.name: row.min_runtime for row in rows if row.min_runtime} == {"litert:fp32": needed}
    checked = tuple(replace(row, opinions=("Another evaluator 1.2",)) if row.kind == "file" else row for row in rows)
    page = render(replace(small.comparison, rows=checked))
    assert f"<td>{needed}</td>" in page and page.count("verified by Another evaluator 1.2") == 2


def test_nothing_is_fetched(small: Any) -> None:
    page = render(small.comparison)
    for tag, attributes in Tags(page).found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (tag, name, value)
    assert [attributes for tag, attributes in Tags(page).found if tag == "script"] == OWN_SCRIPTS
    assert not re.search(r"@import|\bimport\(|\bfetch\(|XMLHttpRequest|sendBeacon|WebSocket", page)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_names_are_escaped_everywhere(small: Any) -> None:
    it, example = small.comparison, an_example(small)
    said = {"about": HOSTILE, "evaluator": HOSTILE, "opinions": (HOSTILE,), "min_runtime": HOSTILE}
    hostile = replace(
        it,
        title=HOSTILE,
        notes=(HOSTILE,),
        failed=({"target": HOSTILE, "error": HOSTILE},),
        set_aside=({"photo": HOSTILE, "reason": HOSTILE},),
        rows=tuple(replace(r, **said) if r.kind == "file" else r for r in it.rows),
        changes=tuple(
            replace(
                c,
                label=HOSTILE,
                lost_count=1,
                lost=(replace(example, label=HOSTILE, file=HOSTILE, name=f'"{HOSTILE}'),),
            )
            for c in it.changes
        ),
        choice=replace(it.choice, file=HOSTILE, reasons=(HOSTILE,)),
        devices=(hostile_device(it),),
        sensitivity=Sensitivity(HOSTILE, HOSTILE, ({"layer": HOSTILE, "score": 1.0},), 1.0),
        every_class=replace(it.every_class, names=(HOSTILE,) * 3, taken_for=(HOSTILE,) * 3),  # type: ignore[type-var]
    )
    page = render(hostile)
    assert HOSTILE not in page and page.count("&lt;script&gt;") > 20
    assert [attributes for tag, attributes in Tags(page).found if tag == "script"] == OWN_SCRIPTS
    text = markdown(hostile)
    assert "<script" not in text.replace("\\<script", "")


def hostile_device(it: Comparison) -> Device:
    operator = {"name": HOSTILE, "operator": HOSTILE, "nanoseconds": 5.0}
    [device] = it.devices
    timings = tuple(replace(each, way=HOSTILE, operators=(operator,)) for each in device.timings)
    choice = replace(device.choice, file=HOSTILE, reasons=(HOSTILE,))
    return replace(device, name=HOSTILE, about=HOSTILE, notes=(HOSTILE,), timings=timings, choice=choice)


def test_how_integers_were_kept_accurate_is_shown(small: Any) -> None:
    assert "How integers were kept accurate" not in render(small.comparison)
    plan = {"ranges": "average"}
    ranges = {"whole ranges": 0.375, "average ranges": 0.25}
    tries = [
        {"tool": "average ranges", "plan": plan, "divergence": 0.25, "drop": 12.345, "problem": "it loses"},
        {"tool": HOSTILE, "plan": plan, "divergence": 0.5, "drop": -0.5, "problem": ""},
    ]
    layers = [{"layer": f"block.{i}", "score": 1.0 / (i + 1), "float": i in (0, 19)} for i in range(30)]
    rows = tuple(
        replace(
            row, recovery={"ranges": ranges, "tries": tries, "layers": layers} if row.name == "litert:fp32" else None
        )
        for row in small.comparison.rows
    )
    it = replace(small.comparison, rows=rows)
    page = render(it)
    section = page[page.index("How integers were kept accurate") : page.index("Is its confidence")]
    assert HOSTILE not in page and section.count("&lt;script&gt;") == 1
    assert re.findall(r"<td>([-+.\d]+)</td>", section) == ["-12.35", "0.25000", "+0.50", "0.50000"]
    assert "whole ranges 0.37500, average ranges 0.25000." in section
    assert section.count("not enough") == 1 and "2 of 30 layers stay float" in section
    page = render(replace(it, sensitivity=Sensitivity("litert:int8+fp", "the search", tuple(layers))))
    assert page.count("block.19 (float)") == 1 and page.count("block.0 (float)") == 2 and "All 30 layers" in page
    assert Comparison.from_json(json.loads(json.dumps(it.to_json()))).row("litert:fp32").recovery == rows[2].recovery


def test_many_large_photos_stay_under_five_megabytes(small: Any, tmp_path: Path) -> None:
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (144, 144, 3), dtype=np.uint8)  # compresses worst
    Image.fromarray(noise).save(tmp_path / "noise.png")
    one = replace(an_example(small), photo=tmp_path / "noise.png")
    page = render(with_examples(small, (one,) * 300))
    assert len(page.encode()) < 5_000_000
    shown, left = page.count("data:image/jpeg"), page.count('class="gone"')
    assert shown > 24 and left > 0 and shown + left == 300


def test_a_photo_that_is_gone_does_not_stop_the_report(small: Any, tmp_path: Path) -> None:
    example = replace(an_example(small), photo=tmp_path / "gone.png")
    assert "photo is gone" in render(with_examples(small, (example,)))


def test_without_latency_or_teacher(small: Any) -> None:
    rows = tuple(replace(row, latency=None, latency_note="why") for row in small.comparison.rows[1:])
    alone = replace(small.comparison, rows=rows, devices=(), changes=(), compared=("student", "litert:fp32"))
    page = render(alone)
    assert "Accuracy, latency and size" not in page and "why." in page
    assert "litert:fp32 is right on the same photos as the student." in page
    assert "no latency was measured" in picture_text(alone)


def picture_text(comparison: Comparison) -> str:
    return FORMATS["svg"](comparison).decode()  # type: ignore[union-attr]


def test_each_device_has_its_answer_its_picture_and_its_column(small: Any) -> None:
    [host] = small.comparison.devices
    slow = replace(host.timings[0], latency=replace(host.timings[0].latency, p50=77.0))
    none = Choice(None, None, ("No file meets at most 1.00 ms.",))
    phone = Device("Nexus <9>", "android", "a & b", (slow,), none, ("It was hot.",))
    it = replace(small.comparison, devices=(phone, host))
    page, text = render(it), markdown(it)
    assert f"<h1>Ship {host.choice.file} on 1 of 2 devices</h1>" in page
    assert page.index("No file meets at most 1.00 ms.") < page.index("<table")
    other = replace(phone, choice=replace(host.choice, file="another.onnx"))
    assert headline(replace(it, devices=(other, host))) == "Which file to ship depends on the device"
    assert headline(replace(it, devices=(host, host))) == f"Ship {host.choice.file} on both devices"
    assert page.index("Nexus &lt;9&gt;") < page.index("It was hot.") < page.index("<table")
    assert page.count('class="at-wide"') == page.count('class="at-narrow"') == 3  # two devices, and the reliability
    assert "p50 ms, Nexus &lt;9&gt;" in page and ">77.0<" in page
    assert "| Nexus \\<9\\> | none meets what was asked for |" in text and host.choice.file in text
    assert f"For {host.name}: {host.choice.file}." in str(terminal_table(it).caption)
    assert "Nexus <9>: no file meets" in picture_text(it).replace("&lt;", "<").replace("&gt;", ">")


def test_ids_in_the_page_are_unique_and_what_they_name_is_there(small: Any) -> None:
    [host] = small.comparison.devices
    tags = Tags(render(replace(small.comparison, devices=(host, replace(host, name="another"))))).found
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [each for _, attributes in tags for each in (attributes.get("xlink:href"), attributes.get("clip-path"))]
    assert {re.sub(r"^(url\()?#|\)$", "", each) for each in named if each} <= set(ids)


def test_every_table_and_every_heading_is_in_order(small: Any) -> None:
    listed = Tags(render(small.comparison)).found
    levels = [int(tag[1]) for tag, _ in listed if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and max(b - a for a, b in pairwise(levels)) <= 1
    tags = [tag for tag, _ in listed]
    assert tags.count("caption") == tags.count("table")
    assert all("scope" in attributes for tag, attributes in listed if tag == "th")
    assert all(attributes.get("alt") for tag, attributes in listed if tag == "img")


def test_a_flame_chart_has_a_table_beside_it_with_the_same_shares(small: Any) -> None:
    [host] = small.comparison.devices
    operators = tuple(
        {"name": f"node {i}", "operator": f"KIND_{i % 11}", "nanoseconds": 1e3 * (i + 1)} for i in range(60)
    )
    timing = replace(host.timings[0], operators=operators, profiled=4.0)
    page = render(replace(small.comparison, devices=(replace(host, timings=(timing,)),)))
    chart = page[page.index('class="flame"') : page.index("Every operator of")]
    rows = re.findall(r'<span class="swatch \w+"></span>([^<]+)</th><td>[^<]*</td><td>[^<]*</td><td>([\d.]+)%', chart)
    assert round(sum(float(share) for _, share in rows), 6) == 100.0 and rows[-1] == ("outside of operators", "54.2")
    assert all(f"{share}% {name}" in chart for name, share in rows)
    widths = [float(each) for each in re.findall(r'<div style="width:([\d.]+)%"', chart)]
    assert len(widths) == len(rows) and abs(sum(widths) - 100) < 0.01


def test_sensitivity_is_shown_or_the_command_for_it(small: Any) -> None:
    rows = tuple(
        replace(row, name="litert:int8") if row.name == "litert:fp32" else row for row in small.comparison.rows
    )
    it = replace(small.comparison, rows=rows, devices=(), changes=(), compared=("teacher", "student"))
    assert "attar report --sensitivity" in render(it) and "attar report --sensitivity" not in render(small.comparison)
    layers = tuple({"layer": f"layer.{i}", "score": 1.0 / (i + 1)} for i in range(20))
    page = render(replace(it, sensitivity=Sensitivity("litert:int8", "a scan", layers, 0.5)))
    assert "attar report --sensitivity" not in page and "All layers together: 0.50000" in page
    bars = re.findall(r'style="width: ([\d.]+)%"', page)
    assert bars[:2] == ["100.0", "50.0"] and len(bars) == 12 + 20 and "All 20 layers" in page


@pytest.mark.parametrize("format", list(FORMATS))
def test_a_files_ending_or_the_format_says_what_is_written(small: Any, tmp_path: Path, format: str) -> None:
    alone = write_report(small.comparison, tmp_path / f"mine.{format}")
    assert [path.name for path in tmp_path.iterdir()] == [f"mine.{format}"]
    folder = write_report(small.comparison, tmp_path / "folder", [format])
    assert [path.name for path in folder.parent.iterdir()] == [f"report.{format}"]
    assert alone.read_bytes() == folder.read_bytes()


def test_an_unknown_format_is_refused_and_nothing_half_is_written(small: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--format pgn: one of .*Did you mean 'png'"):
        write_report(small.comparison, tmp_path, ["json", "pgn"])
    broken = replace(small.comparison, provenance={})  # the page cannot be made, the JSON could
    with pytest.raises(Exception, match="made"):
        write_report(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_png_is_opaque_and_as_wide_as_text_needs(small: Any, tmp_path: Path) -> None:
    with Image.open(picture(small.comparison, tmp_path / "picture.png")) as image:
        assert image.width == 1152 and image.convert("RGBA").getpixel((2, 2)) == (255, 255, 255, 255)


def test_terminal_markdown_and_page_show_the_same_cells(small: Any) -> None:
    it = small.comparison
    console = Console(width=250, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(terminal_table(it))
    terminal, markdown, page = console.export_text(), markdown_table(it), render(it)
    for row in it.rows:
        for column in columns(it):
            cell = column.cell(row)
            assert cell.main in terminal or not column.brief
            assert cell.main in markdown and f">{cell.main}<" in page
    assert len(markdown.splitlines()) == 2 + len(it.rows)


def test_records_table_has_a_line_a_record(small: Any) -> None:
    ratio = Ratio("litert:int8", "litert:fp32", "LiteRT", Estimate(0.5, 0.4, 0.6))
    measured = Measurement(tuple(small.records), Verdict(True), (ratio,))
    table = records_table(measured)
    assert table.row_count == len(small.records)
    assert "litert:int8 takes 0.500 [0.400, 0.600] times as long as litert:fp32." in str(table.caption)
    assert "1 thread. Brackets" in str(table.caption)


def test_judgements_and_history_have_a_line_each(small: Any) -> None:
    judgements = judge(small.records[0], small.records[:1], None, [Condition("size", 0.5)])
    assert judgements_table(judgements).row_count == 1 and judgements[0].outcome == "failed"
    listed = history_table(small.records, {small.records[0].run: ["v1"]})
    assert listed.row_count == len(small.records)
    assert [str(cell) for cell in listed.columns[1].cells] == ["v1"] * len(small.records)


def test_a_run_that_cannot_be_trusted_is_noted(small: Any) -> None:
    waiting = [replace(each, conditions={"waited": 0.4}) for each in small.records]
    compared = compare(
        small.exports, bundle=small.student.path, teacher=small.teacher.path, photos=small.photos, records=waiting
    )
    assert any("Other programs held the CPU for 40%" in note for note in compared.devices[0].notes)
    page = render(compared)  # before the figures, and once
    assert page.index("Other programs held the CPU") < page.index("Every model and file")
    assert "Other programs held the CPU" in markdown(compared)
    assert page.count("Other programs held the CPU") == 1


@pytest.mark.parametrize("name", ["picture.svg", "picture.png"])
def test_the_picture_is_saved_the_same_twice(small: Any, tmp_path: Path, name: str) -> None:
    first = picture(small.comparison, tmp_path / name).read_bytes()
    assert picture(small.comparison, tmp_path / name).read_bytes() == first and len(first) > 2_000


def test_a_picture_of_another_kind_is_refused(small: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="svg"):
        picture(small.comparison, tmp_path / "picture.bmp")


def test_a_report_reads_back(small: Any) -> None:
    written = json.loads(json.dumps(small.comparison.to_json()))
    assert Comparison.from_json(written).to_json() == small.comparison.to_json()


@pytest.mark.parametrize("broken", [{"schema": 99}, {"rows": [{"name": "x"}]}, {"classes": "three"}])
def test_another_report_is_refused(small: Any, broken: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"report\.json"):
        Comparison.from_json(json.loads(json.dumps({**small.comparison.to_json(), **broken})))


def test_the_readme_keeps_what_is_outside_its_marks(small: Any) -> None:
    text = block("a line\nTraining x · epoch 1/3 · loss 2.0\n", 2.5)
    once = replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n", text)
    assert once.startswith("before\n") and once.endswith("after\n") and "old" not in once
    assert "a line" in once and "epoch" not in once and "2.5 minutes" in once and replaced(once, text) == once
    with pytest.raises(GateError, match="marks"):
        replaced("no marks", text)


@pytest.mark.slow
def test_the_command_measures_layers_and_takes_other_devices_from_a_history(
    small: Any, shapes: Path, tmp_path: Path
) -> None:
    history, run = tmp_path / "lab.sqlite", tmp_path / "run"
    other = replace(small.records[0], device={**small.records[0].device, "cpu": "Another CPU"}, run="another")
    with opened(history, create=True) as lab:
        lab.add([other])
    shutil.copytree(small.exports, run / "exports")
    words = ["report", run, "--bundle", small.student.path, "--teacher", small.teacher.path]
    words += ["--data", shapes, "--history", history, "--sensitivity", "--format", "md", "--format", "html"]
    said = subprocess.run(warm.attar(*words), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert str(run / "report.html") in said.stderr.replace("\n", "")  # a long path is wrapped
    layers = json.loads((run / "sensitivity.json").read_text())["layers"]
    assert len(layers) > 20 and all(math.isfinite(each["score"]) for each in layers)
    page = (run / "report.html").read_text()
    assert "Another CPU" in page and layers[0]["layer"] in page
    text = (run / "report.md").read_text()
    assert text.startswith("### Do not ship yet")  # the student is untrained
    assert "It is the only file timed here" in text and "litert:fp32" in text
    assert not (run / "report.json").exists()
