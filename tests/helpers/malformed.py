"""Gives each reader so many malformed inputs, in a process of its own: `python -P malformed.py COUNT FOLDER`.

With -P, because tests/attar beside this file is not the package.

Prints a line of JSON for each kind of input: `kind`; `refused` and `read`, counts; `wrong`, what ended in a traceback
or took too long; `peak`, the largest memory of the process, bytes. The seed is the kind's name, so what fails once
fails again.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SECONDS = 60
"""What a reader may take for one input, also on a busy machine."""

YAML = b"""data: {path: photos, val_fraction: 0.25}
views: &v {crop_area: [0.35, 1.0], count: 8}
student:
  name: mobilenetv4_conv_small
  losses: [{name: kd, weight: 0.5}, {name: dkd, weight: 1}]
  size: 64
targets: [litert:fp32, onnx:int8]
seed: 3
"""
CSV = "path,label,split\n" + "".join(f"{n}.png, {'ab'[n % 2]} ,{('train', 'val')[n % 3 == 0]}\n" for n in range(8))
WORDS = (
    b"&a",
    b"*a",
    b"<<: *v\n",
    b"!!python/object:os.system ",
    b"\0",
    b"\xff\xfe",
    b"\xf0\x9f\x8c\xb1",
    b"{" * 40,
    b"- " * 30,
    b"1e999",
    b".inf",
    b"~",
    b"2026-01-01",
    b'"',
    b"'",
    b"\t",
    b"\r",
    b";",
    b",",
    b",,",
    b"\n\n",
    b"../../",
    b"9" * 30,
    b"-1",
    b"true",
    b"# ",
    b"|",
    b"%",
    b"0x1p3",
)


def picture(kind: str, number: int = 0) -> bytes:
    """An encoded photo; each number is another one."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def tar() -> bytes:
    """Eight labelled photos in a shard."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(8):
            own = {f"{number}.png": picture("PNG", number), f"{number}.cls": (b"a", b"b")[number % 2]}
            for name, content in own.items():
                about = tarfile.TarInfo(name)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
    return stream.getvalue()


def _table() -> Any:
    import pyarrow as pa

    features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    photos = [{"bytes": picture("PNG", n), "path": f"{n}.png"} for n in range(8)]
    made = pa.table({"image": pa.array(photos), "label": pa.array([n % 2 for n in range(8)])})
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def parquet() -> bytes:
    """Eight labelled photos as the hub stores them."""
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(_table(), stream)
    return stream.getvalue()


def arrow() -> bytes:
    """The same as `datasets` saves them."""
    import pyarrow as pa

    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, _table().schema) as writer:
        writer.write_table(_table())
    return stream.getvalue()


def weights() -> bytes:
    """A small safetensors file."""
    from safetensors.numpy import save

    return save({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2), np.float16)})


def checkpoint() -> bytes:
    """A small torch file."""
    import torch

    stream = io.BytesIO()
    torch.save({"state_dict": {"a": torch.arange(6.0)}, "epoch": 1}, stream)
    return stream.getvalue()


def _photos(path: Path) -> None:
    from attar.data.photos import DataSpec, read_photos

    read_photos(DataSpec(str(path)))


def _csv(path: Path) -> None:
    for number in range(8):
        if not (path.parent / f"{number}.png").is_file():
            (path.parent / f"{number}.png").write_bytes(picture("PNG", number))
    _photos(path)


def _recipe(path: Path) -> None:
    from attar.recipe import read_recipe

    read_recipe(path)


def _set(path: Path) -> None:
    from attar.recipe import read_recipe

    read_recipe(None, [path.read_bytes().decode("utf-8", "surrogateescape")])


def _image(path: Path) -> None:
    from attar.data.images import read_rgb

    read_rgb(path)


def _weights(path: Path) -> None:
    from attar.pretrained.files import read_state_dict

    read_state_dict(path)


def _texts(path: Path) -> None:
    from attar.teachers.zero_shot import read_text_embeddings

    path.with_suffix(".txt").write_text("a\nb\n")
    read_text_embeddings(path, ["a", "b"])


def _saved(path: Path) -> None:
    """A folder of `Dataset.save_to_disk` whose state is malformed."""
    (path.parent / "data-00000-of-00001.arrow").write_bytes(arrow())
    _photos(path.parent)


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.eye(2, 8, dtype=np.float32))
    return stream.getvalue()


def _make_models(folder: Path) -> None:
    """The bundles of a small student and a small teacher, and files of the student."""
    from attar import students, teachers
    from attar.export.capture_output import captured
    from attar.export.targets import parse_targets
    from attar.preprocessing import Preprocessing

    student = students.create_student("mobilenetv4_conv_small_035", 2, head_width=8).eval()
    bundle = students.save(student, folder / "student", labels=("a", "b"), preprocessing=Preprocessing(32))
    options = {"img_size": 32, "patch_size": 8, "depth": 1, "embed_dim": 48}
    teacher = teachers.create_teacher("vit_tiny_patch16_224", 2, options=options)
    teachers.save(teacher, folder / "teacher", labels=("a", "b"))
    for target in parse_targets(["litert:fp32", "onnx:fp32"]):
        with captured():
            target.module.convert(
                student, bundle, target.precision, np.zeros((1, 32, 32, 3), np.uint8), folder / target.file
            )


MODELS = Path(tempfile.gettempdir()) / f"attar-malformed-{os.getpid()}"


def _document(kind: str) -> bytes:
    """A bundle.json as version 0.1 wrote it, without a checksum, so that its shape is all there is to go by."""
    document = json.loads((MODELS / kind / "bundle.json").read_text())
    del document["sha256"]
    return json.dumps(document).encode()


def _bundle(kind: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from attar import students, teachers

        shutil.copy(MODELS / kind / "model.safetensors", path.parent)
        (students if kind == "student" else teachers).load(path.parent)

    return read


def _exported(name: str) -> bytes:
    return (MODELS / name).read_bytes()


def _ask(path: Path) -> None:
    from attar.benchmarks.predict import predict

    (path.parent / "photo.png").write_bytes(picture("PNG"))
    predict(path, [path.parent / "photo.png"])


COMMANDS = (
    b"students mobilenetv3_small_100 --classes 100 --head stock",
    b"teachers vit_tiny_patch16_224 --size 224 --batch 2",
    b"predict runs/x photo.png --top 3 --threshold 0.5",
    b"compare runs/x --max-ms 5 --min-top1 90",
    b"history lab.sqlite --merge other.sqlite",
    b"bench runs/x --seconds 1 --threads 2 --fail-if p50>1.1x",
    b"export runs/x/student -t litert:int8 --max-drop 1 --jobs 2",
    b"verify runs/x --max-drop 1 --data photos",
    b"run recipe.yaml --data nowhere/ --set student.size=64 --output runs/x",
    b"report runs/x --format md -o r.html",
)


def _command(path: Path) -> None:
    """The command line, its words separated by spaces, where none of the files that they name exists."""
    import attar.cli
    from attar.errors import InputError

    words = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "").split(" ")
    sys.argv = ["attar", *words]
    os.chdir(path.parent)
    nothing = io.StringIO()
    with redirect_stdout(nothing), redirect_stderr(nothing):
        try:
            attar.cli.main()
        except SystemExit as end:
            if end.code == 2:
                raise InputError("refused") from end
            if end.code:
                raise RuntimeError(f"exit code {end.code} of {words}") from end


STATE = b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}'
READERS: dict[str, tuple[str, Callable[[], list[bytes]], Callable[[Path], None]]] = {
    "recipe": ("r.yaml", lambda: [YAML], _recipe),
    "set": ("set.txt", lambda: [b"student.size=64", b"views={count: 3}", b"targets=[litert:fp32]"], _set),
    "csv": ("photos.csv", lambda: [CSV.encode(), CSV.encode("utf-16"), CSV.replace(",", ";").encode()], _csv),
    "image": (
        "p.png",
        lambda: [picture(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM")],
        _image,
    ),
    "tar": ("s-0.tar", lambda: [tar()], _photos),
    "parquet": ("train-0.parquet", lambda: [parquet()], _photos),
    "arrow": ("train-0.arrow", lambda: [arrow()], _photos),
    "state.json": ("state.json", lambda: [STATE], _saved),
    "safetensors": ("w.safetensors", lambda: [weights()], _weights),
    "checkpoint": ("w.pth", lambda: [checkpoint()], _weights),
    "student": ("bundle.json", lambda: [_document("student")], _bundle("student")),
    "teacher": ("bundle.json", lambda: [_document("teacher")], _bundle("teacher")),
    "tflite": ("m.tflite", lambda: [_exported("litert-fp32.tflite")], _ask),
    "onnx": ("m.onnx", lambda: [_exported("onnx-fp32.onnx")], _ask),
    "command": ("words.txt", lambda: [*COMMANDS], _command),
    "text embeddings": ("t.npy", lambda: [_npy()], _texts),
}
"""Kind -> name of the file, whole examples of it, reader."""


VALUES = (
    None,
    True,
    0,
    -1,
    1e308,
    10**30,
    "",
    "x" * 10_000,
    "../../x",
    "hf-hub:a/b",
    "\x1b[31m",
    [],
    [None],
    {},
    {"a": {}},
    [[]] * 50,
)


def reshaped(content: bytes, rng: random.Random) -> bytes:
    """JSON with a value of another kind in one place, or without it, or with a key too many."""
    document = json.loads(content)
    places: list[tuple[Any, Any]] = []
    left = [document]
    while left:
        here = left.pop()
        keys: Any = here if isinstance(here, dict) else range(len(here))
        places += [(here, key) for key in keys]
        left += [here[key] for key in keys if isinstance(here[key], (dict, list))]
    here, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del here[key]
        case 1 if isinstance(here, dict):
            here["another"] = rng.choice(VALUES)
        case _:
            here[key] = rng.choice(VALUES)
    return json.dumps(document).encode()


def malformed(content: bytes, rng: random.Random) -> bytes:
    """Something near it: bits flipped, bytes lost, doubled or put in, words in wrong places, an end cut off."""
    if content.startswith(b'{"') and rng.random() < 0.7:
        return reshaped(content, rng)
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(len(changed) + 1)
        part = slice(place, place + rng.choice((1, 4, 16, 200)))
        match rng.randrange(8):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(changed):
                changed[place] = rng.choice((0, 0xFF, 0x7F, 0x80))
            case 2:
                del changed[part]
            case 3:
                changed[place:place] = changed[part] * rng.choice((1, 30))
            case 4:
                changed[part] = rng.choice((b"\0", b"\xff")) * len(changed[part])
            case 5:
                changed[place:place] = rng.choice(WORDS)
            case 6:
                changed[part] = rng.randbytes(len(changed[part]))
            case _:
                del changed[place:]
    return bytes(changed)


class Hang(BaseException):
    """A reader took too long. No `except Exception` stops it."""


def _hang(*_: object) -> None:
    raise Hang


def of_kind(kind: str, count: int, folder: Path) -> dict[str, Any]:
    """Give the reader its inputs, each in a folder of its own."""
    from attar.benchmarks.latency.cold_start import peak_memory
    from attar.data.images import UnreadableImage
    from attar.errors import AttarError

    name, examples, read = READERS[kind]
    valid, rng = examples(), random.Random(kind)
    signal.signal(signal.SIGALRM, _hang)
    for number, example in enumerate(valid):  # a reader that refuses everything would pass
        whole = folder / f"whole-{number}"
        whole.mkdir(parents=True)
        (whole / name).write_bytes(example)
        with suppress(AttarError) if kind == "command" else nullcontext():  # its files do not exist
            read(whole / name)
    outcome: dict[str, Any] = {"refused": 0, "read": 0, "wrong": []}
    for number in range(count):
        place = folder / "input"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / name).write_bytes(malformed(valid[number % len(valid)], rng))
        signal.alarm(SECONDS)
        start = time.monotonic()
        try:
            read(place / name)
            outcome["read"] += 1
        except (AttarError, UnreadableImage) as error:
            outcome["refused"] += 1
            if not str(error).strip():
                outcome["wrong"].append(f"input {number}: an error without a word")
        except Hang:
            outcome["wrong"].append(f"input {number}: over {SECONDS} s")
        except BaseException:
            outcome["wrong"].append(f"input {number}: {traceback.format_exc()[-1500:]}")
        finally:
            signal.alarm(0)
        outcome["slowest"] = max(outcome.get("slowest", 0.0), round(time.monotonic() - start, 2))
    return {**outcome, "peak": peak_memory()}


def forked(work: Callable[[], object]) -> int:
    """Do it in a process of its own -> its exit code; what was imported before is there."""
    sys.stdout.flush()
    number = os.fork()
    if number:
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    try:
        work()
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main(count: int, folder: Path) -> None:
    """Every kind, one after another."""
    import attar.cli
    import attar.students
    import attar.teachers  # noqa: F401

    try:
        if code := forked(lambda: _make_models(MODELS)):
            raise SystemExit(f"the models could not be made: exit code {code}")
        for kind in READERS:
            code = forked(lambda: print("\n" + json.dumps({"kind": kind, **of_kind(kind, count, folder / kind)})))  # noqa: B023
            if code:
                print("\n" + json.dumps({"kind": kind, "wrong": [f"the process ended with {code}"]}))
    finally:
        shutil.rmtree(MODELS, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
