"""A stand-in for an Android phone: it speaks the protocol of adb's daemon, so that the real `adb` can talk to it.

Its storage is a folder, its shell is Android's `mksh` (or else this machine's `/bin/sh`) with that folder's programs
first on the PATH, and its processes are real: they can be killed, and its cable can be pulled. What it cannot be is a
phone: every time measured through it is a time of this machine.

The protocol: packages/modules/adb in Android's source, protocol.txt, SYNC.TXT and shell_protocol.h.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SYNC, CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(name, "little") for name in (b"SYNC", b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
VERSION, MAX_DATA = 0x01000000, 256 * 1024
"""The version in which both sides check the sum of every message's bytes."""
TOKEN = 1
STDIN, STDOUT, STDERR, EXIT = range(4)
FULL = b"couldn't write file: No space left on device"

SHELL = shutil.which("mksh") or "/bin/sh"
"""Android's own shell where it is installed."""

Watch = Callable[[str, "subprocess.Popen[bytes]"], None]


class BadMessage(ValueError):
    """A message that a daemon must not accept."""


@dataclass(frozen=True)
class Message:
    """One message of the protocol: command, two arguments, payload."""

    command: int
    first: int
    second: int
    data: bytes = b""

    def packed(self) -> bytes:
        header = (self.command, self.first, self.second, len(self.data), sum(self.data) & 0xFFFFFFFF)
        return struct.pack("<6I", *header, self.command ^ 0xFFFFFFFF) + self.data


def read_message(read: Callable[[int], bytes], checked: bool = True) -> Message:
    """Read one message; `read(n)` gives exactly n bytes or raises EOFError."""
    command, first, second, length, total, magic = struct.unpack("<6I", read(24))
    if magic != command ^ 0xFFFFFFFF or length > MAX_DATA:
        raise BadMessage(f"command {command:#x}, {length} bytes")
    data = read(length)
    if checked and total != sum(data) & 0xFFFFFFFF:
        raise BadMessage("the sum of its bytes is wrong")
    return Message(command, first, second, data)


@dataclass
class Phone:
    """A phone that listens on a port of this machine; use it in a `with` block.

    Attributes:
        folder: what is on it, and the programs in its `system/bin`.
        authorized: whether it trusts every computer, or none.
        features: what its daemon can do; without `shell_v2` it is a phone before Android 7.
        space: bytes that still fit on it; None for no limit.
        environment: variables that its programs see.
        watch: called with each command and its process, once started.
    """

    folder: Path
    authorized: bool = True
    features: str = "shell_v2,cmd,stat_v2"
    space: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    watch: Watch | None = None
    commands: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def serial(self) -> str:
        """The name that adb gives it."""
        host, port = self._address
        return f"{host}:{port}"

    @property
    def temporary(self) -> Path:
        """What is at /data/local/tmp."""
        return self.folder / "data/local/tmp"

    def __enter__(self) -> Phone:
        self._address = self._listener.getsockname()
        self.temporary.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Pull the cable: connections break, and what ran for them ends."""
        # Closing alone would leave the thread that waits for a connection waiting, and the port open.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def inside(self, text: str) -> str:
        """A command or path with the phone's folders where they really are."""
        return re.sub(r"(?<![\w.])/(data/local/tmp|sys/devices)", rf"{self.folder}/\1", text)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command line in the phone's shell."""
        self.commands.append(command)
        path = f"{self.folder / 'system/bin'}:{os.environ['PATH']}"
        process = subprocess.Popen(
            [SHELL, "-c", self.inside(command)],
            cwd=self.folder,
            env={"PATH": path, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.processes.append(process)
        if self.watch is not None:
            threading.Thread(target=self.watch, args=(command, process), daemon=True).start()
        return process

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=_Daemon(self, connection).serve, daemon=True).start()


class _Daemon:
    """One connection of an adb server."""

    def __init__(self, phone: Phone, connection: socket.socket) -> None:
        self.phone, self._connection = phone, connection
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        """Answer messages until the connection ends."""
        try:
            while True:
                self._answer(read_message(self._read))
        except (OSError, EOFError, BadMessage):
            self._connection.close()
        for stream in list(self._streams.values()):
            stream.close()

    def send(self, message: Message) -> None:
        with self._sending:
            self._connection.sendall(message.packed())

    def forget(self, stream: _Stream) -> None:
        self._streams.pop(stream.ours, None)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._connection.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _answer(self, message: Message) -> None:
        if message.command in (CNXN, AUTH):
            # A phone that does not trust the computer sends a token, whatever is answered to it.
            greeting = f"device::ro.product.name=standin;ro.product.model=Stand-in;features={self.phone.features}"
            untrusted = Message(AUTH, TOKEN, 0, os.urandom(20))
            self.send(Message(CNXN, VERSION, MAX_DATA, greeting.encode()) if self.phone.authorized else untrusted)
        elif message.command == OPEN and self.phone.authorized:
            stream = _Stream(self, 1 + max(self._streams, default=0), message.first)
            self._streams[stream.ours] = stream
            service = message.data.rstrip(b"\0").decode()
            threading.Thread(target=_serve, args=(self.phone, stream, service), daemon=True).start()
        elif stream := self._streams.get(message.second):
            stream.receive(message)


class _Stream:
    """One service's two-way stream of bytes; each side waits for the other's OKAY before it sends more."""

    def __init__(self, daemon: _Daemon, ours: int, theirs: int) -> None:
        self.ours, self._daemon, self._theirs = ours, daemon, theirs
        self._data, self._closed = bytearray(), False
        self._changed, self._ready = threading.Condition(), threading.Semaphore(1)

    def accept(self) -> None:
        self._daemon.send(Message(OKAY, self.ours, self._theirs))

    def receive(self, message: Message) -> None:
        if message.command == OKAY:
            self._ready.release()
        elif message.command == WRTE:
            with self._changed:
                self._data += message.data
                self._changed.notify()
            self.accept()
        elif message.command == CLSE:
            self.close()

    def read(self, count: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: len(self._data) >= count or self._closed)
            if len(self._data) < count:
                raise EOFError
            data = bytes(self._data[:count])
            del self._data[:count]
            return data

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), MAX_DATA):
            self._ready.acquire()
            if self._closed:
                raise EOFError
            self._daemon.send(Message(WRTE, self.ours, self._theirs, data[at : at + MAX_DATA]))

    def finish(self) -> None:
        """Close the stream once everything written was taken."""
        self._ready.acquire()
        if not self._closed:
            self._daemon.send(Message(CLSE, self.ours, self._theirs))
        self._daemon.forget(self)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._ready.release()


