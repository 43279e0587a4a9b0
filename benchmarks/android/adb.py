"""Android phones by the `adb` program: which there are, commands on them, files to them.

Everything that can go wrong between here and a phone is a `DeviceError` that names the phone and the remedy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from attar.errors import InputError, did_you_mean
from attar.files import sha256

ALL = "all"
"""Instead of a serial number: every phone."""

_STATUS = re.compile(r"attar-status=(\d+)\s*\Z")
_PASSING = ("authorizing", "connecting", "offline")
"""States that a phone may leave by itself."""
_GONE = ("not found", "offline", "no devices", "closed", "protocol fault", "onnection reset", "EOF")
"""What adb says when a phone went away."""
_SLOWEST = 1e6
"""Bytes a second below which copying to a phone is taken for stuck: USB 2 and Wi-Fi are faster."""


class DeviceError(InputError):
    """A phone, or the way to it, does not do what it was asked for."""


class DeviceLost(DeviceError):
    """The connection to a phone ended in the middle of the work."""


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices`; `state` is `device` where the phone is ready."""

    serial: str
    state: str


@dataclass(frozen=True)
class Done:
    """A command that ended on a phone: its exit status, and what it printed to both streams."""

    code: int
    output: str


def find_adb() -> str:
    """The adb program: on the PATH, or in the Android SDK.

    Raises:
        InputError: there is none.
    """
    name = "adb.exe" if os.name == "nt" else "adb"
    sdks = filter(None, (os.environ.get("ANDROID_HOME"), os.environ.get("ANDROID_SDK_ROOT")))
    kits = (Path(sdk) / "platform-tools" / name for sdk in sdks)
    program = shutil.which("adb") or next((str(path) for path in kits if path.is_file()), None)
    if program is None:
        raise InputError(
            "adb: not found on the PATH or in $ANDROID_HOME. It comes with Android's platform-tools "
            "(https://developer.android.com/tools/releases/platform-tools); on Debian and Ubuntu: apt install adb."
        )
    return program


def devices(adb: str) -> list[Listed]:
    """The phones that adb sees, ready or not."""
    done = _call([adb, "devices"], 60, "adb devices")
    if done.returncode != 0:
        raise InputError(f"adb devices: {_last(done.stderr) or f'exit code {done.returncode}'}. Try: adb kill-server.")
    return parse_devices(done.stdout)


def settled(adb: str, seconds: float = 3) -> list[Listed]:
    """The same, once no phone is still finding its state: just after adb started they need a moment."""
    end = monotonic() + seconds
    while True:
        listed = devices(adb)
        if monotonic() > end or not any(phone.state in _PASSING for phone in listed):
            return listed
        sleep(0.3)


def parse_devices(text: str) -> list[Listed]:
    """Phones in the output of `adb devices`; what its server says about itself is passed over."""
    lines = (re.fullmatch(r"(\S+)\t(.+?)\s*", line) for line in text.splitlines())
    return [Listed(match[1], match[2]) for match in lines if match]


def choose(listed: Sequence[Listed], wanted: str | None) -> list[Listed]:
    """The phones to measure on: the one asked for, all of them, or the only one that is ready.

    Raises:
        DeviceError: no phone, no such phone, or several and none was asked for.
    """
    states = {phone.serial: "" if phone.state == "device" else f" ({phone.state})" for phone in listed}
    names = ", ".join(f"{serial}{state}" for serial, state in states.items())
    if not listed:
        raise DeviceError(
            "No Android phone is connected. Connect one by USB, switch on USB debugging in its Developer options, and "
            "allow this computer on its screen; by Wi-Fi: adb connect ADDRESS. `adb devices` then lists it."
        )
    if wanted == ALL:
        return list(listed)
    if wanted is not None:
        phones = [phone for phone in listed if phone.serial == wanted]
        if not phones:
            near = did_you_mean(wanted, [phone.serial for phone in listed])
            raise DeviceError(f"--device {wanted}: no such phone is connected.{near} Connected: {names}.")
        return phones
    ready = [phone for phone in listed if phone.state == "device"]
    if len(ready) > 1:
        raise DeviceError(
            f"{len(ready)} phones are connected: {names}. Choose one with --device SERIAL, or all with --device {ALL}."
        )
    if not ready:
        raise DeviceError(" ".join(str(unready(phone)) for phone in listed))
    return ready


