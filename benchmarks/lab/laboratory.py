"""The devices of one run of the lab, and what became of them: the state behind the server, without HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attar.benchmarks.lab.inbox import Done, Failure, Hello, Ready, Refused, Round
from attar.benchmarks.lab.plan import LabPlan
from attar.benchmarks.lab.session import Session
from attar.benchmarks.latency import record
from attar.benchmarks.latency.record import Record
from attar.benchmarks.latency.stability import of_run
from attar.console import say
from attar.errors import AttarError

MOST_DEVICES = 16
"""Measuring at once. Others are asked to wait."""
MOST_SESSIONS = 1_000
"""Remembered: of more, those that ended first are forgotten."""
PATIENCE = 180.0
"""Seconds without a word after which a device has gone away: a slow one may take long to open a file."""


class Laboratory:
    """Takes parsed messages, tells the terminal what happens, and writes records as devices finish."""

    def __init__(
        self,
        plan: LabPlan,
        output: Path,
        patience: float = PATIENCE,
        keep: Callable[[list[Record]], object] | None = None,
    ) -> None:
        """Hand what a device measured to `keep` too, if given; the same records given twice are kept once."""
        self.plan, self.output, self.patience, self._keep = plan, output, patience, keep
        self.sessions: dict[str, Session] = {}
        self.records: list[Record] = []
        self.disagreements: list[str] = []
        self.finished = 0
        self._made: dict[str, list[Record]] = {}
        self._kept: dict[str, list[Record]] = {}

    def hello(self, message: Hello) -> dict[str, Any]:
        """Begin a device's session -> its name and the plan."""
        active = sum(not session.over for session in self.sessions.values())
        if active >= MOST_DEVICES:
            raise Refused(429, f"{active} devices are measuring. Try again when one has finished.")
        self._forget()
        name = secrets.token_urlsafe(12)
        session = Session(self.plan, message)
        self.sessions[name] = session
        say(f"{session.name}: measuring {len(session.work)} files.")
        return {"session": name, **self.plan.for_browser([work.job for work in session.work])}

    def ready(self, name: str, message: Ready) -> dict[str, Any]:
        """A file is loaded -> the verdict on its answers."""
        session = self._session(name)
        first = session.work[message.job].agreement is None if message.job < len(session.work) else False
        verdict = session.ready(message)
        if first and not verdict["agrees"]:
            self._disagrees(session, message.job, verdict)
        return verdict

    def failed(self, name: str, message: Failure) -> dict[str, Any]:
        """A file does not run there -> nothing."""
        session = self._session(name)
        session.failed(message)
        say(f"{session.name}: {session.work[message.job].job.title} does not run: {message.error}")
        return {}

    def round(self, name: str, message: Round) -> dict[str, Any]:
        """A round is measured -> nothing."""
        self._session(name).round(message)
        return {}

    def done(self, name: str, message: Done) -> dict[str, Any]:
        """All is measured -> the summary of each record, and why the times cannot be trusted, if so.

        The records are written before this returns.
        """
        session = self._session(name)
        if name not in self._kept:
            session.check_open()
            # What could not be written is sent again, and must then be the very same records.
            records = self._made.setdefault(name, session.done(message))
            self._write(records)
            self._kept[name] = records
            session.over = True
            self.finished += 1
            say(f"{session.name}: done, {_count(records)}.")
            if doubt := _doubt(records):
                say(f"{session.name}: {doubt}")
        records = self._kept[name]
        return {"records": [_summary(each) for each in records], "doubt": _doubt(records)}

    def closed(self, name: str) -> dict[str, Any]:
        """The page was left -> nothing. What has enough samples is kept."""
        session = self._session(name)
        if not session.over:
            session.over = True
            records = session.records()
            kept = f"{_count(records)} kept" if records else "too little was measured to keep"
            say(f"{session.name}: went away; {kept}. The lab goes on.")
            try:
                self._write(records)
            except AttarError as error:
                say(f"{session.name}: nothing was kept. {error}")
        return {}

    def sweep(self) -> None:
        """End the sessions of devices that have gone silent."""
        for name, session in self.sessions.items():
            if not session.over and session.idle > self.patience:
                self.closed(name)

    def close(self) -> None:
        """End all sessions, as when their pages were left."""
        for name in self.sessions:
            self.closed(name)

    def _forget(self) -> None:
        """Make room for one session more. What was measured is kept; only a device's last message cannot come again."""
        ended = [name for name, session in self.sessions.items() if session.over]
        for name in ended[: max(0, len(self.sessions) + 1 - MOST_SESSIONS)]:
            del self.sessions[name]
            self._made.pop(name, None)
            self._kept.pop(name, None)

    def _session(self, name: str) -> Session:
        session = self.sessions.get(name)
        if session is None:
            raise Refused(404, "No such measurement. Load the page again.")
        session.hear()
        return session

    def _write(self, records: list[Record]) -> None:
        if records and self._keep:
            self._keep(records)
        if records:
            record.append(records, self.output)
        self.records.extend(records)

    def _disagrees(self, session: Session, job: int, verdict: dict[str, Any]) -> None:
        error = "not finite" if verdict["max_error"] is None else f"off by up to {verdict['max_error']:.3g}"
        what = f"{session.work[job].job.title} on {session.name}"
        self.disagreements.append(what)
        share = f"{100 * verdict['top1']:.0f}% of the photos have the same first class"
        say(f"DISAGREES: {what}: its answers are {error}; {share}.")


def _count(records: list[Record]) -> str:
    return "one file measured" if len(records) == 1 else f"{len(records)} files measured"


def _summary(each: Record) -> dict[str, Any]:
    return {
        "file": each.file,
        "runtime": each.runtime["name"],
        "threads": each.threads,
        "samples": len(each.samples),
        "per": each.conditions["inferences_per_sample"],
        **each.percentiles,
    }


def _doubt(records: list[Record]) -> str | None:
    doubt = of_run(records) if records else None
    return None if doubt is None or doubt.trusted else str(doubt)
