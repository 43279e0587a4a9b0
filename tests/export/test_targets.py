"""The target grammar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.errors import InputError, MissingExtra
from attar.export import targets
from attar.export.formats import FORMATS, format_of
from attar.export.targets import Target, choose_targets, every_target, parse_targets, require_targets, target_of

TARGETS = every_target()
NAMES = [str(target) for target in TARGETS]
INTEGERS = ["onnx:int8", "onnx:int8+fp"]


def test_the_targets_are_these():
    assert [
        *("litert:fp32", "litert:fp16", "litert:w8", "litert:dyn8", "litert:int8", "litert:int8+fp"),
        *("coreml:fp32", "coreml:fp16", "coreml:w8", "coreml:lut6", "coreml:lut4", "coreml:w8a8", "coreml:w8a8+fp"),
        *("onnx:fp32", "onnx:fp16", "onnx:int8", "onnx:int8+fp"),
        *("ort:fp32", "ort:int8", "ort:int8+fp"),
        *("executorch:fp32", "executorch:int8", "executorch:int8+fp"),
        *("qnn:fp16+sm8750", "qnn:int8+sm8750", "qnn:int8+fp+sm8750", "qnn:w8a16+sm8750"),
    ] == NAMES
    assert {t.file for t in TARGETS if t.precision == "int8"} == {
        "litert-int8.tflite",
        "onnx-int8.onnx",
        "ort-int8.ort",
        "executorch-int8.pte",
        "qnn-int8-sm8750.ctx.onnx",
    }
    assert {str(t) for t in TARGETS if t.calibrated} == {
        "litert:int8",
        "litert:int8+fp",
        "coreml:w8a8",
        "coreml:w8a8+fp",
        "onnx:int8",
        "onnx:int8+fp",
        "ort:int8",
        "ort:int8+fp",
        "executorch:int8",
        "executorch:int8+fp",
        "qnn:int8+sm8750",
        "qnn:int8+fp+sm8750",
        "qnn:w8a16+sm8750",
    }


@given(st.lists(st.sampled_from(NAMES), min_size=1))
def test_parsing_keeps_the_order_and_each_target_once(names):
    parsed = [str(target) for target in parse_targets(names)]
    assert parsed == sorted(set(names), key=names.index)
    assert parse_targets(parsed) == parse_targets(names)


@given(st.text().filter(lambda text: text not in NAMES and not text.endswith("all")))
def test_anything_else_is_refused_by_name(name):
    with pytest.raises(InputError) as caught:
        parse_targets([NAMES[0], name])
    assert repr(name) in str(caught.value)


def test_a_slip_is_answered_with_what_was_meant():
    with pytest.raises(InputError, match="litert:int8"):
        parse_targets(["litert:int9"])
    with pytest.raises(InputError, match="No target"):
        parse_targets([])


def test_a_missing_package_is_named_before_any_work(monkeypatch):
    form = targets.FORMATS["onnx"]
    absent = replace(form, needs=("onnx", "attar_no_such_package"))
    monkeypatch.setitem(targets.FORMATS, "onnx", absent)
    require_targets([Target("litert", "fp32")])
    with pytest.raises(MissingExtra, match="attar_no_such_package"):
        require_targets([Target("onnx", "fp32")])


def test_all_means_every_target_of_a_format_or_of_all():
    assert parse_targets(["all"]) == list(TARGETS)
    assert [str(target) for target in parse_targets(["onnx:all"])] == ["onnx:fp32", "onnx:fp16", *INTEGERS]
    mixed = parse_targets(["ort:int8", "all"])
    assert mixed[0] == Target("ort", "int8") and set(mixed) == set(TARGETS) and len(mixed) == len(TARGETS)
    with pytest.raises(InputError, match="onnx:all"):
        parse_targets(["onxx:all"])


def test_a_file_for_one_device_is_chosen_after_a_plus():
    assert parse_targets(["qnn:int8"]) == parse_targets(["qnn:int8+sm8750"]) == [Target("qnn", "int8", "sm8750")]
    chosen = parse_targets(["qnn:all+sm8650"])
    assert [target.file for target in chosen] == [
        *("qnn-fp16-sm8650.ctx.onnx", "qnn-int8-sm8650.ctx.onnx"),
        *("qnn-int8+fp-sm8650.ctx.onnx", "qnn-w8a16-sm8650.ctx.onnx"),
    ]
    assert parse_targets(["litert:int8+fp"]) == [Target("litert", "int8+fp")]
    with pytest.raises(InputError, match=r"unknown.* Did you mean 'qnn:int8.sm8750'.*sm8650 .Snapdragon 8 Gen 3"):
        parse_targets(["qnn:int8+sm8751"])


def test_a_manifest_names_the_device_of_a_file():
    assert all(target_of(name) == target for name, target in zip(NAMES, TARGETS))
    assert target_of("qnn:int8+sm8650") == Target("qnn", "int8", "sm8650")
    assert [target_of(name) for name in ("qnn:int8", "all", "litert:all", "qnn:all+sm8650", "qnn:int8+sm1")] == [
        None
    ] * 5


def test_a_format_is_known_by_the_longest_suffix_that_fits():
    assert format_of(Path("a/qnn-int8-sm8750.ctx.onnx")) is FORMATS["qnn"]
    assert format_of(Path("a/onnx-int8.onnx")) is FORMATS["onnx"] and format_of(Path("a/ctx.onnx")) is FORMATS["onnx"]
    assert format_of(Path("a/model.bin")) is None


def test_of_all_what_lacks_a_package_is_left_out_and_said(monkeypatch):
    for name, form in FORMATS.items():
        needs = ("onnx", "attar_no_such_package") if name == "ort" else ()
        monkeypatch.setitem(FORMATS, name, replace(form, needs=needs))
    chosen, left_out = choose_targets(["all"])
    assert [*chosen] == [target for target in TARGETS if target.format != "ort"]
    assert set(left_out) == {"ort:fp32", "ort:int8", "ort:int8+fp"} and "attar_no_such_package" in left_out["ort:int8"]
    with pytest.raises(MissingExtra, match="attar_no_such_package"):  # asked for by name
        choose_targets(["all", "ort:int8"])
    with pytest.raises(MissingExtra, match="No target can be written"):
        choose_targets(["ort:all"])
