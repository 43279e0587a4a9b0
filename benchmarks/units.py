"""How figures are written, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from attar.benchmarks.latency.intervals import Estimate

MINUS = "\N{MINUS SIGN}"


def percent(share: float) -> str:
    """`0.978` -> `97.8%`."""
    return f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """A difference of shares in percentage points with its sign: `-0.0123` -> `−1.2`; zero has none."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def milliseconds(value: float) -> str:
    """Three significant digits: `0.2134` -> `0.213 ms`."""
    return f"{number(value)} ms"


def number(value: float) -> str:
    """Three significant digits without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def estimate_text(estimate: Estimate, unit: float = 1.0) -> str:
    """`1.06 [1.05, 1.07]`, in another unit if asked."""
    return f"{number(estimate.value * unit)} {interval_text(estimate, unit)}"


def interval_text(estimate: Estimate, unit: float = 1.0) -> str:
    """`[1.05, 1.07]`; an end that is not known is `?`."""
    ends = (number(end * unit) if 0 < end < float("inf") else "?" for end in (estimate.low, estimate.high))
    return f"[{', '.join(ends)}]"


def estimate_ends(interval: tuple[float, float | None]) -> str:
    """The ends of an interval, None for one that is not known: `[1.05, ?]`."""
    low, high = interval
    return f"[{number(low)}, {'?' if high is None else number(high)}]"


def tenths(value: int) -> str:
    """Tenths of a percent: `123` -> `12.3%`."""
    return f"{value / 10:.1f}%"


def megabytes(size: int) -> str:
    """Bytes in decimal kB or MB, as app stores count."""
    return f"{number(size / 1e6)} MB" if size >= 1e6 else f"{number(size / 1e3)} kB"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
