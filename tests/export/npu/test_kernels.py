"""Convolutions that the NPU's compiler gets wrong, as it has them and as attar writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from attar.export.npu import emulator, kernels

SIDE, CHANNELS = 14, 32


def graph(side: int, stride: int, groups: int = CHANNELS, pads: tuple[int, ...] = (4, 4, 4, 4)) -> Any:
    """uint8 image (1, H, W, 3) -> all values (1, N) of a convolution of 32 channels."""
    random = np.random.default_rng(1)
    weights = {
        "scale": np.float32(1 / 128),
        "zero": np.uint8(128),
        "mix": random.normal(size=(CHANNELS, 3, 1, 1)).astype(np.float32),
        "kernel": random.normal(size=(CHANNELS, CHANNELS // groups, side, side)).astype(np.float32) / side,
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "scale", "zero"], ["values"]),
        helper.make_node("Transpose", ["values"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "mix"], ["mixed"], kernel_shape=[1, 1]),
        helper.make_node(
            "Conv",
            ["mixed", "kernel"],
            ["convolved"],
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=pads,
            group=groups,
        ),
        helper.make_node("Flatten", ["convolved"], ["answer"]),
    ]
    ends = [
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, None])],
    ]
    made = helper.make_graph(nodes, "one", *ends, [numpy_helper.from_array(v, k) for k, v in weights.items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def image() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)


def on_cpu(model: Any) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image()})[0]


def off(given: np.ndarray, right: np.ndarray) -> float:
    """Root of the mean squared error, as a share of the right values' deviation."""
    return float(np.sqrt(((given - right) ** 2).mean()) / right.std())


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, CHANNELS])
def test_the_npu_has_a_widened_kernel_right_and_the_plain_one_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    """When the plain one is right, the compiler is mended and `widen` can go."""
    monkeypatch.delenv("ATTAR_NPU", raising=False)
    if not emulator.is_wanted():
        pytest.skip("onnxruntime-qnn is not installed")
    model = graph(9, 2, groups)
    right = on_cpu(model)

    def on_npu(name: str) -> np.ndarray:
        onnx.save(model, tmp_path / name)
        return emulator.NpuRunner(tmp_path / name).answers(image())

    assert off(on_npu("plain.onnx"), right) > 0.1
    kernels.widen(model)
    assert off(on_npu("wide.onnx"), right) < 0.005


@pytest.mark.parametrize("groups", [1, CHANNELS])
@pytest.mark.parametrize("pads", [(4, 4, 4, 4), (0, 0, 0, 0), (3, 4, 4, 3)])
def test_a_widened_kernel_computes_the_same(groups: int, pads: tuple[int, ...]) -> None:
    model = graph(9, 2, groups, pads)
    before = on_cpu(model)
    kernels.widen(model)
    assert [each.dims[2] for each in model.graph.initializer if each.name == "kernel"] == [11]
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(on_cpu(model), before, atol=1e-5)


@pytest.mark.parametrize(("side", "stride"), [(9, 1), (7, 2), (11, 2)])
def test_other_kernels_stay(side: int, stride: int) -> None:
    model = graph(side, stride)
    before = model.SerializeToString()
    kernels.widen(model)
    assert model.SerializeToString() == before


def heads(shape: list[int]) -> Any:
    """uint8 image (1, 4, 16, 8) -> all values (1, 512) of a product, of the heads of tokens side by side as `shape`."""
    weights = {
        "scale": np.float32(1 / 128),
        "zero": np.uint8(128),
        "apart": np.array([4, 4, 4, 8]),
        "attend": np.random.default_rng(3).normal(size=(4, 4, 4, 4)).astype(np.float32),
        "beside": np.array(shape),
        "mix": np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32),
        "one": np.ones(32, np.float32),
        "all": np.array([1, 512]),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "scale", "zero"], ["values"]),
        helper.make_node("Reshape", ["values", "apart"], ["heads"]),
        helper.make_node("MatMul", ["attend", "heads"], ["attended"]),
        helper.make_node("Transpose", ["attended"], ["tokens"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["tokens", "beside"], ["rows"]),
        helper.make_node("MatMul", ["rows", "mix"], ["mixed"]),
        helper.make_node("Reshape", ["values", "beside"], ["before"]),
        helper.make_node("Add", ["mixed", "before"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "one"], ["moved"]),
        helper.make_node("Reshape", ["moved", "all"], ["answer"]),
    ]
    ends = [
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 4, 16, 8])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 512])],
    ]
    made = helper.make_graph(nodes, "one", *ends, [numpy_helper.from_array(v, k) for k, v in weights.items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.slow
def test_the_npu_has_the_product_of_rows_right_and_of_tokens_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When that of tokens is right, the compiler is mended, and `SelfAttention` need not compute in two dimensions."""
    monkeypatch.delenv("ATTAR_NPU", raising=False)
    if not emulator.is_wanted():
        pytest.skip("onnxruntime-qnn is not installed")
    pixels = np.random.default_rng(2).integers(0, 256, (1, 4, 16, 8), dtype=np.uint8)
    errors = []
    for shape in ([16, 32], [4, 4, 32]):
        model = heads(shape)
        onnx.save(model, tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        right = session.run(None, {"image": pixels})[0]
        errors.append(off(emulator.NpuRunner(tmp_path / "model.onnx").answers(pixels), right))
    assert errors[0] < 0.005 and errors[1] > 0.1
