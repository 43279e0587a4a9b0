"""Freed memory is kept: large blocks that come and go cause no page faults after the first."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from attar.train.memory import keep_freed

_FAULTS = """
import resource, sys, torch
from attar.train.memory import keep_freed
kept = keep_freed() if sys.argv[1] == "keep" else False
for _ in range(20):  # until the heap has found its shape
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20)  # 64 MiB
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: str, **environment: str) -> tuple[bool, int]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, keep],
        capture_output=True,
        text=True,
        check=True,
        env={**environ, **environment},
    )
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
def test_what_is_kept_is_not_faulted_in_again() -> None:
    (_, without), (kept, with_it) = faults("no"), faults("keep")
    assert kept and with_it < without / 4, (without, with_it)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
def test_what_the_user_has_set_stays() -> None:
    assert not faults("keep", MALLOC_TRIM_THRESHOLD_="1000000")[0]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed()
