"""Files of the prior of place and season: what the prior says, in every format; and wrong ones are found out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attar.benchmarks.studies.world import World
from attar.errors import GateError, InputError
from attar.export import geo_files, geo_formats
from attar.export.geo_files import export_prior, verify_prior
from attar.export.geo_formats import FORMATS, answers_of
from attar.files import size
from attar.geo.files import Prior, describe, load, save
from attar.geo.fit import GeoSpec, fit_prior, predict
from attar.geo.prior import GeoPrior
from helpers.once import made_once

for package in ("litert_torch", "ai_edge_litert", "onnx", "onnxscript", "onnxruntime", "coremltools"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def made(shared: Path) -> Path:
    """A trained prior with a file of every format."""

    def make(folder: Path) -> None:
        seen = World().observe(1500)
        save(Prior(fit_prior(seen, GeoSpec(steps=150, batch_size=128)), seen.labels, seen.counts), folder)
        export_prior(folder, ["all"])

    return made_once(shared / "geo", make)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "geo")


def test_every_file_is_listed_and_says_what_the_prior_says(made: Path) -> None:
    prior = load(made)
    assert [each.format for each in prior.files] == list(FORMATS) == ["litert", "onnx", "coreml"]
    places, days = World().observe(200, seed=9).places, np.arange(200.0)
    expected = predict(prior.model, places, days)
    assert expected.std(0).min() > 0.02  # it has something to say
    for each in prior.files:
        answers, facts = answers_of(each.format, made / each.file, np.column_stack([places, days]).astype(np.float32))
        assert np.abs(answers - expected).max() <= 0.01 and facts["labels"] == list(prior.labels)
        assert each.bytes == size(made / each.file) and each.verification["places"] > 1000
        assert each.verification["max_abs_error"] <= geo_files.LARGEST
    assert verify_prior(made).files == prior.files


@pytest.mark.parametrize("kind", FORMATS)
def test_the_date_line_and_the_turn_of_the_year_are_no_edges(made: Path, kind: str) -> None:
    where = np.array([[10, 180, 100], [10, -180, 100], [45, 7, 366], [45, 7, 1]], np.float32)
    answers, _ = answers_of(kind, made / FORMATS[kind].file, where)
    np.testing.assert_allclose(answers[0], answers[1], atol=2e-3)
    np.testing.assert_allclose(answers[2], answers[3], atol=0.05)


def test_half_a_kilometre_is_told_apart_in_half_precision(made: Path) -> None:
    """With sines of half precision, places within an eighth of a degree would be one."""
    where = np.array([[48.1, 170.1 + step / 200, 0] for step in range(8)], np.float32)
    for kind in FORMATS:
        answers, _ = answers_of(kind, made / FORMATS[kind].file, where)
        assert len({row.tobytes() for row in answers}) >= 4, kind


def test_a_thousand_labels_take_less_than_a_megabyte(tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = tuple(f"label {number}" for number in range(1000))
    save(Prior(GeoPrior(1000).eval(), names, np.ones(1000, np.int64)), tmp_path / "geo")
    [entry] = export_prior(tmp_path / "geo", ["onnx"]).files
    assert entry.bytes < 1_000_000


class Swapped(torch.nn.Module):
    """A prior that takes longitude for latitude, or is shifted by some degrees."""

    def __init__(self, model: GeoPrior, swap: bool, shift: float) -> None:
        super().__init__()
        self.model, self.swap, self.shift = model, swap, shift

    def forward(self, where: torch.Tensor) -> torch.Tensor:
        latitude, longitude, day = where[:, 0:1], where[:, 1:2] + self.shift, where[:, 2:3]
        return self.model(torch.cat([longitude, latitude, day] if self.swap else [latitude, longitude, day], 1))


@pytest.mark.parametrize(("swap", "shift"), [(True, 0.0), (False, 5.0)], ids=["swapped", "shifted"])
def test_a_file_of_other_coordinates_fails_and_the_old_one_stays(copy: Path, monkeypatch, swap, shift) -> None:
    before = (copy / "geo.onnx").read_bytes()
    honest = FORMATS["onnx"]
    wrong = replace(honest, convert=lambda model, *rest: honest.convert(Swapped(model, swap, shift), *rest))
    monkeypatch.setitem(geo_formats.FORMATS, "onnx", wrong)
    with pytest.raises(GateError, match=r"diverges from the prior.*longitude"):
        export_prior(copy, ["onnx"])
    assert (copy / "geo.onnx").read_bytes() == before and verify_prior(copy)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_and_a_missing_file_are_named(copy: Path, kind: str) -> None:
    path = copy / FORMATS[kind].file
    part = next(path.rglob("weight.bin")) if path.is_dir() else path
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0x55
    part.write_bytes(content)
    with pytest.raises(GateError, match=f"1 failed:\n  {path.name}: missing, damaged or changed"):
        verify_prior(copy)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(GateError, match=path.name):
        verify_prior(copy)


def test_a_file_of_another_prior_is_found_out_though_it_is_listed(copy: Path, tmp_path: Path) -> None:
    prior = load(copy)
    torch.manual_seed(5)
    save(Prior(GeoPrior(len(prior.labels)).eval(), prior.labels, prior.counts), tmp_path / "other")
    [theirs] = export_prior(tmp_path / "other", ["onnx"]).files
    shutil.copy(tmp_path / "other" / theirs.file, copy / theirs.file)
    describe(replace(prior, files=(theirs,)), copy)
    with pytest.raises(GateError, match="diverges"):
        verify_prior(copy)
    renamed = tuple(f"no {label}" for label in prior.labels)
    describe(replace(load(copy), labels=renamed), copy)
    with pytest.raises(GateError, match="labels"):
        verify_prior(copy)


def test_wrong_words_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--export litrt: no format of a prior.*litert"):
        export_prior(copy, ["litrt"])
    with pytest.raises(InputError, match="not a prior"):
        verify_prior(tmp_path)
    describe(replace(load(copy), files=()), copy)
    with pytest.raises(InputError, match=r"no files to verify.*--export"):
        verify_prior(copy)


def test_a_prior_written_before_there_were_files_is_read(copy: Path) -> None:
    from attar.files import read_sealed, write_sealed

    about = read_sealed(copy / "prior.json")
    old = {name: about[name] for name in ("schema", "architecture", "labels", "counts", "metrics", "weights_sha256")}
    write_sealed(copy / "prior.json", old)
    prior = load(copy)
    assert prior.files == () and prior.fitted is None and prior.combination.weight == 1.0
