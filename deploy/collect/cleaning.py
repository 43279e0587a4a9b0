"""Photos that strangers sent, made plain: upright sRGB pixels in a JPEG without metadata.

Decoders are C code, and a stranger chooses what they read. So photos are decoded by processes of their own, whose
memory and time are bounded (setrlimit(2), setitimer(2)); one that dies costs its photo, and another takes its place.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Self

from attar.data.images import UnreadableImage, read_rgb

LARGEST = 10 << 20
"""Bytes of a photo as it arrives: the page sends some 300 kB."""
MAX_PIXELS = 50_000_000
"""Photos with more are refused: phones take 12 to 48 megapixels."""
MEMORY = 2 << 30
"""Address space of a decoding process, bytes."""
SECONDS = 20
"""How long a photo may take."""
QUALITY = 92
"""Of the JPEG that is kept."""
_TRIES = 3
"""A process that dies takes the photos of the others with it; they are tried again."""


class Cleaner:
    """Processes that decode photos; use it in a `with` block."""

    def __init__(self, processes: int = min(4, os.cpu_count() or 1)) -> None:
        self._processes = processes
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(cancel_futures=True)

    def clean(self, path: Path) -> bytes:
        """The photo in a file, as a JPEG without metadata. May be called by several threads at once.

        Raises:
            UnreadableImage: it is no photo, over `MAX_PIXELS`, or decoding it took more memory or time than it may.
        """
        for _ in range(_TRIES):
            pool, cleaned = self._submitted(path)
            try:
                return cleaned.result()
            except BrokenProcessPool:
                self._replace(pool)
        raise UnreadableImage(f"decoding it took over {SECONDS} seconds or {MEMORY / 1e9:.1f} GB of memory, or crashed")

    def _submitted(self, path: Path) -> tuple[ProcessPoolExecutor, Future[bytes]]:
        with self._lock:
            if self._pool:
                with suppress(BrokenProcessPool):
                    return self._pool, self._pool.submit(_cleaned, str(path))
            # Not forked: the server has threads, and its memory is none of a decoder's business.
            self._pool = ProcessPoolExecutor(self._processes, get_context("spawn"), initializer=_confine)
            return self._pool, self._pool.submit(_cleaned, str(path))

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is broken:
                self._pool = None
        broken.shutdown(wait=False)


def _confine() -> None:
    """Bound this process before it reads anything. Ctrl-C is for the server, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _end_with_the_server() -> None:
    """A server that is killed cannot end its decoders, and they would wait for photos for ever."""
    server = parent_process()
    if server is not None:
        wait([server.sentinel])
        os._exit(1)


def _cleaned(path: str) -> bytes:
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, also in the middle of C code
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        image = read_rgb(Path(path), max_pixels=MAX_PIXELS)
        image.info.clear()  # comments, profiles and the like, which Pillow would write again
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=QUALITY, optimize=True)
        return stream.getvalue()
    except MemoryError:
        raise UnreadableImage("decoding it takes more memory than it may") from None
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
