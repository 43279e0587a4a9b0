"""One device's measurement, from the plan it was handed to its records. Devices know nothing of each other."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from attar.benchmarks.lab import visitor
from attar.benchmarks.lab.agreement import judge
from attar.benchmarks.lab.inbox import Done, Failure, Hello, Ready, Refused, Round
from attar.benchmarks.lab.plan import RUNTIMES, Job, LabPlan
from attar.benchmarks.latency.measure import BLOCK, MAX_SAMPLES, MIN_SAMPLES
from attar.benchmarks.latency.record import Record


@dataclass
class Work:
    """How far a job is: ready once the browser ran it, failed once it could not."""

    job: Job
    ready: Ready | None = None
    agreement: dict[str, Any] | None = None
    samples: list[int] = field(default_factory=list)
    error: str | None = None

    @property
    def active(self) -> bool:
        """Whether it takes part in rounds."""
        return self.ready is not None and self.error is None


class Session:
    """Takes a device's messages in order; a `Refused` message changes nothing.

    Time cannot be forged beyond the clock: all that a device says it spent must fit between the moment the plan was
    handed out and now.
    """

    def __init__(self, plan: LabPlan, hello: Hello, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.plan, self.hello = plan, hello
        self.work = [Work(job) for job in plan.jobs(hello.webgpu)]
        self.device = visitor.describe(hello.device)
        self.name = visitor.name(self.device)
        self.run = uuid.uuid4().hex
        self.over = False
        self._clock = clock
        self._began = self.heard = clock()
        self._spent = 0
        self._rounds = 0

    @property
    def idle(self) -> float:
        """Seconds since its last message."""
        return (self._clock() - self.heard) / 1e9

    def hear(self) -> None:
        """Note that the device gave a sign of life."""
        self.heard = self._clock()

    def ready(self, message: Ready) -> dict[str, Any]:
        """Take a job's first results; returns the verdict on its answers. Told twice, it is heard once."""
        work = self._work_of(message.job)
        if work.ready is not None and work.agreement is not None:
            return work.agreement
        if self._rounds or work.error is not None:
            raise Refused(409, f"job {message.job}: too late, the rounds have begun or it has failed.")
        most = self.plan.threads if self.hello.device.isolated else 1
        if message.threads > most:
            raise Refused(422, f"threads {message.threads}: the plan allows {most} here.")
        expected = self.plan.expected[work.job.entry.file]
        if len(message.answers) != len(expected) or any(len(row) != expected.shape[1] for row in message.answers):
            raise Refused(422, f"answers: must be {len(expected)} rows of {expected.shape[1]} numbers.")
        self._spend(message.load + message.first)
        work.ready = message
        work.agreement = judge(np.array(message.answers, dtype=np.float64), expected)
        return work.agreement

    def failed(self, message: Failure) -> None:
        """Take a job out of the rounds; what was measured of it does not count."""
        self._work_of(message.job).error = message.error or "no reason given"

    def round(self, message: Round) -> None:
        """Take one block of every active job. A round told again, because its answer was lost, is heard once."""
        self.check_open()
        if message.number < self._rounds:
            return
        if message.number > self._rounds:
            raise Refused(409, f"round {message.number}: expected {self._rounds}.")
        turns = {turn.job: turn.samples for turn in message.turns}
        active = {number: work for number, work in enumerate(self.work) if work.active}
        if len(turns) != len(message.turns) or turns.keys() != active.keys():
            raise Refused(422, "turns: must be one of each loaded file.")
        if self._rounds >= MAX_SAMPLES // BLOCK:
            raise Refused(409, f"round {message.number}: there are enough.")
        timer = self.hello.conditions.timer
        for number, work in active.items():
            # A sample is rounded to a nanosecond of one inference, and so its whole to half of one for each.
            if (2 * min(turns[number]) + 1) * _per(work) < 2 * timer:
                raise Refused(422, f"{work.job.title}: a sample is shorter than one step of the clock, {timer} ns.")
        self._spend(sum(sum(turns[number]) * _per(work) for number, work in active.items()))
        for number, work in active.items():
            work.samples.extend(turns[number])
        self._rounds += 1

    def done(self, message: Done) -> list[Record]:
        """The records of a device that measured all it could.

        Telling it twice gives the same records: the first answer may have been lost.
        """
        left = [work for work in self.work if work.error is None and len(work.samples) < MIN_SAMPLES]
        if left:
            raise Refused(409, f"{left[0].job.title}: has {len(left[0].samples)} of {MIN_SAMPLES} samples.")
        return self.records(message)

    def records(self, end: Done | None = None) -> list[Record]:
        """Records of the files with enough samples; without `end`, of a device that went away."""
        measured = datetime.now(UTC).isoformat(timespec="seconds")
        enough = [work for work in self.work if work.active and len(work.samples) >= MIN_SAMPLES]
        return [self._record(work, measured, end) for work in enough]

    def _record(self, work: Work, measured: str, end: Done | None) -> Record:
        assert work.ready is not None
        entry, ready = work.job.entry, work.ready
        step = self.hello.conditions.timer  # nothing shorter can be told from it
        return Record(
            target=str(entry.target),
            file=entry.file,
            sha256=entry.sha256,
            bytes=entry.bytes,
            runtime={"name": work.job.runtime, "version": self.plan.versions[RUNTIMES[work.job.format][1]]},
            device=self.device,
            threads=ready.threads,
            measured=measured,
            warmup=ready.warmup,
            samples=tuple(work.samples),
            load=(max(ready.load, step),),
            first=(max(ready.first, step),),
            peak_memory=None,
            partitions=None,
            agreement=work.agreement,
            conditions=self._conditions(ready.per, end),
            run=self.run,
            block=BLOCK,
        )

    def _conditions(self, per: int, end: Done | None) -> dict[str, Any]:
        before = self.hello.conditions.model_dump()
        after: Mapping[str, Any] = end.conditions.model_dump() if end else dict.fromkeys(before)
        pairs = {key: [value, after[key]] for key, value in before.items() if (value, after[key]) != (None, None)}
        timer = pairs.pop("timer")
        more = {"hidden": end.hidden} if end else {"ended": "the page went away"}
        return {**pairs, "timer_nanoseconds": timer, "inferences_per_sample": per, **more}

    def _work_of(self, number: int) -> Work:
        self.check_open()
        if number >= len(self.work):
            raise Refused(422, f"job {number}: there are {len(self.work)}.")
        return self.work[number]

    def check_open(self) -> None:
        """Refuse a message after the end."""
        if self.over:
            raise Refused(410, "This measurement has ended.")

    def _spend(self, nanoseconds: int) -> None:
        if self._spent + nanoseconds > self._clock() - self._began:
            raise Refused(422, "times: more than has passed since the plan was handed out.")
        self._spent += nanoseconds


def _per(work: Work) -> int:
    return work.ready.per if work.ready else 1
