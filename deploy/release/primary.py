"""One rule for several files of a run: the gain is shown on the primary one, and the others lose less than the margin.

Files of one student are near-copies of it, and each needs some luck of its own to show the same small gain. That the
others lose less than a margin takes far fewer photos. Every file has to pass its own test at the level of the look, so
the rule as a whole has that level too (intersection-union test: Berger, Technometrics 24, 1982): whichever file is not
as it has to be, its own test lets it through no oftener, whatever the others do. The primary file is named before the
photos are asked. Who names another one takes another look.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from attar.deploy.release.verdict import Limits
from attar.errors import InputError, did_you_mean


def limits_of(target: str, primary: str, limits: Limits) -> Limits:
    """What one file has to meet: the primary one is better, the others are within the margin."""
    return replace(limits, margin=0.0) if target == primary else limits


def require_primary(primary: str, margin: float, targets: Collection[str]) -> None:
    """Refuse a primary file that is none of those that are asked, or others that are held to nothing.

    Raises:
        InputError: one of these.
    """
    if primary not in targets:
        raise InputError(
            f"--primary {primary}: none of the files that are asked.{did_you_mean(primary, targets)} "
            f"They are {', '.join(targets)}."
        )
    if not margin:
        raise InputError("--primary: needs --margin, the points of top-1 that the other files may lose.")
