"""Programs that some tests need. A build machine (CI=true) must have them; elsewhere the test says which it lacks."""

import os
import shutil

import pytest

from arena.agents.sandbox.bubblewrap import checked_program
from arena.agents.sandbox.isolation import IsolationUnavailable


def lacks(reason: str) -> None:
    """Ends a test that needs what is not here."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; a build machine must have it: .ci/run installs it", pytrace=False)
    pytest.skip(reason)


def bubblewrap() -> None:
    if shutil.which("bwrap") is None:
        lacks("needs the program bwrap of bubblewrap, which is not on the PATH")
    try:
        checked_program()
    except IsolationUnavailable as error:  # the kernel forbids it
        pytest.skip(str(error))
