"""Every key of a recipe, from `attar/recipe.py`: docs/recipe.md.

python -m attar.benchmarks.studies.recipe_page      writes it anew; a test holds it against the code
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from attar.data.views import ViewPolicy
from attar.files import write_text
from attar.recipe import TEACHERS, BenchPart, DataPart, DistillSpec, LossPart, Recipe, TeacherPart, TrainSpec

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"
HEAD = """# Every key of a recipe

A recipe is a YAML file. `attar run`, `attar teach` and `attar distill` read it, and `--set part.key=value` overrides a
key. Every key has a default, an unknown one is an error, and the resolved recipe is written into the run's folder.

This page is written by `python -m attar.benchmarks.studies.recipe_page` from [attar/recipe.py](../attar/recipe.py).
"""
PARTS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("data", "Where the photos are, and how they are split. [data.md](data.md)", DataPart),
    (
        "teacher",
        "Which teacher, and how it is fitted; `teacher: null` leaves it out. [teachers.md](teachers.md)",
        TeacherPart,
    ),
    ("student", "Which student, and how it is distilled. [methods.md](methods.md)", DistillSpec),
    ("bench", "How latency is measured on this machine. [latency.md](latency.md)", BenchPart),
)
_METHOD = FieldInfo(
    annotation=Literal["finetune", "lora", "probe", "zero_shot", "ensemble"],  # type: ignore[arg-type]
    default="finetune",
    description="how it comes to know the classes; keys of one method are errors beside another",
)
COMMON = ("Keys of `teacher` and `student` alike", "How either is trained. [training.md](training.md)")


def page() -> str:
    """The page as Markdown."""
    own = {name: field for name, field in Recipe.model_fields.items() if not _is_part(name)}
    parts = [HEAD, "## Keys at the top\n", _table(own)]
    for name, text, spec in PARTS:
        method = {"method": _METHOD} if name == "teacher" else {}
        parts += [f"## `{name}`\n", f"{text}\n", _table(method | _own(spec))]
        if name == "teacher":
            parts += _methods()
        if name == "student":
            entry = "An entry of `losses`, or `flips`; further keys are the loss's own options."
            parts += ["### `student.losses` and `student.flips`\n", f"{entry}\n"]
            parts.append(_table(LossPart.model_fields))
        if name == "data":
            parts += [
                "## `views`\n",
                "How training pictures are drawn from photos. [training.md](training.md)\n",
                _views(),
            ]
    parts += [f"## {COMMON[0]}\n", f"{COMMON[1]} Where the two have other defaults, their tables have the key too.\n"]
    return "\n".join([*parts, _table(TrainSpec.model_fields)])


def _methods() -> Iterator[str]:
    """The keys that one method alone has."""
    for method, spec in TEACHERS.items():
        own = {
            name: field
            for name, field in spec.model_fields.items()
            if name not in {"method", *TeacherPart.model_fields}
        }
        yield f"### `teacher.method: {method}`\n"
        yield f"{(spec.__doc__ or '').partition(chr(10))[0]}\n"
        if own:
            yield _table(own)


def _is_part(name: str) -> bool:
    return name in {part for part, *_ in PARTS} | {"views"}


def _own(spec: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that a part does not share with the other, or for which it has another default."""
    if not issubclass(spec, TrainSpec):
        return dict(spec.model_fields)
    shared = TrainSpec.model_fields
    return {
        name: field
        for name, field in spec.model_fields.items()
        if name not in shared or field.default != shared[name].default
    }


def _table(named: dict[str, FieldInfo]) -> str:
    rows = [
        f"| `{name}` | {_default(field)} | {_values(field)} | {_cell(field.description or '')} |"
        for name, field in named.items()
    ]
    return "\n".join(["| key | default | values | |", "|---|---|---|---|", *rows, ""])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return f"`{json.dumps(value, default=list)}`"


def _values(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    limits = [text for each in field.metadata for text in _limits(each)]
    return _cell(", ".join([kind, *limits]))


def _kind(annotation: Any) -> str:
    """A type in words."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "a list"
    words = {int: "a whole number", float: "a number", str: "text", bool: "`true` or `false`", types.NoneType: "`null`"}
    return words.get(annotation, "a mapping")


def _limits(limit: Any) -> Iterator[str]:
    for kind, name, text in (
        (annotated_types.Ge, "ge", "at least"),
        (annotated_types.Gt, "gt", "above"),
        (annotated_types.Le, "le", "at most"),
        (annotated_types.Lt, "lt", "below"),
    ):
        if isinstance(limit, kind):
            value = getattr(limit, name)
            yield f"{text} {'2**63' if value == 1 << 63 else f'{value:,}'}"


def _views() -> str:
    """The policy is no pydantic model: what its keys mean stands in its docstring."""
    text = re.split(r"\n\s+Attributes:\n", ViewPolicy.__doc__ or "")[1]
    texts: dict[str, str] = {}
    for names, meaning in re.findall(r"^ {8}(\w[\w, ]*): (.*(?:\n {12}.*)*)", text, re.MULTILINE):
        texts.update(dict.fromkeys(names.split(", "), " ".join(meaning.split())))
    rows = [
        f"| `{each.name}` | `{json.dumps(each.default)}` | {_cell(texts[each.name])} |" for each in fields(ViewPolicy)
    ]
    return "\n".join(["| key | default | |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page."""
    write_text(PAGE, page())


if __name__ == "__main__":
    main()
