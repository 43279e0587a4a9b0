"""The page is one safe, small, self-contained file, and every table shows the same figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from attar.errors import GateError, InputError
from benchmarks import compare, write_report
from benchmarks.columns import columns
from benchmarks.comparison import ClassRow, Comparison
from benchmarks.gate import Condition, judge
from benchmarks.intervals import Estimate
from benchmarks.measurement import Measurement, Ratio
from benchmarks.readme import BEGIN, END, block, replaced
from benchmarks.report import (
    history_table,
    judgements_table,
    markdown_table,
    picture,
    records_table,
    render,
    terminal_table,
)
from benchmarks.verdict import Verdict
from export import read_manifest

HOSTILE = '<script>alert("x")</script>'


class Tags(HTMLParser):
    """Collects what a browser would see as tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


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
    told = tuple(replace(row, opinions=("Another evaluator 1.2",)) if row.kind == "file" else row for row in rows)
    page = render(replace(small.comparison, rows=told))
    assert f"<td>{needed}</td>" in page and page.count("verified by Another evaluator 1.2") == 2


def test_nothing_is_fetched(small: Any) -> None:
    page = render(small.comparison)
    for tag, attributes in Tags(page).found:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (tag, name, value)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_names_are_escaped_everywhere(small: Any) -> None:
    it = small.comparison
    said = {"about": HOSTILE, "evaluator": HOSTILE, "opinions": (HOSTILE,), "min_runtime": HOSTILE}
    hostile = replace(
        it, title=HOSTILE, notes=(HOSTILE,), failed=({"target": HOSTILE, "error": HOSTILE},),
        set_aside=({"photo": HOSTILE, "reason": HOSTILE},),
        rows=tuple(replace(r, **said) if r.kind == "file" else r for r in it.rows),
        worst_classes=(ClassRow(HOSTILE, 1, {r.name: 0.5 for r in it.rows}, -0.5),),
        examples=tuple(replace(e, label=HOSTILE, student=HOSTILE, name=f'"{HOSTILE}') for e in it.examples),
        choice=replace(it.choice, file=HOSTILE, reasons=(HOSTILE,)),
    )  # fmt: skip
    page = render(hostile)
    assert HOSTILE not in page and "&lt;script&gt;" in page
    assert "script" not in {tag for tag, _ in Tags(page).found}


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
    # The twelve most harmful ones, and the float one beyond them.
    widths = [float(width) for width in re.findall(r"width: ([\d.]+)%", section)]
    assert len(widths) == 13 and widths[0] == 100 and widths[1] == 50 and section.count('class="float"') == 2
    assert Comparison.from_json(json.loads(json.dumps(it.to_json()))).row("litert:fp32").recovery == rows[2].recovery


def test_many_large_photos_stay_under_five_megabytes(small: Any, tmp_path: Path) -> None:
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)  # compresses worst
    Image.fromarray(noise).save(tmp_path / "noise.png")
    example = small.comparison.examples[0]
    crowded = replace(small.comparison, examples=(replace(example, photo=tmp_path / "noise.png"),) * 24)
    assert len(render(crowded).encode()) < 5_000_000


def test_a_photo_that_is_gone_does_not_stop_the_report(small: Any, tmp_path: Path) -> None:
    example = replace(small.comparison.examples[0], photo=tmp_path / "gone.png")
    assert "photo is gone" in render(replace(small.comparison, examples=(example,)))


def test_without_latency_or_teacher(small: Any) -> None:
    rows = tuple(replace(row, latency=None, latency_note="why") for row in small.comparison.rows[1:])
    page = render(replace(small.comparison, rows=rows, examples=(), worst_classes=()))
    assert "Accuracy against latency" not in page and "why." in page


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
    ratio = Ratio("litert:int8", "litert:fp32", Estimate(0.5, 0.4, 0.6))
    found = Measurement(tuple(small.records), Verdict(True), (ratio,))
    table = records_table(found)
    assert table.row_count == len(small.records)
    assert "litert:int8 takes 0.500 [0.400, 0.600] times as long as litert:fp32." in str(table.caption)
    assert "1 thread. Brackets" in str(table.caption)


def test_judgements_and_history_have_a_line_each(small: Any) -> None:
    judgements = judge(small.records[0], small.records[:1], None, [Condition("size", 0.5)])
    assert judgements_table(judgements).row_count == 1 and judgements[0].outcome == "failed"
    listed = history_table(small.records, {small.records[0].run: ["v1"]})
    assert listed.row_count == len(small.records)
    assert list(listed.columns[1].cells) == ["v1"] * len(small.records)


def test_a_run_that_cannot_be_trusted_is_noted(small: Any) -> None:
    waiting = [replace(each, conditions={"waited": 0.4}) for each in small.records]
    told = compare(
        small.exports, bundle=small.student.path, teacher=small.teacher.path, photos=small.photos, records=waiting
    )
    assert any("Other programs held the CPU for 40%" in note for note in told.notes)
    page = render(told)  # before the figures, and once
    assert page.index("Other programs held the CPU") < page.index("Every model and file")
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
    text = block("a line\n", small.comparison, 2.5)
    once = replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n", text)
    assert once.startswith("before\n") and once.endswith("after\n") and "old" not in once
    assert markdown_table(small.comparison) in once and replaced(once, text) == once
    with pytest.raises(GateError, match="marks"):
        replaced("no marks", text)
