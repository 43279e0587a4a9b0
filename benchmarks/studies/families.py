"""One student of every family on every accelerator: docs/support.md, and what `attar students` says is tested.

    python -m attar.benchmarks.studies.families --output runs/families --jobs 2    about four hours on two cores
    python -m attar.benchmarks.studies.families --student mobileone_s0             one of them

Each student is trained for some seven hundred steps on scikit-learn's digits (the quickstart's photos, drawn larger),
by their labels: ten classes of equal size, so that agreement means something where a student has learned little. The
last two are the quickstart's own student and the solar cells', trained as their recipes say. All are exported with all
of `export`'s checks, ONNX files and QNN's in the emulated NPU of a phone too, and LiteRT's files run once more on a GPU
(`attar.export.web.gpu`: made of software where there is none).

What is measured of a student is kept in the file that `--record` names, which the package holds, and is not measured
again while its training and targets stay what they were: so a few students can be measured at a time, on any machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.elpv import RECIPE, run_attar, settings
from attar.benchmarks.studies.families_page import page
from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.photos import read_photos
from attar.errors import AttarError
from attar.export.export import export_student
from attar.export.limits import Limits
from attar.export.manifest import FileEntry, read_manifest
from attar.export.verify import student_reference
from attar.export.web import gpu
from attar.extras import OPTIONAL, require, version
from attar.files import digest_of, read_json, write_json, write_text
from attar.metrics import agreement
from attar.provenance import data_of
from attar.students.about import about_students
from attar.students.tested import RECORD

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "attar" / "cli" / "quickstart.yaml"

TARGETS = ("litert:fp32", "litert:int8", "coreml:fp16", "onnx:fp32", "onnx:int8", "qnn:fp16", "qnn:int8", "qnn:w8a16")
ON_GPU = ("litert:fp32", "litert:int8")

IMAGES = 200
"""Validation photos that files are held against; the emulated NPU is asked about fewer where they are large."""
GPU_IMAGES = 100

PATIENT = Limits(seconds=4 * 3600)
"""For a target: the emulated NPU is slow, and slower beside other work."""

BRIEFLY = ("student.epochs=16", "student.batch_size=32", "student.min_steps=0", "student.lr=0.002")


@dataclass(frozen=True)
class Case:
    """A student and how it is trained: the recipe with these settings, by its labels.

    Attributes:
        title: how the page calls it; its timm name by default.
    """

    student: str
    size: int = 64
    more: tuple[str, ...] = ()
    recipe: Path = QUICKSTART
    title: str = ""

    @property
    def name(self) -> str:
        """Also of its folder."""
        return self.title or self.student

    @property
    def settings(self) -> list[str]:
        """What differs from the recipe."""
        if self.title:
            return list(self.more)
        return [f"student.name={self.student}", f"student.size={self.size}", *BRIEFLY, *self.more]

    @property
    def key(self) -> str:
        """What is measured anew when it changes."""
        return digest_of([self.student, self.size, self.settings, self.recipe.name, TARGETS, ON_GPU])[:16]


_FIXED = ("student.epochs=5",)
"""Students whose attention has the one size of 224 pixels see fewer photos."""

CASES = (
    Case("mobilenetv1_100"),
    Case("mobilenetv2_100"),
    Case("mobilenetv3_small_100"),
    Case("mobilenetv3_large_100"),
    Case("mobilenetv4_conv_small"),
    Case("mobilenetv4_hybrid_medium"),
    Case("efficientnet_lite0"),
    Case("efficientnet_b0"),
    Case("mnasnet_100"),
    Case("tinynet_c"),
    Case("lcnet_100"),
    Case("fbnetc_100"),
    Case("hardcorenas_a"),
    Case("mixnet_s"),
    Case("regnety_004"),
    Case("resnet18"),
    Case("ghostnet_100"),
    Case("ghostnetv2_100"),
    Case("ghostnetv3_100"),
    Case("repvgg_a0"),
    Case("repvit_m0_9"),
    Case("mobileone_s0"),
    Case("fastvit_t8"),
    Case("edgenext_x_small"),
    Case("efficientformer_l1", 224, ("student.head=stock", *_FIXED)),
    Case("efficientformerv2_s0", 224, _FIXED),
    Case("efficientvit_b0"),
    Case("efficientvit_m1"),
    Case("mobilevit_xs"),
    Case("mobilevitv2_050"),
    Case("tiny_vit_5m_224", more=("student.lr=0.0005",)),  # at the others' rate its loss diverges
    Case("convnext_atto"),
    Case("convnextv2_atto"),
    Case("starnet_s1"),
    Case("swiftformer_xs"),
    Case("mobilenetv4_conv_small_035", 32, title="the quickstart's"),
    Case("mobilenetv3_small_100", 128, title="the solar cells'", recipe=RECIPE),
)


def main() -> None:
    """Measure what is missing, and write the record and the page after every student."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/families"))
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "support.md")
    parser.add_argument("--student", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--jobs", type=int, default=1, help="students at a time")
    parser.add_argument("--measure", choices=[case.name for case in CASES], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        case = _case(options.measure)
        write_json(options.output / case.name / "row.json", measured(case, options.output / case.name))
        return
    for needed in ("litert_torch", "coremltools", "onnxruntime", "onnxruntime_qnn"):
        require(needed)
    gpu.ready()
    rows = read_json(options.record)["students"] if options.record.is_file() else {}
    wanted = [case for case in CASES if not options.student or case.name in options.student]
    with ThreadPoolExecutor(options.jobs) as pool:
        missing = [case for case in wanted if rows.get(case.name, {}).get("key") != case.key]
        for case, row in zip(missing, pool.map(lambda case: _in_a_process(case, options.output), missing)):
            if row:
                rows[case.name] = row
                _write(rows, options.record, options.page)
    _write(rows, options.record, options.page)


def _write(rows: dict[str, Any], record: Path, place: Path) -> None:
    own = {case.name: rows[case.name] for case in CASES if case.name in rows}
    write_json(record, {"students": own})
    write_text(place, page(own, TARGETS, ON_GPU))


def _case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def _in_a_process(case: Case, output: Path) -> dict[str, Any] | None:
    """A student in a process of its own, whose memory goes with it; None if it failed."""
    (output / case.name).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "attar.benchmarks.studies.families", "--output", str(output)]
    log = output / case.name / "log.txt"
    with log.open("w") as stream:
        done = subprocess.run([*command, "--measure", case.name], stdout=stream, stderr=stream)
    if done.returncode:
        say(f"{case.name}: failed, see {log}")
        return None
    row: dict[str, Any] = read_json(output / case.name / "row.json")
    say(f"{case.name}: {row['agreement']}")
    return row


def measured(case: Case, folder: Path) -> dict[str, Any]:
    """All of a student, as plain data."""
    bundle = trained(case, folder)
    photos = read_photos(data_of(bundle.provenance))
    try:
        export_student(bundle, TARGETS, folder / "exports", photos=photos, max_drop=100.0, limit=IMAGES, limits=PATIENT)
    except AttarError as error:
        say(str(error))
    manifest = read_manifest(folder / "exports")
    files = {_plain(entry.target): _file(entry) for entry in manifest.files}
    reference = student_reference(bundle, photos, GPU_IMAGES)
    on_gpu = {
        entry.target: _on_gpu(folder / "exports" / entry.file, reference.pixels, reference.probabilities)
        for entry in manifest.files
        if entry.target in ON_GPU
    }
    [about] = about_students([case.student], head=bundle.architecture["head"])
    return {
        "key": case.key,
        "student": case.student,
        "family": about.family,
        "size": bundle.preprocessing.size,
        "parameters": about.parameters,
        "multiply_adds": about.multiply_adds,
        "at": about.size,
        "top1": bundle.metrics["top1"],
        "agreement": {target: round(100 * files[target]["agreement"], 1) for target in TARGETS if target in files},
        "files": files,
        "gpu": on_gpu,
        "reasons": {_plain(item.target): item.error for item in manifest.failed},
        "device": describe(),
        "versions": {item.distribution: version(item.distribution) for item in OPTIONAL},
    }


def trained(case: Case, folder: Path) -> Bundle:
    """A case's student, trained where it is not there yet."""
    if not (folder / "student" / "bundle.json").is_file():
        words = ["distill", case.recipe, "-o", folder / "student", *settings(case.settings)]
        run_attar(*words, log=folder / "training.log")
    return read_bundle(folder / "student", "student")


def _plain(target: str) -> str:
    """Without the chip, which is the default one."""
    return target.partition("+")[0] if target.startswith("qnn:") else target


def _file(entry: FileEntry) -> dict[str, Any]:
    verification = entry.verification
    npu = {
        name: {"agreement": opinion["agreement"], "images": opinion["images"], "evaluator": opinion["evaluator"]}
        for name, opinion in verification["second_opinions"].items()
    }
    return {
        "target": entry.target,
        "bytes": entry.bytes,
        "partitions": entry.partitions,
        "agreement": verification["agreement"],
        "images": verification["images"],
        "remark": verification["remark"],
        "others": npu,
    }


def _on_gpu(path: Path, pixels: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """A LiteRT file on WebGPU: how many operators ran there, and how often it answers as the student does."""
    runner = gpu.GpuRunner(path)
    try:
        outputs = runner.answers(pixels)
    except AttarError as error:
        return {"reason": str(error)}
    return {"agreement": agreement(outputs, expected), "images": len(pixels), **runner.details}


if __name__ == "__main__":
    main()
