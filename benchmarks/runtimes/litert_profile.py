"""Where LiteRT spends its time, operator by operator, XNNPACK's own operators included.

The Python classes of ai-edge-litert have no profiler. The C library inside the same package has one (LiteRT's
CompiledModel; litert/c/litert_profiler.h), so the few functions that it takes are called here directly. They run the
same XNNPACK as the interpreter that is timed. A wrong call would end the process: `attar.benchmarks.latency.op_profile`
gives it one.

Times are whole microseconds, rounded down by XNNPACK: an operator that takes less than one counts as nothing.

An event's layout is that of ai-edge-litert 2.3. Another version may have another one, so what is read has to make
sense: events of kinds that exist, which together take no longer than the inference did.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Sequence
from ctypes import Structure, byref, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.latency.work import work_of
from attar.benchmarks.runtimes import Profiled, some_image
from attar.extras import require

_CPU = 1
_OPERATOR, _IN_DELEGATE, _OF_DELEGATE = 2, 4, 8
_KINDS = tuple(1 << bit for bit in range(9))
_WRITE = 1
_TYPE_BYTES = 256
"""More than a LiteRtRankedTensorType, which is only handed on."""


def profile(path: str, threads: int, runs: int) -> list[Profiled]:
    """Profile some inferences of one random image.

    Raises:
        RuntimeError: the library lacks a function, or one of them failed.
    """
    model = _Model(path, threads)
    model.set_input(some_image((model.input_bytes,)))
    return [model.profiled() for _ in range(runs)]


def named(rows: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Give a profile's operators, in the order they ran, the names of the layers that they belong to.

    XNNPACK numbers its operators, which tells a person nothing. It keeps convolutions and matrix products in the
    graph's order, and what follows one of them up to the next belongs to it. Where the two lists do not agree in
    number and kind, the numbers stay.
    """
    layers = _layers(path)
    kinds = [_depthwise(row["operator"]) for row in rows]
    if [kind for kind in kinds if kind is not None] != [depthwise for depthwise, _ in layers]:
        return list(rows)
    names, name, operators = iter(layers), "input", []
    for row, kind in zip(rows, kinds):
        if kind is not None:
            _, name = next(names)
        operators.append({**row, "name": name})
    return operators


def _layers(path: Path) -> list[tuple[bool, str]]:
    """(depthwise, name) of the graph's convolutions and matrix products, in the order they run."""
    from attar.export.tflite.layers import CONV, DEPTHWISE, LINEAR, place

    weighted = [each for each in work_of(path) if each.kind in (CONV, DEPTHWISE, LINEAR)]
    return [(each.kind == DEPTHWISE, place(each.name)) for each in weighted]


def _depthwise(operator: str) -> bool | None:
    """Whether an operator of a profile is a depthwise convolution; None where it is no convolution or product."""
    if re.search(r"DWConv|DEPTHWISE_CONV", operator):
        return True
    return False if re.search(r"Convolution \(|Fully Connected|CONV_2D|FULLY_CONNECTED", operator) else None


class _Event(Structure):
    """What the profiler tells of one event; its memory is that before and after, three numbers each."""

    _fields_ = (
        ("tag", c_void_p),
        ("kind", c_int),
        ("start", c_uint64),
        ("microseconds", c_uint64),
        ("memory", c_int64 * 6),
        ("node", c_uint64),
        ("more", c_uint64),
        ("source", c_int),
    )


