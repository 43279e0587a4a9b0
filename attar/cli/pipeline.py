"""A whole run: photos -> teacher -> student -> files -> proof -> latency -> report.

Each stage leaves a folder that the next one reads, and a stage whose folder is there is not run again:
a run that was killed continues when the same command is given.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from attar import readiness, teachers
from attar.benchmarks.latency.measure import bench
from attar.benchmarks.report.compare import Comparison, compare
from attar.benchmarks.report.report import write_report
from attar.bundle import Bundle, read_bundle
from attar.cli.continuing import Earlier, earlier_run, what_changed
from attar.console import say
from attar.data.builtin import photos_of, require_photos
from attar.data.photolist import write_list
from attar.data.photos import Photos
from attar.distill import distill_student
from attar.distill.champion import flip_loss, require_champion
from attar.distill.checks import require_balance, require_comparisons, require_labels
from attar.distill.losses import objective_of
from attar.errors import GateError, InputError
from attar.export.export import export_student
from attar.export.manifest import read_manifest
from attar.export.targets import choose_targets
from attar.files import write_json, write_text
from attar.provenance import provenance
from attar.recipe import LossPart, Recipe, TeacherPart, read_recipe, write_recipe
from attar.runfolder import RunFolder
from attar.students.create import check_name
from attar.students.heads import check_head
from attar.train import distributed
from attar.train.loop import scheduled


def run(
    recipe: Recipe | Path | str,
    output: Path | str,
    continue_from: Path | str | None = None,
    *,
    keep_teacher: bool = False,
) -> Comparison | None:
    """Run a recipe into `output`, continuing what is there; returns what the report shows.

    With `continue_from`, the folder of an earlier run, teacher and student begin with the weights of that run's, its
    validation photos stay validation photos, and new photos are split by the usual share (`attar.cli.continuing`).

    With `keep_teacher` that run's teacher is taken as it is; its classes must be those of the photos.

    Under torchrun all ranks fit teacher and student; the rest is the first one's, and the others return None.

    Raises:
        InputError: something in the recipe, the photos or the folder is wrong; found before training.
        GateError: an exported file failed its verification. The report is written all the same.
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    output = Path(output)
    check(recipe)
    folder = RunFolder(output)
    earlier = None if continue_from is None else earlier_run(Path(continue_from), output)
    require_champion(recipe.student, earlier.student if earlier else None)
    identity = {"schema": 1, "recipe": recipe.fingerprint}
    identity |= {"continues": earlier.student.fingerprint} if earlier else {}
    identity |= {"keeps": earlier.teacher.fingerprint} if earlier and earlier.teacher and keep_teacher else {}
    with distributed.held(folder.claimed(identity)):
        photos = photos_of(
            recipe.data,
            folder.data,
            thorough=folder.was_trained(),
            keep=earlier.folder.photos if earlier else None,
            fit=recipe.student.fit,
        )
        if earlier is not None:
            earlier.tell(photos)
            require_champion(recipe.student, earlier.student, photos.labels)
            # The run's own list says the same of all its photos, and stays when the earlier run is removed.
            photos = replace(photos, spec=replace(photos.spec, keep=str(folder.photos.resolve())))
        for made in (folder.teacher, folder.student):
            _made(made, photos, folder)  # refuses other photos, before their list replaces the one that was kept
        if distributed.is_first():
            write_list(folder.photos, photos.listing)
            write_text(folder.recipe, write_recipe(recipe, _schedules(recipe, photos)))
            write_json(folder.provenance, provenance(photos, recipe.seed, recipe.to_json()))
        teacher = fit_teacher(recipe, photos, folder, earlier, keep=keep_teacher)
        student = fit_student(recipe, photos, folder, teacher, earlier)
        if not distributed.is_first():
            return None
        failed = export_files(recipe, photos, folder, student)
        say("Measuring latency ...")
        how = recipe.bench
        bench(folder.exports, threads=how.threads, seconds=how.seconds, quick=how.quick, output=output)
        say("Comparing teacher, student and files ...")
        comparison = compare(
            folder.exports, bundle=student.path, teacher=teacher.path if teacher else None, photos=photos, output=output
        )
        write_report(comparison, output)
    if failed:
        raise failed
    return comparison


