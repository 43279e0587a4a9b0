"""Integer files of students that are hard to quantize: what is tried, what repairs them, what is said otherwise."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attar import students
from attar.bundle import Bundle
from attar.data.photos import DataSpec, Photos, labels_of, load_pixels, read_photos
from attar.errors import GateError
from attar.export.convert_and_verify import _remedy
from attar.export.export import export_student
from attar.export.manifest import FileEntry, read_manifest
from attar.export.plan import RANGES, TOOLS, QuantizationPlan
from attar.export.recovery import Try, divergence, recover
from attar.export.targets import parse_targets
from attar.export.verify import verify
from attar.inference import to_tensor
from attar.preprocessing import Preprocessing
from helpers.pictures import SHAPES, draw

for package in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
    pytest.importorskip(package)

SIDE = 32
DROP = 3.0
"""One of 36 validation photos, and not two."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Photos:
    """Enough of them that a trained student is sure of most."""
    root = tmp_path_factory.mktemp("many-shapes")
    for shape in SHAPES:
        (root / shape).mkdir()
        for number in range(48):
            draw(shape, number).save(root / shape / f"{number}.png")
    return read_photos(DataSpec(str(root)))


@pytest.fixture(scope="module")
def student(photos) -> students.Student:
    """A student that has learned its shapes."""
    torch.manual_seed(0)
    student = students.create_student("mobilenetv4_conv_small_035", len(photos.labels))
    images = to_tensor(load_pixels(photos.train, Preprocessing(SIDE)))
    targets = torch.from_numpy(labels_of(photos.train))
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    student.train()
    for step in range(60):
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:48]
        loss = torch.nn.functional.cross_entropy(student(images[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student.eval()


def save(student: students.Student, photos: Photos, path: Path) -> Bundle:
    return students.save(student, path, labels=photos.labels, preprocessing=Preprocessing(SIDE))


def spread(norm: torch.nn.BatchNorm2d, reader: torch.nn.Module, decades: float) -> None:
    """Spread the channels after a norm over orders of magnitude, and undo it in the layer that reads them.

    Through ReLU and average pooling the student computes what it did; but one scale for all channels no longer fits.
    """
    seed = torch.Generator().manual_seed(0)
    factor = 10 ** torch.empty(norm.num_features).uniform_(-decades / 2, decades / 2, generator=seed)
    with torch.no_grad():
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        reader.weight.div_(factor[None] if reader.weight.ndim == 2 else factor[None, :, None, None])


def copy_of(student: students.Student) -> students.Student:
    twin = students.create_student(student.architecture["name"], student.architecture["num_classes"])
    twin.load_state_dict(student.state_dict())
    return twin.eval()


def entry_of(folder: Path, target: str):
    return next(entry for entry in read_manifest(folder).files if entry.target == target)


@pytest.mark.slow
def test_a_student_that_quantizes_well_keeps_nothing_float(student, photos, tmp_path):
    bundle = save(student, photos, tmp_path / "student")
    manifest = export_student(
        bundle, ["litert:int8", "litert:int8+fp"], tmp_path / "exports", photos=photos, max_drop=DROP
    )
    for entry in manifest.files:
        tried = [item["tool"] for item in entry.recovery["tries"]]
        nearest = min(entry.recovery["ranges"], key=entry.recovery["ranges"].get)
        assert set(entry.recovery["ranges"]) == set(RANGES.values()) and tried in ([nearest], [nearest, TOOLS[0][0]])
        assert entry.recovery["tries"][-1]["divergence"] < 0.2
        assert entry.recovery["layers"] == [] and entry.partitions["delegated"] == 1


@pytest.mark.slow
def test_equalization_is_found_where_it_is_what_helps(student, photos, tmp_path):
    hard = copy_of(student)
    spread(hard.network.head.bn1, hard.network.head.pointwise, 4)
    bundle = save(hard, photos, tmp_path / "student")
    export_student(bundle, ["litert:int8"], tmp_path / "exports", photos=photos, max_drop=DROP)
    entry = entry_of(tmp_path / "exports", "litert:int8")
    tries = {item["tool"]: item for item in entry.recovery["tries"]}
    before = list(tries.values())[: list(tries).index("cross-layer equalization")]
    assert len(before) == 2 and all("diverges" in item["problem"] for item in before)
    assert tries["cross-layer equalization"]["divergence"] < 0.25 * min(item["divergence"] for item in before)
    good = entry.recovery["tries"][-1]  # of so few photos one may still be wrong after it, and be mended by the next
    assert good["plan"]["equalize"] and good["problem"] == ""
    assert good["drop"] == pytest.approx(100 * (entry.verification["student_top1"] - entry.verification["top1"]))
    assert entry.partitions == {"delegated": 1, "outside": []}
    assert not list((tmp_path / "exports").glob(".tmp*"))


@pytest.mark.slow
def test_a_mixed_file_keeps_the_layers_float_that_need_it_and_no_others(student, photos, tmp_path):
    """Pooling stands between the two spread layers, so nothing but floats repairs them."""
    hard = copy_of(student)
    spread(hard.network.head.bn2, hard.network.head.classifier, 5)
    bundle = save(hard, photos, tmp_path / "student")
    folder = tmp_path / "exports"
    targets = ["litert:fp32", "litert:int8", "litert:int8+fp"]
    with pytest.raises(GateError, match=r"litert:int8: .*All tools were tried.*\+fp") as failure:
        export_student(bundle, targets, folder, photos=photos, max_drop=DROP)
    mixed, whole = entry_of(folder, "litert:int8+fp"), entry_of(folder, "litert:fp32")
    kept = {item["layer"] for item in mixed.recovery["layers"] if item["float"]}
    # Other layers may have to pay for what the gate asks on so few photos.
    assert {"head.pointwise", "head.classifier"} <= kept and len(kept) <= 6
    assert {item["layer"] for item in mixed.recovery["layers"][:2]} == {"head.pointwise", "head.classifier"}
    assert all(name in str(failure.value) for name in kept)
    scores = [item["score"] for item in mixed.recovery["layers"]]
    assert scores == sorted(scores, reverse=True) and len(scores) > 40
    assert mixed.bytes < 0.8 * whole.bytes  # the two float layers are the heaviest
    assert any(item["problem"] == "" and set(item["plan"]["keep_float"]) == kept for item in mixed.recovery["tries"])
    assert [path.name for path in folder.glob("*int8*")] == ["litert-int8+fp.tflite"]
    with pytest.raises(GateError, match="1 failed"):  # the others are good
        verify(folder, bundle=bundle, photos=photos, max_drop=DROP)
    assert entry_of(folder, "litert:int8+fp").recovery == mixed.recovery
    assert json.loads((folder / "manifest.json").read_text())["failed"][0]["target"] == "litert:int8"


@pytest.mark.slow
def test_an_onnx_file_keeps_layers_float_too(student, photos, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    hard = copy_of(student)
    spread(hard.network.head.bn2, hard.network.head.classifier, 5)
    bundle = save(hard, photos, tmp_path / "student")
    export_student(bundle, ["onnx:int8+fp"], tmp_path / "exports", photos=photos, max_drop=DROP)
    mixed = entry_of(tmp_path / "exports", "onnx:int8+fp")
    kept = {item["layer"] for item in mixed.recovery["layers"] if item["float"]}
    assert {"head.pointwise", "head.classifier"} <= kept and len(kept) <= 10
    assert [item["problem"] == "" for item in mixed.recovery["tries"]].count(True) >= 1
    assert "diverges" in mixed.recovery["tries"][0]["problem"]


def test_what_to_export_instead_is_what_the_format_has():
    named = ("litert:int8", "qnn:int8+sm8650", "qnn:w8a16", "qnn:int8+fp", "ort:int8+fp")
    assert [_remedy(parse_targets([name])[0]) for name in named] == [
        "export litert:int8+fp",
        "export qnn:int8+fp+sm8650 or qnn:w8a16+sm8650",
        "export qnn:fp16+sm8750",
        "export qnn:w8a16+sm8750",
        "export ort:fp32",
    ]


# --- the search, on files that are only imagined ---------------------------------------------------


class Imagined:
    """`Files` that pass if every layer of `bad` is float, or if `tool` is in the plan; each bad layer harms alike.

    Those of `loud` look worst when they alone are integer, but do no harm beside others.
    """

    def __init__(self, bad: set[str], tool: dict[str, Any] | None = None, loud: Set[str] = frozenset()) -> None:
        self.layers, self.tools = tuple(f"layer{i}" for i in range(20)), TOOLS
        self.bad, self.tool, self.loud, self.last = bad, tool, loud, QuantizationPlan()

    def divergence(self, plan: QuantizationPlan) -> float:
        self.last = plan
        integer = set(self.layers) - set(plan.keep_float)
        if len(integer) == 1 and integer <= self.loud:
            return 1.0
        helped = self.tool is not None and all(getattr(plan, key) == value for key, value in self.tool.items())
        return 0.0 if helped else len(self.bad - set(plan.keep_float)) / 10

    def attempt(self, tool: str, plan: QuantizationPlan) -> tuple[Try, FileEntry | None]:
        away = self.divergence(plan)
        entry = FileEntry("litert:int8", "file", "", 0, {}, "", {}, None, {}) if away == 0 else None
        return Try(tool, plan, away, 10 * away, "" if entry else "it diverges"), entry


@given(st.sets(st.integers(0, 19), min_size=1))
def test_the_fewest_layers_stay_float_and_the_file_left_is_theirs(chosen):
    files = Imagined({f"layer{i}" for i in chosen})
    entry = recover(files, may_keep_float=True)
    assert (
        {item["layer"] for item in entry.recovery["layers"] if item["float"]} == files.bad == set(files.last.keep_float)
    )
    assert len(entry.recovery["tries"]) <= 1 + len(TOOLS) + 2 * np.log2(20) + 2 + len(chosen)


def test_a_layer_that_only_looked_harmful_goes_back_to_integers():
    files = Imagined({"layer7", "layer9"}, loud={"layer1", "layer2", "layer3"})
    entry = recover(files, may_keep_float=True)
    assert [item["layer"] for item in entry.recovery["layers"]][:3] == ["layer1", "layer2", "layer3"]
    assert set(files.last.keep_float) == {"layer7", "layer9"}


def test_plans_are_ranked_again_without_the_worst_layers():
    """With a layer that drowns the rest, a tool seems to do nothing; it matters once that layer is float."""

    class Drowned(Imagined):
        def divergence(self, plan: QuantizationPlan) -> float:
            away = super().divergence(plan)
            other = 0.001 if plan.ranges == "mse" and not self.bad - set(plan.keep_float) else 0.002
            return away if away else (0.0 if len(plan.keep_float) > 18 else other)

    files = Drowned({"layer7"})
    recover(files, may_keep_float=True)
    assert files.last.ranges == "mse"


@pytest.mark.parametrize("kind", RANGES)
def test_the_nearest_ranges_are_taken(kind):
    entry = recover(Imagined({"layer3"}, {"ranges": kind}), may_keep_float=False)
    assert [item["tool"] for item in entry.recovery["tries"]] == [RANGES[kind]]
    assert entry.recovery["ranges"] == {name: 0.0 if name == RANGES[kind] else 0.1 for name in RANGES.values()}


@pytest.mark.parametrize("place", range(len(TOOLS)))
def test_tools_stop_at_the_first_that_is_enough(place):
    _, change = TOOLS[place]
    entry = recover(Imagined({"layer3"}, change), may_keep_float=True)
    assert [item["tool"] for item in entry.recovery["tries"]] == [
        "whole ranges",
        *(tool for tool, _ in TOOLS[: place + 1]),
    ]
    assert entry.recovery["tries"][-1]["plan"][next(iter(change))] == change[next(iter(change))]
    assert entry.recovery["layers"] == []


def test_full_integers_that_fail_name_the_layers_and_the_remedy():
    with pytest.raises(GateError, match=r"2 of 20 layers in float it passes \(layer3, layer5\).*\+fp"):
        recover(Imagined({"layer3", "layer5"}), may_keep_float=False)


def test_a_file_that_no_float_repairs_says_so():
    with pytest.raises(GateError, match="not even with every layer float"):
        recover(Imagined({"the input"}), may_keep_float=True)


def test_divergence_is_zero_only_for_the_same_answers():
    rng = np.random.default_rng(0)
    one, two = (rng.dirichlet(np.ones(5), 20).astype(np.float32) for _ in range(2))
    assert divergence(one, one) == pytest.approx(0, abs=1e-9) and divergence(one, two) > 0.1
    assert np.isfinite(divergence(np.eye(5, dtype=np.float32), np.eye(5, dtype=np.float32)[::-1]))
