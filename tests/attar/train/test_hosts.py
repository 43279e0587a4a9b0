"""Several hosts: network namespaces stand in for machines, joined by a virtual cable, with one file system.

They train as ranks of one machine do, and the job ends the same when one of them dies and it is started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from attar.files import sha256

pytest.importorskip("lightning_fabric")
pytestmark = [pytest.mark.slow, pytest.mark.optional]

ROOT = Path(__file__).parents[3]
PORT = 29514
STUDENT = ["name=mobilenetv4_conv_small_035", "pretrained=false", "size=32", "batch_size=12", "epochs=10"]
SETS = [*STUDENT, "check_teacher=false", "checkpoint_seconds=0"]
TEACHER = ["name=vit_tiny_patch16_224", "pretrained=false", "epochs=1", "batch_size=12"]
TEACHER += ["options={img_size: 48, patch_size: 12, embed_dim: 48, depth: 1, num_heads: 2}"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """The names of two namespaces, whose addresses are 10.77.0.1 and 10.77.0.2."""
    names = [f"attar-{os.getpid()}-{number}" for number in (1, 2)]
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    try:
        ip("netns", "add", names[0])
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode(errors='replace').strip()}")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", "cable1", "netns", names[0], "type", "veth", "peer", "name", "cable2", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", f"cable{number}")
            ip("-n", name, "link", "set", f"cable{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def environment(**more: str) -> dict[str, str]:
    calm = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
    return {**os.environ, "PYTHONPATH": str(ROOT), **calm, **more}


@dataclass
class Job:
    """One rank on each host. What they say goes to files: a pipe ends only when every process that has it has ended."""

    ranks: list[subprocess.Popen[bytes]]
    logs: list[Path]

    def ended(self, timeout: float = 600) -> list[tuple[int, str]]:
        """Exit codes and what was said, once all have ended."""
        codes = [rank.wait(timeout) for rank in self.ranks]
        return [(code, log.read_text()) for code, log in zip(codes, self.logs)]


@pytest.fixture
def start(hosts: list[str], tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Starts jobs; whatever is left of them at the end is killed."""
    jobs: list[Job] = []

    def job(*words: object) -> Job:
        logs = [tmp_path / f"log-{len(jobs)}-{number}" for number in range(len(hosts))]
        ranks = []
        for number, (host, log) in enumerate(zip(hosts, logs)):
            join = ["--nnodes", "2", "--node-rank", number, "--nproc-per-node", "1"]
            join += ["--master-addr", "10.77.0.1", "--master-port", PORT]
            command = ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run", *join, *words]
            cable = environment(GLOO_SOCKET_IFNAME=f"cable{number + 1}")
            with log.open("wb") as file:
                ranks.append(subprocess.Popen(list(map(str, command)), env=cable, stdout=file, stderr=file))
        jobs.append(Job(ranks, logs))
        return jobs[-1]

    yield job
    for host in hosts:
        kill(host)


def kill(host: str) -> None:
    """All processes of a host."""
    pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True).stdout.split()
    for pid in map(int, pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def sets(part: str, values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", f"{part}.{value}")]


def test_hosts_train_as_ranks_of_one_machine_do_even_if_one_of_them_dies(
    hosts: list[str], start: Callable[..., Job], shapes: Path, tmp_path: Path
) -> None:
    teach = ["-m", "attar", "teach", "--data", shapes, "-o", tmp_path / "teacher", *sets("teacher", TEACHER)]
    (first, said), (second, _) = start(*teach).ended()
    assert (first, second) == (0, 0), said

    def distill(name: str) -> list[object]:
        taught = ["--teacher", tmp_path / "teacher", "--cache", tmp_path / f"{name}-cache"]
        return ["-m", "attar", "distill", "--data", shapes, *taught, "-o", tmp_path / name, *sets("student", SETS)]

    local = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *distill("local")]
    subprocess.run(list(map(str, local)), check=True, env=environment(), capture_output=True)

    running = start(*distill("hosts"))
    while not (tmp_path / "hosts.training.pt").exists() and None in [rank.poll() for rank in running.ranks]:
        time.sleep(0.05)
    kill(hosts[1])
    (first, said), (second, _) = running.ended()
    assert first == 1 and second == -signal.SIGKILL
    assert "lost another rank of this job" in said and not (tmp_path / "hosts").exists()

    (first, said), (second, _) = start(*distill("hosts")).ended()
    assert (first, second) == (0, 0), said
    assert sha256(tmp_path / "hosts" / "model.safetensors") == sha256(tmp_path / "local" / "model.safetensors")
