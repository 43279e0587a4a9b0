"""Chromium, Firefox and WebKit as Debian packages them, started on a page without a driver."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from attar.errors import InputError

_QUIET = """
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.startup.page", 0);
user_pref("app.update.enabled", false);
"""


@dataclass(frozen=True)
class Browser:
    """A browser that can be started.

    Attributes:
        name: what people call it.
        package: Debian's package.
        programs: where its program may be: names on the path, or patterns of files.
        before: words before the program.
        after: words after it; `{profile}` is an empty folder.
    """

    name: str
    package: str
    programs: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def program(self) -> str | None:
        """Where it is; None if it is not installed."""
        for each in self.programs:
            found = next(Path("/").glob(each.lstrip("/")), None) if "/" in each else shutil.which(each)
            if found and all(shutil.which(word) for word in self.before[:1]):
                return str(found)
        return None


BROWSERS = (
    Browser(
        "Chromium",
        "chromium",
        ("chromium", "google-chrome"),
        after=("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--user-data-dir={profile}"),
    ),
    Browser(
        "Firefox",
        "firefox-esr",
        ("firefox-esr", "firefox"),
        after=("--headless", "--no-remote", "--profile", "{profile}"),
    ),
    Browser(
        "WebKit", "webkit2gtk-driver xvfb xauth", ("/usr/lib/*/webkit2gtk-4.?/MiniBrowser",), before=("xvfb-run", "-a")
    ),
)


@contextmanager
def started(browser: Browser, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Open a page in a new profile, and end the browser with all its processes.

    Raises:
        InputError: it is not installed.
    """
    program = browser.program()
    if program is None:
        raise InputError(f"{browser.name} is not installed. On Debian: apt install {browser.package}.")
    with TemporaryDirectory(prefix="attar-browser-", ignore_cleanup_errors=True) as profile:
        (Path(profile) / "user.js").write_text(_QUIET)
        after = (each.format(profile=profile) for each in browser.after)
        words = [*browser.before, program, *after, url]
        software = {"LIBGL_ALWAYS_SOFTWARE": "1", "WEBKIT_DISABLE_COMPOSITING_MODE": "1"}
        environment = {**os.environ, "HOME": profile, **software}
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
