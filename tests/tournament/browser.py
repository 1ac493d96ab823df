"""A page as a reader's browser sees it: its DOM, what its scripts complained about, what it asked the network for."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom"),
    "--virtual-time-budget=20000",  # milliseconds of the page's own clock; the browser skips idle time
)
TIMEOUT = 150  # seconds


class Visit(NamedTuple):
    """What came of opening an address."""

    dom: str  # after the scripts have run
    complaints: list[str]  # errors and warnings on the console
    requests: list[str]  # addresses the page asked for that are neither files nor part of the page


def visit(address: str, folder: Path) -> Visit:
    """Open an address in a browser without a window, with a new profile in `folder`."""
    log = folder / "net.json"
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    complaints = [line for line in done.stderr.splitlines() if re.search(r"\bCONSOLE\b", line)]
    return Visit(done.stdout, complaints, _requests(log))


def _requests(log: Path) -> list[str]:
    """From the browser's log of its network: requests that a document made."""
    content = json.loads(log.read_text())
    started = content["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    found = [event.get("params", {}) for event in content["events"] if event["type"] == started]
    of_pages = [params for params in found if params.get("initiator", "not an origin") != "not an origin"]
    return [params["url"] for params in of_pages if not params["url"].startswith(("file:", "data:", "blob:"))]
