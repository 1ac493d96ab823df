"""The command that runs the process of an agent under bubblewrap: without network, on a disk that it can only read.

Only what Python needs and what the agent names is shown to it. The rest of the disk is not there, so no run folder
(with the seeds of the scenarios), no bars and no keys can be read.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from arena.agents.loading import FILE_PREFIXES

SCRATCH = "/tmp"
SCRATCH_BYTES = 64 * 2**20
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
)
LIBRARY_FOLDERS = ("site-packages", "dist-packages")
HINT = "install bubblewrap (package bubblewrap), or play with isolate: process"


class IsolationUnavailable(RuntimeError):
    """This machine cannot isolate an agent as asked: nobody's fault among the entrants."""


def sandboxed(command: list[str], shown: Iterable[Path]) -> list[str]:
    """The command inside a sandbox that shows these files and folders beside what Python needs."""
    return [checked_program(), *_options(shown), *command]


def agent_paths(spec: str, params: Mapping[str, Any]) -> list[Path]:
    """Files and folders of an agent: its own file or package, and those that its parameters name."""
    place = spec.rpartition(":")[0] or spec
    prefix, _, file = spec.partition(":")
    named = [place, file, file.rpartition("@")[0], *(value for value in params.values() if isinstance(value, str))]
    paths = [Path(text).resolve() for text in named if text and os.path.isabs(text)]
    package = place.partition(".")[0]
    # "policy:FILE" names a file: an installed package called "policy" has nothing to do with the agent.
    if prefix not in FILE_PREFIXES and not place.endswith(".py") and package.isidentifier():
        found = find_spec(package)
        if found is not None and found.origin not in (None, "built-in", "frozen"):
            assert found.origin is not None
            origin = Path(found.origin).resolve()
            paths.append(origin.parent if found.submodule_search_locations else origin)
    return [path for path in paths if path.exists()]


def import_paths(shown: Iterable[Path]) -> list[str]:
    """Those entries of `sys.path` from which something in the sandbox can be imported."""
    visible = [*library_paths(), *shown]
    entries = [Path(entry).absolute() for entry in sys.path if entry]
    return [
        str(entry)
        for entry in entries
        if entry in {path.parent for path in visible} or any(entry.is_relative_to(path) for path in visible)
    ]


def library_paths() -> list[Path]:
    """Python, the installed packages and this package."""
    own = Path(__file__).parents[2]
    found = [Path(sys.prefix), Path(sys.base_prefix), own]
    found += [Path(entry) for entry in sys.path if Path(entry).name in LIBRARY_FOLDERS]
    found += [Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
    return [path.absolute() for path in found]


def _options(shown: Iterable[Path]) -> list[str]:
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for place in SYSTEM:
        if os.path.islink(place):
            options += ["--symlink", os.readlink(place), place]
        else:
            options += ["--ro-bind-try", place, place]
    options += ["--proc", "/proc", "--dev", "/dev", "--size", str(SCRATCH_BYTES), "--tmpfs", SCRATCH]
    for path in dict.fromkeys([*library_paths(), *shown]):
        if not path.is_relative_to("/usr"):
            options += ["--ro-bind-try", str(path), str(path)]
    # Otherwise the folders that hold the mounts could be written to, without a limit.
    options += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return [*options, "--setenv", "HOME", SCRATCH, "--setenv", "TMPDIR", SCRATCH, "--chdir", SCRATCH]


@functools.cache
def checked_program() -> str:
    """Where bubblewrap is, tried once; IsolationUnavailable says in a sentence why it cannot be used."""
    program = shutil.which("bwrap")
    if program is None:
        raise IsolationUnavailable(f"the isolation level sandbox needs the program bwrap, which is not here; {HINT}")
    tried = subprocess.run([program, *_options([]), "/bin/true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        said = " ".join(tried.stderr.split()) or f"exit code {tried.returncode}"
        raise IsolationUnavailable(f"bubblewrap cannot make a sandbox on this machine ({said}); {HINT}")
    return program
