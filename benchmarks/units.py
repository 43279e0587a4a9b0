"""How figures are written, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

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


def megabytes(size: int) -> str:
    """Bytes in decimal kB or MB, as app stores count."""
    return f"{number(size / 1e6)} MB" if size >= 1e6 else f"{number(size / 1e3)} kB"
