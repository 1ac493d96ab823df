"""A script run in this process: one of its own would spend seconds on imports that are done here."""

import runpy
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock


def run_script(script: Path, *arguments: object, cwd: Path | str = ".") -> subprocess.CompletedProcess[str]:
    """As subprocess.run would give it: exit code, stdout and stderr."""
    command = [str(script), *map(str, arguments)]
    out, err = StringIO(), StringIO()
    with chdir(cwd), mock.patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):
        code: object = 0
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as left:
            code = left.code
    if isinstance(code, str):  # what Python itself makes of it
        print(code, file=err)
        code = 1
    return subprocess.CompletedProcess(command, int(code or 0), out.getvalue(), err.getvalue())
