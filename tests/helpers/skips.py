"""In CI a test that is skipped fails, so that what CI proves does not depend on what its machine happens to have.

`.ci/run` installs what the tests look for. A skip that CI cannot avoid is named in `ALLOWED` with its reason.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

import pytest

ALLOWED: dict[str, str] = {"*/train/test_hosts.py::*": "a container may not make network namespaces"}
"""Pattern of a test's id -> why CI cannot run it."""


def refuse(report: pytest.TestReport | pytest.CollectReport, allowed: dict[str, str] = ALLOWED) -> None:
    """Turn a skip into a failure, in CI and unless it is allowed. An expected failure (xfail) is no skip."""
    if os.environ.get("CI", "").lower() not in ("1", "true") or not report.skipped or hasattr(report, "wasxfail"):
        return
    if any(fnmatchcase(report.nodeid, pattern) for pattern in allowed):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = (
        f"{report.nodeid}: {reason}\nCI skips no test. Let .ci/run install what is missing, or name the test with the "
        "reason in tests/helpers/skips.py."
    )
