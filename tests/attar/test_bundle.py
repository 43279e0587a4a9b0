"""A bundle reads back as it was written, or says what is wrong with it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.bundle import Bundle, read_bundle, write_bundle
from attar.errors import InputError
from attar.preprocessing import Preprocessing

LABELS = ("Rosa canina", "été", "گل")


def write(path: Path, **changes: Any) -> Bundle:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.ones(2, dtype=torch.float16)}
    return write_bundle(
        path,
        **{
            "kind": "student",
            "architecture": {"name": "net", "num_classes": 3},
            "state_dict": weights,
            "labels": LABELS,
            "preprocessing": Preprocessing(32, 0.9, "bilinear"),
            "provenance": {"seed": 1},
            "metrics": {"top1": 0.5},
            **changes,
        },
    )


def edit(path: Path, **changes: Any) -> None:
    document = json.loads((path / "bundle.json").read_text())
    del document["sha256"]  # as version 0.1 wrote it
    document.update(changes)
    (path / "bundle.json").write_text(json.dumps({k: v for k, v in document.items() if v != "gone"}))


def test_round_trip(tmp_path: Path) -> None:
    written = write(tmp_path / "b")
    read = read_bundle(str(tmp_path / "b"), "student")
    assert read == written
    assert (read.labels, read.name, read.metrics, read.provenance) == (LABELS, "net", {"top1": 0.5}, {"seed": 1})
    assert read.preprocessing == Preprocessing(32, 0.9, "bilinear")
    state = read.state_dict()
    assert state["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and state["b"] == 3 and state["c"].dtype == torch.float16
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["b", "bundle.json", "model.safetensors"]


def test_the_same_model_is_the_same_bytes_and_fingerprint(tmp_path: Path) -> None:
    strided = torch.arange(6.0).reshape(3, 2).T.contiguous().T.T  # same values, other memory
    one, two = write(tmp_path / "1"), write(tmp_path / "2", metrics={}, provenance={})
    assert one.weights_sha256 == two.weights_sha256 and one.fingerprint == two.fingerprint
    assert write(tmp_path / "3", state_dict={"x": strided}).state_dict()["x"].tolist() == strided.tolist()


def test_what_changes_the_result_changes_the_fingerprint(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"labels": LABELS[::-1]},
        {"preprocessing": Preprocessing(33)},
        {"architecture": {"name": "other"}},
        {"state_dict": {"a": torch.zeros(1)}},
    ]
    prints = {write(tmp_path / str(i), **change).fingerprint for i, change in enumerate(changes)}
    assert len(prints) == len(changes)


def test_not_a_bundle(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"not a bundle.*attar teach"):
            read_bundle(path)


def test_kind_mismatch(tmp_path: Path) -> None:
    write(tmp_path / "b")
    with pytest.raises(InputError, match="holds a student, and a teacher is needed"):
        read_bundle(tmp_path / "b", "teacher")


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_other_schema(tmp_path: Path, schema: object) -> None:
    write(tmp_path / "b")
    edit(tmp_path / "b", schema=schema)
    with pytest.raises(InputError, match=r"schema version .*reads version 1"):
        read_bundle(tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        {"labels": "gone"},
        {"labels": "rose"},
        {"labels": [1, 2]},
        {"preprocessing": {}},
        {"preprocessing": [1]},
        {"weights_sha256": None},
        {"architecture": "net"},
        {"kind": "pupil"},
        {"metrics": "gone"},
    ],
)
def test_damaged_description(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path / "b")
    edit(tmp_path / "b", **change)
    with pytest.raises(InputError, match=r"bundle\.json: incomplete or damaged"):
        read_bundle(tmp_path / "b")


def test_another_normalization_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "b")
    edit(tmp_path / "b", preprocessing={**Preprocessing(32).to_json(), "mean": 127.5})
    with pytest.raises(InputError, match=r"mean 127\.5"):
        read_bundle(tmp_path / "b")


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=25, deadline=None)
def test_description_cut_short(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "b"
    write(path)
    text = (path / "bundle.json").read_bytes()
    (path / "bundle.json").write_bytes(text[: int(share * (len(text) - 1))])
    with pytest.raises(InputError, match=r"bundle.json"):
        read_bundle(path)


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(max_examples=25, deadline=None)
def test_one_changed_byte_of_the_weights_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    bundle = write(tmp_path_factory.mktemp("byte") / "b")
    weights = bundle.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[int(place * len(content))] ^= flip
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"does not match bundle.json"):
        bundle.state_dict()


def test_weights_cut_short_or_missing(tmp_path: Path) -> None:
    bundle = write(tmp_path / "b")
    weights = bundle.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="cut short"):
        bundle.state_dict()
    weights.unlink()
    with pytest.raises(InputError, match="missing"):
        bundle.state_dict()


def test_writing_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "b")
    assert write(tmp_path / "b", labels=("x", "y", "z")).labels == ("x", "y", "z")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "rose.jpg").write_bytes(b"dear")
    for taken in (tmp_path / "photos", tmp_path / "photos" / "rose.jpg"):
        with pytest.raises(InputError, match="holds other files"):
            write(taken)
    assert (tmp_path / "photos" / "rose.jpg").read_bytes() == b"dear"


def test_a_failed_write_leaves_the_old_bundle(tmp_path: Path) -> None:
    old = write(tmp_path / "b")
    with pytest.raises(TypeError):
        write(tmp_path / "b", provenance={"path": object()})
    assert read_bundle(tmp_path / "b") == old and [p.name for p in tmp_path.iterdir()] == ["b"]


def test_three_hundred_flipped_bits_of_a_description_are_all_refused(tmp_path: Path) -> None:
    whole = (write(tmp_path / "b").path / "bundle.json").read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        changed, bit = bytearray(whole), rng.randrange(8 * len(whole))
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b" / "bundle.json").write_bytes(changed)
        try:
            read_bundle(tmp_path / "b")
        except InputError:
            continue
        # The name of the checksum itself, or white space.
        value = json.loads(changed)
        assert {k: v for k, v in value.items() if k in json.loads(whole)} | {"sha256": 0} == {
            **json.loads(whole),
            "sha256": 0,
        }