def check(recipe: Recipe) -> None:
    """Find what would fail late, such as an unknown target or a missing package, before anything starts."""
    objective, taught = objective_of(recipe.student), recipe.teacher is not None
    require_labels(recipe.data.unlabelled or recipe.data.added_unlabelled, objective, taught=taught)
    require_balance(recipe.student, objective, taught=taught)
    require_comparisons(recipe.student, objective, recipe.student.batch_size, taught=taught)
    recipe.views.photos_in(recipe.student.batch_size)  # a teacher that is trained comes first, and finds its own
    if isinstance(recipe.student.flips, LossPart):
        flip_loss(recipe.student.flips)
    check_name(recipe.student.name)
    check_head(recipe.student.head)
    choose_targets(recipe.targets)
    require_photos(recipe.data)


def fit_teacher(
    recipe: Recipe, photos: Photos, folder: RunFolder, earlier: Earlier | None = None, *, keep: bool = False
) -> Bundle | None:
    """The teacher's bundle, fitted now or before, or the earlier one's kept; None when the recipe wants none."""
    if recipe.teacher is None:
        return None
    start = earlier.teacher if earlier else None
    how: Any = {"views": recipe.views, "seed": recipe.seed, "start": start}
    fit = teachers.keep if keep and start else teachers.teach
    bundle = _made(folder.teacher, photos, folder) or fit(photos, recipe.teacher, folder.teacher, **how)
    say(readiness.message("Teacher", bundle.name, bundle.metrics))
    return bundle


def fit_student(
    recipe: Recipe, photos: Photos, folder: RunFolder, teacher: Bundle | None, earlier: Earlier | None = None
) -> Bundle:
    """The student's bundle, fitted now or before."""
    bundle = _made(folder.student, photos, folder) or distill_student(
        photos,
        recipe.student,
        folder.student,
        teacher=teacher,
        views=recipe.views,
        cache=folder.cache,
        seed=recipe.seed,
        start=earlier.student if earlier else None,
    )
    say(readiness.message("Student", bundle.name, bundle.metrics, teacher.metrics if teacher else None))
    return bundle


def _schedules(recipe: Recipe, photos: Photos) -> list[str]:
    """What the recipe's schedules come to on so many photos, a line each."""
    labelled = len(photos.train)
    reads_labels = recipe.teacher is None or objective_of(recipe.student).labels
    seen = {"teacher": labelled, "student": labelled if reads_labels else labelled + len(photos.unlabelled)}
    lines = []
    for part, spec in (("teacher", recipe.teacher), ("student", recipe.student)):
        if spec is None or (isinstance(spec, TeacherPart) and spec.method not in ("finetune", "lora")):
            continue
        steps = seen[part] // min(spec.batch_size, seen[part])
        epochs = scheduled(spec, steps).epochs
        lines.append(f"{part}: {epochs} epochs of {steps} steps, {epochs * steps} steps in all")
    return lines


def export_files(recipe: Recipe, photos: Photos, folder: RunFolder, student: Bundle) -> GateError | None:
    """Export and verify; a failed target is reported at the end, after what there is has been measured."""
    say("Exporting and verifying ...")
    try:
        export_student(
            student,
            recipe.targets,
            folder.exports,
            photos=photos,
            max_drop=recipe.max_drop,
            precision=recipe.precision,
            hierarchy=recipe.hierarchy,
            author=recipe.author,
            license=recipe.license,
        )
    except GateError as error:
        if not read_manifest(folder.exports).files:
            raise
        return error
    return None


def _made(path: Path, photos: Photos, folder: RunFolder) -> Bundle | None:
    """A bundle made before; one made from other photos is refused: it may have trained on what is now held out."""
    if not (path / "bundle.json").is_file():
        return None
    bundle = read_bundle(path)
    data = bundle.provenance.get("data", {})
    changed = data.get("fingerprint") != photos.fingerprint
    if bundle.kind == "student":
        changed |= (data.get("unlabelled") or {}).get("fingerprint", "") != photos.unlabelled_fingerprint
    if changed:
        raise InputError(
            f"{path}: made from other photos than are in {photos.spec.path} now: {what_changed(folder, photos)}. To "
            f"go on from this run with the photos of now, add --continue-from {folder.path} and choose another "
            "--output; to start anew, remove the run's folder."
        )
    return bundle
