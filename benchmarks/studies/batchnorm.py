"""Over which photos batch norms are best measured anew: the table in docs/results.md.

    python -m attar.benchmarks.studies.batchnorm --output runs/batchnorm --jobs 2   about an hour on two cores
    python -m attar.benchmarks.studies.batchnorm --output runs/batchnorm-short --short   minutes: to see that it works

Students are trained by labels alone on three quarters of the training photos of a recipe, and judged on the last
quarter: the validation photos, on which everything else is reported, have no part in the choice. Each student is judged
with the statistics it had at the end of training (`as trained`), and with statistics measured on its training photos:
on their views, as they are trained on, or cropped as for evaluation.

One process and one thread per training, `--jobs` at a time. What is there already is kept.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.elpv import CHECKPOINT, RECIPE
from attar.console import say
from attar.files import write_bytes, write_json, write_text
from attar.metrics import two_way_interval

if TYPE_CHECKING:
    from attar.data.photos import Photos
    from attar.data.views import ViewPolicy
    from attar.recipe import Recipe

QUICKSTART = Path(__file__).parents[2] / "attar" / "cli" / "quickstart.yaml"
WAYS = ("as trained", "views", "crops", "crops of 128")
CHOSEN = "crops"


@dataclass(frozen=True)
class Case:
    """One student and its schedule."""

    data: str
    student: str
    epochs: int
    pretrained: bool = False
    photos: int | None = None
    """Training photos; by default three quarters of the recipe's."""

    @property
    def name(self) -> str:
        """Also of its files."""
        return f"{self.data}-{self.student}-{self.epochs}" + (f"-{self.photos}" if self.photos else "")


CASES = (
    Case("digits", "mobilenetv4_conv_small_035", 30, photos=180),
    Case("digits", "mobilenetv4_conv_small_035", 30),
    Case("solar cells", "mobilenetv3_small_100", 3),
    Case("solar cells", "tf_efficientnet_lite0", 3, pretrained=True),
    Case("solar cells", "mobilenetv3_small_100", 12),
    Case("solar cells", "mobilenetv3_large_100", 12),
    Case("solar cells", "mobilenetv3_small_100", 36),
)


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/batchnorm"))
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--case", action="append", metavar="NAME", choices=[case.name for case in CASES])
    parser.add_argument("--short", action="store_true", help="one seed, the first case")
    options = parser.parse_args()
    asked = [case for case in CASES if not options.case or case.name in options.case]
    cases, seeds = (CASES[:1], 1) if options.short else (asked, options.seeds)
    options.output.mkdir(parents=True, exist_ok=True)
    for data in {case.data for case in cases}:  # written once, before trainings side by side look for them
        photos_for(data, options.output)
    jobs = [(case, seed, options.output) for case in cases for seed in range(seeds)]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), initializer=single_thread) as pool:
        for line in pool.map(_judged, *zip(*jobs)):
            say(line)
    rows = [summarized(case, seeds, options.output) for case in cases]
    results = {"device": describe(), "seeds": seeds, "rows": rows}
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    print(markdown(results))


def single_thread() -> None:
    """What a process of a study does first."""
    import torch

    torch.set_num_threads(1)  # trainings side by side do not wait for each other


def photos_for(data: str, output: Path) -> tuple[Recipe, Photos]:
    """The recipe of some data, and its photos, which lie in the output folder."""
    from attar.data.builtin import photos_of
    from attar.recipe import read_recipe

    recipe = read_recipe(QUICKSTART if data == "digits" else RECIPE)
    return recipe, photos_of(recipe.data, output / f"photos-{data.replace(' ', '-')}")


def _file(case: Case, seed: int, output: Path) -> Path:
    return output / f"{case.name.replace(' ', '-')}-{seed}.npz"


def _judged(case: Case, seed: int, output: Path) -> str:
    """Train one student and write down which held-out photos it answers rightly in each way."""
    import io

    file = _file(case, seed, output)
    if not file.is_file():
        right = trained_and_judged(case, seed, output)
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **right)
        write_bytes(file, stream.getvalue())
    with np.load(file) as judged:
        return f"{case.name}, seed {seed}: " + ", ".join(f"{way} {100 * judged[way].mean():.1f}%" for way in WAYS)


