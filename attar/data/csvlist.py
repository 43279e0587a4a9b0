"""A CSV file that lists photos: columns path,label and, if wanted, split; paths are relative to the file.

So is the `metadata.csv` of Hugging Face's image folders (datasets, "Image classification"), whose column is
`file_name`: photos without a label are left alone there. Separated by commas, semicolons or tabs, whichever the first
line is; UTF-8 or UTF-16. Paths may be absolute or lead upwards: the file is the user's own list.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections import Counter
from pathlib import Path

from attar.data.layouts import Layout
from attar.data.sample import VAL_NAMES, Sample, normal, split_word
from attar.errors import InputError

METADATA = "metadata.csv"
_ALIAS = "file_name"
_COLUMNS = "the first line must name the columns path,label (and split, if wanted)"
_MAX_BYTES = 2_000_000_000


def is_described(folder: Path) -> bool:
    """Whether a folder's photos are listed in its `metadata.csv`."""
    try:
        with (folder / METADATA).open("rb") as stream:
            first = stream.readline(64 << 10).decode("utf-8-sig", "replace").lower()
    except OSError:
        return False
    return {_ALIAS, "label"} <= {cell.strip(' \t\r\n"') for cell in re.split("[,;\t]", first)}


def read_csv(path: Path) -> Layout:
    """The photos that a CSV file lists.

    Raises:
        InputError: naming the file, and the line if it is one: no such columns, a column twice, a row with more or
            fewer fields than columns, a photo listed twice, an unknown split, no text.
    """
    lines = list(io.StringIO(_text(path), newline=""))
    delimiter, header = _header(path, lines)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        next(reader)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((reader.line_num, _fields(path, reader.line_num, header, cells)))
        rows, unlabelled = _labelled(rows)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not readable as CSV ({error}). Mend the line.") from error
    if not rows:
        raise InputError(
            f"{path}: names the columns {', '.join(header)} and no photo with a label. Add a line for each photo."
        )
    words = {fields["split"] for _, fields in rows if fields["split"]}
    held = next((name for name in VAL_NAMES if name in words), None)
    samples: list[Sample] = []
    seen: set[Path] = set()
    left: Counter[str] = Counter()
    for line, fields in rows:
        place = Path(os.path.normpath(path.parent / fields["path"]))
        if place in seen:
            raise InputError(f"{path}, line {line}: {fields['path']} is listed twice. Keep one line per photo.")
        seen.add(place)
        if fields["split"] in ("", "train", held):
            split = {"": None, "train": "train"}.get(fields["split"], "val")
            samples.append(Sample(place, fields["path"], normal(fields["label"]), split))
        else:
            left[fields["split"]] += 1
    if len({item.split is None for item in samples}) > 1:
        raise InputError(f"{path}: some lines have a split and some do not. Fill the column for all, or for none.")
    notes = [f"{count} photos of the split {word!r} are left alone" for word, count in left.items()]
    if unlabelled:
        notes.append(f"{unlabelled} photos without a label are left alone")
    kind = "a CSV of path,label" + (f" and split (train and {held})" if words else ", split by attar")
    return Layout(samples, kind, tuple(notes))


def _labelled(rows: list[tuple[int, dict[str, str]]]) -> tuple[list[tuple[int, dict[str, str]]], int]:
    """The rows that have a label, and how many have none."""
    kept = [(line, fields) for line, fields in rows if fields["label"]]
    return kept, len(rows) - len(kept)


def _fields(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, str]:
    while len(cells) > len(header) and not cells[-1]:  # as spreadsheets pad rows
        cells.pop()
    if len(cells) > len(header):
        raise InputError(
            f"{path}, line {line}: {len(cells)} fields, but the first line names {len(header)} columns. Put a label "
            'that holds a comma into quotes: "rust, light".'
        )
    row = {"split": "", **dict.fromkeys(header, ""), **dict(zip(header, cells))}
    row["path"] = row.get("path", row.get(_ALIAS, ""))
    word = split_word(row["split"]) if row["split"] else ""
    if not row["path"] or word is None or not (row["label"] or _ALIAS in header):
        raise InputError(f"{path}, line {line}: needs a path, a label, and a split of train, val or nothing.")
    return {**row, "split": word}


def _header(path: Path, lines: list[str]) -> tuple[str, list[str]]:
    """The separator, and the columns in lower case."""
    for delimiter in (",", ";", "\t"):
        try:
            cells = next(csv.reader(lines[:1], delimiter=delimiter, skipinitialspace=True, strict=True), [])
        except csv.Error:
            continue
        names = [cell.strip().lower() for cell in cells]
        if "label" in names and {"path", _ALIAS} & set(names):
            twice = next((name for name, count in Counter(names).items() if count > 1 and name), None)
            if twice is not None:
                raise InputError(f"{path}, line 1: the column {twice} is named twice. Keep one.")
            return delimiter, names
    raise InputError(f"{path}: {_COLUMNS}.")


def _text(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size / 1e9:.0f} GB, too large for a CSV of photos.")
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not readable as a UTF-8 CSV file ({error}). Give a folder, or a CSV saved as UTF-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}, line {line}: holds a NUL byte, so it is no text. Save it as UTF-8 CSV.")
    return re.sub(r'" +(?=[,;\t\r\n])', '"', text)  # the csv module takes no space after a closing quote
