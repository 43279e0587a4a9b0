"""A million small photos of ten thousand classes: memory and speed over an epoch, and killed and continued.

    python -m attar.benchmarks.studies.soak --output runs/soak                 two hours on two cores
    python -m attar.benchmarks.studies.soak --output runs/soak --small-files   the same from a file per photo
    python -m attar.benchmarks.studies.soak --output runs/soak-short --classes 100 --photos 50     a minute

Photos of Han characters (docs/han.md) are drawn, indexed and checked; then a small student learns one epoch of them by
labels alone, in a process of its own. The study looks at the proportional memory (PSS) of this process and its
children all the time, that of the photos that are kept decoded by itself, at their processor time, and at the time of
every tenth step. Then the same training begins anew, is killed without
warning at two random steps, and goes on each time: its weights have to be those of the training that was left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from attar.benchmarks.latency.host import describe
from attar.children import environment, module_command
from attar.console import say
from attar.data.han import source
from attar.data.photos import DataSpec, read_photos
from attar.distill import distill_student
from attar.errors import GateError
from attar.files import read_json, sha256, write_json, write_text
from attar.recipe import DistillSpec
from attar.train.loggers import LOGS, Opened

LOG = "steps"
PARTS = 10
"""Parts of the epoch that memory and speed are told for; the first tenth is left out of the spread, it warms up."""
EVERY_SECONDS = 5.0
"""Between two looks at memory: a look at gigabytes takes some tenths of a second."""
GIGA = 1e9


def main() -> None:
    """Draw, train, kill and continue; then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/soak"))
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--photos", type=int, default=100, help="training photos per class")
    parser.add_argument("--side", type=int, default=32, help="of photos and views, pixels")
    parser.add_argument("--small-files", action="store_true", help="a file per photo instead of shards")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of death")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.output, options.train, options.side)
        return
    photos = written(options)
    whole = _once(options.output / "whole.json", lambda: left_alone(options, photos))
    killed = _once(options.output / "killed.json", lambda: continued(options, photos, whole["steps"]))
    results = {"device": describe(), "side": options.side, "small_files": options.small_files, **whole, **killed}
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))
    if not results["same_weights"]:
        raise GateError("The training that was killed ended in other weights than the one that was left alone.")