def trained_and_judged(case: Case, seed: int, output: Path) -> dict[str, np.ndarray]:
    """Way -> bool (held-out photos,): whether the student is right."""
    from tempfile import TemporaryDirectory

    from attar import students
    from attar.benchmarks.studies.moving import caught, give, only, stratified
    from attar.data.photos import labels_of, load_pixels
    from attar.distill.distill import distill_student
    from attar.inference import predict
    from attar.train.batchnorm import remeasure
    from attar.train.evaluation import SAMPLE, spread

    recipe, photos = photos_for(case.data, output)
    own = stratified(photos, 0)[: len(photos.train) * 3 // 4]
    held = np.setdiff1d(np.arange(len(photos.train)), own)
    photos = only(photos, own[: case.photos], held)
    own_start = {"checkpoint": CHECKPOINT, "lr": 0.0005} if case.pretrained else {}
    spec = recipe.student.model_copy(update={"name": case.student, "epochs": case.epochs, "min_steps": 0, **own_start})
    with TemporaryDirectory(dir=output) as work, caught() as moving:
        bundle = distill_student(photos, spec, Path(work) / "student", views=recipe.views, seed=seed)
        model = students.load(bundle)
    judged, labels = load_pixels(photos.val, bundle.preprocessing), labels_of(photos.val)
    shown = range(len(photos.train))
    crops = load_pixels(photos.train, bundle.preprocessing)
    chosen = spread(shown, SAMPLE)
    right = {}
    for way in WAYS:
        if way == "as trained":
            give(model, moving[-1])
        elif way == "views":
            remeasure(model, views_of(photos, chosen, recipe.views, spec.size))
        else:
            remeasure(model, crops[spread(shown, 128) if way == "crops of 128" else chosen])
        right[way] = predict(model, judged).argmax(1) == labels
    return right


def views_of(photos: Photos, chosen: list[int], policy: ViewPolicy, size: int) -> np.ndarray:
    """One view of each of those training photos, uint8 (photos, size, size, 3)."""
    from attar.data.store import PhotoStore

    store = PhotoStore(photos.train, size)
    return np.stack([policy.draw(store[i], i, 0, size) for i in chosen])


def summarized(case: Case, seeds: int, output: Path) -> dict[str, Any]:
    """Accuracy in every way, and what the chosen way gains on the others, photo by photo."""
    answers = {way: [] for way in WAYS}  # type: dict[str, list[np.ndarray]]
    for seed in range(seeds):
        with np.load(_file(case, seed, output)) as right:
            for way in WAYS:
                answers[way].append(right[way].astype(float))
    stacked = {way: np.stack(rows) for way, rows in answers.items()}
    gains = {way: stacked[CHOSEN] - rows for way, rows in stacked.items() if way != CHOSEN}
    return {
        "case": case.name,
        "data": case.data,
        "student": case.student,
        "epochs": case.epochs,
        "photos": case.photos,
        "pretrained": case.pretrained,
        "held_out": stacked[CHOSEN].shape[1],
        "top1": {way: rows.mean(1).tolist() for way, rows in stacked.items()},
        "gain": {way: [float(rows.mean()), *two_way_interval(rows)] for way, rows in gains.items()},
    }


def markdown(results: dict[str, Any]) -> str:
    """The table, as docs/results.md shows it."""
    others = [way for way in WAYS if way != CHOSEN]
    lines = [
        f"| student | epochs | {' | '.join(f'{way}, %' for way in WAYS)} | "
        f"{' | '.join(f'{CHOSEN} less {way}, points' for way in others)} |",
        f"|---|---:|{'---:|' * len(WAYS)}{'---:|' * len(others)}",
    ]
    for row in results["rows"]:
        few = f" ({row['photos']} photos)" if row["photos"] else ""
        start = ", pretrained" if row["pretrained"] else ""
        top1 = " | ".join(f"{100 * np.mean(row['top1'][way]):.1f}" for way in WAYS)
        gains = " | ".join("{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * v for v in row["gain"][way])) for way in others)
        lines.append(f"| {row['data']}{few}: {row['student']}{start} | {row['epochs']} | {top1} | {gains} |")
    held = " or ".join(sorted({str(row["held_out"]) for row in results["rows"]}))
    lines += [
        "",
        f"Top-1 on {held} training photos held out, mean over {results['seeds']} seed(s). Brackets: 95% intervals over "
        f"seeds and photos. {results['device']['cpu']}, {results['device']['cores']} cores.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
