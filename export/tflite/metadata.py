"""What a .tflite file says of itself, where MediaPipe and ML Kit look for it.

TFLite's metadata schema (identifier M001): a flatbuffer in the buffer that the metadata named
TFLITE_METADATA points at, and the label file as a zip archive appended to the model. Tables are written
slot by slot as the schema numbers them, because its generated code is in no package we depend on.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attar.extras import require

NAME = "TFLITE_METADATA"
LABELS = "labels.txt"

_TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_FEATURE, _IMAGE = 1, 2  # ContentProperties
_NORMALIZATION = 1  # ProcessUnitOptions
_RGB = 1  # ColorSpaceType


class _Tables:
    """Writes flatbuffer tables from their slots: children first, as the format asks."""

    def __init__(self) -> None:
        self.builder = require("flatbuffers").Builder(1024)

    def table(self, slots: dict[int, tuple[str, Any]], size: int) -> int:
        """A table; each slot is ("offset" | "byte" | "uint32", value)."""
        self.builder.StartObject(size)
        for slot, (kind, value) in slots.items():
            if kind == "offset":
                self.builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            elif kind == "byte":
                self.builder.PrependUint8Slot(slot, value, 0)
            else:
                self.builder.PrependUint32Slot(slot, value, 0)
        return int(self.builder.EndObject())

    def text(self, value: str) -> tuple[str, int]:
        """A string, as a slot."""
        return "offset", int(self.builder.CreateString(value))

    def floats(self, values: Sequence[float]) -> tuple[str, int]:
        """A vector of float32, as a slot."""
        return "offset", int(self.builder.CreateNumpyVector(np.array(values, np.float32)))

    def tables(self, offsets: Sequence[int]) -> tuple[str, int]:
        """A vector of tables, as a slot."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return "offset", int(self.builder.EndVector())


def build(*, name: str, description: str, version: str, image: str, output: str) -> bytes:
    """The ModelMetadata flatbuffer of an image classifier with a uint8 input and a label file."""
    t = _Tables()
    file = t.table({0: t.text(LABELS), 1: t.text("Class names, one a line"), 2: ("byte", _TENSOR_AXIS_LABELS)}, 5)
    graph = t.table({2: t.tables([_image(t, image)]), 3: t.tables([_probabilities(t, output, file)])}, 7)
    model = t.table(
        {0: t.text(name), 1: t.text(description), 2: t.text(version), 3: t.tables([graph]), 7: t.text("1.0.0")}, 8
    )
    t.builder.Finish(model, file_identifier=b"M001")
    return bytes(t.builder.Output())


def _image(t: _Tables, name: str) -> int:
    # A uint8 input takes pixels as they are: mean 0, standard deviation 1.
    normalization = t.table({0: t.floats([0.0]), 1: t.floats([1.0])}, 2)
    unit = t.table({0: ("byte", _NORMALIZATION), 1: ("offset", normalization)}, 2)
    properties = t.table({0: ("byte", _RGB)}, 2)
    content = t.table({0: ("byte", _IMAGE), 1: ("offset", properties)}, 3)
    stats = t.table({0: t.floats([255.0]), 1: t.floats([0.0])}, 2)
    text = t.text("RGB image, uint8, resized and centre-cropped")
    slots = {0: t.text(name), 1: text, 3: ("offset", content), 4: t.tables([unit]), 5: ("offset", stats)}
    return t.table(slots, 7)


def _probabilities(t: _Tables, name: str, file: int) -> int:
    content = t.table({0: ("byte", _FEATURE), 1: ("offset", t.table({}, 0))}, 3)
    stats = t.table({0: t.floats([1.0]), 1: t.floats([0.0])}, 2)
    text = t.text("Probability of each class")
    return t.table({0: t.text(name), 1: text, 3: ("offset", content), 5: ("offset", stats), 6: t.tables([file])}, 7)


def attach(model: Any, metadata: bytes) -> None:
    """Put the metadata into the model's object tree, in place."""
    schema = require("ai_edge_litert.schema_py_generated")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(metadata, np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers) - 1
    model.metadata = [item for item in model.metadata or [] if item.name not in (NAME, NAME.encode())] + [entry]


def with_labels(content: bytes, labels: Sequence[str]) -> bytes:
    """Append the label file to a .tflite file, as a zip archive with a fixed date."""
    stream = io.BytesIO(content)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a") as archive:
        entry = zipfile.ZipInfo(LABELS, date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return stream.getvalue()


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels appended to a .tflite file; empty if it has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.read(LABELS).decode().removesuffix("\n").split("\n"))
    except (zipfile.BadZipFile, KeyError):
        return ()
