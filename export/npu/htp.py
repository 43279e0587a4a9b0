"""Compile an ONNX file for Qualcomm's NPU, or run one in the vendor's emulator, in a process of its own.

    python htp.py compile MODEL.onnx CONTEXT.onnx SOC_MODEL HTP_ARCH
    python htp.py run MODEL.onnx IMAGES.npy ANSWERS.npy SOC_MODEL HTP_ARCH

Imports nothing of attar. A file that was compiled before is run as it is. Everything must run on the NPU: an operator
that would fall back to the CPU is an error, and so is a second part. See "QNN Execution Provider" in ONNX Runtime's
documentation.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it when it is imported

import numpy as np

COMPILED = "EPContext"
"""The operator that holds what an NPU executes."""
DIMENSIONS = 5
"""Most that a tensor may have on the NPU."""


def session(model: str, soc: str, arch: str, context: str | None = None) -> Any:
    """A model on the emulated NPU of a chip; `context`: where to write what was compiled for it."""
    import onnxruntime
    import onnxruntime_qnn

    name = onnxruntime_qnn.get_ep_name()
    if not any(device.ep_name == name for device in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library(name, onnxruntime_qnn.get_library_path())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # With a batch of any size everything runs on the CPU, and nothing says so.
    options.add_free_dimension_override_by_name("batch", 1)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if context is not None:
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_embed_mode", "1")
        options.add_session_config_entry("ep.context_file_path", context)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    chip = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "soc_model": soc, "htp_arch": arch}
    options.add_provider_for_devices(devices[:1], chip)
    return onnxruntime.InferenceSession(model, options)


def compiled(model: str, context: str, soc: str, arch: str) -> str:
    """Compile a model -> the path of what the NPU executes: `context`, or the model itself if it is compiled."""
    if operators(model) == [COMPILED]:
        return model
    try:
        session(model, soc, arch, context)
    except Exception:
        if deep := deep_operators(model):  # the compiler fails without a name
            raise SystemExit(_refused(deep)) from None
        raise
    if operators(context) != [COMPILED]:
        left = [each for each in operators(context) if each != COMPILED]
        raise SystemExit(_refused(left or ["several parts"]))
    return context


def _refused(kinds: list[str]) -> str:
    """In the form of the compiler's own complaint, which is read from standard error."""
    return "Unsupported nodes in QNN EP: " + "".join(f"{{ type: {each} }}" for each in kinds)


def operators(model: str) -> list[str]:
    """The kinds of a file's operators, in order."""
    import onnx

    return [node.op_type for node in onnx.load(model).graph.node]


def deep_operators(model: str) -> list[str]:
    """The kinds of operators that make tensors of more dimensions than the NPU has, in order."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    dimensions = {each.name: len(each.type.tensor_type.shape.dim) for each in graph.value_info}
    most = ((node.op_type, max((dimensions.get(name, 0) for name in node.output), default=0)) for node in graph.node)
    return [f"{kind} of {count} dimensions" for kind, count in most if count > DIMENSIONS]


def main(task: str, model: str, *rest: str) -> None:
    """Images: uint8 (N, H, W, 3); answers: float32 (N, classes), and one column more with a second output."""
    if task == "compile":
        context, soc, arch = rest
        compiled(model, context, soc, arch)
        return
    images, answers, soc, arch = rest
    runs = session(compiled(model, f"{answers}.ctx.onnx", soc, arch), soc, arch)
    name = runs.get_inputs()[0].name
    rows = [np.concatenate(runs.run(None, {name: image[None]}), axis=1) for image in np.load(images)]
    np.save(answers, np.concatenate(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
