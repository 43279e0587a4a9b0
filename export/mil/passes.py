"""How coremltools runs its graph passes here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attar.extras import require


@contextmanager
def checked_once() -> Iterator[None]:
    """Inside the block, coremltools checks a program after the last graph pass and not after each of a hundred.

    The checks change nothing, and take half of the processor time of a conversion. The last one, before a program is
    written, is the strictest of them and stays as it is.
    """
    manager: Any = require("coremltools.converters.mil.mil.passes.pass_pipeline").PassPipelineManager
    whole = manager.apply_pipeline

    def apply(program: Any, passes: Any) -> None:
        program.validate = lambda **_: None
        try:
            whole(program, passes)
        finally:
            del program.validate
        program.validate()

    manager.apply_pipeline = staticmethod(apply)
    try:
        yield
    finally:
        manager.apply_pipeline = staticmethod(whole)