class _Model:
    """A file compiled with profiling on, and its buffers. Never freed: the process is there for nothing else."""

    def __init__(self, path: str, threads: int) -> None:
        self._library = _library()
        self._kept: list[Any] = []  # what the library holds pointers to
        self._environment, model = c_void_p(), c_void_p()
        self._call("CreateEnvironment", c_int(0), None, byref(self._environment))
        self._call("CreateModelFromFile", self._environment, c_char_p(path.encode()), byref(model))
        self._compiled = self._compile(model, threads)
        self._profiler = c_void_p()
        self._call("CompiledModelGetProfiler", self._compiled, byref(self._profiler))
        signature = c_void_p()
        self._call("GetModelSignature", model, c_size_t(0), byref(signature))
        outputs = c_size_t()
        self._call("GetNumSignatureOutputs", signature, byref(outputs))
        self._input = self._buffer(signature, "Input", 0)
        self._outputs = [self._buffer(signature, "Output", index) for index in range(outputs.value)]

    @property
    def input_bytes(self) -> int:
        """Size of the input."""
        size = c_size_t()
        self._call("GetTensorBufferPackedSize", self._input, byref(size))
        return size.value

    def set_input(self, image: np.ndarray) -> None:
        """Copy uint8 (input_bytes,) into the input buffer."""
        address = c_void_p()
        self._call("LockTensorBuffer", self._input, byref(address), c_int(_WRITE))
        ctypes.memmove(address, image.ctypes.data, image.nbytes)
        self._call("UnlockTensorBuffer", self._input)

    def profiled(self) -> Profiled:
        """Run once."""
        given, count = (c_void_p * 1)(self._input), len(self._outputs)
        made = (c_void_p * count)(*self._outputs)
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        start = time.perf_counter_ns()
        self._call("RunCompiledModel", self._compiled, c_size_t(0), c_size_t(1), given, c_size_t(count), made)
        taken = time.perf_counter_ns() - start
        self._call("StopProfiler", self._profiler)
        return Profiled(taken, tuple(_operators(self._events(), taken)))

    def _events(self) -> Sequence[_Event]:
        count = c_int()
        self._call("GetNumProfilerEvents", self._profiler, byref(count))
        room = (_Event * max(1, 2 * count.value))()  # twice: should an event be larger than is known here
        self._call("GetProfilerEvents", self._profiler, count, byref(room))
        return room[: count.value]

    def _compile(self, model: c_void_p, threads: int) -> c_void_p:
        options, compiled = c_void_p(), c_void_p()
        self._call("CreateOptions", byref(options))
        self._call("SetOptionsHardwareAccelerators", options, c_int(_CPU))
        texts = {"runtime_options_string": "enable_profiling = true\n", "xnnpack": f"num_threads = {threads}\n"}
        for name, text in texts.items():
            payload = ctypes.create_string_buffer(text.encode())
            keep = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)  # the library asks to free it; Python does
            self._kept += [payload, keep]
            opaque = c_void_p()
            self._call("CreateOpaqueOptions", c_char_p(name.encode()), payload, keep, byref(opaque))
            self._call("AddOpaqueOptions", options, opaque)
        self._call("CreateCompiledModel", self._environment, model, options, byref(compiled))
        return compiled

    def _buffer(self, signature: c_void_p, side: str, index: int) -> c_void_p:
        tensor, needs, buffer = c_void_p(), c_void_p(), c_void_p()
        kind = ctypes.create_string_buffer(_TYPE_BYTES)
        first, place = c_size_t(0), c_size_t(index)
        self._call(f"GetSignature{side}TensorByIndex", signature, place, byref(tensor))
        self._call("GetRankedTensorType", tensor, kind)
        self._call(f"GetCompiledModel{side}BufferRequirements", self._compiled, first, place, byref(needs))
        self._call("CreateManagedTensorBufferFromRequirements", self._environment, kind, needs, byref(buffer))
        return buffer

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, f"LiteRt{name}")
        except AttributeError as error:
            raise RuntimeError(f"this version of LiteRT has no LiteRt{name}") from error
        status = function(*arguments)
        if status:
            raise RuntimeError(f"LiteRt{name} failed with status {status}")


def _operators(events: Sequence[_Event], taken: int) -> list[dict[str, Any]]:
    ran = [each for each in events if each.kind in (_OPERATOR, _IN_DELEGATE, _OF_DELEGATE)]
    spent = 1000 * sum(each.microseconds for each in ran)
    if any(each.kind not in _KINDS for each in events) or spent > taken:
        raise RuntimeError("this version of LiteRT lays out its profile otherwise than is known here")
    names = ((c_char_p(each.tag).value or b"?").decode(errors="replace") for each in ran)
    return [
        {"name": f"[{each.node}]", "operator": name, "nanoseconds": 1000 * each.microseconds}
        for each, name in zip(ran, names)
    ]


def _library() -> ctypes.CDLL:
    folder = Path(require("ai_edge_litert").__file__ or "").parent
    names = ("libLiteRt.so", "libLiteRt.dylib", "libLiteRt.dll")
    library = next((folder / name for name in names if (folder / name).is_file()), None)
    if library is None:
        raise RuntimeError("this build of ai-edge-litert has no C library, and so no profiler")
    return ctypes.CDLL(str(library))
