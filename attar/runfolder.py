"""Where a run keeps its things. The same names whether `attar run` or the single verbs made them.

recipe.yaml            the resolved recipe
provenance.json        what else it takes to repeat the run: photos, versions, seed, machine, command
photos.json            its photos: name, label, split, SHA-256
run.json               what the run is: its recipe by fingerprint
data/                  photos that a source wrote; in observations/ those that `attar retrain` took from people, in
                       unlabelled/ those that it took without their labels
retrain.json           what `attar retrain` learned from, and what it left out and why
teacher/  student/     bundles; beside them, while they are made, <name>.training.pt, and <name>.logs/ if asked for
teacher-cache/         the teacher's stored answers
exports/               files for devices, and manifest.json
benchmarks.jsonl       latency records
report.json .html      what was gained and what was given up; .md and .png if asked for
sensitivity.json       what each layer loses by being integer, if asked for
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from attar.errors import AttarError, InputError
from attar.files import make_folder, read_json, write_json

_BOOKKEEPING = ("run.json", "recipe.yaml", "provenance.json", "photos.json", ".lock")
"""What a run writes before it has computed anything."""

_BEFORE = ("data", "retrain.json")
"""What stands here before a run begins: photos, and what they were chosen by."""

_KEYS = {"continues": "--continue-from"}


@dataclass(frozen=True)
class RunFolder:
    """The paths inside one run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def provenance(self) -> Path:
        """What else it takes to repeat the run."""
        return self.path / "provenance.json"

    @property
    def photos(self) -> Path:
        """The list of its photos."""
        return self.path / "photos.json"

    @property
    def data(self) -> Path:
        """Photos that a source wrote."""
        return self.path / "data"

    @property
    def observations(self) -> Path:
        """People's photos that were learned from."""
        return self.data / "observations"

    @property
    def unlabelled(self) -> Path:
        """People's photos that the student was shown without labels."""
        return self.data / "unlabelled"

    @property
    def retrain(self) -> Path:
        """What was learned from, and what was left out and why."""
        return self.path / "retrain.json"

    @property
    def teacher(self) -> Path:
        """The teacher's bundle."""
        return self.path / "teacher"

    @property
    def cache(self) -> Path:
        """The teacher's stored answers."""
        return self.path / "teacher-cache"

    @property
    def student(self) -> Path:
        """The student's bundle."""
        return self.path / "student"

    @property
    def exports(self) -> Path:
        """Files for devices, and their manifest."""
        return self.path / "exports"

    def was_trained(self) -> bool:
        """Whether something made from photos stands here, and will be trusted if the photos are the same."""
        made = (self.teacher / "bundle.json", self.student / "bundle.json")
        return self.cache.is_dir() or any(path.is_file() for path in (*made, *self.path.glob("*.training.pt*")))

    @contextmanager
    def claimed(self, identity: dict[str, Any]) -> Iterator[None]:
        """Hold the folder for one run, and refuse it if it holds another run or somebody else's files."""
        about = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: a file stands there. Choose another --output.")
        if self._has_results() and not about.is_file():
            raise InputError(f"{self.path}: not empty, and not a run of attar. Choose another --output.")
        make_folder(self.path)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                if self._has_results():
                    self._check_same(read_json(about), identity)
                write_json(about, identity)
                try:
                    yield
                except AttarError:
                    self._leave_nothing()
                    raise
        except Timeout:
            raise InputError(f"{self.path}: another attar is running in this folder. Wait for it to end.") from None

    def _check_same(self, stored: Any, identity: dict[str, Any]) -> None:
        if stored != identity:
            stored = stored if isinstance(stored, dict) else {}
            differing = next((key for key in {**identity, **stored} if stored.get(key) != identity.get(key)), "content")
            raise InputError(
                f"{self.path}: holds another run (its {_KEYS.get(differing, differing)} differs). "
                "Choose another --output, or remove the folder."
            )

    def _has_results(self) -> bool:
        """Whether anything stands here but what a run writes before it has computed anything."""
        return self.path.is_dir() and any(
            item.name not in (*_BOOKKEEPING, *_BEFORE) and not item.name.startswith(".tmp-")
            for item in self.path.iterdir()
        )

    def _leave_nothing(self) -> None:
        """After bad input: remove what only says that a run was meant to be here."""
        if not self._has_results():
            for name in _BOOKKEEPING:
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # a data folder stays
                self.path.rmdir()


def exports_of(path: Path) -> Path:
    """The exports folder that a user means by a run's folder or by the exports folder itself."""
    for candidate in (path, path / "exports"):
        if (candidate / "manifest.json").is_file():
            return candidate
    raise InputError(f"{path}: no manifest.json here or in exports/. Make the files with `attar export`.")


def beside(exports: Path, name: str) -> Path | None:
    """A bundle that stands beside the exports folder, as in a run's folder."""
    candidate = exports.resolve().parent / name
    return candidate if (candidate / "bundle.json").is_file() else None
