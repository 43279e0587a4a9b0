"""What may make a student better is tried for real on a few photos, against a control."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from attar import students, teachers
from attar.bundle import Bundle
from attar.cli import app
from attar.data.photos import DataSpec, Photos, read_photos
from attar.data.views import ViewPolicy
from attar.distill import distill_student, fit, trials
from attar.distill.trials import CHANGES, Tried, run_trials
from attar.errors import InputError
from attar.metrics import paired_interval
from attar.recipe import DistillSpec, FinetuneSpec
from attar.students.widen import widened

VIEWS = ViewPolicy(crop_area=(0.7, 1.0), count=1)
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
TEACHER = FinetuneSpec(name="vit_tiny_patch16_224", pretrained=False, options=VIT, epochs=1, batch_size=12)
STUDENT = DistillSpec(
    name="mobilenetv3_small_050",
    pretrained=False,
    size=32,
    crop=1.0,
    epochs=2,
    batch_size=12,
    head_width=16,
    check_teacher=False,
)


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    return read_photos(DataSpec(str(shapes)))


@pytest.fixture(scope="module")
def made(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher, the student that it taught, and the cache between them."""
    folder = tmp_path_factory.mktemp("run")
    teacher = teachers.teach(photos, TEACHER, folder / "teacher", views=VIEWS)
    distill_student(photos, STUDENT, folder / "student", teacher=teacher, views=VIEWS, cache=folder / "teacher-cache")
    return folder


def bundles(made: Path) -> tuple[Bundle, Bundle]:
    from attar.bundle import read_bundle

    return read_bundle(made / "student"), read_bundle(made / "teacher")


def test_a_wider_head_begins_as_the_same_function_and_its_copies_part() -> None:
    torch.manual_seed(0)
    student = students.create_student("mobilenetv3_small_050", 5, head_width=16, drop_rate=0.0)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    student(images)  # moves the batch norms' statistics
    student.eval()
    wide = widened(student)
    torch.testing.assert_close(wide(images), student(images), atol=1e-5, rtol=1e-5)
    assert wide.architecture["head_width"] == 32
    wide.train()(images).square().sum().backward()
    gradient = wide.network.head.pointwise.weight.grad
    assert not torch.allclose(gradient[:16], gradient[16:])
    with pytest.raises(InputError, match="only a dwsconv head"):
        widened(students.create_student("mobilenetv3_small_050", 5, head="stock"))


