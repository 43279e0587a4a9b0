"""A workflow for GitHub that takes a loop's turns, on the machine that has the loop.

A hosted runner would lose the loop's folder, the release folder and what the key remembers as soon as a cache is
evicted, and would need a copy of what people sent. On a self-hosted one all of it stays where it is.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from attar.deploy.loop.state import LoopFolder
from attar.errors import InputError
from attar.files import write_text

WORKFLOW = Path(".github", "workflows", "attar-loop.yaml")

_TEMPLATE = Path(__file__).with_name("github.yaml")


def write_workflow(folder: LoopFolder, repository: Path) -> Path:
    """Write `WORKFLOW` into a repository; returns its path.

    Raises:
        InputError: the loop has not begun, or another file stands there.
    """
    path = repository / WORKFLOW
    text = workflow(folder)
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise InputError(f"{path}: there is another workflow. Remove it, or keep it: then nothing has to be written.")
    write_text(path, text)
    return path


def workflow(folder: LoopFolder) -> str:
    """The workflow as text.

    Raises:
        InputError: the loop has not begun.
    """
    state = folder.read()
    if state is None:
        raise InputError(
            f"{folder.path}: no loop yet. Take its first turn here, with the same command without --workflow."
        )
    values = {
        "__PYTHON__": sys.executable,
        "__LOOP__": str(folder.path),
        "__KEY__": str(folder.workflow_key),
        "__RELEASES__": state.settings.releases,
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    return re.sub("|".join(values), lambda found: _quoted(values[found[0]]), text)


def _quoted(text: str) -> str:
    """As YAML reads it, which takes a JSON string; what looks like an expression of GitHub's stays text."""
    return json.dumps(text.replace("${{", "${{ '${{' }}"), ensure_ascii=False)
