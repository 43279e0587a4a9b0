"""Observations as Label Studio's tasks, and its annotations as decisions.

Tasks follow "Import pre-annotated data" of https://labelstud.io/guide/, and what comes back "Export annotations".
What the model and the person said are predictions there, a reviewer's decision is an annotation. Photos are named as
Label Studio's local storage serves them: with its LOCAL_FILES_DOCUMENT_ROOT at the folder that holds the export.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, ConfigDict, ValidationError

from attar.data.observations import Review, one_line
from attar.deploy.collect.reviewed import Reviewed
from attar.deploy.collect.store import Action, Refused, Store, in_force
from attar.errors import InputError
from attar.files import make_folder, write_json, write_text

TASKS, INTERFACE = "tasks.json", "interface.xml"
NOT_USABLE = "not usable"
"""The choice that rejects a photo."""
_LARGEST = 1 << 30


def write_tasks(folder: Path, observations: Sequence[Reviewed], root: str) -> None:
    """Write `tasks.json` and `interface.xml`.

    Args:
        folder: to write to.
        observations: one task each.
        root: name of the folder that holds `photos/`.
    """
    make_folder(folder)
    write_json(folder / TASKS, [_task(each, root) for each in observations])
    labels = sorted({label for each in observations for label in (each.label, each.stored.observation.predicted)})
    write_text(folder / INTERFACE, _interface([label for label in labels if label]))


def _interface(labels: Sequence[str]) -> str:
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return f"""<View>
  <Image name="image" value="$image"/>
  <Filter toName="label" placeholder="Find a label"/>
  <Choices name="label" toName="image" choice="single-radio" showInline="true">
{choices}
  </Choices>
  <Choices name="photo" toName="image" choice="single-radio">
    <Choice value="{NOT_USABLE}"/>
  </Choices>
</View>
"""


def _task(each: Reviewed, root: str) -> dict[str, Any]:
    observation = each.stored.observation
    opinions = [_opinion(observation.model, observation.predicted, observation.probability)]
    if observation.said:
        opinions.append(_opinion("person", observation.said, 1.0))
    annotations = []
    if each.decision:
        chosen = ("photo", NOT_USABLE) if each.review is Review.REJECT else ("label", each.label)
        annotations = [{"result": _choice(*chosen) if chosen[1] else [], "was_cancelled": False}]
    data = {
        "image": f"/data/local-files/?d={quote(f'{root}/photos/{observation.id}.jpg')}",
        "observation": str(observation.id),
        "verdict": observation.verdict.value,
        "text": observation.text,
        "time": observation.time.isoformat(),
    }
    return {"data": data, "predictions": opinions, "annotations": annotations}


def _opinion(who: str, label: str, score: float) -> dict[str, Any]:
    return {"model_version": who, "score": score, "result": _choice("label", label)}


def _choice(name: str, value: str) -> list[dict[str, Any]]:
    return [{"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": [value]}}]


# --- the way back -----------------------------------------------------------------------------------


class _Value(BaseModel):
    choices: list[str] = []


class _Result(BaseModel):
    from_name: str = ""
    type: str = ""
    value: _Value = _Value()


class _Person(BaseModel):
    email: str = ""


class _Annotation(BaseModel):
    result: list[_Result] = []
    was_cancelled: bool = False
    completed_by: _Person | int | None = None


class _Data(BaseModel):
    observation: str


class _Task(BaseModel):
    """What is read of a task; Label Studio writes much more."""

    model_config = ConfigDict(extra="ignore")

    data: _Data
    annotations: list[_Annotation]


def take_annotations(store: Store, path: Path) -> int:
    """Turn Label Studio's annotations into decisions -> how many there were that differ from those known.

    Of a task's annotations the last one counts that was not cancelled. Reading the same file again changes nothing.

    Raises:
        InputError: not Label Studio's JSON export, a task of another folder of observations, or a label that is none;
            nothing is decided.
    """
    decided: list[tuple[str, str, Action, str]] = []
    for number, task in enumerate(_read(path), 1):
        where = f"{path}, task {number}"
        stored = store.one(task.data.observation)
        if stored is None:
            raise InputError(f"{where}: no observation here has the id {task.data.observation[:80]!r}.")
        last = next((each for each in reversed(task.annotations) if not each.was_cancelled and each.result), None)
        if last is not None:
            decided.append((task.data.observation, _reviewer(last), *_decision(last, stored.observation.said, where)))
    return sum(_decide(store, path, *each) for each in decided)


def _read(path: Path) -> list[_Task]:
    if path.stat().st_size > _LARGEST if path.is_file() else True:
        raise InputError(f"{path}: no file of at most {_LARGEST >> 30} GiB.")
    try:
        tasks = json.loads(path.read_bytes())
        if not isinstance(tasks, list):
            raise ValueError("it is no list of tasks")
        return [_Task.model_validate(task) for task in tasks]
    except (ValueError, ValidationError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not what Label Studio exports as JSON from tasks of `attar collect`. JSON-MIN and CSV leave out "
            f"what is needed. ({str(error).partition(chr(10))[0]})"
        ) from error


def _reviewer(annotation: _Annotation) -> str:
    who = annotation.completed_by
    return who.email if isinstance(who, _Person) and who.email else f"label-studio {who if who else ''}".strip()


def _decision(annotation: _Annotation, said: str, where: str) -> tuple[Action, str]:
    chosen = {each.from_name: each.value.choices for each in annotation.result if each.type == "choices"}
    if NOT_USABLE in chosen.get("photo", []):
        return Action.REJECT, ""
    labels = chosen.get("label", [])
    try:
        [label] = filter(None, map(one_line, labels))
    except ValueError as error:
        raise InputError(f"{where}: it takes one label that can be shown, or {NOT_USABLE!r}.") from error
    return (Action.ACCEPT, "") if label == said else (Action.RELABEL, label)


def _decide(store: Store, path: Path, id: str, reviewer: str, action: Action, label: str) -> bool:
    known = store.decisions(id)
    now = in_force(known)
    if now and (now.action, now.label) == (action, label):
        return False
    try:
        store.decide(id, reviewer, action, label, seen=known[-1].number if known else 0)
    except Refused as error:
        raise InputError(f"{path}, observation {id}: {error}") from error
    return True
