"""What is known of each observation now: what the person said, and what a reviewer made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from attar.data.observations import Review, Row
from attar.deploy.collect.store import Decision, Store, Stored, in_force


@dataclass(frozen=True)
class Reviewed:
    """An observation, and the decision that counts; None if nobody has decided, or it was taken back."""

    stored: Stored
    decision: Decision | None

    @property
    def review(self) -> Review:
        """What was decided."""
        return Review(self.decision.action.value) if self.decision else Review.NONE

    @property
    def label(self) -> str:
        """The right label as far as is known; empty where there is none."""
        if self.review is Review.REJECT:
            return ""
        return self.decision.label if self.decision and self.decision.label else self.stored.observation.said

    def row(self, file_name: str) -> Row:
        """Its line in `metadata.csv`."""
        reviewer = self.decision.reviewer if self.decision else ""
        return Row(file_name, self.stored.observation, self.label, self.review, reviewer)


def reviewed(store: Store) -> Iterator[Reviewed]:
    """All observations, in the order of arrival."""
    decisions: defaultdict[str, list[Decision]] = defaultdict(list)
    for id, decision in store.decided():
        decisions[id].append(decision)
    for stored in store.observations():
        yield Reviewed(stored, in_force(decisions[str(stored.observation.id)]))
