"""`attar`, which says when Python ends whether the process group of its job has ended before."""

from __future__ import annotations

import atexit
import sys


def told() -> None:
    import torch.distributed as dist

    sys.stderr.write(f"Ended: {not dist.is_initialized()}\n")


if __name__ == "__main__":
    from attar.cli import main

    atexit.register(told)
    main()
