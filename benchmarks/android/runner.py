"""Starts `benchmark_model` on one phone, and tells a file that does not run from a phone that does not work."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attar.benchmarks.android import benchmark_model
from attar.benchmarks.android.adb import DeviceError, Done, Phone
from attar.benchmarks.android.benchmark_model import Output, Unreadable
from attar.benchmarks.android.folder import tracked

LOADING = 60
"""Seconds that a start may take beside its two phases; a GPU compiles its kernels then."""

_PROGRAM = "./benchmark_model"
_SIGNALS = {132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 139: "SIGSEGV"}
_KILLED = (130, 137, 143)


class NotRunning(Exception):
    """A file that does not run on a phone, and why."""


class Runner:
    """The program in a folder of a phone, set to an accelerator, a number of threads, and cores (`mask`) to stay on."""

    def __init__(self, phone: Phone, folder: str, mask: str | None, accelerator: str, threads: int) -> None:
        """Find out which flags the program has.

        Raises:
            DeviceError: it does not start on this phone.
        """
        self.phone, self.folder = phone, folder
        self._accelerator, self._threads, self._pin = accelerator, threads, f"taskset {mask} " if mask else ""
        help_text = phone.run(tracked(folder, f"{_PROGRAM} --help"))
        self._known = benchmark_model.known_flags(help_text.output)
        if not self._known:
            raise DeviceError(
                f"Phone {phone.serial}: benchmark_model does not start on it: {_plain(help_text.output)}. "
                "Is it built for Android, and not for Linux?"
            )

    def start(self, graph: str, profile: bool = False) -> Output:
        """Run one file: a warm-up and a few timed inferences; with `profile`, see where the time goes.

        Raises:
            NotRunning: the program fails on this file, or prints what cannot be understood.
            DeviceError: the phone killed the program, or does not answer.
        """
        done = self._run(self._command(graph, profile))
        try:
            output = benchmark_model.parse(done.output)
            if not profile:
                output.timed.inferences()  # refuses a program that did not keep to the number it was told
            return output
        except Unreadable as error:
            raise NotRunning(f"benchmark_model's output is not understood ({error}).") from error

    def answers(self, graph: str, images: Sequence[str], shape: Sequence[int]) -> list[bytes]:
        """The bytes that a file answers to each image; none where this version of the program cannot be asked.

        Raises:
            NotRunning, DeviceError: as `start`.
        """
        answer = f"{self.folder}/answer"
        answers = []
        for image in images:
            words = benchmark_model.answering(self._command(graph), image, shape, answer, self._known)
            if words is None:
                return []
            self._run(words)
            if self.phone.run(f"test -f {answer}").code != 0:
                return []
            answers.append(self.phone.pull(answer))
            self.phone.run(f"rm -f {answer}")
        return answers

    def _command(self, graph: str, profile: bool = False) -> list[str]:
        try:
            return benchmark_model.command(
                _PROGRAM, graph, self._accelerator, self._threads, self._known, profile=profile
            )
        except Unreadable as error:
            raise DeviceError(f"benchmark_model cannot use {self._accelerator}: {error}. Get another build.") from error

    def _run(self, words: Sequence[str]) -> Done:
        limit = 2 * benchmark_model.PHASE_SECONDS + LOADING
        done = self.phone.run(tracked(self.folder, self._pin + " ".join(words)), limit)
        if done.code in _KILLED:
            raise DeviceError(
                f"Phone {self.phone.serial}: benchmark_model was killed, most likely for want of memory. Close other "
                "apps or restart the phone, and run the same command again. Nothing of this measurement was recorded."
            )
        if done.code != 0:
            signal = f"It crashed ({_SIGNALS[done.code]}): " if done.code in _SIGNALS else ""
            raise NotRunning(signal + _plain(benchmark_model.failure(done.output)))
        return done


def _plain(text: str) -> str:
    """The last of a phone's words, on one line without control characters."""
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip()[-300:]
