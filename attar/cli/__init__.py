"""The command line. `attar --help` loads no torch: each verb imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
import traceback

from attar.cli.app import app
from attar.errors import AttarError, InputError, printable

# isort: off
# Each registers its verbs, in the order in which `attar --help` lists them.
from attar.cli import run as run
from attar.cli import train as train
from attar.cli import files as files
from attar.cli import measure as measure
from attar.cli import compare as compare
from attar.cli import predict as predict
from attar.cli import geo as geo
from attar.cli import phone as phone
from attar.cli import sample as sample
from attar.cli import collect as collect
from attar.cli import drift as drift
from attar.cli import retrain as retrain
from attar.cli import release as release
from attar.cli import loop as loop
from attar.cli import doctor as doctor

# isort: on
from attar.train import distributed

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""


UNEXPECTED = 70
"""Exit code of what should not have happened (EX_SOFTWARE of sysexits.h)."""

DEBUG = "ATTAR_DEBUG"
"""Set in the environment, or by `--debug` anywhere on the command line: show the traceback of every error."""


def main() -> None:
    """Run the command line; whatever goes wrong is one message and an exit code, without a traceback."""
    # Waiting threads sleep instead of spinning: on a busy machine spinning makes training many times
    # slower, and on an idle one sleeping costs next to nothing. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "--debug" in sys.argv:
        sys.argv = [word for word in sys.argv if word != "--debug"]
        os.environ[DEBUG] = "1"
    try:
        app()
    except AttarError as error:
        _end(error)
    except SystemExit as end:
        if not end.code:
            distributed.finish()
        if end.code == INTERRUPTED:  # what typer makes of Ctrl-C
            print("Interrupted. Run the same command again; it continues where it stopped.", file=sys.stderr)
        raise
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        _end(distributed.lost(error) or _lost_process(error) or explained(error))


def _lost_process(error: Exception) -> AttarError | None:
    """What to tell if the error is about a process that drew views."""
    if "torch" not in sys.modules:
        return None
    from attar.data.processes import lost

    return lost(error)


class Unexpected(AttarError):
    """What attar did not foresee."""

    exit_code = UNEXPECTED


def explained(error: Exception) -> AttarError:
    """What to tell of an error that is not one of ours."""
    first = (str(error).strip().partition("\n")[0] or "no message")[:500]
    if isinstance(error, MemoryError):
        return InputError("Out of memory. Close other programs, or use smaller images, batches or models.")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return InputError(f"{place}{error.strerror or first}. Look at the disk, the permissions and the path.")
    if isinstance(error, UnicodeEncodeError):
        return InputError(f"This terminal cannot show {error.object[error.start]!r}. Set PYTHONIOENCODING=utf-8.")
    kind = type(error).__name__
    return Unexpected(f"{kind}: {first}\nThis should not happen. Add --debug to see where it came from, and report it.")


def _end(error: AttarError) -> None:
    distributed.tell_once()
    if os.environ.get(DEBUG):
        traceback.print_exc()
    print(f"Error: {printable(error)}", file=sys.stderr)
    # Not sys.exit: it would wait for threads that wait for ranks that are gone.
    sys.stderr.flush()
    os._exit(error.exit_code) if distributed.count() > 1 else sys.exit(error.exit_code)
