"""Every student family as LiteRT files: XNNPACK partitions, and latency against its own float file.

    python -m benchmarks.families --output runs/families --page docs/families.md     all of it: half an hour
    python -m benchmarks.families --output runs/families --family mobilenetv2_100    one family

Latency does not depend on training, so the students have random weights. Killed, it continues when started again:
there is one JSON file a family, and a family that has one is not measured again.

What is timed is the CPU time of the one thread that computes, not the clock on the wall: on a machine with other
work to do the two differ, and on an idle one they agree. Files take turns in short blocks, as in
`benchmarks.latency`; a ratio is the median over inferences of the same round, and the median of that over several
times that the files are loaded.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import students
from attar.bundle import Bundle
from attar.console import say
from attar.extras import OPTIONAL, version
from attar.files import write_json, write_text
from attar.preprocessing import MEAN, STD, Preprocessing
from benchmarks.device import describe
from benchmarks.latency import sample_interleaved
from benchmarks.runtimes import litert as runtime
from export import litert
from export.noise import captured
from students import Student

FAMILIES = (
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium", "mobilenetv4_conv_large", "mobilenetv4_hybrid_medium",
    *(f"tf_efficientnet_lite{number}" for number in range(5)),
)  # fmt: skip
PRECISIONS = ("fp32", "fp16", "w8", "dyn8", "int8")
CLASSES = 1000
FASTER, FREE = 0.60, 1.02
"""What is asked of int8 against fp32, and of a file with a uint8 image against the bare network."""
CALIBRATION, WARM_UP, LEAST = 8, 5, 20
LOADS = 5
"""Times that the files are loaded: where a file's weights come to lie in memory is luck, and worth some percent."""


def main() -> None:
    """Measure the families that have no result yet, then write families.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/families"))
    parser.add_argument("--page", type=Path, help="write the table here too")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only this one; may be repeated")
    parser.add_argument("--size", type=int, default=224, help="side of the image")
    parser.add_argument("--seconds", type=float, default=20.0, help="time of measurement a family")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    results = []
    for name in options.family or FAMILIES:
        path = options.output / f"{name}-{options.size}.json"
        if not path.is_file():
            say(name)
            write_json(path, measure(name, options.size, options.seconds))
        results.append(json.loads(path.read_text()))
    for page in filter(None, (options.output / "families.md", options.page)):
        write_text(page, markdown(results))
    print(markdown(results))


def measure(name: str, size: int, seconds: float) -> dict[str, Any]:
    """One family: its files written, looked at and timed together."""
    with tempfile.TemporaryDirectory() as folder:
        student, bundle = _student(name, size, Path(folder))
        files = _write(student, bundle, Path(folder))
        with captured():
            partitions = {file: litert.open_runner(path).partitions for file, path in files.items()}
        times = _time(files, seconds)
        return {
            "family": name, "size": size, "parameters": sum(p.numel() for p in student.parameters()),
            "files": {
                file: {
                    "bytes": path.stat().st_size, "partitions": partitions[file],
                    "milliseconds": _milliseconds(times, file),
                }
                for file, path in files.items()
            },
            "to_fp32": {file: _ratio(times, file, "fp32") for file in PRECISIONS},
            "to_bare": {file: _ratio(times, file, f"{file} bare") for file in ("fp32", "int8")},
            "device": describe(),
            "versions": {item.distribution: version(item.distribution) for item in OPTIONAL if item.extra == "litert"},
        }  # fmt: skip


def _student(name: str, size: int, folder: Path) -> tuple[Student, Bundle]:
    """A student with random weights whose batch norms know what comes in, so that ranges are of a usual size."""
    torch.manual_seed(0)
    student = students.create_student(name, CLASSES)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # plain averages
    with torch.no_grad():
        student.train()(torch.from_numpy(_images(4, 128)).permute(0, 3, 1, 2))
    labels = [str(number) for number in range(CLASSES)]
    return student.eval(), students.save(student, folder / "b", labels=labels, preprocessing=Preprocessing(size))


def _write(student: Student, bundle: Bundle, folder: Path) -> dict[str, Path]:
    """The deployable files, and of fp32 and int8 also the bare networks."""
    images = _images(CALIBRATION, bundle.preprocessing.size)
    files = {}
    for precision in PRECISIONS:
        files[precision] = folder / f"{precision}.tflite"
        with captured():
            litert.convert(student, bundle, precision, images, files[precision])
    for precision in ("fp32", "int8"):
        files[f"{precision} bare"] = folder / f"{precision}-bare.tflite"
        with captured():
            files[f"{precision} bare"].write_bytes(litert.convert_network(student, bundle, precision, images))
    return files


def _images(count: int, size: int) -> np.ndarray:
    """Smooth colours, uint8 (N, size, size, 3)."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
    return fine.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _time(files: Mapping[str, Path], seconds: float) -> list[dict[str, np.ndarray]]:
    """Nanoseconds of CPU time of each inference of each file, for each of `LOADS` times they are loaded."""
    return [_time_once(files, seconds / LOADS) for _ in range(LOADS)]


