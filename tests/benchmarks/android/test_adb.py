"""Around a phone, without adb: phones listed, errors explained, programs checked, the stand-in's protocol."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.benchmarks import android
from attar.benchmarks.android import folder
from attar.benchmarks.android.adb import DeviceError, DeviceLost, Listed, choose, explain, find_adb, parse_devices
from attar.benchmarks.android.tool import VARIABLE, abi_of, find_tool
from attar.errors import InputError
from helpers import warm
from helpers.standin.elf import program
from helpers.standin.phone import (
    AUTH,
    CLSE,
    CNXN,
    FULL,
    OKAY,
    OPEN,
    TOKEN,
    VERSION,
    WRTE,
    BadMessage,
    Message,
    Phone,
    read_message,
)
from helpers.standin.plugged import runs_programs

# --- phones and errors ----------------------------------------------------------------------------

LIST = """\
* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
28051FDH3000A1\tdevice
192.168.1.7:5555\tunauthorized
R58M\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com/...]

"""
ONE, TWO, SHY = Listed("one", "device"), Listed("two", "device"), Listed("shy", "unauthorized")


def test_the_list_of_phones() -> None:
    assert [(each.serial, each.state.partition(" (")[0]) for each in parse_devices(LIST)] == [
        ("28051FDH3000A1", "device"),
        ("192.168.1.7:5555", "unauthorized"),
        ("R58M", "no permissions"),
    ]


@given(st.text())
def test_any_list_is_read(text: str) -> None:
    assert all(each.serial and each.state for each in parse_devices(text))


def test_the_phone_that_is_meant() -> None:
    assert choose([ONE], None) == choose([SHY, ONE], None) == choose([ONE, TWO], "one") == [ONE]
    assert choose([ONE, SHY], "all") == [ONE, SHY]


@pytest.mark.parametrize(
    ("listed", "wanted", "words"),
    [
        ([], None, ["No Android phone is connected", "USB debugging"]),
        ([ONE, TWO], None, ["2 phones", "one, two", "--device SERIAL", "--device all"]),
        ([ONE, SHY], "tree", ["--device tree", "one, shy (unauthorized)"]),
        ([ONE], "onne", ["Did you mean 'one'"]),
        ([SHY], None, ["shy", "Unlock it and allow USB debugging"]),
        ([Listed("x", "offline")], None, ["x", "Unplug it", "adb kill-server"]),
        ([Listed("x", "no permissions (...)")], None, ["x", "udev rules"]),
        ([Listed("x", "recovery")], None, ["x", "'recovery'", "adb reboot"]),
    ],
)
def test_a_choice_that_cannot_be_made_is_explained(listed: list[Listed], wanted: str | None, words: list[str]) -> None:
    with pytest.raises(DeviceError) as error:
        choose(listed, wanted)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("said", "kind", "word"),
    [
        ("", DeviceLost, "connection was lost"),
        ("error: device 'x' not found", DeviceLost, "Connect it again"),
        ("error: device offline", DeviceLost, "lost"),
        ("error: closed", DeviceLost, "lost"),
        ("error: protocol fault (couldn't read status): Connection reset by peer", DeviceLost, "lost"),
        (
            "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set",
            DeviceError,
            "allow USB debugging",
        ),
        ("error: device still authorizing", DeviceError, "Allow it on its screen"),
        ("error: insufficient permissions for device: user in plugdev group", DeviceError, "udev"),
        (
            f"adb: error: failed to copy 'a' to 'b': remote {FULL.decode()}",
            DeviceError,
            "storage is full while copying a",
        ),
        ("adb: error: failed to copy 'a' to 'b': remote Permission denied", DeviceError, "refuses while copying a"),
        ("adb: error: something new", DeviceError, "adb failed while copying a: adb: error: something new"),
    ],
)
def test_what_adb_says_is_explained(said: str, kind: type, word: str) -> None:
    error = explain("x", said, "copying a")
    assert type(error) is kind and word in str(error) and str(error).startswith("Phone x: ")


def test_adb_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"adb: not found .*platform-tools.*apt install adb"):
        find_adb()
    kit = tmp_path / "platform-tools" / "adb"
    kit.parent.mkdir()
    kit.touch()
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    assert find_adb() == str(kit)


def test_the_command_line_without_adb(small: Any, tmp_path: Path) -> None:
    (tmp_path / "benchmark_model").write_bytes(program("/x", Path("y")))
    words = warm.attar("bench", small.exports, "--runtime", "android")
    words += ["--benchmark-model", str(tmp_path / "benchmark_model"), "--output", str(tmp_path / "out")]
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("ANDROID_")}
    done = subprocess.run(words, capture_output=True, text=True, env={**hidden, "PATH": str(tmp_path)})
    assert done.returncode == 2 and "Error: adb: not found" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_options_of_phones_without_a_phone(small: Any) -> None:
    words = warm.attar("bench", small.exports, "--device", "x")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and "--device: is about phones. Add --runtime android." in done.stderr


def test_bad_arguments(small: Any) -> None:
    for wrong in ({"threads": 0}, {"seconds": 0.0}):
        with pytest.raises(InputError, match="positive"):
            android.bench(small.exports, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--accelerator gpuu: one of cpu, gpu, nnapi. Did you mean 'gpu'"):
        android.bench(small.exports, accelerator="gpuu")


# --- the program that the user brings ------------------------------------------------------------------


def test_no_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(InputError, match=rf"--benchmark-model.*{VARIABLE}.*android_aarch64"):
        find_tool(None)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(InputError, match="gone: no such file"):
        find_tool(None)


@pytest.mark.parametrize(("machine", "abi"), [(183, "arm64-v8a"), (40, "armeabi-v7a"), (62, "x86_64")])
def test_the_processor_of_a_program(tmp_path: Path, machine: int, abi: str) -> None:
    path = tmp_path / "benchmark_model"
    path.write_bytes(program("/bin/true", Path("/x"), machine))
    tool = find_tool(path)
    assert tool.abi == abi and len(tool.sha256) == 64
    tool.check_runs_on([abi, "x86"], "x")
    with pytest.raises(InputError, match=rf"built for {abi}, and phone x runs mips. Give --benchmark-model"):
        tool.check_runs_on(["mips"], "x")


@given(st.binary(max_size=200), st.integers(0, 120))
def test_what_is_no_program_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    for content in (noise, b"\x7fELF\x02\x01" + noise, program("/x", Path("y"))[:cut]):
        path.write_bytes(content)
        try:
            assert abi_of(path)
        except InputError as error:
            assert str(path) in str(error)


def test_an_unknown_processor_and_a_program_for_desktop_linux(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_model"
    path.write_bytes(program("/x", Path("y"), machine=2))
    with pytest.raises(InputError, match="ELF machine 2"):
        abi_of(path)
    for loader, fits in ((b"/lib/ld-linux-aarch64.so.1\0", False), (b"/system/bin/linker64\0", True)):
        header = bytearray(program("/x", Path("y"), machine=183)[:64])
        segment = struct.pack("<IIQQQQQQ", 3, 4, 64 + 56, 0, 0, len(loader), len(loader), 1)
        path.write_bytes(bytes(header) + segment + loader)
        if fits:
            assert abi_of(path) == "arm64-v8a"
            continue
        with pytest.raises(InputError, match=r"desktop Linux, not for Android \(/lib/ld-linux"):
            abi_of(path)


@runs_programs
def test_the_tiny_program_hands_its_words_on(tmp_path: Path) -> None:
    script, path = tmp_path / "script.py", tmp_path / "program"
    script.write_text("import os, sys\nprint(sys.argv[1:], os.environ['WORD'])\nsys.exit(7)\n")
    path.write_bytes(program(sys.executable, script))
    path.chmod(0o755)
    done = subprocess.run([path, "--a=b c", "d"], capture_output=True, text=True, env={"WORD": "w"})
    assert (done.stdout, done.returncode) == ("['--a=b c', 'd'] w\n", 7)


def test_a_tracked_command_keeps_its_status_and_its_quotes(tmp_path: Path) -> None:
    line = folder.tracked(str(tmp_path), "sh -c 'echo \"it'\"'\"'s $(cat pid) $$\"; exit 9'")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    one, two = done.stdout.split()[1:]
    assert done.returncode == 9 and one == two, "the process that was noted is the program itself"
    assert list(tmp_path.iterdir()) == []


# --- the stand-in's protocol, by hand -----------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_messages_survive_the_wire(command: int, first: int, second: int, data: bytes) -> None:
    message = Message(command, first, second, data)
    assert read_message(exactly(message.packed())) == message


@given(st.binary(min_size=1, max_size=50), st.integers(min_value=0))
def test_a_damaged_message_is_refused(data: bytes, place: int) -> None:
    packed = bytearray(Message(WRTE, 1, 2, data).packed())
    at = place % len(packed)
    packed[at] ^= 0x10
    if 4 <= at < 12:  # the arguments are nobody's but the service's
        return
    with pytest.raises((BadMessage, EOFError)):
        read_message(exactly(bytes(packed)))


def exactly(content: bytes) -> Callable[[int], bytes]:
    stream = io.BytesIO(content)

    def read(count: int) -> bytes:
        data = stream.read(count)
        if len(data) < count:
            raise EOFError
        return data

    return read


class Host:
    """The other side of the wire: an adb server that says one thing at a time."""

    def __init__(self, phone: Phone) -> None:
        host, port = phone.serial.split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=600)
        self._file = self._socket.makefile("rb")

    def send(self, *message: int, data: bytes = b"") -> None:
        self._socket.sendall(Message(*message, data).packed())

    def receive(self) -> Message:
        return read_message(exactly_from(self._file))

    def open(self, service: bytes) -> Iterator[bytes]:
        """The bytes of a service, each message answered."""
        self.send(OPEN, 7, 0, data=service + b"\0")
        while (message := self.receive()).command != CLSE:
            if message.command == WRTE:
                self.send(OKAY, 7, message.first)
                yield message.data

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def exactly_from(stream: io.BufferedReader) -> Callable[[int], bytes]:
    def read(count: int) -> bytes:
        data = stream.read(count)
        if len(data) < count:
            raise EOFError
        return data

    return read


def test_a_greeting_and_a_command(tmp_path: Path) -> None:
    with Phone(tmp_path) as phone:
        host = Host(phone)
        host.send(CNXN, VERSION, 4096, data=b"host::features=shell_v2\0")
        answer = host.receive()
        assert answer.command == CNXN and answer.data.startswith(b"device::") and b"shell_v2" in answer.data
        both = b"".join(host.open(b"shell:echo one; echo two >&2; exit 3")).split()
        assert sorted(both) == [b"one", b"two"]  # two pipes: which is read first is chance
        packets = b"".join(host.open(b"shell,v2,raw:echo one; exit 3"))
        assert packets == struct.pack("<BI", 1, 4) + b"one\n" + struct.pack("<BIB", 3, 1, 3)
        assert b"".join(host.open(b"nosuch:")) == b""
        host.close()


def test_a_phone_that_trusts_nobody_opens_nothing(tmp_path: Path) -> None:
    with Phone(tmp_path, authorized=False) as phone:
        host = Host(phone)
        host.send(CNXN, VERSION, 4096, data=b"host::\0")
        tokens = [host.receive()]
        host.send(AUTH, 2, 0, data=b"signature")
        tokens.append(host.receive())
        assert [(each.command, each.first, len(each.data)) for each in tokens] == [(AUTH, TOKEN, 20)] * 2
        assert tokens[0].data != tokens[1].data
        host.send(OPEN, 7, 0, data=b"shell:echo no\0")
        host.send(AUTH, 3, 0, data=b"key")
        assert host.receive().command == AUTH and phone.commands == []
        host.close()


def test_a_damaged_message_ends_the_connection(tmp_path: Path) -> None:
    with Phone(tmp_path) as phone:
        host = Host(phone)
        host._socket.sendall(b"x" * 24)
        with pytest.raises(EOFError):
            host.receive()
        host.close()
