"""Every student family as every target: what converts, in how many partitions, how fast, how large, how true.

    python -m attar.benchmarks.studies.support --output runs/support --no-timing   hours on two cores
    python -m attar.benchmarks.studies.support --output runs/support --page docs/targets.md   then, on a quiet machine

Each family is trained for an epoch or a few on the solar-cell photos (recipes/elpv.yaml), by their labels: not to be
good, but so that weights, activations and answers are those of a network that learned something. Then it is exported
to every target that this machine can write (`export`, with all its checks, on 200 validation photos), and the files
are timed together.

What is timed is the CPU time of the one thread that computes, not the clock on the wall: on a machine with other
work to do the two differ, and on an idle one they agree. Files take turns in short blocks, as in
`attar.benchmarks.latency.measure`; a ratio is the median over inferences of the same round, and the median of that over
several times that the files are loaded.

Killed, it continues when started again: a student, a file or a family's timing that is there is not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attar import students
from attar.benchmarks.latency.host import describe, load_average
from attar.benchmarks.latency.measure import check_unchanged, sample_interleaved
from attar.benchmarks.runtimes import RUNTIMES, Session, runtime_for
from attar.benchmarks.studies.elpv import CHECKPOINT, RECIPE
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.photos import Photos, load_pixels, read_photos
from attar.errors import AttarError, GateError
from attar.export import litert
from attar.export.capture_output import captured
from attar.export.export import CALIBRATION, export_student
from attar.export.formats import FORMATS
from attar.export.manifest import FileEntry, read_manifest
from attar.export.targets import choose_targets, every_target
from attar.export.verify import spread
from attar.extras import OPTIONAL, version
from attar.files import read_json, write_json, write_text
from attar.preprocessing import MEAN, STD
from attar.provenance import data_of

FAMILIES: dict[str, tuple[str, ...]] = {
    "mobilenetv3_small_100": ("student.epochs=4",),
    "mobilenetv4_conv_small": ("student.epochs=3",),
    "mobilenetv3_large_100": ("student.epochs=3",),
    "mobilenetv2_100": ("student.epochs=2",),
    "tf_efficientnet_lite0": ("student.epochs=1", f"student.checkpoint={CHECKPOINT}", "student.lr=0.0005"),
    "tf_efficientnet_lite1": ("student.epochs=1",),
    "tf_efficientnet_lite2": ("student.epochs=1",),
    "mobilenetv4_conv_medium": ("student.epochs=1", "data.val_fraction=0.5"),
    "mobilenetv4_hybrid_medium": ("student.epochs=1", "data.val_fraction=0.5"),
    "tf_efficientnet_lite3": ("student.epochs=1", "data.val_fraction=0.5"),
    "tf_efficientnet_lite4": ("student.epochs=1", "data.val_fraction=0.75"),
    "mobilenetv4_conv_large": ("student.epochs=1", "data.val_fraction=0.5"),
}
"""timm name -> how its training differs from the recipe's: the larger, the shorter and on fewer photos."""

BRIEFLY = ("student.epochs=2",)
"""The same of a student that docs/targets.md does not have."""

SCHEDULE = ("student.batch_size=16", "student.lr=0.001")

IMAGES = 200
"""Validation photos that files are held against."""
FASTER, FREE = 0.60, 1.02
"""What is asked of litert:int8 against litert:fp32, and of a file with a uint8 image against the bare network."""
BARE = ("litert:fp32", "litert:int8")
"""Targets that are timed as bare networks too, without image input and metadata."""
WARM_UP, LEAST = 5, 20
LOADS = 5
"""Times that the files are loaded: where a file's weights come to lie in memory is luck, and worth some percent."""


