"""The same students through attar and through other exporters: latency, size, partitions, agreement with PyTorch.

    pip install timmx
    python -m attar.benchmarks.studies.peers.export --output runs/peers --onnx2tf /path/to/environment/bin/onnx2tf

Each student is trained as in `attar.benchmarks.studies.support`, but with timm's own head, which is what the others can
read. Every tool gets the same weights and the same calibration photos, and is used as its documentation says, at its
defaults:

    attar           `attar export`: uint8 pixels in, probabilities out
    litert-torch    `litert_torch.convert`, then ai-edge-quantizer's `static_wi8_ai8` recipe; float or int8 pixels in
    timmx           `timmx export litert --mode fp32|int8 --softmax`; float pixels in
    onnx2tf         `torch.onnx.export`, then `onnx2tf -oiqt`; float pixels in. It pins packages of its own, so it
                    runs in another environment, and fetches a sample of photos from its repository, so it needs the
                    network; without --onnx2tf it is left out and named as such.

All files of a student are then timed in turns in one process on one thread (the CPU time of that thread, as in
`attar.benchmarks.studies.support`), and run on the same validation photos.
A tool that fails has its error in the table. With --no-timing, students and files are made and nothing is timed: that
wants a quiet machine. Killed, the command continues with what is missing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from attar import students
from attar.benchmarks.latency.host import describe, load_average
from attar.benchmarks.latency.measure import sample_interleaved
from attar.benchmarks.runtimes import litert as runtime
from attar.benchmarks.studies.support import train
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.photos import Photos, load_pixels, read_photos
from attar.errors import GateError
from attar.export.capture_output import captured
from attar.export.export import export_student
from attar.export.litert import LiteRTRunner
from attar.export.verify import spread
from attar.extras import require, version
from attar.files import read_json, write_json, write_text
from attar.inference import predict, to_tensor
from attar.metrics import paired_interval
from attar.preprocessing import MEAN, STD
from attar.provenance import data_of

PRECISIONS = ("fp32", "int8")
FAMILIES = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "tf_efficientnet_lite0",
    "regnety_004",
)
SIZE, CALIBRATION = 224, 128


@dataclass(frozen=True)
class Work:
    """What every tool is given: one student, photos to calibrate on, a folder to write into."""

    bundle: Bundle
    photos: Photos
    calibration: np.ndarray
    folder: Path
    onnx2tf: str | None

    @property
    def network(self) -> torch.nn.Module:
        """The bare network: normalized images (N, 3, H, W) -> logits."""
        return students.load(self.bundle).network.eval()

    @property
    def normalized(self) -> torch.Tensor:
        """The calibration photos as the bare network takes them."""
        return (to_tensor(self.calibration).float().contiguous() - MEAN) / STD


def by_attar(work: Work) -> dict[str, Path]:
    """`attar export`."""
    names = [f"litert:{precision}" for precision in PRECISIONS]
    export_student(work.bundle, names, work.folder, photos=work.photos, max_drop=100.0, limit=200)
    return {precision: work.folder / f"litert-{precision}.tflite" for precision in PRECISIONS}


def by_litert_torch(work: Work) -> dict[str, Path]:
    """The converter and the quantizer that attar builds on, at their defaults."""
    float_file, int8_file = (work.folder / f"{precision}.tflite" for precision in PRECISIONS)
    edge = require("litert_torch").convert(work.network, (torch.zeros(1, 3, SIZE, SIZE),))
    edge.export(str(float_file))
    quantizer = require("ai_edge_quantizer.quantizer").Quantizer(str(float_file))
    quantizer.load_quantization_recipe(require("ai_edge_quantizer.recipe").static_wi8_ai8())
    [(signature, tensors)] = LiteRTRunner(float_file)._interpreter.get_signature_list().items()
    samples = [{tensors["inputs"][0]: image[None].numpy()} for image in work.normalized]
    quantizer.quantize(quantizer.calibrate({signature: samples})).export_model(str(int8_file), overwrite=True)
    return {"fp32": float_file, "int8": int8_file}


def by_timmx(work: Work) -> dict[str, Path]:
    """`timmx export litert`, in a process of its own: it sets global state of torch's exporter."""
    weights, calibration = work.folder / "weights.pth", work.folder / "calibration.pt"
    torch.save(work.network.state_dict(), weights)
    torch.save(work.normalized, calibration)
    made = {precision: work.folder / f"{precision}.tflite" for precision in PRECISIONS}
    for precision, path in made.items():
        words = [
            "export",
            "litert",
            work.bundle.name,
            "--checkpoint",
            weights,
            "--num-classes",
            len(work.bundle.labels),
        ]
        words += ["--input-size", 3, SIZE, SIZE, "--mode", precision, "--softmax", "--output", path]
        words += ["--calibration-data", calibration] if precision == "int8" else []
        _call([sys.executable, "-m", "timmx", *words])
    return made


