"""What a loss against negative flips is worth when a student is trained again: the tables in docs/flips.md.

    python -m attar.benchmarks.studies.flips --output runs/flips           trains what is missing, and tabulates
    python -m attar.benchmarks.studies.flips --output runs/flips --record  ... and writes docs/results/flips.json
    python -m attar.benchmarks.studies.flips --output runs/flips-short --short   to see that it works

Half of scikit-learn's digits are to train on, the other half stays for validation. A champion is trained on a few of
the first half. Then there are three times as many photos, of the same classes or of one more, and a challenger is
trained on all of them by the same recipe, in each of `WAYS`. A negative flip is a validation photo that the champion
has right and the challenger wrong. All is by labels alone, without a teacher, and every training has as many steps.

The loss that is on by default, and the weights, are chosen on other seeds and on other photos (`--tune`): the two
halves change places, and of what costs no top-1 against the plain warm start the one with the fewest flips is taken.

One process and one thread. What is there already is kept.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attar.benchmarks.latency.host import describe
from attar.benchmarks.studies.batchnorm import QUICKSTART, single_thread
from attar.benchmarks.studies.moving import only, stratified
from attar.console import say
from attar.files import read_json, write_bytes, write_json, write_text
from attar.metrics import two_way_interval
from attar.recipe import LossPart

if TYPE_CHECKING:
    from attar.bundle import Bundle
    from attar.data.photos import Photos
    from attar.recipe import DistillSpec, Recipe

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "flips.json"
PAGE = Path(__file__).parents[2] / "docs" / "flips.md"

STUDENT = {"name": "test_efficientnet", "head_width": 64, "batch_size": 32, "epochs": 1, "min_steps": 150}
"""A network of timm's, as small as it has them, that learns digits in few steps."""
FEW, MORE = 60, 180
"""Photos of the champion, and of the challengers, which have the champion's too."""
NEW = "9"
"""The class that the champion does not know, where there is one."""
TUNED = 100
"""The first seed of those that weights are chosen on."""


@dataclass(frozen=True)
class Way:
    """How a challenger is trained: begun with the champion's weights or not, and with which loss against flips."""

    start: bool
    flips: LossPart | None = None


FOCUS = {"alpha": 0.0, "beta": 1.0}
"""Of focal distillation: answers that the champion has wrong are left alone."""


def _way(name: str, weight: float, **options: float) -> Way:
    return Way(True, LossPart.model_validate({"name": name, "weight": weight, **options}))


WAYS = {
    "from scratch": Way(False),
    "warm start": Way(True),
    "focal": _way("focal", 1.0, **FOCUS),
    "ldi": _way("ldi", 0.3),
}
TRIED = {
    "warm start": Way(True),
    **{f"focal {weight:g}": _way("focal", weight, **FOCUS) for weight in (0.3, 1.0, 3.0)},
    **{f"ldi {weight:g}": _way("ldi", weight) for weight in (0.3, 1.0)},
}
"""What weights are chosen among."""
CASES = {"more photos": None, "more photos and a new class": NEW}
"""Case -> the class that is new."""


