"""The drift report: tables for the terminal, Markdown, and a page that opens offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attar.benchmarks.units import MINUS, listed, number, percent, points
from attar.deploy.drift.charts import HEIGHT, WIDTH, charts_of
from attar.deploy.drift.clustered import Share
from attar.deploy.drift.comparison import KINDS, DriftTest, Moved
from attar.deploy.drift.report import OfVersion, Report, said
from attar.deploy.drift.same_photo import Churn, Pair
from attar.deploy.drift.versions import SHORT
from attar.deploy.drift.weeks import Spread, Week
from attar.export.card import plain, table
from attar.extras import require
from attar.files import write_json, write_text

if TYPE_CHECKING:
    from rich.console import Group

SHOWN = 20
"""Photos that the terminal and Markdown list; the page lists `LISTED`, drift.json all."""
LISTED = 200
CLASSES = 12
"""Classes of a version that the page lists by week."""

_TEMPLATE = Path(__file__).with_name("drift.html")


def write_report(made: Report, output: Path, folder: str) -> Path:
    """Write drift.json, drift.md and drift.html into a folder; returns the page's path.

    Args:
        made: the report.
        output: to write to.
        folder: what was read, as the page calls it.
    """
    write_json(output / "drift.json", made.to_json())
    write_text(output / "drift.md", markdown(made))
    write_text(output / "drift.html", page(made, folder))
    return output / "drift.html"


# --- words ------------------------------------------------------------------------------------------


def share_text(share: Share | None) -> str:
    """`78.3% [70.1, 85.0]`; of one contributor alone there is no interval."""
    if share is None:
        return ""
    if share.low is None or share.high is None:
        return f"{percent(share.value)} [?]"
    return f"{percent(share.value)} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def spread_text(spread: Spread | None, as_percent: bool = False) -> str:
    """Median, and between which 80% lie: `85.1% [60.2, 97.9]`."""
    if spread is None:
        return ""
    if as_percent:
        return f"{percent(spread.q50)} [{100 * spread.q10:.1f}, {100 * spread.q90:.1f}]"
    return f"{number(spread.q50)} [{number(spread.q10)}, {number(spread.q90)}]"


def latency_text(spread: Spread | None) -> str:
    """Median and 90% quantile: `21.3 / 48.0`."""
    return f"{number(spread.q50)} / {number(spread.q90)}" if spread else ""


def effect_text(test: DriftTest) -> str:
    """`PSI 0.31, by chance up to 0.12`."""
    kind = "PSI" if test.quantity in KINDS else "KS"
    chance = "" if test.by_chance is None else f", by chance up to {test.by_chance:.2f}"
    return f"{kind} {test.effect:.2f}{chance}"


def p_text(test: DriftTest) -> str:
    """The corrected p-value, or why there is none."""
    if test.p is None:
        return "too few contributors"
    return "< 0.001" if test.p < 0.001 else f"{test.p:.3f}"


def moved_text(test: DriftTest, most: int = 3) -> str:
    """What moved, with intervals."""
    return "; ".join(_moved(test, each) for each in test.moved[:most])


def _moved(test: DriftTest, each: Moved) -> str:
    low, high = each.difference.low, each.difference.high
    is_share = test.quantity in (*KINDS, "confidence", "familiarity")
    unit = points if is_share else _signed
    ends = "?" if low is None or high is None else f"{unit(low)}, {unit(high)}"
    name = each.name if test.quantity in KINDS else "mean"
    values = tuple(map(percent if is_share else number, (each.reference, each.current)))
    return f"{name} {values[0]} to {values[1]}: {unit(each.difference.value)} [{ends}]"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else MINUS if value < 0 else ''}{number(abs(value))}"


def counts_text(test: DriftTest) -> str:
    """`120 of 9, before 480 of 14`."""
    (own, before), (people, others) = test.observations, test.contributors
    return f"{own:,} of {people:,}; reference {before:,} of {others:,}"


def churn_text(made: Report, each: Churn) -> str:
    """How many photos two versions answer differently."""
    photos = f"{each.photos:,} photo{'s' if each.photos != 1 else ''}"
    return (
        f"{made.name(each.before)} and {made.name(each.now)} both answered {photos}: {share_text(each.differ)} differ."
    )


def ties_text(made: Report) -> str:
    """Photos with two labels that were nearly as likely."""
    count = len(made.same.ties)
    if not count:
        return ""
    return (
        f"{count:,} more got two labels from one file that may have been nearly as likely: {made.tolerance:g} explains "
        "the difference."
    )


def classes_of(version: OfVersion) -> list[str]:
    """The most common classes of all its weeks, at most `CLASSES`."""
    total: Counter[str] = Counter()
    for week in version.weeks:
        total.update({name: round(share * week.observations) for name, share in week.classes.items()})
    return [name for name, _ in total.most_common(CLASSES)]


def about(version: OfVersion) -> str:
    """What a version's weeks hold."""
    people = f"{version.contributors:,} contributor{'s' if version.contributors != 1 else ''}"
    base = f" The reference is {listed(version.reference)}." if version.reference else " No week is of the reference."
    return f"{version.observations:,} observations of {people}.{base}"


# --- Markdown ---------------------------------------------------------------------------------------


