"""Memory that a training step frees stays with the process, for the next step to use again.

glibc maps every block above some megabytes anew and gives it back when it is freed. A training step allocates and
frees hundreds of such blocks, and the kernel clears each page of them once more, which takes a good part of a small
student's training time on a CPU. Kept, the blocks are reused; the peak of memory is about the same.
"""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""glibc's numbers of the two parameters (mallopt(3))."""


def keep_freed() -> bool:
    """Let the C library keep what is freed, from now on; whether it can: it is glibc, and its user has not set it."""
    set_by_user = {"MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
    if platform.libc_ver()[0] != "glibc" or set_by_user & os.environ.keys():
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