def main() -> None:
    """Train what is missing, then write results.json and results.md into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/flips"))
    parser.add_argument("--seeds", type=int, default=5, help="seeds that the ways are judged on")
    parser.add_argument("--tune", type=int, default=2, metavar="SEEDS", help="other seeds, that weights are chosen on")
    parser.add_argument("--case", action="append", choices=CASES, help="judge only this one; may be repeated")
    parser.add_argument(
        "--record", action="store_true", help="write docs/results/flips.json and the tables of its page"
    )
    parser.add_argument("--only-known", action="store_true", help="train nothing: tabulate what is there")
    parser.add_argument("--short", action="store_true", help="one seed of each, two steps per training")
    options = parser.parse_args()
    single_thread()
    study = Study(options.output, {**STUDENT, "min_steps": 2} if options.short else STUDENT, options.only_known)
    cases = options.case or [*CASES]
    seeds, tuned = (1, 1) if options.short else (options.seeds, options.tune)
    results = {
        "device": describe(),
        "student": study.student,
        "photos": {"champion": FEW, "challenger": MORE, "validation": len(study.photos.val)},
        "ways": {name: way.flips and way.flips.model_dump() for name, way in (TRIED | WAYS).items()},
        "tuned": study.rows(cases[0], TRIED, range(TUNED, TUNED + tuned), "warm start"),
        "judged": {case: study.rows(case, WAYS, range(seeds), "from scratch") for case in cases},
        "seconds": study.seconds(),
    }
    write_json(options.output / "results.json", results)
    write_text(options.output / "results.md", markdown(results))
    if options.record:
        write_json(RESULTS, results)
        write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), results))
    print(markdown(results))


class Study:
    """The trainings, kept in a folder.

    Args:
        output: the folder.
        student: keys of the quickstart's student that are others here.
        only_known: train nothing; a row has the seeds that are there.
    """

    def __init__(self, output: Path, student: dict[str, Any], only_known: bool = False) -> None:
        from attar.data.builtin import photos_of
        from attar.recipe import read_recipe

        self.output, self.student, self.only_known = output, student, only_known
        output.mkdir(parents=True, exist_ok=True)
        self.recipe: Recipe = read_recipe(QUICKSTART, ["data.val_fraction=0.5"])
        self.photos: Photos = photos_of(self.recipe.data, output / "photos")

    def rows(self, case: str, ways: dict[str, Way], seeds: range, against: str) -> list[dict[str, Any]]:
        """A row per way: top-1 and flips of every seed, and what they differ from those of another way by."""
        from attar.data.photos import labels_of

        new, rows = CASES[case], []
        photos = self._sides(seeds[0])
        old = labels_of(photos.val) != (photos.labels.index(new) if new else -1)
        for way in ("champion", *ways):
            own = [seed for seed in seeds if not self.only_known or self._file(case, way, seed).is_file()]
            if own:  # the other two have those seeds too
                right, champion, plain = (
                    np.stack([self.right(case, each, ways.get(each), seed) for seed in own])
                    for each in (way, "champion", against)
                )
                rows.append(row(way, right, champion, plain, old))
        return rows

    def _file(self, case: str, name: str, seed: int) -> Path:
        return self.output / f"{case}-{name}-{seed}.npz".replace(" ", "-")

    def right(self, case: str, name: str, way: Way | None, seed: int) -> np.ndarray:
        """Whether a student answers each validation photo rightly, bool (photos,); it is trained if it is not there."""
        file = self._file(case, name, seed)
        if not file.is_file():
            folder = file.with_name(file.name.removesuffix(".npz"))
            stream = io.BytesIO()
            np.savez_compressed(stream, allow_pickle=False, **self._trained(case, way, seed, folder))
            write_bytes(file, stream.getvalue())
        with np.load(file) as stored:
            say(f"{case}, {name}, seed {seed}: {100 * stored['right'].mean():.1f}%")
            return stored["right"]

    def seconds(self) -> float:
        """Processor time of all trainings."""
        total = 0.0
        for file in sorted(self.output.glob("*.npz")):
            with np.load(file) as stored:
                total += float(stored["seconds"])
        return total

    def _sides(self, seed: int) -> Photos:
        """The photos with those that a seed is judged on as validation photos."""
        if seed < TUNED:
            return self.photos
        return replace(self.photos, train=self.photos.val, val=self.photos.train, fingerprint="sides changed")

    def _trained(self, case: str, way: Way | None, seed: int, folder: Path) -> dict[str, Any]:
        from time import process_time

        from attar import students
        from attar.data.photos import labels_of, load_pixels
        from attar.distill.distill import distill_student
        from attar.inference import predict

        photos, new = self._sides(seed), CASES[case]
        shown = stratified(photos, seed)[: MORE if way else FEW]
        kept = photos.labels if way or new is None else tuple(label for label in photos.labels if label != new)
        began = process_time()
        bundle = distill_student(
            labelled(only(photos, shown), kept),
            self._spec(way),
            folder,
            views=self.recipe.views,
            seed=seed + 1000 * bool(way),  # a challenger from scratch does not begin as its champion did
            start=self._champion(case, seed) if way and way.start else None,
        )
        answers = predict(students.load(bundle), load_pixels(photos.val, bundle.preprocessing)).argmax(1)
        names = np.array(bundle.labels)[answers]
        right = names == np.array(photos.labels)[labels_of(photos.val)]
        return {"right": right, "seconds": np.array(process_time() - began)}

    def _champion(self, case: str, seed: int) -> Bundle:
        from attar.bundle import read_bundle

        self.right(case, "champion", None, seed)
        return read_bundle(self.output / self._file(case, "champion", seed).name.removesuffix(".npz"))

    def _spec(self, way: Way | None) -> DistillSpec:
        return self.recipe.student.model_copy(update={**self.student, "flips": way.flips if way else None})


def labelled(photos: Photos, labels: tuple[str, ...]) -> Photos:
    """The photos of those classes, numbered anew."""
    number = {label: place for place, label in enumerate(labels)}

    def kept(side: Any) -> Any:
        named = ((photo, photos.labels[photo.label]) for photo in side)
        return tuple(replace(photo, label=number[name]) for photo, name in named if name in number)

    return replace(photos, labels=labels, train=kept(photos.train), val=kept(photos.val))


def row(name: str, right: np.ndarray, champion: np.ndarray, against: np.ndarray, old: np.ndarray) -> dict[str, Any]:
    """The figures of one way, as shares.

    Args:
        name: the way's.
        right: its answers, bool (seeds, photos).
        champion: the champions'.
        against: those of the way that it is compared with.
        old: which photos are of classes that the champion knows, bool (photos,).
    """
    lost, before = (champion & ~each for each in (right, against))
    gain = (right.astype(float) - against)[:, old]
    halved = lost - before / 2
    return {
        "way": name,
        "top1": right.mean(1).tolist(),
        "old": right[:, old].mean(1).tolist(),
        "new": right[:, ~old].mean(1).tolist() if not old.all() else None,
        "flips": lost.sum(1).tolist(),
        "flip_rate": [float(lost.mean()), *two_way_interval(lost.astype(float))],
        "fewer": [float((lost * 1.0 - before).mean()), *two_way_interval(lost * 1.0 - before)],
        "over_half": [float(halved.mean()), *two_way_interval(halved)],
        "gain": [float(gain.mean()), *two_way_interval(gain)],
    }


def markdown(results: dict[str, Any]) -> str:
    """The tables, as docs/flips.md shows them."""
    photos, parts = results["photos"], []
    for case, rows in results["judged"].items():
        parts += [f"**{case.capitalize()}**", "", *table(rows, "from scratch"), "", *shares(rows), ""]
    seeds, tuned = (max(len(each["flips"]) for each in some) for some in (rows, results["tuned"]))
    parts += [
        f"{photos['validation']} validation photos, {seeds} seeds, fewer where a row has fewer. The champion has "
        f"{photos['champion']} training photos, the challengers {photos['challenger']}. "
        f"Brackets: 95% intervals over seeds and photos. {results['student']['name']}, "
        f"{results['student']['min_steps']} steps of {results['student']['batch_size']} photos per training; in all "
        f"{results['seconds'] / 60:.0f} minutes of processor time, one thread, {results['device']['cpu']}.",
        "",
        f"**How the weights were chosen** ({tuned} other seeds, the halves of the photos changed)",
        "",
        *table(results["tuned"], "warm start"),
    ]
    return "\n".join(parts) + "\n"


def shares(rows: list[dict[str, Any]]) -> list[str]:
    """Each loss's flips as shares of those of the two plain ways, over the seeds that both have."""
    plain = {row["way"]: row["flips"] for row in rows if row["way"] in ("from scratch", "warm start")}
    lines = []
    for each in rows:
        if each["way"] not in ("champion", *plain):
            count = len(each["flips"])
            parts = [
                f"{sum(each['flips']) / max(1, sum(flips[:count])):.2f} of {name}'s" for name, flips in plain.items()
            ]
            half = "{:+.2f} points [{:+.2f}, {:+.2f}]".format(*_points(each["over_half"]))
            lines.append(
                f"- {each['way']}: flips are {' and '.join(parts)}; less half of from scratch's they are {half}."
            )
    return lines


