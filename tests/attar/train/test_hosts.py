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
from collections.abc import Iterator
from pathlib import Path

import pytest

from attar.files import sha256

pytest.importorskip("lightning_fabric")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PORT = 29514
STUDENT = ["name=mobilenetv4_conv_small_035", "pretrained=false", "size=32", "batch_size=12", "epochs=60"]
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


def start(hosts: list[str], *words: object) -> list[subprocess.Popen[str]]:
    """One rank on each host."""
    started = []
    for number, host in enumerate(hosts, 1):
        join = ["--nnodes", "2", "--node-rank", number - 1, "--nproc-per-node", "1"]
        join += ["--master-addr", "10.77.0.1", "--master-port", PORT]
        command = ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run", *join, *words]
        cable = environment(GLOO_SOCKET_IFNAME=f"cable{number}")
        started.append(
            subprocess.Popen(
                list(map(str, command)), text=True, env=cable, start_new_session=True, stderr=subprocess.PIPE
            )
        )
    return started


def ended(processes: list[subprocess.Popen[str]], timeout: float = 300) -> list[tuple[int, str]]:
    errors = [process.communicate(timeout=timeout)[1] for process in processes]
    return [(process.returncode, error) for process, error in zip(processes, errors)]


def sets(part: str, values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", f"{part}.{value}")]


def test_hosts_train_as_ranks_of_one_machine_do_even_if_one_of_them_dies(
    hosts: list[str], shapes: Path, tmp_path: Path
) -> None:
    teach = ["-m", "attar", "teach", "--data", shapes, "-o", tmp_path / "teacher", *sets("teacher", TEACHER)]
    assert [code for code, _ in ended(start(hosts, *teach))] == [0, 0]

    def distill(name: str) -> list[object]:
        taught = ["--teacher", tmp_path / "teacher", "--cache", tmp_path / f"{name}-cache"]
        return ["-m", "attar", "distill", "--data", shapes, *taught, "-o", tmp_path / name, *sets("student", SETS)]

    local = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *distill("local")]
    subprocess.run(list(map(str, local)), check=True, env=environment(), capture_output=True)

    running = start(hosts, *distill("hosts"))
    deadline = time.monotonic() + 120
    while not (tmp_path / "hosts.training.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = subprocess.run(["ip", "netns", "pids", hosts[1]], capture_output=True, text=True).stdout.split()
    for pid in map(int, pids):
        os.kill(pid, signal.SIGKILL)
    (first, said), (second, _) = ended(running, timeout=120)
    assert first == 1 and second == -signal.SIGKILL
    assert "lost another rank of this job" in said and not (tmp_path / "hosts").exists()

    assert [code for code, _ in ended(start(hosts, *distill("hosts")))] == [0, 0]
    assert sha256(tmp_path / "hosts" / "model.safetensors") == sha256(tmp_path / "local" / "model.safetensors")
