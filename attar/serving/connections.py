"""Who may hold a connection to a server, and for how long.

A connection needs no token, so it must cost little: it is closed if its next request does not come in time, and where
there are too many, the one that has waited longest makes room. Whoever sends a request is thus served, however many
others are silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

LARGEST_HEAD = 16 << 10
"""Bytes of a request's line and headers."""


@dataclass(frozen=True)
class Bounds:
    """How many connections there may be, and their seconds.

    Attributes:
        in_all: at once. A browser uses six to one server.
        per_address: at once, of one address; phones behind one cable or router share it.
        idle: from the beginning of a connection, or the end of an answer, until the next request's head is complete.
        exchange: from a request's head to the end of its answer, the largest file over a slow network included.
    """

    in_all: int = 256
    per_address: int = 128
    idle: float = 10
    exchange: float = 900


class Connections:
    """The open connections of one server. Belongs to its event loop."""

    def __init__(self, bounds: Bounds = Bounds()) -> None:
        self.bounds = bounds
        self._open: dict[tuple[str, int], _Connection] = {}  # the longest idle first

    def protocol(self) -> type[asyncio.Protocol]:
        """uvicorn's protocol, with each connection noted here."""
        from uvicorn.protocols.http.h11_impl import H11Protocol

        connections = self

        class Noted(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                connections._enter(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                connections._leave(_address(self.transport))
                super().connection_lost(exc)

        return Noted

    def watching(self, app: App) -> App:
        """The application, with the time of each request noted here."""

        async def watched(scope: Scope, receive: Any, send: Any) -> None:
            address = tuple(scope.get("client") or ("", 0))
            connection = self._open.get(address)
            if connection is None:
                await app(scope, receive, send)
                return
            connection.wait(self.bounds.exchange, busy=True)
            try:
                await app(scope, receive, send)
            finally:
                if self._open.get(address) is connection:
                    connection.wait(self.bounds.idle, busy=False)
                    self._open[address] = self._open.pop(address)  # now the last to become idle

        return watched

    def _enter(self, transport: asyncio.Transport) -> None:
        address = _address(transport)
        self._open[address] = connection = _Connection(transport)
        connection.wait(self.bounds.idle, busy=False)
        of_address = sum(host == address[0] for host, _ in self._open)
        if of_address > self.bounds.per_address:
            self._make_room([other for other in self._open if other[0] == address[0]])
        elif len(self._open) > self.bounds.in_all:
            self._make_room(list(self._open))

    def _make_room(self, among: list[tuple[str, int]]) -> None:
        """Close the longest idle of these connections; the newest is one of them, so there is always one."""
        victim = next(address for address in among if not self._open[address].busy)
        self._open.pop(victim).close()

    def _leave(self, address: tuple[str, int]) -> None:
        connection = self._open.pop(address, None)
        if connection is not None:
            connection.stop()


class _Connection:
    """One of them, with the moment at which it has waited too long."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self.busy = transport, False
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, seconds: float, *, busy: bool) -> None:
        self.busy = busy
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        self.stop()
        self._transport.abort()


def _address(transport: asyncio.Transport) -> tuple[str, int]:
    host, port, *_ = transport.get_extra_info("peername") or ("", 0)
    return str(host), int(port)