def table(rows: list[dict[str, Any]], against: str) -> list[str]:
    """A table of some ways."""
    new = any(row["new"] for row in rows)
    lines = [
        f"| | top-1 of old classes, % | {'of the new class, % | ' if new else ''}negative flips per seed "
        f"| of all photos, % | flips less than {against}, points | top-1 of old classes over {against}, points |",
        f"|---|---:|{'---:|' if new else ''}---:|---:|---:|---:|",
    ]
    for each in rows:
        old, of_new = (f"{100 * np.mean(each[key]):.1f}" if each[key] else "" for key in ("old", "new"))
        cells = [each["way"], old, *([of_new] if new else [])]
        if each["way"] == "champion":
            cells += ["", "", "", ""]
        else:
            cells += [", ".join(map(str, each["flips"])), "{:.2f} [{:.2f}, {:.2f}]".format(*_points(each["flip_rate"]))]
            cells += [
                "" if each["way"] == against else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*_points(each[key]))
                for key in ("fewer", "gain")
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _points(shares: list[float]) -> list[float]:
    return [100 * share for share in shares]


BEGIN, END = "<!-- the study's tables begin -->\n", "<!-- the study's tables end -->\n"


def page(text: str, results: dict[str, Any]) -> str:
    """The page with the tables of these results."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{markdown(results)}{END}{rest.split(END)[1]}"


def recorded() -> dict[str, Any]:
    """What docs/results/ has."""
    return read_json(RESULTS)


if __name__ == "__main__":
    main()
