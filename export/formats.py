"""The file formats, each described once: all that export, verification, report and snippets know of it.

    litert:     fp32    float                            coreml:  fp32    float
                fp16    half-size weights                         fp16    half precision
                w8      8-bit weights                             w8      8-bit weights
                dyn8    dynamic range                             lut6    6-bit tables of weights
                int8    weights and activations                   lut4    4-bit tables of weights
                int8+fp the same, with the fewest layers          w8a8    weights and activations
                        in float that its accuracy needs          w8a8+fp as litert's int8+fp
    onnx:       fp32    float                            ort:     fp32    ONNX Runtime's own mobile form, float
                fp16    half-size weights                         int8    the same, integer
                int8    weights and activations (QDQ)
                int8+fp as litert's
    executorch: fp32    float, XNNPACK                   qnn:     fp16    half precision
                int8    weights and activations                   int8    weights and activations
                int8+fp as litert's                               int8+fp as litert's
                                                                  w8a16   weights of 8 bits, activations of 16
                                                                  each compiled for one chip: `qnn:int8+sm8750`

A new format is a module with `convert` and `open_runner`, and one `Format` in `FORMATS`. Another package adds one by an
entry point of the group `attar.formats` (docs/extending.md). The module may have `second_opinions` (see
`attar.export.verify`) and `min_runtime` (a path to the oldest runtime that runs the file, or None).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attar.export.npu.socs import DEFAULT, SOCS
from attar.plugins import instances


@dataclass(frozen=True)
class Tolerance:
    """How far a file's probabilities may be from its student's before it counts as another model.

    Attributes:
        max_abs: largest difference of any probability of any photo.
        mean_abs: mean over photos of the largest difference in each.
        agreement: least share of photos with the same top-1, on photos where the student's two most probable classes
            are at least `attar.export.verify.MIN_MARGIN` apart.
    """

    max_abs: float
    mean_abs: float
    agreement: float

    def or_looser(self, other: Tolerance | None) -> Tolerance:
        """Of each limit, the looser one of the two."""
        if other is None:
            return self
        return Tolerance(
            max(self.max_abs, other.max_abs), max(self.mean_abs, other.mean_abs), min(self.agreement, other.agreement)
        )


FLOAT = Tolerance(1e-3, 1e-4, 1.0)
"""Only the order of float additions differs."""
HALF = Tolerance(5e-2, 1e-2, 0.99)
"""11 bits of precision, through some fifty layers."""
WEIGHTS = Tolerance(0.5, 5e-2, 0.97)
"""Eight bits of weights, or tables of sixty-four: single photos near a boundary may move far, most must not."""
INTEGERS = Tolerance(1.0, 0.1, 0.95)
"""Eight bits of weights, and of activations."""
SMALL_TABLES = Tolerance(1.0, 0.2, 0.9)
"""Sixteen values per table: the accuracy gate (`max_drop`) decides, this catches a wrong file."""


@dataclass(frozen=True)
class Look:
    """How reports draw a format: told apart by shape as well as by colour.

    Attributes:
        marker: matplotlib's letter of the shape.
        shape: what people call it, in the plural.
        on_white: colour on white, as `#rrggbb`, with a contrast of 4.5 or more.
        on_dark: on the page's dark background.
        on_either: where the background is not known.
    """

    marker: str = "X"
    shape: str = "crosses"
    on_white: str = "#5b6470"
    on_dark: str = "#a4adb8"
    on_either: str = "#7d7a55"


@dataclass(frozen=True)
class Choice:
    """What a file of a format is made for, as in `qnn:int8+sm8750`.

    Attributes:
        name: of the keyword argument of the module's `convert`.
        values: each value that can be chosen -> what it is.
        default: the one that is taken where none is given.
    """

    name: str
    values: Mapping[str, str]
    default: str


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        title: what people call it.
        module: name of the module that writes and runs it.
        precisions: name of each precision -> how far its files may be from their student.
        suffix: of its files, without the dot.
        needs: import names of the packages that writing and running it takes.
        evaluator: distribution package whose version the report states as what ran it.
        look: how reports draw it.
        untimed: why no runtime on this machine can time it; empty if one can.
        snippets: name of each app snippet that loads its files -> rank among the formats that share the snippet (the
            smallest rank for which there is a file is taken).
        choice: what each file is made for; None if every file is for every device.
        emulated: whether its files run in an emulator here, about a second an image of 224 pixels, so that
            `attar.export.verify` takes fewer photos for larger images.
    """

    title: str
    module: str
    precisions: Mapping[str, Tolerance]
    suffix: str
    needs: tuple[str, ...] = ()
    evaluator: str = ""
    look: Look = field(default_factory=Look)
    untimed: str = ""
    snippets: Mapping[str, int] = field(default_factory=dict)
    choice: Choice | None = None
    emulated: bool = False


