"""Where a server listens, and how a phone gets there."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import re
import socket

from attar.console import err
from attar.errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        InputError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)  # so that the address works from the moment it is shown
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{host}, port {port}: cannot listen there ({error}). Choose other --host and --port."
        ) from error
    return listening


def address_of(host: str) -> str:
    """What to call this machine: the address of its way out, where it listens on all."""
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return host
    if number.is_unspecified:
        # Connecting a datagram socket sends nothing; it only asks which address would be used.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
            asking.connect(("192.0.2.1", 9))
            return str(asking.getsockname()[0])
        return socket.gethostname()
    return f"[{host}]" if number.version == 6 else host


def show_code(url: str) -> None:
    """The address as a QR code in the terminal."""
    import segno

    with contextlib.suppress(UnicodeEncodeError):  # a terminal without block characters has the address
        drawn = io.StringIO()
        segno.make(url, error="l").terminal(out=drawn, compact=True)
        err.print(drawn.getvalue(), markup=False, soft_wrap=True)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_of(text: str) -> str:
    """A server's address that a page may send to, without a slash at its end.

    Raises:
        InputError: it is none, or browsers would not send there from a page that has HTTPS.
    """
    address = text.rstrip("/")
    found = re.fullmatch(r"(https?)://([A-Za-z0-9.-]+)(:\d{1,5})?(/[A-Za-z0-9._~%/-]*)?", address)
    if not found:
        raise InputError(f"{text!r}: not a server's address, such as https://example.org:8750.")
    if found[1] == "http" and found[2] != "localhost" and not is_loopback(found[2]):
        raise InputError(f"{text}: pages send to https:// only, or to this machine. Give the server a certificate.")
    return address
