"""The command line. `attar --help` loads no torch: each verb imports what it needs when it runs."""

from __future__ import annotations

import os
import sys

from attar import ranks
from attar.cli.verbs import app
from attar.errors import AttarError, printable

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""


def main() -> None:
    """Run the command line; a user's error is one message and its exit code, without a traceback."""
    # Waiting threads sleep instead of spinning: on a busy machine spinning makes training many times
    # slower, and on an idle one sleeping costs next to nothing. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except AttarError as error:
        _end(error)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what typer makes of Ctrl-C
            print("Interrupted. Run the same command again; it continues where it stopped.", file=sys.stderr)
        raise
    except RuntimeError as error:
        lost = ranks.lost(error)
        if lost is None:
            raise
        _end(lost)


def _end(error: AttarError) -> None:
    ranks.tell_once()
    print(f"Error: {printable(error)}", file=sys.stderr)
    # Not sys.exit: it would wait for threads that wait for ranks that are gone.
    sys.stderr.flush()
    os._exit(error.exit_code) if ranks.count() > 1 else sys.exit(error.exit_code)
