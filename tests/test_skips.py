"""In CI a skip is a failure: shown on a small suite of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUITE = """
import pytest

def test_passes(): pass
def test_asks_at_run_time(): pytest.skip("no Chromium is installed")
@pytest.mark.skipif(True, reason="no adb")
def test_asks_by_a_mark(): pass
@pytest.fixture
def node(): pytest.skip("npm is not installed")
def test_asks_in_a_fixture(node): pass
@pytest.mark.xfail
def test_is_known_to_fail(): assert False
"""
WHOLE = """
import pytest
pytest.importorskip("a_package_that_is_not_there")
def test_never_seen(): pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    shutil.copy(HERE / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(SUITE)
    (tmp_path / "test_whole.py").write_text(WHOLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def ran(suite: Path, ci: str | None, *words: str) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTEST_ADDOPTS")}
    environment |= {"PYTHONPATH": str(HERE)} | ({"CI": ci} if ci else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=suite, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout


@pytest.mark.parametrize("words", [(), ("-n", "1")])
def test_a_skip_in_ci_is_a_failure_that_says_what_is_missing(suite: Path, words: tuple[str, ...]) -> None:
    code, output = ran(suite, "true", "--continue-on-collection-errors", *words)
    assert code == 1, output
    assert re.search(r"1 failed, 1 passed, 1 xfailed.* 3 errors", output)
    for reason in ("no Chromium is installed", "no adb", "npm is not installed", "a_package_that_is_not_there"):
        assert reason in output
    assert "tests/helpers/skips.py" in output


def test_a_file_that_skips_as_a_whole_fails_ci_by_itself(suite: Path) -> None:
    (suite / "test_some.py").unlink()
    assert ran(suite, "true")[0] not in (0, 5)


def test_an_allowed_skip_is_a_skip(suite: Path) -> None:
    (suite / "test_whole.py").unlink()
    (suite / "allow.py").write_text(
        "from helpers import skips\nskips.ALLOWED['test_some.py::test_asks_*'] = 'shown here'\n"
    )
    code, output = ran(suite, "true", "-p", "allow")
    assert code == 0 and "1 passed, 3 skipped, 1 xfailed" in output


def test_elsewhere_a_skip_is_a_skip(suite: Path) -> None:
    code, output = ran(suite, None)
    assert code == 0 and "1 passed, 4 skipped, 1 xfailed" in output
