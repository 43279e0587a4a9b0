"""`python -m MODULE words...`, forked from the session's warm server: see helpers/warm.py.

`python -I -S warm_client.py SHARED MODULE words...`. This process stands for the other one: it hands over its standard
files, environment and folder, passes signals on, and ends as that one ends. When this one is killed, so is that one.
It imports nothing that is slow to import.
"""

import marshal
import os
import signal
import socket
import struct
import sys

NUMBER = struct.Struct("!q")
"""How the server counts: the length of a request, the number of a process, an exit code."""


def connected(shared: str) -> socket.socket:
    """A connection to the server of a session. Paths of sockets have at most 107 bytes; through /proc, one is short."""
    folder = os.open(shared, os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"/proc/self/fd/{folder}/warm")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def main() -> None:
    """Be the process that was asked for."""
    shared, module, *words = sys.argv[1:]
    body = marshal.dumps((shared, module, words, dict(os.environ), os.getcwd()))  # noqa: PTH109 - pathlib is slow to import
    with connected(shared) as connection:
        socket.send_fds(connection, [NUMBER.pack(len(body))], [0, 1, 2])
        connection.sendall(body)
        number = NUMBER.unpack(connection.recv(NUMBER.size))[0]
        for which in (signal.SIGINT, signal.SIGTERM):
            # Also where they are ignored, as by what a shell starts in the background: the other process may heed them.
            signal.signal(which, lambda which, _: os.kill(number, which))
        code = NUMBER.unpack(connection.recv(NUMBER.size))[0]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