def main() -> None:
    """Make what is missing, time it, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/support"))
    parser.add_argument("--page", type=Path, help="write the page here too")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only this one; may be repeated")
    parser.add_argument("--size", type=int, default=224, help="side of the image")
    parser.add_argument("--seconds", type=float, default=40.0, help="time of measurement a family")
    parser.add_argument("--no-timing", action="store_true", help="only train and export, and write no page")
    options = parser.parse_args()
    names = options.family or list(FAMILIES)
    folders = {name: options.output / f"{name}-{options.size}" for name in names}
    for name, folder in folders.items():
        bundle = train(name, folder, options.size)
        write_files(bundle, folder)
    if options.no_timing:
        return
    for name, folder in folders.items():
        if not (folder / "times.json").is_file():
            say(f"{name}: timing")
            bundle = read_bundle(folder / "student", "student")
            timed = times(bundle, folder, read_photos(data_of(bundle.provenance)), options.seconds)
            write_json(folder / "times.json", timed)
    page = markdown([result(folder) for folder in folders.values()])
    for path in filter(None, (options.output / "support.md", options.page)):
        write_text(path, page)
    print(page)


def train(name: str, folder: Path, size: int, *more: str) -> Bundle:
    """A family's student, trained where it is not there yet; `more` are further settings of its recipe."""
    if not (folder / "student" / "bundle.json").is_file():
        say(f"{name}: training")
        settings = [f"student.name={name}", f"student.size={size}", *SCHEDULE, *FAMILIES.get(name, BRIEFLY), *more]
        words = ["distill", str(RECIPE), "-o", str(folder / "student")]
        words += [word for setting in settings for word in ("--set", setting)]
        done = subprocess.run([sys.executable, "-m", "attar", *words], capture_output=True, text=True)
        if done.returncode:
            raise GateError(f"{name}: training failed. {done.stderr.strip()[-600:]}")
    return read_bundle(folder / "student", "student")


def write_files(bundle: Bundle, folder: Path) -> None:
    """Export a student to every target; what cannot be written stands in the manifest with its reason."""
    say(f"{bundle.name}: exporting")
    photos = read_photos(data_of(bundle.provenance))
    try:
        export_student(bundle, ["all"], folder / "exports", photos=photos, max_drop=100.0, limit=IMAGES)
    except AttarError as error:
        say(str(error))


def times(bundle: Bundle, folder: Path, photos: Photos, seconds: float) -> dict[str, Any]:
    """Latency of the files in `folder`/exports, all of them taking turns on one thread."""
    files = {}
    for entry in read_manifest(folder / "exports").files:
        if entry.target.partition(":")[0] in RUNTIMES:
            check_unchanged(folder / "exports", entry)
            files[entry.target] = folder / "exports" / entry.file
    targets = list(files)
    files.update(_bare(bundle, photos, [target for target in BARE if target in files], folder))
    image = load_pixels(spread(photos.val, 1), bundle.preprocessing)
    busy = [load_average()]
    loads = [_time_once(files, image, seconds / LOADS) for _ in range(LOADS)]
    busy.append(load_average())
    return {
        "milliseconds": {name: float(np.median([np.median(load[name]) for load in loads]) / 1e6) for name in files},
        "to_fp32": {
            target: _ratio(loads, target, _float_of(target)) for target in targets if _float_of(target) in files
        },
        "to_bare": {target: _ratio(loads, target, f"{target} bare") for target in BARE if f"{target} bare" in files},
        "samples": int(sum(len(next(iter(load.values()))) for load in loads)),
        "device": describe(),
        "load_average": busy,
        "versions": {item.distribution: version(item.distribution) for item in OPTIONAL},
    }


def _float_of(target: str) -> str:
    return f"{target.partition(':')[0]}:fp32"


def _bare(bundle: Bundle, photos: Photos, targets: Sequence[str], folder: Path) -> dict[str, Path]:
    """The networks alone: normalized pixels in the network's own type, no metadata."""
    student = students.load(bundle)
    images = load_pixels(spread(photos.train, CALIBRATION), bundle.preprocessing)
    files = {}
    for target in targets:
        path = files[f"{target} bare"] = folder / f"{target.replace(':', '-')}-bare.tflite"
        if not path.is_file():
            with captured():
                content = litert.convert_network(student, bundle, target.partition(":")[2], images)
            path.write_bytes(content)
    return files


