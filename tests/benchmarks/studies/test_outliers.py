"""The study of scores against strange photos, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attar.benchmarks.studies import outliers
from attar.data.photos import DataSpec, read_photos
from attar.preprocessing import Preprocessing
from attar.provenance import provenance
from attar.students import create_student, save
from attar.students.familiarity import SCORES

pytest.importorskip("elpv_dataset")


def test_separation_is_that_of_known_scores() -> None:
    rng = np.random.default_rng(0)
    own, other = rng.normal(1.0, 1, 4000), rng.normal(0, 1, 4000)
    found = outliers.separation(own, other)
    assert found["auroc"] == pytest.approx(0.760, abs=0.01)  # of two normals, one apart: Phi(1 / sqrt 2)
    assert found["low"] < found["auroc"] < found["high"] < found["low"] + 0.03
    assert found["fpr95"] == pytest.approx(0.740, abs=0.02)  # 1 - Phi(-0.645)
    assert outliers.separation(own, own - 100)["fpr95"] == 0


def test_every_set_is_measured_by_every_score(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outliers, "STRANGE", 8)
    monkeypatch.setattr(outliers, "EACH", 4)
    photos = read_photos(DataSpec(str(shapes)))
    student = create_student("mobilenetv3_small_050", 3, head_width=32).eval()
    about = provenance(photos, 0, {})
    save(student, tmp_path / "student", labels=photos.labels, preprocessing=Preprocessing(32), provenance=about)
    found = outliers.measured(tmp_path / "student")
    assert list(found) == ["digits", "elpv", "photos", *outliers.PICTURES]
    assert all(set(scores) == set(SCORES) for scores in found.values())
    assert all(0 <= figures["auroc"] <= 1 for scores in found.values() for figures in scores.values())
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