def _time_once(files: Mapping[str, Path], seconds: float) -> dict[str, np.ndarray]:
    with captured():
        sessions = {file: runtime.load(str(path), 1) for file, path in files.items()}
    image = _images(1, sessions["fp32"].shape[1])
    normalized = (image.astype(np.float32) - MEAN) / STD
    inputs = {"fp32 bare": normalized, "int8 bare": (normalized * STD).astype(np.int8)}
    for file, session in sessions.items():
        session.set_input(inputs.get(file, image))
        for _ in range(WARM_UP):
            session.infer()
    samples = sample_interleaved(list(sessions.values()), seconds, time.thread_time_ns, LEAST)
    return {file: np.array(row) for file, row in zip(sessions, samples)}


def _milliseconds(times: Sequence[Mapping[str, np.ndarray]], file: str) -> float:
    return float(np.median([np.median(load[file]) for load in times]) / 1e6)


def _ratio(times: Sequence[Mapping[str, np.ndarray]], file: str, to: str) -> float:
    return float(np.median([np.median(load[file] / load[to]) for load in times]))


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The page, as docs/families.md shows it."""
    device, versions = results[0]["device"], results[0]["versions"]
    lines = [
        "# Student families on the phone's kernels",
        "",
        "Written by `python -m benchmarks.families --page docs/families.md`.",
        "",
        "| student | parameters | fp32, ms | int8, ms | int8 / fp32 | partitions fp32, int8 | fp16, w8, dyn8 / fp32 "
        "| uint8 image / bare network, fp32, int8 |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(result) for result in results),
        "",
        f"LiteRT with XNNPACK, one thread, {results[0]['size']} px, {CLASSES} classes, DWSConv head; medians of CPU "
        "time, files interleaved. `dyn8`: depthwise convolutions keep 8-bit weights but compute in float, because "
        "XNNPACK has no dynamic one. The attention of the hybrid computes in float within its partition.",
        "",
        f"Asked: int8 in one partition with no operator outside, at most {FASTER:.2f} of fp32; a file with its uint8 "
        f"image at most {FREE:.2f} of the bare network. {_verdict(results)}",
        "",
        f"Measured on {device['cpu']}, {device['cores']} cores, {device['machine']}, with "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> str:
    files, to_fp32, to_bare = (result[key] for key in ("files", "to_fp32", "to_bare"))
    cells = [
        result["family"],
        f"{result['parameters'] / 1e6:.1f} M",
        *(f"{files[precision]['milliseconds']:.2f}" for precision in ("fp32", "int8")),
        f"{to_fp32['int8']:.2f}",
        ", ".join(_partitions(files[precision]["partitions"]) for precision in ("fp32", "int8")),
        ", ".join(f"{to_fp32[precision]:.2f}" for precision in ("fp16", "w8", "dyn8")),
        ", ".join(f"{to_bare[precision]:.3f}" for precision in ("fp32", "int8")),
    ]
    return f"| {' | '.join(cells)} |"


def _partitions(found: dict[str, Any]) -> str:
    outside = Counter(found["outside"])
    left = " and ".join(f"{count} {name}" for name, count in outside.items())
    return f"{found['delegated']}" + (f" ({left} outside)" if left else "")


def _verdict(results: Sequence[dict[str, Any]]) -> str:
    short = [f"{result['family']} ({', '.join(found)})" for result in results if (found := _short(result))]
    return f"Not reached by: {'; '.join(short)}." if short else f"All {len(results)} reach it."


def _short(result: dict[str, Any]) -> list[str]:
    """What a family falls short of."""
    found = result["files"]["int8"]["partitions"]
    tests = {
        f"int8 in {_partitions(found)} partitions": found["delegated"] > 1 or found["outside"],
        f"int8 at {result['to_fp32']['int8']:.2f}": result["to_fp32"]["int8"] > FASTER,
        **{f"{name} image at {ratio:.3f}": ratio > FREE for name, ratio in result["to_bare"].items()},
    }
    return [text for text, failed in tests.items() if failed]


if __name__ == "__main__":
    main()