def unready(phone: Listed) -> DeviceError:
    """Why a phone that is listed cannot be used, and what to do."""
    remedies = {
        "unauthorized": "does not trust this computer yet. Unlock it and allow USB debugging on its screen; if it does "
        "not ask, revoke USB debugging authorizations in its Developer options and connect it again.",
        "authorizing": "is asking whether to trust this computer. Allow it on its screen and run the command again.",
        "offline": "does not answer. Unplug it and connect it again, or restart adb: adb kill-server.",
        "connecting": "is still connecting. Run the command again in a moment.",
    }
    if "permission" in phone.state:
        remedy = (
            "may not be used by this user. Install the udev rules (on Debian and Ubuntu: apt install "
            "android-sdk-platform-tools-common), join the group plugdev, and connect it again."
        )
    else:
        remedy = remedies.get(phone.state, f"is in the state {phone.state!r}. Start Android on it: adb reboot.")
    return DeviceError(f"Phone {phone.serial}: {remedy}")


class Phone:
    """One phone that is ready."""

    def __init__(self, adb: str, serial: str) -> None:
        self.adb, self.serial = adb, serial

    def run(self, command: str, timeout: float = 60) -> Done:
        """Run a command line in the phone's shell.

        Raises:
            DeviceError: the phone is not there or not ready, the connection was lost, or `timeout` seconds passed.
        """
        # Phones before Android 7 pass no exit status on, and a lost connection looks like a command that ended. So the
        # shell prints the status as its last words, and without them the command did not end.
        marked = f"( {command}\n) 2>&1 </dev/null; echo attar-status=$?"
        done = _call([self.adb, "-s", self.serial, "shell", marked], timeout, f"Phone {self.serial}")
        text = done.stdout.replace("\r\n", "\n")
        status = _STATUS.search(text)
        if status is None:
            raise explain(self.serial, done.stderr)
        return Done(int(status[1]), text[: status.start()])

    def check(self, command: str, timeout: float = 60) -> str:
        """The same where the command has to succeed; returns what it printed."""
        done = self.run(command, timeout)
        if done.code != 0:
            raise DeviceError(f"Phone {self.serial}: `{command}` failed: {_last(done.output) or f'exit {done.code}'}")
        return done.output

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone, and make sure that it arrived whole."""
        size = source.stat().st_size
        words = [self.adb, "-s", self.serial, "push", str(source), target]
        done = _call(words, 60 + size / _SLOWEST, f"Phone {self.serial}, copying {source.name}")
        if done.returncode != 0:
            raise explain(self.serial, done.stderr + done.stdout, f"copying {source.name} ({size / 1e6:.1f} MB)")
        self._check_whole(source, target)

    def pull(self, source: str) -> bytes:
        """Read a small file of the phone."""
        with TemporaryDirectory() as folder:
            target = Path(folder) / "pulled"
            words = [self.adb, "-s", self.serial, "pull", source, str(target)]
            done = _call(words, 60, f"Phone {self.serial}")
            if done.returncode != 0:
                raise explain(self.serial, done.stderr + done.stdout, f"reading {source}")
            return target.read_bytes()

    def _check_whole(self, source: Path, target: str) -> None:
        output = self.run(f"sha256sum {target}", 120)
        if output.code == 0:
            whole = output.output.split()[:1] == [sha256(source)]
        else:  # phones before Android 6 have no sha256sum
            whole = self.check(f"wc -c < {target}").split()[:1] == [str(source.stat().st_size)]
        if not whole:
            raise DeviceError(f"Phone {self.serial}: {source.name} arrived damaged. Try another cable or port.")


def explain(serial: str, text: str, doing: str = "") -> DeviceError:
    """What adb said when it failed, as an error with its remedy."""
    during, last = f" while {doing}" if doing else "", _last(text)
    for words in ("unauthorized", "authorizing", "insufficient permissions"):
        if words in text:
            return unready(Listed(serial, words))
    if "No space left" in text:
        return DeviceError(f"Phone {serial}: its storage is full{during}. Free some space on it and try again.")
    if any(words in text for words in ("ermission denied", "Read-only file system", "Operation not permitted")):
        return DeviceError(f"Phone {serial}: it refuses{during}: {last}. May adb write to /data/local/tmp on it?")
    if not text.strip() or any(words in text for words in _GONE):
        return DeviceLost(
            f"Phone {serial}: the connection was lost{during}. Connect it again (a loose cable, or Wi-Fi that sleeps?) "
            "and run the same command again. Nothing of this measurement was recorded."
        )
    return DeviceError(f"Phone {serial}: adb failed{during}: {last}")


def _call(words: list[str], timeout: float, what: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"{what}: no answer within {timeout:.0f} s. Try: adb kill-server, and connect again."
        ) from None
    except OSError as error:
        raise InputError(f"{words[0]}: does not start ({error.strerror}).") from error


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
