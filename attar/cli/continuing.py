"""Going on from an earlier run with more photos, or others: its split is kept, and its models are begun with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.photolist import changes, read_list
from attar.data.photos import Photos
from attar.errors import InputError
from attar.runfolder import RunFolder


@dataclass(frozen=True)
class Earlier:
    """The run that is gone on from.

    Attributes:
        folder: where it lies.
        student: its student.
        teacher: its teacher, if it has one.
    """

    folder: RunFolder
    student: Bundle
    teacher: Bundle | None

    def tell(self, photos: Photos) -> None:
        """Say what changed between its photos and those of now."""
        before = read_list(self.folder.photos)
        if before == list(photos.listing):
            say(f"Going on from {self.folder.path}: the same photos.")
            return
        say(f"Going on from {self.folder.path}: {changes(before, photos.listing)}.")
        new = sorted(set(photos.labels) - set(self.student.labels))
        gone = sorted(set(self.student.labels) - set(photos.labels))
        for word, labels in (("New classes", new), ("Classes that are gone", gone)):
            if labels:
                say(f"  {word}: {', '.join(labels[:10])}{', ...' if len(labels) > 10 else ''}")


def earlier_run(path: Path, output: Path) -> Earlier:
    """The run at `path`, to be gone on from in another folder.

    Raises:
        InputError: it has no student, or kept no list of its photos, as version 0.1 did; or it is `output` itself.
    """
    folder = RunFolder(path)
    if path.resolve() == output.resolve():
        raise InputError(f"--continue-from {path}: is --output itself. Give the new run an --output of its own.")
    if not (folder.student / "bundle.json").is_file():
        raise InputError(
            f"--continue-from {path}: no finished run, it has no student/bundle.json. Give a run's folder."
        )
    if not folder.photos.is_file():
        raise InputError(
            f"--continue-from {path}: kept no list of its photos (version 0.1 wrote none), so nobody knows which were "
            "held out. Run it anew with this version, or start without --continue-from."
        )
    taught = (folder.teacher / "bundle.json").is_file()
    return Earlier(
        folder, read_bundle(folder.student, "student"), read_bundle(folder.teacher, "teacher") if taught else None
    )


def what_changed(folder: RunFolder, photos: Photos) -> str:
    """How the photos of now differ from those a run was made from; for an error message."""
    if not folder.photos.is_file():
        return "some were added, removed or changed; version 0.1 kept no list of them"
    return str(changes(read_list(folder.photos), photos.listing))
