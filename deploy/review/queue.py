"""What waits for a reviewer, the most disputed first."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Any

from attar.data.observations import Observation, Verdict
from attar.deploy.collect.store import Decision, Doubt, Opinion, Store, Stored, in_force


class State(StrEnum):
    """Which observations a reviewer wants to see."""

    OPEN = "open"
    DECIDED = "decided"
    ALL = "all"


def disagreement(observation: Observation, opinion: Opinion | None = None) -> float:
    """How much the person, the model and the teacher disagree, in [0, 1].

    The mean over each two of them of the probability that they mean different labels. Where only the likeliest labels
    are known, the others count as improbable. Somebody who does not know disagrees with nobody.

    Args:
        observation: what the model answered and the person said.
        opinion: the teacher's likeliest labels with their probabilities; None without a teacher.
    """
    parts = []
    sure, teacher = observation.probability, dict(opinion or ())
    match observation.verdict:
        case Verdict.CONFIRMED:
            parts.append(1 - sure)
        case Verdict.CORRECTED | Verdict.OTHER:
            parts.append(sure)
    if teacher:
        parts.append(1 - teacher.get(observation.predicted, 0.0))
        if observation.verdict is Verdict.OTHER:  # none of the labels, says the person
            parts.append(max(teacher.values()))
        elif observation.said:
            parts.append(1 - teacher.get(observation.said, 0.0))
    return round(fmean(parts), 6) if parts else 0.0  # equals stay equal, in the order of arrival


@dataclass
class _Entry:
    stored: Stored
    decisions: list[Decision] = field(default_factory=list)
    disagreement: float = 0.0
    doubt: Doubt | None = None

    @property
    def doubted(self) -> str:
        """Why its label is doubted, unless somebody has decided since and has not taken that back."""
        now = in_force(self.decisions)
        return self.doubt.reason if self.doubt and self.doubt.seen >= (now.number if now else 0) else ""

    @property
    def state(self) -> State:
        return State.DECIDED if in_force(self.decisions) and not self.doubted else State.OPEN


class Queue:
    """All observations with their decisions, kept up with the store.

    One query reads what came since the last one, so that a hundred thousand are not read again at each request.
    """

    def __init__(self, store: Store, teacher: str = "") -> None:
        self._store, self._teacher = store, teacher
        self._entries: dict[str, _Entry] = {}
        self._of_photo: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._opinions: dict[str, Opinion] = {}
        self._last = {"observation": 0, "decision": 0, "opinion": 0, "doubt": 0}
        self.labels: Counter[str] = Counter()
        """Every label that the observations name, and how often."""

    def refresh(self) -> None:
        """Read what came since the last time."""
        for stored in self._store.observations(after=self._last["observation"]):
            self._last["observation"] = stored.number
            entry = _Entry(stored, disagreement=disagreement(stored.observation, self._opinions.get(stored.photo)))
            self._entries[str(stored.observation.id)] = entry
            self._of_photo[stored.photo].append(entry)
            self.labels.update(filter(None, (stored.observation.predicted, stored.observation.label)))
        for id, decision in self._store.decided(after=self._last["decision"]):
            self._last["decision"] = decision.number
            self._entries[id].decisions.append(decision)
            self.labels.update(filter(None, [decision.label]))
        for id, doubt in self._store.doubts(after=self._last["doubt"]):
            self._last["doubt"] = doubt.number
            self._entries[id].doubt = doubt
        for number, photo, opinion in self._store.opinions(self._teacher, self._last["opinion"]):
            self._last["opinion"], self._opinions[photo] = number, opinion
            for entry in self._of_photo[photo]:
                entry.disagreement = disagreement(entry.stored.observation, opinion)

    def counts(self) -> dict[str, int]:
        """How many are in each state."""
        states = Counter(entry.state for entry in self._entries.values())
        return {State.OPEN: states[State.OPEN], State.DECIDED: states[State.DECIDED], State.ALL: len(self._entries)}

    def page(self, state: State, limit: int) -> list[dict[str, Any]]:
        """The first ones: what is open by disagreement, doubted labels before all others; what is decided by the last
        decision, the newest first.
        """
        chosen = [entry for entry in self._entries.values() if state in (State.ALL, entry.state)]
        if state is State.DECIDED:
            chosen.sort(key=lambda entry: -entry.decisions[-1].number)
        else:
            chosen.sort(key=lambda entry: (not entry.doubted, -entry.disagreement, entry.stored.number))
        return [self._shown(entry) for entry in chosen[:limit]]

    def one(self, id: str) -> dict[str, Any] | None:
        """One observation, as it is now."""
        entry = self._entries.get(id)
        return self._shown(entry) if entry else None

    def _shown(self, entry: _Entry) -> dict[str, Any]:
        observation, now = entry.stored.observation, in_force(entry.decisions)
        return {
            "id": str(observation.id),
            "photo": entry.stored.photo,
            "verdict": observation.verdict.value,
            "said": observation.said,
            "text": observation.text,
            "predicted": observation.predicted,
            "probability": observation.probability,
            "contributor": observation.contributor,
            "time": observation.time.isoformat(),
            "teacher": [list(each) for each in self._opinions.get(entry.stored.photo, [])],
            "disagreement": round(entry.disagreement, 4),
            "doubt": entry.doubted,
            "decision": _plain(now) if now else None,
            "decisions": [_plain(each) for each in entry.decisions],
            "seen": entry.decisions[-1].number if entry.decisions else 0,
        }


def _plain(decision: Decision) -> dict[str, Any]:
    return {
        "number": decision.number,
        "reviewer": decision.reviewer,
        "action": decision.action.value,
        "label": decision.label,
        "made": decision.made,
    }
