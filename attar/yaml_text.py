"""YAML as recipes use it: mappings, lists and plain values; small, shallow, and without surprises.

PyYAML's safe loader runs no code, and still takes a few lines that grow to gigabytes (aliases of lists of aliases), the
last of two equal keys, dates, and numbers that are none. Here each of these is an error with its line.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from attar.errors import InputError

MAX_BYTES = 1 << 20
"""A recipe is some hundred bytes."""

MAX_DEPTH = 20
"""Levels of lists and mappings in each other; recipes have four."""


def read(path: Path) -> Any:
    """The value in a YAML file, None if it is empty; what is wrong with it is an `InputError` with its line."""
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "no such file"
            raise InputError(f"{path}: {what}. Give a recipe, a text file in YAML.")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: over {MAX_BYTES >> 20} MB, which no recipe is.")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path}: UTF-16 text. Save it as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8.") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Any:
    """The value of a YAML text; `where` begins the `InputError` if there is something wrong with it."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{where}{line}: not valid YAML: {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        first = (str(error) or type(error).__name__).partition("\n")[0]
        raise InputError(f"{where}: not valid YAML: {first}.") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the limits of this module."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not taken; write the value again",
                problem_mark=self.peek_event().start_mark,
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"nested over {MAX_DEPTH} levels deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.MarkedYAMLError(problem=f"key {name!r} is no text", problem_mark=key.start_mark)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"key {name!r} is there twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def number(self, node: Any) -> float:
        value = self.construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.MarkedYAMLError(problem=f"{node.value} is no number to use", problem_mark=node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
# A date is text here: nothing in a recipe is one. The resolvers are the class's own copy after this.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
