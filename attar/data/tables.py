"""Photos in tables as Hugging Face `datasets` writes them: `save_to_disk` folders (Arrow) and parquet files.

A row is a photo: a column of images, struct(bytes, path), and a column of labels: a ClassLabel, whose names count, or
numbers or names. `path` inside the struct is not opened.

`pyarrow` alone reads them: it needs nothing but itself, where `datasets` brings five packages to end in the same
files. An Arrow file holds each photo's bytes in one piece, so after one pass over it photos are read as slices, like
members of a tar file. Parquet compresses its pages, so that no row can be read on its own: its photos are first
written to an Arrow file in the user's cache folder, once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attar.console import track
from attar.data.images import Part
from attar.data.sample import Sample, split_files
from attar.data.shards import Classes, classes_of, label_of
from attar.data.stamps import stamp
from attar.errors import InputError
from attar.extras import require
from attar.files import digest_of, inside, read_object, replacing, user_cache

_END = b"\xff\xff\xff\xff\0\0\0\0"
_BATCH = 64
"""Rows of parquet at a time: many more large photos would pass the 2 GB that one Arrow array may hold."""
_LABEL_NAMES = ("label", "labels", "class", "class_name", "fine_label")


def table_files(folder: Path) -> list[Path]:
    """The Arrow or parquet files of a folder, in the order of their rows; none if it holds neither.

    Raises:
        InputError: a file that `save_to_disk` lists is not there, or its rows were selected but not rewritten.
    """
    described = folder / "dataset_dict.json"
    if described.is_file():
        splits = _names(described, read_object(described).get("splits"))
        return [path for split in splits for path in _listed(inside(folder, split, described))]
    if not (folder / "state.json").is_file():
        return sorted(path for path in folder.rglob("*.parquet") if not path.name.startswith("."))
    return _listed(folder)


def _listed(folder: Path) -> list[Path]:
    """The Arrow files that a folder's state.json lists; none without one."""
    described = folder / "state.json"
    if not described.is_file():
        return []
    state = read_object(described)
    if state.get("_indices_data_files"):
        raise InputError(f"{folder}: written by an old version of datasets. Load it and save_to_disk it again.")
    entries = state.get("_data_files") or []
    listed = entries if isinstance(entries, list) else [entries]
    names = _names(described, [each.get("filename") if isinstance(each, dict) else each for each in listed])
    files = [inside(folder, Path(name).name, described) for name in names]
    lost = next((path for path in files if not path.is_file()), None)
    if lost is not None:
        raise InputError(f"{lost}: no such file, but {folder / 'state.json'} lists it. Copy the whole folder.")
    return files


def _names(described: Path, value: Any) -> list[str]:
    """Names that a file of `datasets` lists, as text."""
    names = value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{described}: lists no names of files. Copy the whole folder again, or save_to_disk it anew.")
    return names


def in_tables(files: Sequence[Path], labelled: bool = True) -> list[Sample]:
    """The photos of Arrow and parquet files, in the order of the rows: training photos first if names tell splits.

    Raises:
        InputError: naming the file, and the row if it is one: cut short, without a column of images or labels, a row
            without bytes or a label.
        MissingExtra: pyarrow is not installed.
    """
    require("pyarrow")
    samples: list[Sample] = []
    rows = {"train": 0, "val": 0, None: 0}
    ordered = sorted(split_files(files), key=lambda item: item[1] == "val")
    for path, split in track(ordered, "Indexing tables", len(ordered)):
        for label, part in _rows(path, rows[split], split, labelled):
            samples.append(Sample(_arrow(path), part.name, label, split, part))
            rows[split] += 1
    return samples


def _arrow(path: Path) -> Path:
    """The Arrow file itself, or the one in the cache folder with the photos and labels of a parquet file."""
    if path.suffix != ".parquet":
        return path
    key = digest_of([str(path.resolve()), *stamp(path)])
    return user_cache() / "tables" / key[:24] / f"{path.stem}.arrow"


