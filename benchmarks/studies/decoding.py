"""What a view of a JPEG photo costs, by decoder: file -> RGB -> shrunk as `PhotoStore` does -> view.

    python -m attar.benchmarks.studies.decoding --output runs/decoding                     some minutes on two cores
    python -m attar.benchmarks.studies.decoding --width 4032 --height 3024 --photos 4      a phone's photos

Ways to decode, which take turns photo by photo so that a busy machine is busy for all of them alike:

    whole        Pillow, at full size
    draft        Pillow's draft mode: libjpeg decodes at 1/2, 1/4 or 1/8 while still no smaller than asked for
    torchvision  torchvision.io.decode_jpeg, at full size
    simplejpeg   libjpeg-turbo by another binding, reduced as in draft mode; only if it is installed

The photos are coloured noise whose amplitude falls with frequency as in nature (1/f), at quality 90. CPU time counts
what a thread worked, whatever else ran; images/s are wall time, and depend on that. The difference is between views, in
levels of 0 to 255, against decoding whole.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from attar.benchmarks.latency.host import describe, load_average
from attar.console import say
from attar.data.images import read_rgb
from attar.data.store import shrunk, stored_side
from attar.data.views import ViewPolicy
from attar.files import write_json, write_text

Decoder = Callable[[Path, int], Image.Image]
"""A JPEG file, and the length that the shorter side is to be shrunk to -> an RGB image no smaller than that."""
WHOLE = "whole"


def main() -> None:
    """Measure every decoder at every size, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/decoding"))
    parser.add_argument("--width", type=int, default=1024, help="of the photos, pixels")
    parser.add_argument("--height", type=int, default=768, help="of the photos, pixels")
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 160, 224, 384], help="sides of the views")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    photos = [options.output / "photos" / f"{seed}.jpg" for seed in range(options.photos)]
    for seed, path in enumerate(photos):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(options.width, options.height, seed))
    rows = []
    for size in options.sizes:
        rows += measure(photos, size, options.rounds, options.threads)
        say(f"{size} px: measured")
    results = {
        "photo": [options.width, options.height],
        "photos": options.photos,
        "rounds": options.rounds,
        "bytes": round(median(path.stat().st_size for path in photos)),
        "threads": options.threads,
        "rows": rows,
        "device": describe(),
        "load_average": load_average(),
    }
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def jpeg(width: int, height: int, seed: int) -> bytes:
    """A JPEG file of coloured 1/f noise."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3, height, width))) / frequency, s=(height, width))
    colours = np.array([[1, 1, 1], [0.2, 0, -0.2], [-0.1, 0.2, -0.1]])  # mostly grey, as photos are
    pixels = np.einsum("chw,cd->hwd", noise / noise.std(), colours) * 50 + 128
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def whole(path: Path, side: int) -> Image.Image:
    """Pillow, at full size, as photos are read for evaluation."""
    return read_rgb(path)


def draft(path: Path, side: int) -> Image.Image:
    """Pillow's draft mode, as photos are read for training."""
    return read_rgb(path, side=side)


def torchvision(path: Path, side: int) -> Image.Image:
    """torchvision's decoder, at full size."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    pixels = decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def simplejpeg(path: Path, side: int) -> Image.Image:
    """libjpeg-turbo through simplejpeg, reduced by at most 8."""
    from simplejpeg import decode_jpeg

    return Image.fromarray(decode_jpeg(path.read_bytes(), "RGB", min_height=side, min_width=side, min_factor=1))


def decoders() -> dict[str, Decoder]:
    """Those that are installed."""
    by_name: dict[str, Decoder] = {WHOLE: whole, "draft": draft, "torchvision": torchvision}
    return by_name | ({"simplejpeg": simplejpeg} if importlib.util.find_spec("simplejpeg") else {})


def measure(photos: Sequence[Path], size: int, rounds: int, threads: int) -> list[dict[str, Any]]:
    """A row a decoder: CPU milliseconds a view, images/s of one thread and of several, difference of the views."""
    ways, policy = decoders(), ViewPolicy()

    def view(name: str, number: int) -> np.ndarray:
        image = shrunk(ways[name](photos[number], stored_side(size)), size)
        return policy.draw(image, number, 0, size)

    views = {name: np.stack([view(name, i) for i in range(len(photos))]) for name in ways}
    cpu, wall = _in_turns(view, list(ways), len(photos), rounds)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(threads) as pool:
        for turn in range(rounds):
            for name in list(ways)[:: 1 if turn % 2 else -1]:
                began = time.perf_counter()
                list(pool.map(view, [name] * len(photos), range(len(photos))))
                rates[name].append(len(photos) / (time.perf_counter() - began))
    return [
        {
            "size": size,
            "decoder": name,
            "cpu_ms": 1e3 * median(cpu[name]),
            "cpu_ratio": median(np.array(cpu[name]) / np.array(cpu[WHOLE])),
            "images_per_second": 1 / median(wall[name]),
            "images_per_second_threads": median(rates[name]),
            **_difference(views[name], views[WHOLE]),
        }
        for name in ways
    ]


def _in_turns(
    view: Callable[[str, int], np.ndarray], names: Sequence[str], photos: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """CPU and wall seconds of every view, the decoders taking turns at each photo, in changing order."""
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for number in range(photos):
            for name in names if (turn + number) % 2 else reversed(names):
                began = time.thread_time(), time.perf_counter()
                view(name, number)
                cpu[name].append(time.thread_time() - began[0])
                wall[name].append(time.perf_counter() - began[1])
    return cpu, wall


def _difference(views: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    distance = np.abs(views.astype(int) - reference)
    return {"mean_difference": float(distance.mean()), "p999_difference": float(np.quantile(distance, 0.999))}


def markdown(results: dict[str, Any]) -> str:
    """The table, with the photos and the machine below it."""
    threads, (width, height) = results["threads"], results["photo"]
    lines = [
        f"| view | decoder | CPU ms | against whole | images/s, 1 thread | images/s, {threads} threads "
        "| mean difference | 99.9% |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results["rows"]:
        lines.append(
            f"| {row['size']} | {row['decoder']} | {row['cpu_ms']:.1f} | {row['cpu_ratio']:.2f} "
            f"| {row['images_per_second']:.0f} | {row['images_per_second_threads']:.0f} "
            f"| {row['mean_difference']:.2f} | {row['p999_difference']:.0f} |"
        )
    device = results["device"]
    return "\n".join(lines) + (
        f"\n\n{results['photos']} photos of {width} x {height} px, {results['bytes'] / 1e3:.0f} kB, "
        f"{results['rounds']} rounds. {device['cpu']}, {device['cores']} cores, "
        f"load average {results['load_average']}.\n"
    )


if __name__ == "__main__":
    main()
