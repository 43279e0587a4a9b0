"""Several ranks: they train as one process does, agree or refuse, and lose a rank without hanging."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from attar import teachers
from attar.bundle import read_bundle
from attar.data.photos import DataSpec, read_photos
from attar.recipe import DistillSpec
from helpers import ranked

pytest.importorskip("lightning_fabric")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def torchrun(*words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def outcome(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks found."""
    process = torchrun(ROOT / "tests" / "helpers" / "ranked.py", shapes, tmp_path_factory.mktemp("two"))
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return json.loads(out)


def test_two_ranks_train_as_one_process_with_the_same_batch(outcome: dict, shapes: Path, tmp_path: Path) -> None:
    alone = ranked.curve(shapes, tmp_path)
    assert outcome["curve"]["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert outcome["curve"]["weights"] == pytest.approx(alone["weights"], abs=1e-4)
    assert alone["losses"][-1] < 0.9 * alone["losses"][0]


def test_accumulated_parts_of_ranks_do_too_where_no_batch_norm_sees_the_parts(outcome: dict, shapes: Path) -> None:
    """The teacher has no batch norm; with one, only the parts' statistics differ."""
    assert outcome["accumulated"]["losses"] == pytest.approx(outcome["curve"]["losses"], rel=0.2)
    assert outcome["accumulated"]["losses"] != outcome["curve"]["losses"]
    assert outcome["teacher"]["accumulated"] == pytest.approx(outcome["teacher"]["replicated"], rel=1e-5)


def test_batch_norms_over_ranks_are_those_of_the_whole_batch(outcome: dict) -> None:
    assert all(outcome["norms"][each] < 1e-12 for each in ("gradient", "mean", "variance"))


def test_a_sharded_teacher_learns_as_a_replicated_one(outcome: dict, shapes: Path, tmp_path: Path) -> None:
    alone = teachers.teach(read_photos(DataSpec(str(shapes))), ranked.VIT, tmp_path / "t", views=ranked.VIEWS)
    expected = [entry["loss"] for entry in alone.metrics["history"]]
    assert outcome["teacher"]["replicated"] == pytest.approx(expected, rel=1e-5)
    assert outcome["teacher"]["sharded"] == pytest.approx(expected, rel=1e-5)
    assert outcome["teacher"]["top1"] == [alone.metrics["top1"]] * 2
    assert 0.45 < outcome["held"]["own"] / outcome["held"]["all"] < 0.55


def test_ranks_build_the_cache_together_and_one_writes_the_student(outcome: dict) -> None:
    assert outcome["student"]["views"] == [f"view-{view:05d}.npy" for view in range(3)]
    assert {"device": "cpu", "ranks": 2}.items() <= outcome["student"]["computed_on"].items()
    assert outcome["student"]["built"] == [[0, 2], [1]]


def test_a_champions_right_answers_are_kept_as_by_one_process(outcome: dict, shapes: Path, tmp_path: Path) -> None:
    """Rounding in another order moves a student's losses by less than a tenth; the champion adds more than a third."""
    found = outcome["challenger"]
    spec, champion = DistillSpec.model_validate(found["spec"]), read_bundle(Path(found["champion"]))
    alone = ranked.challenger(read_photos(DataSpec(str(shapes))), spec, tmp_path / "s", champion)
    assert found["losses"] == pytest.approx(alone["losses"], rel=0.1) and min(alone["losses"]) > 1.5


def test_bad_input_is_one_error_in_every_rank(outcome: dict) -> None:
    assert "disagree on recipe.lr: 0.002 at rank 1, and 0.001 at rank 0" in outcome["disagreement"]
    assert "disagree on photos" in outcome["other photos"]
    assert "batch_size: 9" in outcome["uneven"] and "multiple of 2" in outcome["uneven"]
    assert outcome["error"] == "the first rank's disk is full"
    assert "step 3, at rank 1:" in outcome["nan"] and "their loss is not (view 0 of photos" in outcome["nan"]


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_job_and_the_same_command_continues(shapes: Path, tmp_path: Path) -> None:
    options = [
        f"teacher={json.dumps({**ranked.VIT.model_dump(), 'epochs': 30, 'checkpoint_seconds': 0})}",
        f"views={json.dumps(ranked.VIEWS.to_json())}",
    ]
    command = ["-m", "attar", "teach", "--data", shapes, "-o", tmp_path / "t", "--json"]
    command += [word for option in options for word in ("--set", option)]
    process = torchrun(*command)
    while not (tmp_path / "t.training.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    os.kill(descendants(process.pid)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode != 0 and not (tmp_path / "t").exists()
    assert "attar/train/loop.py" not in err  # the other rank does not die of a bug

    again = torchrun(ROOT / "tests" / "helpers" / "attar_until_its_end.py", *command[2:])
    out, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert err.count("Ended: True") == 2 and "Ended: False" not in err  # no thread of a process group is left
    assert err.count("Teacher vit_tiny") == 1 and len(json.loads(out)["path"]) > 0  # one rank speaks
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    history = json.loads((tmp_path / "t" / "bundle.json").read_text())["metrics"]["history"]
    spec = ranked.VIT.model_copy(update={"epochs": 30})
    alone = teachers.teach(read_photos(DataSpec(str(shapes))), spec, tmp_path / "alone", views=ranked.VIEWS)
    expected = [entry["loss"] for entry in alone.metrics["history"]]
    assert [entry["loss"] for entry in history] == pytest.approx(expected, rel=1e-3)