def _serve(phone: Phone, stream: _Stream, service: str) -> None:
    name, _, argument = service.partition(":")
    kind, *options = name.split(",")
    try:
        stream.accept()
        if kind == "shell":
            _shell(phone, stream, argument, "v2" in options)
        elif kind == "sync":
            _sync(phone, stream)
        stream.finish()
    except (OSError, EOFError):
        pass


def _shell(phone: Phone, stream: _Stream, command: str, packets: bool) -> None:
    """Run a command; with `packets` its two outputs and its exit status are told apart."""
    process = phone.start(command)
    assert process.stdout and process.stderr
    sending = threading.Lock()

    def copy(source: int, pipe: object) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            line = line.replace(os.fsencode(phone.folder) + b"/", b"/")
            try:
                with sending:
                    stream.write(struct.pack("<BI", source, len(line)) + line if packets else line)
            except (OSError, EOFError):
                return

    pipes = ((STDOUT, process.stdout), (STDERR, process.stderr))
    threads = [threading.Thread(target=copy, args=pipe, daemon=True) for pipe in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    code = process.wait()
    if packets:
        stream.write(struct.pack("<BIB", EXIT, 1, code if code >= 0 else 128 - code))


def _sync(phone: Phone, stream: _Stream) -> None:
    """Files to and from the phone."""
    while True:
        request, length = struct.unpack("<4sI", stream.read(8))
        if request == b"QUIT":
            return
        argument = stream.read(length).decode()
        path = Path(phone.inside(argument.rpartition(",")[0] if request == b"SEND" else argument))
        if request == b"STAT":
            status = path.stat() if path.exists() else None
            values = (status.st_mode, status.st_size, int(status.st_mtime)) if status else (0, 0, 0)
            stream.write(struct.pack("<4s3I", request, *values))
        elif request in (b"STA2", b"LST2"):
            stream.write(_long_status(request, path))
        elif request == b"SEND":
            _receive_file(phone, stream, path)
        elif request == b"RECV":
            _send_file(stream, path)
        else:
            raise EOFError


def _long_status(request: bytes, path: Path) -> bytes:
    form = "<4sIQQIIIIQqqq"
    if not path.exists():
        return struct.pack(form, request, 2, *[0] * 10)
    at = path.stat()
    owners = (at.st_dev, at.st_ino, at.st_mode, at.st_nlink, at.st_uid, at.st_gid, at.st_size)
    return struct.pack(form, request, 0, *owners, *(int(time) for time in (at.st_atime, at.st_mtime, at.st_ctime)))


def _receive_file(phone: Phone, stream: _Stream, path: Path) -> None:
    """Write a file; one that does not fit is removed, and the rest of it is read and dropped, as adb's daemon does."""
    problem = None if path.parent.is_dir() else b"couldn't create file: No such file or directory"
    with (path if problem is None else Path(os.devnull)).open("wb") as target:
        while True:
            word, length = struct.unpack("<4sI", stream.read(8))
            if word == b"DONE":
                break
            data = stream.read(length)
            if phone.space is not None and problem is None:
                phone.space -= length
                problem = FULL if phone.space < 0 else None
            if problem is None:
                target.write(data)
    if problem is None:
        path.chmod(stat.S_IMODE(0o644))
        stream.write(struct.pack("<4sI", b"OKAY", 0))
    else:
        path.unlink(missing_ok=True)
        stream.write(struct.pack("<4sI", b"FAIL", len(problem)) + problem)


def _send_file(stream: _Stream, path: Path) -> None:
    if not path.is_file():
        problem = b"No such file or directory"
        stream.write(struct.pack("<4sI", b"FAIL", len(problem)) + problem)
        return
    content = path.read_bytes()
    for at in range(0, len(content), 64 * 1024):
        chunk = content[at : at + 64 * 1024]
        stream.write(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
    stream.write(struct.pack("<4sI", b"DONE", 0))