def by_onnx2tf(work: Work) -> dict[str, Path]:
    """ONNX first, then onnx2tf with full-integer quantization inside and float tensors outside."""
    if work.onnx2tf is None:
        raise GateError("not run: needs an environment of its own (--onnx2tf)")
    source = work.folder / "model.onnx"
    torch.onnx.export(
        work.network,
        (torch.zeros(1, 3, SIZE, SIZE),),
        str(source),
        dynamo=False,
        opset_version=17,
        input_names=["image"],
    )
    # Given in [0, 1] and normalized by the tool: (x / 255 - mean) / std is (x - 128) / 128.
    np.save(work.folder / "calibration.npy", work.calibration.astype(np.float32) / 255)
    mean, std = (str([[[[value / 255] * 3]]]) for value in (MEAN, STD))
    words = [work.onnx2tf, "-i", source, "-o", work.folder / "onnx2tf", "-oiqt", "-n"]
    _call([*words, "-cind", "image", work.folder / "calibration.npy", mean, std])
    written = {"fp32": "model_float32.tflite", "int8": "model_integer_quant.tflite"}
    return {precision: work.folder / "onnx2tf" / name for precision, name in written.items()}


TOOLS: dict[str, Callable[[Work], dict[str, Path]]] = {
    "attar": by_attar,
    "litert-torch": by_litert_torch,
    "timmx": by_timmx,
    "onnx2tf": by_onnx2tf,
}


def _call(words: list[Any]) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        raise GateError((done.stderr.strip() or done.stdout.strip())[-600:])


def main() -> None:
    """Make, run and time every file, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/peers"))
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--seconds", type=float, default=20.0, help="timing of each student's files")
    parser.add_argument("--no-timing", action="store_true", help="only train and export")
    parser.add_argument("--onnx2tf", default=shutil.which("onnx2tf"), help="the onnx2tf command")
    options = parser.parse_args()
    for name in options.families:
        if not (options.output / name / "made.json").is_file():
            write_json(options.output / name / "made.json", make(name, options.output / name, options.onnx2tf))
    if options.no_timing:
        return
    rows = []
    for name in options.families:
        path = options.output / name / "results.json"
        if not path.is_file():
            write_json(path, measured(name, options.output / name, options.seconds))
        rows.append(read_json(path))
    results = {
        "machine": "{cpu}, {cores} cores".format(**rows[0]["device"]),
        "images": rows[0]["images"],
        "families": rows,
    }
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def make(name: str, folder: Path, onnx2tf: str | None) -> dict[str, Any]:
    """One student through every tool -> its files, and the errors of tools that failed."""
    bundle = train(name, folder, SIZE, "student.head=stock")
    photos = read_photos(data_of(bundle.provenance))
    calibration = load_pixels(spread(photos.train, CALIBRATION), bundle.preprocessing)
    files, errors = {}, {}
    for tool, write in TOOLS.items():
        work = folder / tool
        work.mkdir(parents=True, exist_ok=True)
        say(f"{name}: {tool}")
        try:
            with captured():
                made = write(Work(bundle, photos, calibration, work, onnx2tf))
            files[tool] = {precision: str(path.relative_to(folder)) for precision, path in made.items()}
        except Exception as error:  # whatever another tool raises is its result
            errors[tool] = str(error)
    return {"name": name, "files": files, "errors": errors}


def measured(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """One student's files, run and timed."""
    say(f"{name}: running and timing")
    made, bundle = read_json(folder / "made.json"), read_bundle(folder / "student", "student")
    files = {(tool, p): folder / file for tool, pair in made["files"].items() for p, file in pair.items()}
    rows = _measured(bundle, read_photos(data_of(bundle.provenance)), files, seconds)
    return {
        "name": name,
        "top1": bundle.metrics["top1"],
        "images": bundle.metrics["images"],
        "files": rows,
        "errors": made["errors"],
        "device": describe(),
        "load_average": load_average(),
    }


