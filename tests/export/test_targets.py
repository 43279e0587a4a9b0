"""The target grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.errors import InputError, MissingExtra
from export import targets
from export.targets import TARGETS, Target, parse_targets, require_targets

NAMES = [str(target) for target in TARGETS]


def test_the_targets_are_these():
    assert [
        *("litert:fp32", "litert:fp16", "litert:int8", "litert:int8+fp"),
        *("coreml:fp16", "coreml:w8", "coreml:lut4"),
        *("onnx:fp32", "onnx:int8"),
    ] == NAMES
    files = ["litert-fp32.tflite", "litert-int8+fp.tflite", "coreml-fp16.mlpackage", "onnx-fp32.onnx"]
    assert [t.file for t in TARGETS if t.precision.endswith(("32", "+fp")) or str(t) == "coreml:fp16"] == files


@given(st.lists(st.sampled_from(NAMES), min_size=1))
def test_parsing_keeps_the_order_and_each_target_once(names):
    parsed = [str(target) for target in parse_targets(names)]
    assert parsed == sorted(set(names), key=names.index)
    assert parse_targets(parsed) == parse_targets(names)


@given(st.text().filter(lambda text: text not in NAMES))
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
    absent = targets.Format(form.module, form.precisions, form.suffix, ("onnx", "attar_no_such_package"))
    monkeypatch.setitem(targets.FORMATS, "onnx", absent)
    require_targets([Target("litert", "fp32")])
    with pytest.raises(MissingExtra, match="attar_no_such_package"):
        require_targets([Target("onnx", "fp32")])
