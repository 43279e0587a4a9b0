"""What a .tflite file says of itself, where MediaPipe and ML Kit look for it.

TFLite's metadata schema (metadata_schema.fbs, identifier M001): a flatbuffer in the buffer that the metadata named
TFLITE_METADATA points at, and its associated files as a zip archive appended to the model: the labels, which belong to
the output, and attar.json, which belongs to the whole model and tells where it came from. Tables are written slot by
slot as the schema numbers them, because its generated code is in no package we depend on.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attar.extras import require

NAME = "TFLITE_METADATA"
LABELS = "labels.txt"
ABOUT = "attar.json"

_UNKNOWN = 0  # AssociatedFileType
_TENSOR_AXIS_LABELS = 2
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


def build(
    facts: Mapping[str, Any], *, image: str, output: str, words: str, more: Mapping[str, str] | None = None
) -> bytes:
    """The ModelMetadata flatbuffer of an image classifier with a uint8 input and a label file.

    Args:
        facts: what `attar.export.metadata.about` says of the file.
        image: name of the input tensor.
        output: name of the output tensor.
        words: the preprocessing as a person reads it.
        more: name of each further output -> what it is.
    """
    t = _Tables()
    target = facts["target"]
    labels = t.table({0: t.text(LABELS), 1: t.text("Class names, one per line"), 2: ("byte", _TENSOR_AXIS_LABELS)}, 5)
    facts_file = t.table({0: t.text(ABOUT), 1: t.text("Where the model comes from"), 2: ("byte", _UNKNOWN)}, 5)
    side = facts["preprocessing"]["size"]
    outputs = [_output(t, output, "Probability of each class", [labels])]
    outputs += [_output(t, name, text) for name, text in (more or {}).items()]
    graph = t.table({2: t.tables([_image(t, image, side, words)]), 3: t.tables(outputs)}, 7)
    slots = {
        0: t.text(facts["model"]),
        1: t.text(f"Image classifier of {len(facts['labels'])} classes, {target}. {words}"),
        2: t.text(facts["fingerprint"][:12]),
        3: t.tables([graph]),
        6: t.tables([facts_file]),
        # The oldest parser that knows every field used here.
        7: t.text("1.0.0"),
    }
    slots |= {slot: t.text(facts[key]) for slot, key in ((4, "author"), (5, "license")) if facts[key]}
    t.builder.Finish(t.table(slots, 8), file_identifier=b"M001")
    return bytes(t.builder.Output())


def _image(t: _Tables, name: str, side: int, words: str) -> int:
    # A uint8 input takes pixels as they are: mean 0, standard deviation 1.
    normalization = t.table({0: t.floats([0.0]), 1: t.floats([1.0])}, 2)
    unit = t.table({0: ("byte", _NORMALIZATION), 1: ("offset", normalization)}, 2)
    size = t.table({0: ("uint32", side), 1: ("uint32", side)}, 2)
    properties = t.table({0: ("byte", _RGB), 1: ("offset", size)}, 2)
    content = t.table({0: ("byte", _IMAGE), 1: ("offset", properties)}, 3)
    stats = t.table({0: t.floats([255.0]), 1: t.floats([0.0])}, 2)
    slots = {0: t.text(name), 1: t.text(words), 3: ("offset", content), 4: t.tables([unit]), 5: ("offset", stats)}
    return t.table(slots, 7)


def _output(t: _Tables, name: str, words: str, files: Sequence[int] = ()) -> int:
    """Shares from 0 to 1, with the files that name its values."""
    content = t.table({0: ("byte", _FEATURE), 1: ("offset", t.table({}, 0))}, 3)
    stats = t.table({0: t.floats([1.0]), 1: t.floats([0.0])}, 2)
    slots = {0: t.text(name), 1: t.text(words), 3: ("offset", content), 5: ("offset", stats)}
    return t.table({**slots, 6: t.tables(files)} if files else slots, 7)


def attach(model: Any, metadata: bytes) -> None:
    """Put the metadata into the model's object tree, in place."""
    schema = require("ai_edge_litert.schema_py_generated")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(metadata, np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers) - 1
    model.metadata = [item for item in model.metadata or [] if item.name not in (NAME, NAME.encode())] + [entry]


def with_files(content: bytes, labels: Sequence[str], facts: Mapping[str, Any]) -> bytes:
    """Append the label file and attar.json to a .tflite file, as a zip archive with a fixed date."""
    stream = io.BytesIO(content)
    stream.seek(0, io.SEEK_END)
    files = {
        LABELS: "".join(f"{label}\n" for label in labels),
        ABOUT: json.dumps(facts, indent=2, ensure_ascii=False) + "\n",
    }
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), text)
    return stream.getvalue()


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels appended to a .tflite file; empty if it has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.read(LABELS).decode().removesuffix("\n").split("\n"))
    except (zipfile.BadZipFile, KeyError):
        return ()


def read_about(path: Path) -> dict[str, Any]:
    """Where a .tflite file says it came from, as `attar.export.metadata.about` wrote it; empty if it says nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.read(ABOUT)))
    except (zipfile.BadZipFile, KeyError):
        return {}