_OWN = {
    "litert": Format(
        title="LiteRT",
        module="attar.export.litert",
        precisions={
            "fp32": FLOAT,
            "fp16": HALF,
            "w8": WEIGHTS,
            "dyn8": INTEGERS,
            "int8": INTEGERS,
            "int8+fp": INTEGERS,
        },
        suffix="tflite",
        needs=("litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
        evaluator="ai-edge-litert",
        look=Look("o", "circles", "#1f62b0", "#7db4f2", "#2f7ed8"),
        snippets={"classify_litert.py": 1, "LiteRtClassifier.kt": 1, "classify_litert.mjs": 1},
    ),
    "coreml": Format(
        title="Core ML",
        module="attar.export.coreml",
        precisions={
            "fp32": FLOAT,
            "fp16": HALF,
            "w8": WEIGHTS,
            "lut6": WEIGHTS,
            "lut4": SMALL_TABLES,
            "w8a8": INTEGERS,
            "w8a8+fp": INTEGERS,
        },
        suffix="mlpackage",
        needs=("coremltools",),
        evaluator="coremltools",
        look=Look("D", "diamonds", "#1c7050", "#6fcf9f", "#2a9d6f"),
        untimed="Core ML runs on Apple devices only: a Mac or an iPhone is needed to time it",
        snippets={"CoreMLClassifier.swift": 1},
    ),
    "onnx": Format(
        title="ONNX",
        module="attar.export.onnx",
        precisions={"fp32": FLOAT, "fp16": HALF, "int8": INTEGERS, "int8+fp": INTEGERS},
        suffix="onnx",
        needs=("onnx", "onnxscript", "onnxruntime"),
        evaluator="onnxruntime",
        look=Look("s", "squares", "#a85200", "#f0a35e", "#d9730d"),
        snippets={"classify_onnx.py": 1, "OnnxClassifier.kt": 2, "classify_onnx.mjs": 1},
    ),
    "ort": Format(
        title="ORT",
        module="attar.export.ort",
        precisions={"fp32": FLOAT, "int8": INTEGERS, "int8+fp": INTEGERS},
        suffix="ort",
        needs=("onnx", "onnxscript", "onnxruntime"),
        evaluator="onnxruntime",
        look=Look("^", "triangles", "#99406b", "#e39ac0", "#b0557f"),
        # ONNX Runtime's build for phones reads only .ort, its full ones read both.
        snippets={"classify_onnx.py": 2, "OnnxClassifier.kt": 1, "classify_onnx.mjs": 2},
    ),
    "executorch": Format(
        title="ExecuTorch",
        module="attar.export.executorch",
        precisions={"fp32": FLOAT, "int8": INTEGERS, "int8+fp": INTEGERS},
        suffix="pte",
        needs=("executorch", "torchao"),
        evaluator="executorch",
        look=Look("v", "upturned triangles", "#6350b8", "#b3a6f5", "#7a6bc4"),
        snippets={"classify_executorch.py": 1},
    ),
    "qnn": Format(
        title="QNN",
        module="attar.export.qnn",
        precisions={"fp16": HALF, "int8": INTEGERS, "int8+fp": INTEGERS, "w8a16": INTEGERS},
        suffix="ctx.onnx",
        needs=("onnx", "onnxscript", "onnxruntime", "onnxruntime_qnn"),
        evaluator="onnxruntime-qnn",
        look=Look("P", "plus signs", "#a03c32", "#ef9a8f", "#c9584c"),
        snippets={"QnnClassifier.kt": 1},
        untimed="a QNN file runs on the phone it was compiled for; the emulator's time is not a phone's",
        choice=Choice("soc", {name: soc.title for name, soc in SOCS.items()}, DEFAULT),
        emulated=True,
    ),
}
FORMATS = instances("attar.formats", Format, _OWN)
"""Name -> format."""


def format_of(path: Path) -> Format | None:
    """The format of a file by how its name ends: the longest suffix that fits; None if none does."""
    fitting = [form for form in FORMATS.values() if path.name.endswith(f".{form.suffix}")]
    return max(fitting, key=lambda form: len(form.suffix), default=None)
