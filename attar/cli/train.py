"""`attar teach`, `attar distill`, and what can be taught and trained: teachers, students."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attar.cli.app import Data, Duplicates, Json, Output, RecipeFile, Seed, Set, app
from attar.cli.inputs import photos_of_recipe, recipe_of, refuse_existing
from attar.cli.shown import show, show_bundle
from attar.errors import InputError

if TYPE_CHECKING:
    pass


@app.command()
def teach(
    recipe: RecipeFile = None,
    data: Data = None,
    output: Output = Path("runs/attar/teacher"),
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(help="A teacher's bundle to average with others: give two or more.", show_default=False),
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(help="Of each bundle of an ensemble, in their order; by default all alike.", show_default=False),
    ] = None,
    allow_duplicates: Duplicates = False,
    overrides: Set = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit a teacher (any timm model) to photos: fine-tuning, adapters, a linear probe, zero-shot; or join several.

    Example: `attar teach --data photos/ --set teacher.name=vit_base_patch16_224 --set teacher.method=probe`
    """
    from attar.errors import InputError
    from attar.teachers import teach

    joined = {"members": [str(path) for path in ensemble or ()], "weights": weight or ()}
    given = [f"teacher.{key}={json.dumps(value)}" for key, value in joined.items() if value]
    if ensemble:
        given.append("teacher.method=ensemble")
    made = recipe_of(recipe, data, [*given, *(overrides or [])], allow_duplicates)
    if made.teacher is None:
        raise InputError("The recipe has no teacher. Add teacher: {name: ...}.")
    refuse_existing(output)
    photos = photos_of_recipe(made, output)
    seed = made.seed if seed is None else seed
    show_bundle(teach(photos, made.teacher, output, views=made.views, seed=seed), as_json)


@app.command()
def teachers(
    names: Annotated[
        list[str] | None, typer.Argument(help="timm models; by default those tried here.", show_default=False)
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of their images, pixels; by default each one's own.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 64,
    as_json: Json = False,
) -> None:
    """Families of teachers: input size, parameters, and the memory that a batch needs.

    Example: `attar teachers vit_large_patch14_reg4_dinov2 --size 224`
    """
    from attar.teachers.families import needs_of, table

    needs = list(needs_of(names or (), size=size, batch=batch))
    show([each.to_json() for each in needs], as_json, lambda: table(needs, batch))
    _say_local_weights()


@app.command()
def students(
    names: Annotated[
        list[str] | None, typer.Argument(help="timm models; by default those tested.", show_default=False)
    ] = None,
    classes: Annotated[int, typer.Option(min=1, help="Classes that the head tells apart.")] = 100,
    head: Annotated[str, typer.Option(help="dwsconv, or stock: timm's own.")] = "dwsconv",
    as_json: Json = False,
) -> None:
    """Students: the image size they were made for, parameters, multiply-adds, where they run, pretrained weights.

    Example: `attar students mobilenetv3_large_100 --classes 10000 --head stock`
    """
    from attar.console import say
    from attar.students.about import about_students, remarks, table
    from attar.students.families import FAMILIES

    rows = list(about_students(names or (), classes=classes, head=head))
    show([each.to_json() for each in rows], as_json, lambda: table(rows))
    if names:
        for line in remarks(rows):
            say(line)
    else:
        say("yes: every file of it answers as the student does (docs/support.md). Reasons: attar students NAME.")
        say("Not in that table yet (docs/targets.md has some; any other model of timm is tried too):")
        for family, patterns in FAMILIES.items():
            if family not in {each.family for each in rows}:
                say(f"  {family}: {', '.join(patterns)}")
    _say_local_weights()


def _say_local_weights() -> None:
    """Weights that need no network, to be named as `checkpoint` of a teacher or student."""
    from attar.console import say
    from attar.pretrained.files import installed_weights

    local = installed_weights()
    if local:
        say("Weights that installed packages bring, for teacher.checkpoint or student.checkpoint:")
        for each in local:
            say(f"  {each}")


@app.command()
def distill(
    recipe: RecipeFile = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher's bundle; without one, labels alone.", show_default=False)
    ] = None,
    data: Data = None,
    output: Output = Path("runs/attar/student"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the teacher cache, shared by students.", show_default=False)
    ] = None,
    qat: Annotated[
        Path | None,
        typer.Option(help="Train this student's bundle on for its integer file instead.", show_default=False),
    ] = None,
    champion: Annotated[
        Path | None,
        typer.Option(help="With --qat: an earlier student, whose right answers are kept.", show_default=False),
    ] = None,
    allow_duplicates: Duplicates = False,
    overrides: Set = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit a student to photos, by labels and a teacher.

    Example: `attar distill --teacher runs/attar/teacher --data photos/ --set student.name=mobilenetv3_small_100`
    """
    from attar.distill import distill_student, quantization_aware

    if champion is not None and qat is None:
        raise InputError(
            "--champion: is for --qat. To train a student that begins with an earlier one, use attar run "
            "--continue-from RUN."
        )
    made = recipe_of(recipe, data, overrides, allow_duplicates)
    refuse_existing(output)
    photos = photos_of_recipe(made, output)
    seed = made.seed if seed is None else seed
    how: Any = {"teacher": teacher, "views": made.views, "cache": cache, "seed": seed}
    if qat is not None:
        bundle = quantization_aware(qat, photos, made.student, output, champion=champion, **how)
    else:
        bundle = distill_student(photos, made.student, output, **how)
    show_bundle(bundle, as_json)