def markdown(made: Report) -> str:
    """The sentences, what contradicts itself, weeks by version, and what drifted; ends with a newline."""
    parts = [f"**{plain(made.sentence)}**", plain(made.drift_sentence)]
    if made.same.alarms:
        parts.append(_pairs(made, made.same.alarms))
    parts += filter(None, [ties_text(made)])
    if made.tests:
        rows = [["version", "week", "quantity", "observations, contributors", "effect", "p", "moved"]]
        rows += [[plain(cell) for cell in _test_row(made, test)] for test in made.drift or made.tests[:SHOWN]]
        parts.append(table(rows))
    for version in made.versions:
        parts += [
            f"### {plain(version.version.name)}",
            plain(about(version)),
            table([_WEEK_TITLES, *map(_week_row, version.weeks)]),
        ]
    for each in made.same.churn:
        parts.append(plain(churn_text(made, each)))
        if each.pairs:
            parts.append(_pairs(made, each.pairs))
    return "\n\n".join(parts) + "\n"


_WEEK_TITLES = [
    "week",
    "observations",
    "contributors",
    "confidence",
    "not sure",
    "familiarity",
    "latency p50 / p90, ms",
    "confirmed",
    "corrected",
    "other",
    "unknown",
]


def _week_row(week: Week) -> list[str]:
    return [
        week.week,
        f"{week.observations:,}",
        f"{week.contributors:,}",
        spread_text(week.confidence, as_percent=True),
        share_text(week.unsure),
        spread_text(week.familiarity, as_percent=True),
        latency_text(week.latency),
        *(share_text(week.verdicts[name]) for name in ("confirmed", "corrected", "other", "unknown")),
    ]


def _test_row(made: Report, test: DriftTest) -> list[str]:
    found = [effect_text(test), p_text(test), moved_text(test)]
    return [made.name(test.model), test.week, test.quantity, counts_text(test), *found]


def _pairs(made: Report, pairs: Sequence[Pair]) -> str:
    rows = [["photo", "first answer", "other answer", "apart"]]
    rows += [
        [pair.image[:SHORT], *(plain(_by(made, each)) for each in (pair.one, pair.other)), f"{pair.apart:.2f}"]
        for pair in pairs[:SHOWN]
    ]
    more = f"\n\nAnd {len(pairs) - SHOWN:,} more, which drift.json names." if len(pairs) > SHOWN else ""
    return table(rows) + more


def _by(made: Report, each: Any) -> str:
    return f"{made.name(each.model)}: {said(each)}"


# --- the page ---------------------------------------------------------------------------------------


def page(made: Report, folder: str) -> str:
    """The whole page as text. What comes from users is escaped by the template."""
    environment = require("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        percent=percent,
        number=number,
        share=share_text,
        spread=spread_text,
        latency=latency_text,
        effect=effect_text,
        p=p_text,
        moved=moved_text,
        counts=counts_text,
        said=said,
        about=about,
        classes=classes_of,
    )
    drifted = {(test.model, test.week, test.quantity) for test in made.drift}
    charts = {
        each.version.sha256: charts_of(
            each, {(week, quantity) for model, week, quantity in drifted if model == each.version.sha256}
        )
        for each in made.versions
    }
    return str(
        environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
            it=made,
            folder=folder,
            charts=charts,
            ties=ties_text(made),
            churn=[(each, churn_text(made, each)) for each in made.same.churn],
            short=SHORT,
            listed=LISTED,
            width=WIDTH,
            height=HEIGHT,
            verdicts=("confirmed", "corrected", "other", "unknown"),
        )
    )


# --- the terminal -----------------------------------------------------------------------------------


def terminal(made: Report) -> Group:
    """The sentences, the weeks of each version in short, what drifted and what contradicts itself."""
    from rich.console import Group
    from rich.text import Text

    from attar.errors import in_line

    style = "bold red" if made.is_alarm else "bold green"
    parts: list[Any] = [Text(in_line(made.sentence), style=style), Text(in_line(made.drift_sentence))]
    titles = ["Version", "Week", "Answers", "People", "Confidence", "ms", "Confirmed"]
    parts.append(_view(titles, [_short(each, week) for each in made.versions for week in each.weeks]))
    if made.drift:
        rows = [
            [*_test_row(made, test)[:3], effect_text(test), p_text(test), moved_text(test, 2)] for test in made.drift
        ]
        parts.append(_view(["Version", "Week", "Drift in", "Effect", "p", "Moved"], rows[:SHOWN]))
    if made.same.alarms:
        rows = [
            [pair.image[:SHORT], _by(made, pair.one), _by(made, pair.other), f"{pair.apart:.2f}"]
            for pair in made.same.alarms[:SHOWN]
        ]
        parts.append(_view(["Photo", "First answer", "Other answer", "Apart"], rows))
    parts += [
        Text(in_line(text)) for text in (ties_text(made), *(churn_text(made, each) for each in made.same.churn)) if text
    ]
    return Group(*parts)


def _short(version: OfVersion, week: Week) -> list[str]:
    row = _week_row(week)
    return [version.version.name, row[0], row[1], row[2], percent(week.confidence.q50), row[6], row[7]]


def _view(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    """A table; texts of users are shown as they are."""
    from rich.table import Table
    from rich.text import Text

    from attar.errors import in_line

    view = Table(header_style="bold")
    for title in titles:
        view.add_column(title, overflow="fold")
    for row in rows:
        view.add_row(*(Text(in_line(each)) for each in row))
    return view
