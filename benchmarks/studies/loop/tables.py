"""The study's tables in docs/loop.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attar.benchmarks.units import percent, points
from attar.export.card import table

ROOT = Path(__file__).parents[3]
PAGE, RESULTS = ROOT / "docs" / "loop.md", ROOT / "docs" / "results" / "loop.json"
BEGIN, END = "<!-- the study's tables begin -->\n", "\n<!-- and end -->"

HEAD = (
    "round",
    "poisoned by",
    "outcome",
    "learned from",
    "doubted",
    "vandals' labels: sent, learned from, held out",
    "others' wrong labels",
    "top-1 of what phones have",
    "negative flips",
    "plain retraining: top-1",
    "negative flips",
)


def table_of(result: Mapping[str, Any]) -> str:
    """The rounds as Markdown, and what came of all of them."""
    rows = [list(HEAD)]
    for each in result["rounds"]:
        doubts = sum(count for reason, count in each["left_out"].items() if reason.startswith("its label is doubted"))
        alone = each.get("plain")
        rows.append(
            [
                str(each["round"]),
                each["poison"],
                each["outcome"],
                str(each["used"]),
                str(doubts),
                _wrong(each, "vandals"),
                _wrong(each, "people"),
                percent(each["top1"]),
                str(each["flips"]),
                percent(alone["top1"]) if alone else "",
                str(alone["flips"]) if alone else "",
            ]
        )
    return f"{table(rows)}\n\n{_summary(result)}"


def _wrong(row: Mapping[str, Any], kind: str) -> str:
    """Wrong labels: sent, learned from, held out. Empty where they were not counted."""
    counts = row.get("wrong", {}).get(kind)
    return f"{counts['sent']}, {counts['train']}, {counts['val']}" if counts else ""


def _summary(result: Mapping[str, Any]) -> str:
    gain, (low, high) = result["gain"]["points"], result["gain"]["interval"]
    own = [each for each in result["rounds"] if "plain" in each]
    flips, alone = (sum(each["flips"] for each in own), sum(each["plain"]["flips"] for each in own))
    said = (
        f"Before the first round phones had {percent(result['first'])}. All rounds together: {points(gain)} points "
        f"[{points(low)}, {points(high)}] on {result['photos']} photos. Negative flips of the {len(own)} rounds "
        f"that have plain retraining beside them: {flips}, and {alone} of it."
    )
    if not any(each["poison"] for each in result["rounds"]):
        said += " The study was interrupted before it poisoned rounds."
    if "answered" in result:
        said += (
            f" {result['answered']['published']} of {result['answered']['all']} answers came from the file that was "
            "published last."
        )
    return said


def tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """All that is recorded."""
    return "\n\n".join(f"**{name}**\n\n{table_of(result)}" for name, result in results.items())


def page(text: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the tables of these results."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{tables(results)}{END}{rest.split(END)[1]}"