def _time_once(files: Mapping[str, Path], image: np.ndarray, seconds: float) -> dict[str, np.ndarray]:
    """Nanoseconds of CPU time of each inference of each file."""
    with captured():
        sessions = {name: runtime_for(name.partition(":")[0]).load(str(path), 1) for name, path in files.items()}
    normalized = (image.astype(np.float32) - MEAN) / STD
    inputs = {"litert:fp32 bare": normalized, "litert:int8 bare": (normalized * STD).astype(np.int8)}
    for name, session in sessions.items():
        _warm(session, inputs.get(name, image))
    samples = sample_interleaved(list(sessions.values()), seconds, time.thread_time_ns, LEAST)
    for session in sessions.values():
        session.close()
    return {name: np.array(row) for name, row in zip(sessions, samples)}


def _warm(session: Session, image: np.ndarray) -> None:
    session.set_input(image)
    for _ in range(WARM_UP):
        session.infer()


def _ratio(loads: Sequence[Mapping[str, np.ndarray]], file: str, to: str) -> float:
    return float(np.median([np.median(load[file] / load[to]) for load in loads]))


def result(folder: Path) -> dict[str, Any]:
    """All that is known of a family, as plain data."""
    manifest, bundle = read_manifest(folder / "exports"), read_bundle(folder / "student", "student")
    failed = {item.target: item.error for item in manifest.failed}
    chosen, left_out = choose_targets(["all"])
    unknown = {str(target): "not exported" for target in chosen}
    return {
        "family": bundle.name,
        "size": bundle.preprocessing.size,
        "parameters": sum(weight.size for weight in _weights(bundle)),
        "top1": bundle.metrics["top1"],
        "files": {entry.target: _file(entry) for entry in manifest.files},
        "reasons": {**unknown, **left_out, **failed},
        "times": read_json(folder / "times.json"),
    }


def _weights(bundle: Bundle) -> list[np.ndarray]:
    return [parameter.detach().numpy() for parameter in students.load(bundle).parameters()]


def _file(entry: FileEntry) -> dict[str, Any]:
    verification = entry.verification
    return {
        "bytes": entry.bytes,
        "partitions": entry.partitions,
        "agreement": verification["agreement"],
        "min_cosine": verification["min_cosine"],
        "recovery": bool(entry.recovery and len(entry.recovery["tries"]) > 1),
    }


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The page, as docs/targets.md shows it."""
    device, versions = results[0]["times"]["device"], results[0]["times"]["versions"]
    versions = {item.distribution: versions.get(item.distribution) for item in OPTIONAL if item.extra in FORMATS}
    busy = [load for item in results for load in item["times"]["load_average"] if load is not None]
    missing = [name for name in FAMILIES if name not in {item["family"] for item in results}]
    lines = [
        "# Students and targets",
        "",
        "Written by `python -m attar.benchmarks.studies.support --page docs/targets.md`: every family, trained for an "
        "epoch or a few on the solar-cell photos (recipes/elpv.yaml), as every target."
        + (f" Not measured here: {', '.join(missing)}." if missing else ""),
        "",
        "## On the phone's kernels",
        "",
        "| student | parameters | litert:fp32, ms | litert:int8, ms | int8 / fp32 | partitions fp32, int8 "
        "| uint8 image / bare network, fp32, int8 |",
        "|---|---:|---:|---:|---:|---|---|",
        *(_summary(item) for item in results),
        "",
        f"LiteRT with XNNPACK, one thread, {results[0]['size']} px, DWSConv head; medians of CPU time, files "
        f"interleaved. Asked: int8 in one partition with no operator outside, at most {FASTER:.2f} of fp32; a file "
        f"with its uint8 image at most {FREE:.2f} of the bare network. {_verdict(results)}",
        "",
        "## Agreement",
        "",
        f"Share of {IMAGES} validation photos with the student's own top-1, in percent.",
        "",
        f"| student | {' | '.join(str(target) for target in every_target())} |",
        "|---" + "|---:" * len(every_target()) + "|",
        *(_agreements(item) for item in results),
        "",
        "## Every file",
        "",
        "Latency against the same format's fp32 file, one thread, interleaved. Cosine: the least, of all photos, "
        "between the file's probabilities and the student's. Partitions are XNNPACK's.",
        "",
        *(line for item in results for line in _family(item)),
        f"Measured on {device['cpu']}, {device['cores']} cores, {device['machine']}, with "
        + ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        + (f". Load average while timing: {min(busy):.1f} to {max(busy):.1f}." if busy else "."),
    ]
    return "\n".join(lines) + "\n"


def _summary(item: dict[str, Any]) -> str:
    files, timed = item["files"], item["times"]
    return _line(
        item["family"],
        f"{item['parameters'] / 1e6:.1f} M",
        *(_number(timed["milliseconds"], target, ".2f") for target in BARE),
        _number(timed["to_fp32"], "litert:int8", ".2f"),
        ", ".join(_partitions(files[target]) if target in files else "failed" for target in BARE),
        ", ".join(_number(timed["to_bare"], target, ".3f") for target in BARE),
    )


def _agreements(item: dict[str, Any]) -> str:
    files = item["files"]
    cells = (f"{100 * files[t]['agreement']:.1f}" if t in files else "failed" for t in map(str, every_target()))
    return _line(item["family"], *cells)


def _family(item: dict[str, Any]) -> list[str]:
    """A family's own table: a row a target, each with its figures or the reason why there are none."""
    head = f"### {item['family']}: {item['parameters'] / 1e6:.1f} M parameters, top-1 {100 * item['top1']:.1f}%"
    columns = "| target | MB | latency / fp32 | partitions | agreement, % | cosine |\n|---|---:|---:|---|---:|---:|"
    return [head, "", columns, *(_row(str(target), item) for target in every_target()), ""]


