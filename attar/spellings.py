"""What a user meant by a key that a recipe does not have: the words of other tools, and near misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attar.errors import did_you_mean

OURS = {
    **dict.fromkeys(("img_size", "image_size", "input_size", "imgsz", "resolution"), "size"),
    **dict.fromkeys(("model", "arch", "architecture", "backbone"), "name"),
    **dict.fromkeys(("folder", "dir", "directory", "root", "images", "photos"), "path"),
    **dict.fromkeys(("learning_rate", "lr0"), "lr"),
    "batch": "batch_size",
    "num_epochs": "epochs",
    "wd": "weight_decay",
    "weights": "checkpoint",
}
"""Words of timm, Ultralytics, Keras and others -> the recipe's."""


def meant(key: str, part: str | None, keys: Mapping[str | None, Sequence[str]]) -> str:
    """` Did you mean 'size'?`, or an empty string.

    Args:
        key: what was written.
        part: the part of the recipe where it stood, such as `student`; None for the recipe itself.
        keys: part -> its keys.
    """
    word = OURS.get(key, key)
    if part == "teacher" and word == "size":
        return " Did you mean teacher.options: {img_size: ...}?"
    if part == "student" and word == "options":
        return " A student's architecture has no options; its image size is student.size."
    if word in keys.get(part, ()):
        return f" Did you mean {word!r}?"
    if part is None:
        below = [f"{name}.{word}" for name in ("data", "teacher", "student", "bench") if word in keys[name]]
        below += ["teacher.options: {img_size: ...}"] if word == "size" else []
        if below:
            return f" Did you mean {' or '.join(below)}?"
    return did_you_mean(word, keys.get(part, ()), n=1)
