"""`attar export --familiarity`: what a student that is trained already gets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from attar import students
from attar.bundle import read_bundle, write_bundle
from attar.errors import InputError
from attar.export.manifest import read_manifest
from attar.provenance import provenance
from attar.students.familiarity import scores
from attar.students.fit_familiarity import give_familiarity
from helpers.command import Attar, in_process
from helpers.familiar import familiar_photos, familiar_student, plain_student

pytestmark = pytest.mark.slow

DROP = ["--max-drop", 20]


@pytest.fixture
def attar(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Attar:
    return in_process(monkeypatch, capfd)


@pytest.fixture
def student(shared: Path, tmp_path: Path) -> Path:
    """A run's student without a familiarity, which says what photos it was made from."""
    plain, photos = plain_student(shared), familiar_photos(shared)
    return students.save(
        students.load(plain),
        tmp_path / "run" / "student",
        labels=plain.labels,
        preprocessing=plain.preprocessing,
        metrics={"top1": 0.5},
        provenance=provenance(photos, 3, {"student": {"familiarity": None}}),
    ).path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_its_files_say_how_familiar_a_photo_is(attar: Attar, student: Path, shared: Path) -> None:
    run, before = student.parent, contents(student)
    code, _, said = attar("export", student, "--familiarity", "relative", "-t", "onnx:fp32", *DROP)
    assert code == 0, said
    assert contents(student) == before, "the run's own student stays"
    assert {path.name for path in run.iterdir()} == {"student", "student-relative", "exports-relative"}
    (entry,) = read_manifest(run / "exports-relative").files
    assert "familiarity" in entry.signature and entry.decision["familiar"]["threshold"] > 0
    assert entry.verification["familiarity"]["rank_correlation"] > 0.99
    plain, made = read_bundle(student), read_bundle(run / "student-relative", "student")
    assert made.fingerprint == familiar_student(shared).fingerprint
    origin = made.provenance.pop("familiarity")
    assert (origin["score"], origin["of"]) == ("relative", plain.fingerprint)
    assert "--familiarity relative" in origin["command"] and origin["photos"] == plain.provenance["data"]["fingerprint"]
    assert (made.provenance, made.metrics) == (plain.provenance, plain.metrics)

    given = contents(run / "student-relative")
    code, _, said = attar("export", student, "--familiarity", "relative", "-t", "onnx:fp32", *DROP)
    assert code == 0 and contents(run / "student-relative") == given, "what is there is not made again"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "DEFAULT", "relative")
        code, _, said = attar("export", student, "--familiarity", "default", "-t", "onnx:fp32", *DROP)
    assert code == 0 and {path.name for path in run.iterdir()} == {"student", "student-relative", "exports-relative"}
    for folder in ("exports-relative", "student-relative"):
        (run / folder).rename(run / f"my-{folder}")
    code, _, said = attar("verify", run / "my-exports-relative", *DROP)
    assert code == 2 and "made from another student" in " ".join(said.split())
    (run / "my-student-relative").rename(run / "student-relative")
    code, _, said = attar("verify", run / "my-exports-relative", *DROP)
    assert code == 0, f"the run's own student is another one: {said}"


def test_what_cannot_be_given_is_one_message(attar: Attar, student: Path, shared: Path, tmp_path: Path) -> None:
    code, _, said = attar("export", student, "--familiarity", "relativ")
    assert code == 2 and "--familiarity: 'relativ' is no score" in said and "Did you mean 'relative'" in said
    code, _, said = attar("export", familiar_student(shared).path, "--familiarity", "vim")
    assert code == 2 and "has a familiarity already (relative)" in " ".join(said.split())
    bundle = read_bundle(student)
    gone = {**bundle.provenance, "data": {**bundle.provenance["data"], "path": str(tmp_path / "gone")}}
    lost = write_bundle(
        tmp_path / "lost" / "student",
        kind="student",
        architecture=bundle.architecture,
        state_dict=bundle.state_dict(),
        labels=bundle.labels,
        preprocessing=bundle.preprocessing,
        provenance=gone,
    ).path
    code, _, said = attar("export", lost, "--familiarity", "vim", "-t", "onnx:fp32", *DROP)
    said = " ".join(said.split())
    assert code == 2 and f"{tmp_path / 'gone'}: the photos that {lost} was made from are no longer there" in said
    fewer = Path(shutil.copytree(familiar_photos(shared).spec.path, tmp_path / "fewer"))
    next(fewer.glob("*/*.png")).unlink()
    code, _, said = attar("export", lost, "--familiarity", "vim", "-t", "onnx:fp32", *DROP, "--data", fewer)
    said = " ".join(said.split())
    assert code == 2 and f"{fewer}: other photos than {lost} was made from" in said
    assert [path.name for path in (*student.parent.iterdir(), *lost.parent.iterdir())] == ["student", "student"]
    given = give_familiarity(lost, "vim", familiar_photos(shared), tmp_path / "given")
    assert given.architecture["familiarity"] == "vim", "the same photos elsewhere"


def test_another_model_is_not_replaced(student: Path, shared: Path) -> None:
    shutil.copytree(student, other := student.with_name("other"))
    before = contents(other)
    with pytest.raises(InputError, match=r"other: holds another model"):
        give_familiarity(student, "energy", familiar_photos(shared), other)
    assert contents(other) == before