def _once(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before, else measure it: a study that was stopped goes on."""
    if not path.is_file():
        write_json(path, measure())
    found: dict[str, Any] = read_json(path)
    return found


def written(options: argparse.Namespace) -> Path:
    """The photos' place. Drawing goes on where it was stopped."""
    wanted = {"classes": options.classes, "photos": options.photos, "val_photos": 2, "size": options.side}
    return source.write(options.output, {**wanted, "packed": not options.small_files})


# --- the training, in a process of its own ------------------------------------------------------


def train(folder: Path, photos: Path, side: int) -> None:
    """Train one epoch into `folder`; the time of every tenth step goes into its `steps.jsonl`."""
    LOGS[LOG] = _steps
    spec = DistillSpec(
        name="mobilenetv4_conv_small_035",
        pretrained=False,
        head_width=128,
        size=side,
        crop=1.0,
        epochs=1,
        batch_size=128,
        lr=0.003,
        checkpoint_seconds=60,
    ).model_copy(update={"log": LOG})
    read = read_photos(DataSpec(str(photos)))
    _note(folder, {"photos": len(read.train), "validation": len(read.val), "classes": len(read.labels)})
    distill_student(read, spec, folder / "student")


def _steps(folder: Path, title: str, settings: Mapping[str, Any], start: int) -> Opened:
    place = folder.parent
    _note(place, {"start": start, "time": time.time()})
    return lambda step, values: _note(place, {"step": step, "time": time.time()}), lambda: None


def _note(folder: Path, line: Mapping[str, object]) -> None:
    with (folder / "steps.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def _noted(folder: Path, key: str) -> list[dict[str, Any]]:
    """The lines that have a key."""
    path = folder / "steps.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [line for line in map(json.loads, lines) if key in line]


def _start(folder: Path, photos: Path, side: int, home: Path) -> subprocess.Popen[bytes]:
    """The training's process. `home` is where attar remembers which photos it has checked."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--output", folder, "--side", side, "--train", photos]
    log = (folder / "log.txt").open("ab")
    return subprocess.Popen(
        module_command("attar.benchmarks.studies.soak", *words),
        env=environment(XDG_CACHE_HOME=str(home.resolve())),
        stdout=log,
        stderr=log,
    )


# --- what is looked at ---------------------------------------------------------------------------


def left_alone(options: argparse.Namespace, photos: Path) -> dict[str, Any]:
    """One training from the first look at the photos to its end."""
    folder = options.output / "whole"
    began = time.time()
    process = _start(folder, photos, options.side, options.output / "home")
    looks = _watched(process)
    if process.returncode:
        raise GateError(f"The training failed: see {folder / 'log.txt'}")
    steps = _noted(folder, "step")
    [about] = _noted(folder, "photos")
    times = np.array([each["time"] for each in steps])
    numbers = np.array([each["step"] for each in steps])
    first, last = times[0], times[-1]
    inside = [look for look in looks if first <= look.when <= last]
    return {
        **about,
        "steps": int(numbers[-1]),
        "seconds_to_start": round(_noted(folder, "start")[0]["time"] - began, 1),
        "seconds_of_training": round(float(last - first), 1),
        "rates": _rates(times, numbers, 128),
        "rates_of_cpu": _rates(_cpu_at(times, inside), numbers, 128),
        "memory": _in_parts([look.when for look in inside], [look.own for look in inside], first, last),
        "kept": inside[-1].kept,
        "peak": max(look.own for look in looks),
        "peak_of_training": max(look.own for look in inside),
        "student": sha256(folder / "student" / "model.safetensors"),
    }


def _cpu_at(times: np.ndarray, looks: Sequence[Look]) -> np.ndarray:
    """Processor time spent until each moment, seconds."""
    return np.interp(times, [look.when for look in looks], [look.cpu for look in looks])


def _rates(times: np.ndarray, numbers: np.ndarray, batch: int) -> list[float]:
    """Images per second in each part of the steps."""
    edges = np.linspace(0, len(times) - 1, PARTS + 1).round().astype(int)
    return [
        round(float(batch * (numbers[end] - numbers[start]) / (times[end] - times[start])), 1)
        for start, end in pairwise(edges)
        if end > start
    ]


def _in_parts(when: Sequence[float], values: Sequence[int], first: float, last: float) -> list[int]:
    """The largest value in each part of the time; parts without one are left out."""
    parts: dict[int, int] = {}
    for moment, value in zip(when, values):
        part = min(int(PARTS * (moment - first) / max(last - first, 1e-9)), PARTS - 1)
        parts[part] = max(parts.get(part, 0), value)
    return [parts[part] for part in sorted(parts)]


@dataclass(frozen=True)
class Look:
    """At a process and its children.

    Attributes:
        when: seconds.
        own: their memory without the photos that are kept decoded (which is shared memory), bytes.
        kept: those photos' memory, bytes.
        cpu: processor time that they have taken, seconds.
    """

    when: float
    own: int
    kept: int
    cpu: float


def _watched(process: subprocess.Popen[bytes]) -> list[Look]:
    """Wait for a process, and look at it from time to time."""
    found: list[Look] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY_SECONDS):
            found.append(look(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        process.wait()
    finally:
        ended.set()
        watcher.join()
    return found


def look(pid: int) -> Look:
    """At a process and its children, now."""
    own = kept = cpu = 0.0
    for each in family(pid):
        memory = _memory(each)
        kept += memory.get("Pss_Shmem", 0)
        own += memory.get("Pss", 0) - memory.get("Pss_Shmem", 0)
        cpu += _cpu(each)
    return Look(time.time(), int(own), int(kept), cpu)


def family(pid: int) -> list[int]:
    """A process and all of its children's children, as Linux lists them."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has just ended
                continue
    return found


def _memory(pid: int) -> dict[str, int]:
    """Memory of a process by kind, bytes: of proportional kinds, what it shares with others counts for each in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has just ended
        return {}
    return {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}


def _cpu(pid: int) -> float:
    """Processor time of a process and of its threads, seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def continued(options: argparse.Namespace, photos: Path, steps: int) -> dict[str, Any]:
    """The same training, killed at random steps and begun again each time."""
    folder = options.output / "killed"
    chance = random.Random(options.seed)
    moments = sorted(chance.randrange(steps // 10, steps) for _ in range(options.kills))
    done = len(_noted(folder, "killed"))
    for moment in moments[done:]:
        before = len(_noted(folder, "step"))
        process = _start(folder, photos, options.side, options.output / "home")
        while process.poll() is None and not any(each["step"] >= moment for each in _noted(folder, "step")[before:]):
            time.sleep(0.5)
        if process.returncode is not None:
            raise GateError(f"The training ended before it was killed: see {folder / 'log.txt'}")
        children = family(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _note(folder, {"killed": moment})
        say(f"killed at step {moment}")
        _wait_for_the_end_of(children)
    began = time.time()
    process = _start(folder, photos, options.side, options.output / "home")
    if process.wait():
        raise GateError(f"The training failed: see {folder / 'log.txt'}")
    started = _noted(folder, "start")
    return {
        "killed": moments,
        "went_on_from": [each["start"] for each in started][1:],
        "seconds_to_continue": round(started[-1]["time"] - began, 1),
        "same_weights": sha256(folder / "student" / "model.safetensors")
        == sha256(options.output / "whole" / "student" / "model.safetensors"),
    }


def _wait_for_the_end_of(children: Sequence[int]) -> None:
    """Worker processes notice that the training is dead and end by themselves."""
    until = time.monotonic() + 60
    while any(Path(f"/proc/{each}").exists() for each in children):
        if time.monotonic() > until:
            raise GateError("Worker processes live on a minute after their training was killed.")
        time.sleep(0.2)


# --- the table -----------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> float:
    """Largest distance from the median, as a share of it, without the first part."""
    own = np.array(values[1:] or values, float)
    return float(np.abs(own / np.median(own) - 1).max())


def markdown(results: Mapping[str, Any]) -> str:
    """What docs/results.md shows."""
    rates, busy, memory = results["rates"], results["rates_of_cpu"], results["memory"]
    kept = "a file per photo" if results["small_files"] else "shards"
    rows = [
        ("first start: indexing, checking, first step", f"{results['seconds_to_start']:.0f} s"),
        ("start of a continued training", f"{results['seconds_to_continue']:.0f} s"),
        ("one epoch", f"{results['seconds_of_training']:.0f} s"),
        ("images per second", f"{np.median(rates):.0f}, {', '.join(f'{each:.0f}' for each in rates)}"),
        ("farthest from the median, without the first tenth", f"{100 * spread(rates):.1f}%"),
        ("images per second of processor time", f"{np.median(busy):.0f}, {', '.join(f'{each:.0f}' for each in busy)}"),
        ("farthest from the median, without the first tenth", f"{100 * spread(busy):.1f}%"),
        (
            "memory without the kept photos, GB (PSS)",
            f"{np.median(memory) / GIGA:.2f}, {', '.join(f'{each / GIGA:.2f}' for each in memory)}",
        ),
        ("farthest from the median, without the first tenth", f"{100 * spread(memory):.1f}%"),
        ("its peak, GB", f"{results['peak_of_training'] / GIGA:.2f}, before the training {results['peak'] / GIGA:.2f}"),
        ("photos kept decoded, GB", f"{results['kept'] / GIGA:.2f}"),
        ("killed at steps", ", ".join(map(str, results["killed"]))),
        ("went on from steps", ", ".join(map(str, results["went_on_from"]))),
        ("the same weights in the end", "yes" if results["same_weights"] else "**no**"),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    lines += [
        "",
        f"{results['photos']:,} training and {results['validation']:,} validation photos of {results['side']} px in "
        f"{results['classes']:,} classes, {kept}; {results['steps']:,} steps of 128 photos. After a median stand its "
        f"tenths of the epoch. {results['device']['cpu']}, {results['device']['cores']} cores.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
