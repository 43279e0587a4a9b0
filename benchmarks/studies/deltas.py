"""What a delta saves when a student was trained on: the table in docs/publish.md.

    python -m attar.benchmarks.studies.deltas --output deltas-study

Handwritten digits of nine classes, 50 photos of each. Then three runs go on from that one with 90 photos of each: for
six epochs at a tenth of the learning rate ("gently"), by the same recipe as at first, and gently with a tenth class. Of
each file the table has what a phone fetches, in per cent of the whole: its delta, and for comparison the file itself
and two other codings of the same difference, all deflated. Run again, it goes on.
"""

from __future__ import annotations

import argparse
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from attar.benchmarks.studies.elpv import run_attar
from attar.data.builtin import digits
from attar.deploy.release.delta import applied, delta_of
from attar.deploy.release.publish import WORTH
from attar.export.card import table
from attar.export.manifest import read_manifest
from attar.files import write_text
from attar.runfolder import RunFolder

NINE = tuple("012345678")
GENTLE = {"epochs": 6, "lr": 0.0004}
TARGETS = ("litert:int8", "onnx:int8", "litert:fp16", "onnx:fp16", "litert:fp32", "onnx:fp32")
STUDENT = {
    "name": "mobilenetv4_conv_small_035",
    "pretrained": False,
    "head_width": 128,
    "size": 32,
    "crop": 1.0,
    "epochs": 30,
    "batch_size": 32,
    "lr": 0.004,
}
RECIPE: dict[str, Any] = {
    "views": {"crop_area": [0.8, 1.0], "aspect": 1.2, "horizontal_flip": False, "rotate": 5, "color": 0.2, "count": 4},
    "teacher": None,
    "targets": ["litert:fp32", "litert:fp16", "litert:int8", "onnx:fp32", "onnx:fp16", "onnx:int8"],
    "max_drop": 20.0,
    "bench": {"threads": 1, "seconds": 1, "quick": True},
}

CODINGS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "alone": lambda _, new: new,
    "XOR": lambda taken, new: taken ^ new,
    "difference, byte planes": lambda taken, new: np.concatenate([(new - taken)[place::4] for place in range(4)]),
}
"""Other codings: what is deflated, of the old file as it is aligned with the new one and of the new file."""


def photos(folder: Path, name: str, classes: Sequence[str], count: int) -> Path:
    """A folder with so many photos of each class."""
    for each in classes:
        (folder / name / each).mkdir(parents=True, exist_ok=True)
        for path in sorted((digits(folder) / each).iterdir())[:count]:
            shutil.copy(path, folder / name / each)
    return folder / name


def trained(folder: Path, name: str, data: Path, before: str | None = None, **student: Any) -> Path:
    """A run's exports."""
    recipe = {**RECIPE, "student": {**STUDENT, **student}, "data": {"path": str(data), "val_fraction": 0.25}}
    write_text(folder / f"{name}.yaml", yaml.safe_dump(recipe))
    after = ("--continue-from", folder / before) if before else ()
    run_attar("run", folder / f"{name}.yaml", "--output", folder / name, *after, log=folder / f"{name}.log")
    return RunFolder(folder / name).exports


def shares(old: bytes, new: bytes) -> list[float]:
    """The delta's share of the file, and that of the other codings."""
    delta = delta_of(old, new)
    if applied(old, delta, len(new)) != new:
        raise SystemExit("The delta does not make the new file.")
    whole = np.frombuffer(new, np.uint8)
    taken = whole - np.frombuffer(zlib.decompress(delta), np.uint8)[-len(new) :]
    others = [len(zlib.compress(code(taken, whole).tobytes(), 9)) for code in CODINGS.values()]
    return [each / len(new) for each in (len(delta), *others)]


def main() -> None:
    """Train what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("deltas-study"))
    folder: Path = parser.parse_args().output.resolve()
    few, more = photos(folder, "few", NINE, 50), photos(folder, "more", NINE, 90)
    first = trained(folder, "first", few)
    pairs = {
        "gently": trained(folder, "gentle", more, "first", **GENTLE),
        "as at first": trained(folder, "same", more, "first"),
        "gently, one class more": trained(
            folder, "widened", photos(folder, "wide", (*NINE, "9"), 90), "first", **GENTLE
        ),
    }
    before = {each.target: each.file for each in read_manifest(first).files}
    rows = [["trained on", "file", "kB", "delta, %", "saves half", *(f"{each}, %" for each in CODINGS)]]
    for name, exports in pairs.items():
        now = {each.target: each.file for each in read_manifest(exports).files}
        for target in TARGETS:
            new = (exports / now[target]).read_bytes()
            found = shares((first / before[target]).read_bytes(), new)
            delta, *others = (f"{100 * each:.0f}" for each in found)
            rows.append([name, target, f"{len(new) / 1e3:.0f}", delta, "yes" if found[0] <= WORTH else "no", *others])
    print(table(rows))


if __name__ == "__main__":
    main()