def _row(target: str, item: dict[str, Any]) -> str:
    if target not in item["files"]:
        return _line(target, *["failed"] * 4, _escaped(item["reasons"][target]))
    file, format = item["files"][target], target.partition(":")[0]
    ratio = "on an Apple device" if FORMATS[format].untimed else _number(item["times"]["to_fp32"], target, ".2f")
    return _line(
        target + (" (recovered)" if file["recovery"] else ""),
        f"{file['bytes'] / 1e6:.2f}",
        ratio,
        _partitions(file),
        f"{100 * file['agreement']:.1f}",
        f"{file['min_cosine']:.5f}",
    )


def _number(values: Mapping[str, float], key: str, form: str) -> str:
    return format(values[key], form) if key in values else "not timed"


def _partitions(file: Mapping[str, Any]) -> str:
    partitions = file["partitions"]
    if partitions is None:
        return "not XNNPACK"
    outside = Counter(partitions["outside"])
    left = " and ".join(f"{count} {name}" for name, count in outside.items())
    return f"{partitions['delegated']}" + (f" ({left} outside)" if left else "")


def _escaped(text: str) -> str:
    return " ".join(text.split())[:200].replace("|", "/")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _verdict(results: Sequence[dict[str, Any]]) -> str:
    short = [f"{item['family']} ({', '.join(missing)})" for item in results if (missing := _short(item))]
    return f"Not reached by: {'; '.join(short)}." if short else f"All {len(results)} reach it."


def _short(item: dict[str, Any]) -> list[str]:
    """What a family falls short of."""
    if "litert:int8" not in item["files"]:
        return ["no int8 file"]
    file, timed = item["files"]["litert:int8"], item["times"]
    ratio = timed["to_fp32"]["litert:int8"]
    tests = {
        f"int8 in {_partitions(file)} partitions": file["partitions"]["delegated"] > 1 or file["partitions"]["outside"],
        f"int8 at {ratio:.3f}": ratio > FASTER,
        **{f"{target} image at {cost:.3f}": cost > FREE for target, cost in timed["to_bare"].items()},
    }
    return [text for text, failed in tests.items() if failed]


if __name__ == "__main__":
    main()
