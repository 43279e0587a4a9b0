"""What the verbs read: recipes, photos, bundles and records, from the places that a user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attar.data.photos import Photos
    from attar.recipe import Recipe


def recipe_of(path: Path | None, data: str | None, overrides: list[str] | None, duplicates: bool = False) -> Recipe:
    """The recipe of a file, of `--data` and of `--set`, in that order."""
    from attar.recipe import read_recipe

    given: dict[str, Any] = {"path": str(data), "source": None} if data is not None else {}
    given |= {"allow_duplicates": True} if duplicates else {}
    return read_recipe(path, overrides or [], given)


def photos_of_recipe(recipe: Recipe, output: Path) -> Photos:
    """The recipe's photos; what a source writes goes beside the output, as in a run's folder."""
    from attar.data.builtin import photos_of
    from attar.runfolder import RunFolder

    return photos_of(recipe.data, RunFolder(output.parent).data, thorough=True, fit=recipe.student.fit)


def photos_of_bundle(student: Any, data: str | None, unlabelled: bool = False) -> Photos:
    """The photos a bundle was made from, or others the user gives, split the same way; unlabelled ones if asked."""
    from dataclasses import replace

    from attar.data.photos import DataSpec, read_photos
    from attar.errors import InputError
    from attar.provenance import data_of
    from attar.runfolder import RunFolder

    made_here = bool(student.provenance.get("data"))  # saved by a script, a bundle does not say
    spec = DataSpec(str(data)) if data and not made_here else data_of(student.provenance)
    if unlabelled and made_here and (more := student.provenance["data"].get("unlabelled")):
        added = student.provenance["data"].get("added_unlabelled")
        if added and not Path(added).exists():
            added = str(RunFolder(student.path.parent).unlabelled)
        spec = replace(spec, unlabelled=more["path"], added_unlabelled=added)
    bundle = student.path
    if spec.keep and not Path(spec.keep).is_file():  # the run's folder was moved
        spec = replace(spec, keep=str(bundle.parent / "photos.json"))
    if spec.added and not Path(spec.added).exists():
        spec = replace(spec, added=str(RunFolder(bundle.parent).observations))
    if not data:
        _refuse_gone(spec.path, bundle)
    photos = read_photos(replace(spec, path=str(data)) if data else spec, thorough=True)
    _warn_of_changes(student, photos)
    if photos.labels != student.labels:
        raise InputError(
            f"{photos.spec.path}: its {len(photos.labels)} classes are not those {len(student.labels)} of {bundle}. "
            "Give --data the photos the student was made from."
        )
    return photos


def _refuse_gone(place: str, bundle: Path) -> None:
    """Say which model the photos are missing for; packed and remote ones are looked for when they are read."""
    from attar.data.archives import is_packed
    from attar.data.remote import here, is_remote
    from attar.errors import InputError

    if not is_remote(place) and not is_packed(here(place)) and not here(place).exists():
        raise InputError(
            f"{place}: the photos that {bundle} was made from are no longer there. Give --data the place where they "
            "are now."
        )


def _warn_of_changes(student: Any, photos: Photos) -> None:
    """Figures of other photos than the student's own are no figures of what was held out."""
    from attar.cli.continuing import what_changed
    from attar.console import say
    from attar.runfolder import RunFolder

    made_from = (student.provenance.get("data") or {}).get("fingerprint")
    if made_from and made_from != photos.fingerprint:
        changed = what_changed(RunFolder(student.path.parent), photos)
        say(
            f"Warning: {student.path} was made from other photos than are in {photos.spec.path} now: {changed}. Its "
            "accuracy on them may count photos that it was trained on."
        )


def student_of(exports: Path, bundle: Path | None) -> Any:
    """The student that an exports folder was made from: `--bundle`, the run's own, or the one that it names."""
    from attar.bundle import read_bundle
    from attar.export.manifest import read_manifest
    from attar.runfolder import beside

    made_of = read_manifest(exports).bundle
    recorded = exports / made_of["path"]
    student = read_bundle(bundle or beside(exports, "student") or recorded, "student")
    another = bundle is None and student.fingerprint != made_of["fingerprint"] and (recorded / "bundle.json").is_file()
    return read_bundle(recorded, "student") if another else student


def records_in(history: Path | None) -> list[Any]:
    """The records of a database of measurements."""
    from attar.benchmarks.latency.history import opened

    if history is None:
        return []
    with opened(history) as lab:
        return lab.records()


def refuse_existing(output: Path) -> None:
    """Raise `InputError` if something stands where a verb is to write."""
    from attar.errors import InputError

    if output.exists():
        raise InputError(f"{output}: exists already. Choose another --output, or remove it.")
