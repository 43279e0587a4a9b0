"""A turn of a loop in a process that can be killed: training is what an earlier one gave, all else is real.

python -m helpers.looping FOLDER SETTINGS MADE
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from attar.deploy.loop.state import LoopFolder, Settings
from attar.deploy.loop.turn import turn
from attar.deploy.retrain.plan import Plan
from attar.runfolder import RunFolder


def giving(made: Path) -> Callable[[RunFolder, Plan, RunFolder, list[str]], None]:
    """A training that gives what was trained before."""

    def train(run: RunFolder, plan: Plan, output: RunFolder, sets: list[str]) -> None:
        for name in ("student", "exports"):
            shutil.copytree(made / name, output.path / name, dirs_exist_ok=True)
        for name in ("photos.json", "recipe.yaml"):
            shutil.copyfile(made / name, output.path / name)

    return train


if __name__ == "__main__":
    settings = json.loads(sys.argv[2])
    print("ready", flush=True)
    turn(LoopFolder(Path(sys.argv[1])), Settings(**settings), giving(Path(sys.argv[3])))
