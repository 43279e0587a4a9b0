"""Compile an ONNX file for Qualcomm's NPU, or run one in the vendor's emulator, in a process of its own.

    python htp.py compile MODEL.onnx CONTEXT.onnx SOC_MODEL HTP_ARCH
    python htp.py run MODEL.onnx IMAGES.npy ANSWERS.npy SOC_MODEL HTP_ARCH

Imports nothing of attar. A file that was compiled before is run as it is. Everything must run on the NPU: an operator
that would fall back to the CPU is an error. See "QNN Execution Provider" in ONNX Runtime's documentation.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import

import numpy as np
import onnxruntime
import onnxruntime_qnn


def session(model: str, soc: str, arch: str, context: str | None = None) -> Any:
    """A model on the emulated NPU of a chip; `context`: where to write what was compiled for it."""
    name = onnxruntime_qnn.get_ep_name()
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


def main(task: str, model: str, *rest: str) -> None:
    """Images: uint8 (N, H, W, 3); answers: float32 (N, classes)."""
    if task == "compile":
        context, soc, arch = rest
        session(model, soc, arch, context)
        return
    images, answers, soc, arch = rest
    runs = session(model, soc, arch)
    name = runs.get_inputs()[0].name
    np.save(answers, np.concatenate([runs.run(None, {name: image[None]})[0] for image in np.load(images)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
