"""Ports to listen at again and again."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """A port of this machine that stays free between two servers of a test.

    It lies below those that systems give to connections and to servers that ask for any port. One of these, let go,
    could be somebody else's a moment later.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError("no port is free")
