"""Photos per second from disk to batch: attar, torchvision and WebDataset, by turns.

    pip install webdataset
    python -m attar.benchmarks.studies.loading --output runs/loading      about ten minutes on two cores

Every loader reads the same JPEG photos of Han characters (docs/han.md), 64 and 512 pixels wide, and makes batches of
uint8 views by the same augmentations: a random crop resized bilinearly, a horizontal flip, and brightness, contrast and
saturation.

    attar         `ViewLoader` over the shards, its photo store switched off, so that each view decodes its photo; with
                  more than one worker by processes, and by threads in a column of its own
    torchvision   `ImageFolder`, `transforms.v2` and `DataLoader`
    webdataset    `WebDataset` over the same shards, the same transforms, and `DataLoader`

All take turns in one process, which may use as many cores as there are workers. A turn lasts until its batches have
taken so many seconds, after those that were made ahead; the table has the median of the turns, and their spread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from attar.benchmarks.latency.host import describe, load_average
from attar.children import environment, module_command
from attar.console import say
from attar.data.han import source
from attar.extras import require, version
from attar.files import read_json, write_json, write_text

CLASSES, PHOTOS = 200, 20
BATCH = 64
SIDES = {64: 64, 512: 224}
"""Side of the photos -> side of the views, pixels."""
CROP_AREA, ASPECT, COLOR = (0.35, 1.0), 1.33, 0.2
AHEAD = 12
"""Batches that are left out at the start of a turn: more than any loader makes ahead."""

Batches = Iterator[int]
"""Makes a batch at each step and says how many photos are in it; without end."""


def main() -> None:
    """Measure every loader, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/loading"))
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=list(range(1, (os.cpu_count() or 1) + 1)))
    parser.add_argument("--measure", type=int, nargs=2, metavar=("SIDE", "WORKERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        side, workers = options.measure
        write_json(_place(options.output, side, workers), measured(options.output, side, workers, options))
        return
    require("webdataset")
    for side in SIDES:
        say(f"photos of {side} pixels")
        written(options.output, side)
        for workers in options.workers:
            words = ["--output", options.output, "--seconds", options.seconds, "--rounds", options.rounds]
            command = module_command("attar.benchmarks.studies.loading", *words, "--measure", side, workers)
            subprocess.run(command, env={**environment(), "OMP_NUM_THREADS": "1"}, check=True, stdout=sys.stderr)
    results = {
        "device": describe(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "webdataset", "pillow")},
        "rows": [read_json(_place(options.output, side, n)) for side in SIDES for n in options.workers],
    }
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def _place(output: Path, side: int, workers: int) -> Path:
    return output / f"{side}-{workers}.json"


def written(output: Path, side: int) -> tuple[Path, Path]:
    """The photos, as shards and as a folder per class."""
    shards, folder = (
        source.write(output, {"classes": CLASSES, "photos": PHOTOS, "val_photos": 1, "size": side, "packed": packed})
        for packed in (True, False)
    )
    return shards, folder


def measured(output: Path, side: int, workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """Photos per second of every loader, a value for each turn."""
    os.sched_setaffinity(0, range(workers))
    shards, folder = written(output, side)
    size = SIDES[side]
    loaders: dict[str, Batches] = {
        "attar": attar_batches(shards, size, workers, processes=workers > 1),
        "attar, threads": attar_batches(shards, size, workers),
        "torchvision": torchvision_batches(folder, size, workers),
        "webdataset": webdataset_batches(shards, size, workers),
    }
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(options.rounds):
        names = list(loaders) if turn % 2 == 0 else list(loaders)[::-1]
        for name in names:
            rates[name].append(_rate(loaders[name], options.seconds))
    return {"side": side, "size": size, "workers": workers, "photos_per_second": rates, "load": load_average()}


def _rate(batches: Batches, seconds: float) -> float:
    for _ in range(AHEAD):
        next(batches)
    photos, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        photos += next(batches)
    return photos / (time.perf_counter() - start)


def attar_batches(shards: Path, size: int, workers: int, processes: bool = False) -> Batches:
    """attar's own, with no photo kept in memory."""
    from attar.data.photos import labels_of, read_photos
    from attar.data.store import PhotoStore
    from attar.data.views import ViewLoader, ViewPolicy

    photos = read_photos(str(shards)).train
    policy = ViewPolicy(crop_area=CROP_AREA, aspect=ASPECT, color=COLOR, count=1000)
    store = PhotoStore(photos, size, budget=0)
    loader = ViewLoader(
        store, labels_of(photos), policy, size=size, batch_size=BATCH, seed=0, workers=workers, processes=processes
    )
    epoch = 0
    while True:
        for batch in loader.epoch(epoch):
            yield len(batch.images)
        epoch += 1


def transform(size: int) -> Callable[[Any], Any]:
    """The same augmentations by torchvision."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=CROP_AREA, ratio=(1 / ASPECT, ASPECT)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(COLOR, COLOR, COLOR),
            v2.PILToTensor(),
        ]
    )


def torchvision_batches(folder: Path, size: int, workers: int) -> Batches:
    """torchvision's folder of photos and torch's loader."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    data = ImageFolder(str(folder / "train"), transform(size))
    return _endless(DataLoader(data, BATCH, shuffle=True, drop_last=True, **_workers(workers)))


def webdataset_batches(shards: Path, size: int, workers: int) -> Batches:
    """WebDataset over the shards, and torch's loader."""
    import webdataset
    from torch.utils.data import DataLoader

    changed = transform(size)
    urls = [str(path) for path in sorted(shards.glob("train-*.tar"))]
    data = webdataset.WebDataset(urls, shardshuffle=len(urls), nodesplitter=webdataset.split_by_node, empty_check=False)
    data = data.shuffle(1000).decode("pilrgb", only=["jpg"]).to_tuple("jpg", "cls").map(partial(_changed, changed))
    return _endless(DataLoader(data, BATCH, drop_last=True, **_workers(workers)))


def _changed(change: Callable[[Any], Any], sample: tuple[Any, Any]) -> tuple[Any, int]:
    return change(sample[0]), 0  # the label is a character; which number it has is no matter here


def _workers(count: int) -> dict[str, Any]:
    return {"num_workers": count, "persistent_workers": True}


def _endless(loader: Any) -> Batches:
    while True:
        for images, _ in loader:
            yield len(images)


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    lines = [
        "| photos, views | workers | attar, photos/s | by threads | torchvision | WebDataset | attar / the faster |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results["rows"]:
        rates = row["photos_per_second"]
        mid = {name: median(values) for name, values in rates.items()}
        ratios = [own / max(others) for own, _, *others in zip(*rates.values())]
        cells = [f"{row['side']} px, {row['size']} px", str(row["workers"])]
        cells += [f"{mid[name]:,.0f}" for name in rates]
        cells.append(f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    device = results["device"]
    lines += ["", f"Batches of {BATCH}; {versions}; {device['cpu']}, {device['cores']} cores."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