@pytest.mark.slow
def test_a_probe_tries_every_change_over_the_right_views_and_continues_where_it_was_killed(
    photos: Photos, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = bundles(made)
    seen: dict[str, tuple[list[int], int, int]] = {}
    killed, starts = [], []
    train = fit.train

    def watched(model: torch.nn.Module, spec: DistillSpec, loader: object, *rest: object, **more: object) -> object:
        views = [int(next(iter(loader.epoch(epoch))).view[0]) for epoch in range(spec.epochs)]
        if not killed and more["title"] == "Trial of schedule":
            killed.append(True)
            raise KeyboardInterrupt
        assert more["title"] not in seen  # what is finished is not computed again
        seen[str(more["title"])] = (views, spec.size, spec.head_width)
        starts.append(model.student.state_dict()["network.backbone.conv_stem.weight"].clone())
        assert spec.lr == pytest.approx(0.1 * STUDENT.lr)
        return train(model, spec, loader, *rest, **more)

    monkeypatch.setattr(fit, "train", watched)
    with pytest.raises(KeyboardInterrupt):
        run_trials(student, photos, tmp_path / "p", teacher=teacher, cache=made / "teacher-cache")
    assert set(seen) == {"Trial of control", "Trial of views"}
    result = run_trials(student, photos, tmp_path / "p", teacher=teacher, cache=made / "teacher-cache")
    assert seen == {
        "Trial of control": ([0], 32, 16),
        "Trial of views": ([1], 32, 16),
        "Trial of schedule": ([0, 0], 32, 16),
        "Trial of head": ([0], 32, 32),
        "Trial of size": ([0], 64, 16),
    }
    assert all(torch.equal(start, starts[0]) for start in starts)  # each from the student, not from the one before
    assert {each.change for each in result.tried} == set(CHANGES) and not result.left_out
    assert result.level == pytest.approx(0.9875) and result.student == student.metrics["top1"]
    for each in result.tried:
        assert each.gain == pytest.approx(each.top1 - result.control) and each.low <= each.gain <= each.high

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(fit, "train", refuse)
    assert run_trials(student, photos, tmp_path / "p", teacher=teacher, cache=made / "teacher-cache") == result


def test_an_interval_with_zero_in_it_is_no_evidence() -> None:
    def verdict(won: int, lost: int) -> str:
        difference = np.array([1] * won + [-1] * lost + [0] * (100 - won - lost))
        return Tried("views", "", 0.5, float(difference.mean()), *paired_interval(difference)).verdict

    assert (verdict(20, 2), verdict(2, 20), verdict(6, 2), verdict(0, 0)) == (
        "helps",
        "worse so soon",
        "no evidence",
        "no evidence",
    )


def test_only_what_has_evidence_is_suggested(
    photos: Photos, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twelve photos the control has three right; a change that has all right helps, one that has four may not."""
    student, teacher = bundles(made)
    right = {"control": 3, "views": 4, "schedule": 12, "head": 3, "size": 0}
    monkeypatch.setattr(trials, "_right", lambda name, *_: np.arange(12) < right[name])
    result = run_trials(student, photos, tmp_path / "p", teacher=teacher)
    assert [each.change for each in result.tried] == ["schedule", "views", "head", "size"]
    assert [each.verdict for each in result.tried] == ["helps", "no evidence", "no evidence", "no evidence"]
    assert "schedule (twice the epochs), +75.0 points" in result.suggestion and "views" not in result.suggestion
    right["schedule"] = 4
    assert "no evidence" in run_trials(student, photos, tmp_path / "p", teacher=teacher).suggestion


def test_another_teacher_and_other_photos_are_refused(photos: Photos, made: Path, tmp_path: Path) -> None:
    student, teacher = bundles(made)
    with pytest.raises(InputError, match="and none is given"):
        run_trials(student, photos, tmp_path / "p")
    moved = read_photos(DataSpec(photos.spec.path, seed=1))
    with pytest.raises(InputError, match="not the photos that"):
        run_trials(student, moved, tmp_path / "p", teacher=teacher)
    about = {"labels": student.labels, "preprocessing": student.preprocessing}
    bare = students.save(students.load(student), tmp_path / "s", **about)
    with pytest.raises(InputError, match="does not say how it was trained"):
        run_trials(bare, photos, tmp_path / "p", teacher=teacher)
    assert not (tmp_path / "p").exists()
    balanced = STUDENT.model_copy(update={"balance": "logit_adjusted", "weight": 1.0})
    with pytest.raises(InputError, match=r"student\.balance"):
        distill_student(photos, balanced, tmp_path / "b", teacher=teacher)


@pytest.mark.slow
def test_the_command_line_finds_teacher_and_cache_beside_the_student(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "CHANGES", {"views": CHANGES["views"]})
    command = ["shortfall", str(made / "student"), "--trials", "-o", str(tmp_path / "s")]
    first = CliRunner().invoke(app, [*command, "--json"])
    value = json.loads(first.stdout)
    assert set(value["models"]) == {"teacher", "student"} and value["images"] == 12 and not value["notes"]
    assert [each["change"] for each in value["trials"]["tried"]] == ["views"]
    assert not (tmp_path / "s" / "trials" / "teacher-cache").exists()
    assert value == json.loads((tmp_path / "s" / "shortfall.json").read_text())
    again = CliRunner().invoke(app, [*command, "--baseline", str(made / "student")], env={"COLUMNS": "200"})
    assert again.exit_code == 0 and "vs baseline" in again.stdout and "no evidence" in again.stdout
    assert "used to choose" in (tmp_path / "s" / "shortfall.md").read_text()
