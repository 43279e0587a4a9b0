"""Views drawn by processes are those drawn by threads."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import weakref
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from attar.children import FORKS
from attar.data.photos import DataSpec, labels_of, read_photos
from attar.data.processes import Processes, lost
from attar.data.store import PhotoStore
from attar.data.views import WORKERS, ViewLoader, ViewPolicy
from attar.errors import InputError

pytestmark = pytest.mark.skipif(not FORKS, reason="processes are for Linux")


def loader(shapes: Path, processes: bool, **policy: float) -> ViewLoader:
    photos = read_photos(DataSpec(str(shapes)))
    return ViewLoader(
        PhotoStore(photos.train, 32),
        labels_of(photos.train),
        ViewPolicy(**policy),
        size=32,
        batch_size=5,
        seed=1,
        workers=2,
        processes=processes,
    )


@pytest.mark.parametrize("policy", [{}, {"mixup": 0.4, "cutmix": 1.0}])
def test_they_draw_what_threads_draw_in_the_same_order(shapes: Path, policy: dict[str, float]) -> None:
    threads, processes = (loader(shapes, each, **policy) for each in (False, True))
    for epoch, start in ((0, 0), (3, 2)):
        pairs = list(zip(threads.epoch(epoch, start), processes.epoch(epoch, start), strict=True))
        assert len(pairs) == threads.steps - start
        for one, other in pairs:
            assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
            assert np.array_equal(one.index, other.index) and np.array_equal(one.view, other.view)


def test_an_epoch_that_was_left_early_leaves_nothing_to_the_next(shapes: Path) -> None:
    processes, threads = loader(shapes, True), loader(shapes, False)
    list(islice(processes.epoch(0), 2))
    for one, other in zip(threads.epoch(1), processes.epoch(1), strict=True):
        assert torch.equal(one.images, other.images)


def test_an_error_is_the_one_line_that_it_is_elsewhere() -> None:
    def draw(chunk: int) -> int:
        if chunk == 3:
            raise InputError("photo 3 is gone")
        return 2 * chunk

    processes = Processes(draw, 2)
    with pytest.raises(InputError) as caught:
        list(processes.drawn([1, 2, 3, 4]))
    assert str(caught.value) == "photo 3 is gone"
    assert list(processes.drawn([5, 6])) == [10, 12]
    del caught  # its traceback holds the processes in a circle


def test_several_workers_are_processes_and_one_is_a_thread(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, is_processes in (("1", False), ("2", True)):
        monkeypatch.setenv(WORKERS, asked)
        photos = read_photos(DataSpec(str(shapes)))
        here = ViewLoader(
            PhotoStore(photos.train, 32), labels_of(photos.train), ViewPolicy(), size=32, batch_size=5, seed=1
        )
        assert (here._processes is not None) == is_processes
    for wrong in ("0", "two", "-1", "99999", "²"):
        monkeypatch.setenv(WORKERS, wrong)
        with pytest.raises(InputError, match=WORKERS):
            ViewLoader(
                PhotoStore(photos.train, 32), labels_of(photos.train), ViewPolicy(), size=32, batch_size=5, seed=1
            )


def test_the_random_numbers_of_the_training_are_not_touched() -> None:
    before, processes = torch.get_rng_state(), Processes(lambda chunk: chunk, 2)
    for _ in range(2):
        list(processes.drawn([1, 2]))
    assert torch.equal(torch.get_rng_state(), before)


def test_ctrl_c_is_not_for_them() -> None:
    assert list(Processes(lambda _: signal.getsignal(signal.SIGINT) == signal.SIG_IGN, 2).drawn([1, 2])) == [True] * 2


def test_one_that_is_killed_is_told_in_words() -> None:
    processes = Processes(lambda chunk: os.kill(os.getpid(), signal.SIGKILL) if chunk == 3 else chunk, 2)
    with pytest.raises(RuntimeError) as caught:
        list(processes.drawn([1, 2, 3, 4]))
    told = lost(caught.value)
    assert told and "ATTAR_WORKERS=1" in str(told) and lost(RuntimeError("other")) is None
    del caught


def test_a_loader_that_is_not_needed_any_more_ends_its_processes_at_once(shapes: Path) -> None:
    processes = loader(shapes, True)
    next(processes.epoch(0))
    running = {child.pid for child in multiprocessing.active_children()}
    gone = weakref.ref(processes)
    gc.disable()  # it must not take a garbage collection, in which torch waits five seconds for each
    try:
        del processes
        assert running and gone() is None
        assert not running & {child.pid for child in multiprocessing.active_children()}
    finally:
        gc.enable()