def _measured(
    bundle: Bundle, photos: Photos, files: dict[tuple[str, str], Path], seconds: float
) -> list[dict[str, Any]]:
    pixels = load_pixels(photos.val, bundle.preprocessing)
    expected = predict(students.load(bundle), pixels)
    with captured():
        sessions = [runtime.load(str(path), 1) for path in files.values()]
        runners = [LiteRTRunner(path) for path in files.values()]
    for session in sessions:
        session.set_input(_feed(session, pixels[:1]))
    samples = sample_interleaved(sessions, seconds, time.thread_time_ns)
    rows = []
    for (tool, precision), path, session, runner, taken in zip(files, files.values(), sessions, runners, samples):
        outputs = np.concatenate([_answer(session, pixels[i : i + 1]) for i in range(len(pixels))])
        rows.append(
            {
                "tool": tool,
                "precision": precision,
                "bytes": path.stat().st_size,
                "p50_ms": median(taken) / 1e6,
                "samples": len(taken),
                "partitions": runner.partitions,
                "differs": np.flatnonzero(outputs.argmax(axis=1) != expected.argmax(axis=1)).tolist(),
            }
        )
    return rows


def _feed(session: Any, pixels: np.ndarray) -> np.ndarray:
    """The pixels as a file wants them: uint8 as they are, or normalized, float or int8; channels last or first."""
    kind, values = session._input["dtype"], pixels
    if kind != np.uint8:
        values = (pixels.astype(np.float32) - MEAN) / STD
    if kind == np.int8:
        scale, zero = session._input["quantization"]
        values = np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if session.shape[1] == 3 else values)


def _answer(session: Any, pixels: np.ndarray) -> np.ndarray:
    session.set_input(_feed(session, pixels))
    session.infer()
    return session._interpreter.get_tensor(session._interpreter.get_output_details()[0]["index"])


def _gain(ours: dict[str, Any], theirs: dict[str, Any], images: int) -> str:
    """How much more often attar's file has PyTorch's answer, in points, with its paired interval."""
    difference = np.zeros(images)
    difference[theirs["differs"]] += 1
    difference[ours["differs"]] -= 1
    low, high = paired_interval(difference)
    return f"{100 * difference.mean():+.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    lines = [
        "| student | tool | fp32 ms | int8 ms | int8 / fp32 | int8 against attar's | int8 partitions | int8 size, MB "
        "| int8 agreement, % | attar's is higher by, points |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results["families"]:
        files = {(item["tool"], item["precision"]): item for item in row["files"]}
        for tool in TOOLS:
            if (tool, "int8") not in files:
                reason = " ".join(row["errors"].get(tool, "no file").split())[-120:].replace("|", "/")
                lines.append(f"| {row['name']} | {tool} | {reason} | | | | | | | |")
                continue
            plain, small, ours = files[tool, "fp32"], files[tool, "int8"], files.get(("attar", "int8"))
            against = f"{small['p50_ms'] / ours['p50_ms']:.2f}" if ours else ""
            gain = _gain(ours, small, row["images"]) if ours and tool != "attar" else ""
            lines.append(
                f"| {row['name']} | {tool} | {plain['p50_ms']:.2f} | {small['p50_ms']:.2f} "
                f"| {small['p50_ms'] / plain['p50_ms']:.2f} | {against} | {small['partitions']['delegated']} "
                f"| {small['bytes'] / 1e6:.2f} | {100 * (1 - len(small['differs']) / row['images']):.1f} | {gain} |"
            )
    names = ("litert-torch", "ai-edge-quantizer", "ai-edge-litert", "timmx")
    lines.append("")
    lines.append(
        f"{results['machine']}, one thread, medians of CPU time in one interleaved run a student; agreement of top-1 "
        f"with PyTorch on {results['images']} validation photos, and its gain with a paired 95% interval. "
        f"{', '.join(f'{name} {version(name)}' for name in names)}."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
