"""What runs first in a worker of a cluster: it sees that the node can do the work, and then calls it.

It travels by value and imports nothing but the standard library, for the node may lack what the work needs.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CODE = (".py", ".pt", ".safetensors", ".json")  # files of the package that results depend on
LIBRARIES = ("torch", "numpy")

Environment = dict[str, str]

_approved: list[Environment] = []  # of this process; a list, because globals that travel by value are copied


def environment() -> Environment:
    """What results depend on beside the work itself, by name; "" for what is not there."""
    found = {"arena": _package_digest()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]  # the build does not matter
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def enter(expected: Environment, place: str, function: str, references: Sequence[Any], rest: bytes) -> tuple[str, Any]:
    """(what is wrong with this node, None), or ("", what the function returned).

    expected       of `environment`; empty: not looked at
    place          module of the function
    references     to objects, given to the function as a list
    rest           its other arguments, pickled: read only when the modules that they need are there
    """
    if expected and expected not in _approved:
        problem = _difference(expected, environment())
        if problem:
            return f"node {os.uname().nodename} cannot take part: {problem}", None
        _approved.append(expected)
    return "", getattr(importlib.import_module(place), function)(references, *pickle.loads(rest))


def lacking(expected: Environment, paths: Sequence[str]) -> str:
    """What this node lacks to do the work, in a sentence; "" for nothing."""
    problem = _difference(expected, environment())
    missing = [path for path in paths if not os.path.exists(path)]
    if missing and not problem:
        problem = (
            f"it has no {missing[0]}, seen from {os.getcwd()}; put it in the folder that --working-dir sends (which "
            "leaves out what .gitignore names) and name it relative to that, or on a disk that all nodes see"
        )
    return problem and f"node {os.uname().nodename} cannot take part: {problem}"


def _difference(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    for name, wanted in expected.items():
        if not found[name]:
            how = ", or give ship-arena" if name == "arena" else " as on the machine of the driver"
            return f"{name} is not installed there; install it{how}"
        if found[name] != wanted:
            if name == "arena":
                return "its arena is not that of the driver; install the same version, or give ship-arena"
            return f"it has {name} {found[name]}, the driver {wanted}; install the same"
    return ""


def _package_digest() -> str:
    """Of names and bytes of the package's files, wherever it is installed; "" if it is not."""
    found = importlib.util.find_spec("arena")
    if found is None or not found.submodule_search_locations:
        return ""
    root, sha = Path(found.submodule_search_locations[0]), hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in CODE):
        sha.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size} ".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()