def _rows(path: Path, first: int, split: str | None, labelled: bool) -> Iterator[tuple[str, Part]]:
    """Label and place of every photo of a file, whose first row is the split's row number `first`."""
    pa = require("pyarrow")
    try:
        if path.suffix == ".parquet" and not _arrow(path).is_file():
            _rewrite(path, _arrow(path))
        with pa.memory_map(str(_arrow(path))) as file:
            whole = file.read_buffer()
            if whole[-len(_END) :].to_pybytes() != _END:
                raise InputError(f"{path}: cut short: its end mark is missing. Copy or write the file again.")
            reader = pa.ipc.open_stream(whole)
            photo, label, classes = _columns(path, reader.schema, labelled)
            for batch in reader:
                batch.validate(full=True)
                places = _places(path, batch.column(photo), whole.address, whole.size)
                labels = batch.column(label).to_pylist() if label else [None] * len(places)
                for value, (offset, size) in zip(labels, places):
                    name = f"{split or 'all'}/{first:09d}"
                    text = label_of(value, classes, f"{path}: row {name}") if labelled else ""
                    yield text, Part(name, offset, size)
                    first += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: cut short or damaged ({error}). Copy or write the file again.") from error


def _rewrite(parquet: Path, arrow: Path) -> None:
    pa, pq = require("pyarrow"), require("pyarrow.parquet")
    file = pq.ParquetFile(parquet)
    photo, label, _ = _columns(parquet, file.schema_arrow, labelled=False)
    with replacing(arrow) as temporary:
        columns = [photo, label] if label else [photo]
        schema = pa.schema([file.schema_arrow.field(name) for name in columns], file.schema_arrow.metadata)
        with pa.ipc.new_stream(str(temporary), schema) as writer:
            for batch in file.iter_batches(_BATCH, columns=columns):
                writer.write_batch(batch.select(columns))


def _columns(path: Path, schema: Any, labelled: bool) -> tuple[str, str | None, Classes | None]:
    """The column of images, that of labels if there is one, and its classes if it says them."""
    pa = require("pyarrow")
    features = _features(schema)
    images = [field.name for field in schema if pa.types.is_struct(field.type) and "bytes" in _fields(field.type)]
    if len(images) != 1:
        raise InputError(
            f"{path}: {len(images)} columns of images among {', '.join(schema.names)}. Keep one: struct(bytes, path)."
        )
    classed = [name for name in schema.names if (features.get(name) or {}).get("_type") == "ClassLabel"]
    labels = classed if len(classed) == 1 else [name for name in _LABEL_NAMES if name in schema.names]
    if not labels and labelled:
        raise InputError(f"{path}: no column of labels among {', '.join(schema.names)}. Name it label.")
    if not labels:
        return images[0], None, None
    names = (features.get(labels[0]) or {}).get("names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InputError(f"{path}: the names of its classes are no list of texts. Write the file again.")
    return images[0], labels[0], classes_of(names) if names else None


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What `datasets` says of each column; nothing where it says it in another shape."""
    try:
        value: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        for key in ("info", "features"):
            value = value.get(key) or {}
        return {name: about for name, about in value.items() if isinstance(about, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _fields(struct: Any) -> list[str]:
    return [struct.field(i).name for i in range(struct.num_fields)]


def _places(path: Path, photos: Any, start: int, size: int) -> list[tuple[int, int]]:
    """Offset in the file and size of each photo's bytes, from where they lie in the mapped memory."""
    pa = require("pyarrow")
    column = photos.field("bytes")
    if photos.null_count or column.null_count:
        raise InputError(f"{path}: a row holds no bytes, perhaps only a path. Save the images themselves.")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise InputError(f"{path}: its images' bytes are of type {column.type}, not binary.")
    _, offsets, data = column.buffers()
    width = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    edges = np.frombuffer(offsets, width)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    shift = data.address - start if data is not None else 0
    if not 0 <= shift <= size:
        raise InputError(f"{path}: its buffers are compressed. Write it without compression.")
    return list(zip((edges[:-1] + shift).tolist(), np.diff(edges).tolist()))
