"""What a loop's folder remembers: how it is set up, and what became of each round.

loop.json             the settings and the rounds
loop.log              a line of JSON per event
rounds/001/           each round's run, as `attar retrain` makes it
gate-ledger.jsonl     how often the validation photos have decided (`attar.deploy.release.ledger`)
index.html            the page
.key/                 what a workflow's key remembers (`attar.deploy.loop.workflow`)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from attar.errors import InputError
from attar.files import make_folder, read_sealed, write_sealed

STRICT = ConfigDict(extra="forbid")


class Outcome(StrEnum):
    """What became of a round."""

    OPEN = "open"
    """It was interrupted; the next call goes on with it."""
    SHIPPED = "shipped"
    HELD = "held"
    """The gate held it back."""
    FAILED = "failed"
    """A file did not pass its verification, or the round came to an end before the gate."""


@with_config(STRICT)
@dataclass(frozen=True)
class Settings:
    """How a loop is set up.

    Attributes:
        run: the first run, whose files are the first release.
        observations: the folder that `attar collect` keeps.
        releases: the release folder.
        key: the private key that signs releases.
        least: new observations that a round needs.
        without, unreviewed, unlabelled, new_class, share: of `attar retrain`.
        teacher: of `attar retrain`.
        sets: recipe keys of `--set`.
        targets: files that the gate is asked about; none: all that phones have.
        margin, max_flips, calibration_error: of `attar gate`, as shares in [0, 1].
        primary: of `attar gate`; empty: each file has to show a gain, or to be within the margin.
        pinned, slices: of `attar gate`.
        seconds: for latency of each pair of files; 0: not measured.
    """

    run: str
    observations: str
    releases: str
    key: str
    least: int = 20
    without: tuple[str, ...] = ()
    unreviewed: bool = False
    unlabelled: bool = False
    new_class: int = 10
    share: float = 0.1
    teacher: Literal["auto", "keep", "refit"] = "auto"
    sets: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    margin: float = 0.0
    primary: str = ""
    max_flips: float | None = None
    calibration_error: float = 0.02
    pinned: str | None = None
    slices: str | None = None
    seconds: float = 5.0


@with_config(STRICT)
@dataclass(frozen=True)
class Round:
    """One turn.

    Attributes:
        number: from 1.
        began, ended: when, ISO 8601; `ended` is empty while it is open.
        champion: the folder of the run that it goes on from.
        used: ids of the observations that were learned from or held out, and the label of each; empty for those that
            were shown without it.
        gone: ids of those that the champion had and that were left out.
        settings: digest of the settings.
        told: what `attar retrain` says of them (`retrain.json`), without the ids.
        sentence: what became of it.
        gate: what the gate decided, without its details; empty before.
        release: the number that the release got, if it was published.
    """

    number: int
    began: str
    champion: str
    outcome: Outcome = Outcome.OPEN
    ended: str = ""
    used: dict[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    settings: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""
    gate: dict[str, Any] = field(default_factory=dict)
    release: int | None = None


@with_config(STRICT)
@dataclass(frozen=True)
class State:
    """Everything that a loop remembers."""

    settings: Settings
    rounds: tuple[Round, ...] = ()
    schema: Literal[1] = 1


@dataclass(frozen=True)
class LoopFolder:
    """The paths inside a loop's folder."""

    path: Path

    @property
    def state(self) -> Path:
        """The settings and the rounds."""
        return self.path / "loop.json"

    @property
    def log(self) -> Path:
        """What happened, a line of JSON per event."""
        return self.path / "loop.log"

    @property
    def ledger(self) -> Path:
        """Looks at the validation photos."""
        return self.path / "gate-ledger.jsonl"

    @property
    def page(self) -> Path:
        """What happened, for a person."""
        return self.path / "index.html"

    @property
    def workflow_key(self) -> Path:
        """Where a workflow writes the private key for a turn; what the key remembers stays beside it."""
        return self.path / ".key" / "loop.pem"

    def run(self, number: int) -> Path:
        """The run of a round."""
        return self.path / "rounds" / f"{number:03d}"

    def read(self) -> State | None:
        """What is remembered; None before the first call.

        Raises:
            InputError: it is damaged, or a newer attar's.
        """
        if not self.state.is_file():
            return None
        try:
            return TypeAdapter(State).validate_python(read_sealed(self.state))
        except ValidationError as error:
            raise InputError(f"{self.state}: not what `attar loop` writes, or a newer attar's. Restore it.") from error

    def write(self, state: State) -> None:
        """Remember. The key that a workflow wrote goes with its job, so that of before stays the loop's."""
        if state.settings.key == str(self.workflow_key) and (before := self.read()):
            state = replace(state, settings=replace(state.settings, key=before.settings.key))
        write_sealed(self.state, asdict(state))

    def tell(self, round: int, event: str, **more: Any) -> None:
        """Add a line to the log."""
        line = json.dumps({"time": now(), "round": round, "event": event, **more}, ensure_ascii=False)
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for one process.

        Raises:
            InputError: another one holds it, or a file stands there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: a file stands there. Name a folder.")
        if self.path.is_dir() and not self.state.is_file() and any(self._others()):
            raise InputError(f"{self.path}: not empty, and not a loop of attar. Name a new folder.")
        make_folder(self.path)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise InputError(f"{self.path}: another `attar loop` is running here. Wait for it to end.") from None

    def _others(self) -> Iterator[Path]:
        """What no call of the loop wrote. The first call may have been killed before it wrote the state."""
        own = {path.name for path in (self.log, self.page, self.ledger, self.run(1).parent)}
        return (item for item in self.path.iterdir() if item.name not in own and not item.name.startswith("."))


def now() -> str:
    """The time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
