"""Agents that are Python objects and no text: a class, an instance or a function of a notebook or a script.

Such an object travels by value, as a file that its spec "pickle:FILE" names. The file is code: opening it runs whatever
it holds. An object that cannot be saved has the spec "memory:KEY" and plays in the process that made it only.
"""

import copy
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from arena.errors import UserError

PICKLE, MEMORY = "pickle", "memory"  # prefixes of specs
SUFFIX = ".pkl"
STANDARD_LIBRARY = Path(pickle.__file__).resolve().parent
PYTHON = sys.version_info[:2]  # byte code of another minor version cannot be read

_in_memory: dict[str, Any] = {}  # by the KEY of "memory:KEY"


class CannotBeSaved(ValueError):
    """An object that no other process could get."""


def spec_of(found: Any) -> str | None:
    """ "package.module:Class" of a class or function that any Python process here can import; None of all else."""
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", "")
    if not (inspect.isclass(found) or inspect.isfunction(found)) or module is None or not name.isidentifier():
        return None
    loaded = sys.modules.get(module)
    if loaded is None or getattr(loaded, name, None) is not found or _is_local(loaded):
        return None
    return f"{module}:{name}"


def save_object(found: Any, path: Path) -> None:
    """Write the object to `path`; CannotBeSaved if a part of it cannot be pickled."""
    import cloudpickle

    with _by_value(cloudpickle):
        try:
            content = cloudpickle.dumps(found)
        except Exception as error:  # whatever a part of the object raises
            raise CannotBeSaved(f"{type(error).__name__}: {error}") from error
    path.write_bytes(pickle.dumps({"python": PYTHON, "object": content}))


def load_object(path: str) -> Any:
    """A new copy of the object in a file that `save_object` wrote. This runs the code in it."""
    try:
        saved = pickle.loads(Path(path).read_bytes())
        python, content = saved["python"], saved["object"]
    except OSError as error:
        raise UserError(f"agent file {path} cannot be read: {error.strerror}. Start a new run.") from error
    except Exception as error:  # unpickling raises anything
        raise UserError(f"{path} is not an agent that arena saved: {type(error).__name__}: {error}.") from error
    if tuple(python) != PYTHON:
        theirs, ours = (".".join(map(str, version)) for version in (python, PYTHON))
        raise UserError(f"agent file {path} was saved by Python {theirs}, this is Python {ours}. Use Python {theirs}.")
    try:
        return pickle.loads(content)
    except Exception as error:
        raise UserError(
            f"agent file {path} cannot be opened: {type(error).__name__}: {error}. Install what its code imports."
        ) from error


def keep_in_memory(found: Any, key: str) -> str:
    """The spec of an object that stays in this process."""
    with_copies(found)()  # so that an object without copies is refused before the first match
    _in_memory[key] = found
    return f"{MEMORY}:{key}"


def find_in_memory(key: str) -> Any:
    """The object that was kept under this key."""
    if key not in _in_memory:
        raise UserError(
            f"agent {key!r} was an object in the memory of another process and could not be saved. Start a new run."
        )
    return _in_memory[key]


def with_copies(found: Any) -> Callable[[], Any]:
    """What gives a new copy of an instance at each call: what it remembers of one market stays there."""

    def make() -> Any:
        try:
            return copy.deepcopy(found)
        except Exception as error:
            raise UserError(
                f"agent {type(found).__name__} cannot be copied ({type(error).__name__}: {error}), and each batch of "
                "markets needs a copy of its own. Give the class in place of the instance."
            ) from error

    return make


def _is_local(module: ModuleType) -> bool:
    """Whether a process that starts elsewhere would not find the module: a script, a notebook, a file beside them."""
    if module.__name__ == "__main__":
        return True
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    place = getattr(top, "__file__", None) or next(iter(getattr(top, "__path__", ())), None)
    if place is None:
        return top.__name__ not in sys.builtin_module_names
    path = Path(place).resolve()
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    if top.__name__ == "arena" or folder.name in ("site-packages", "dist-packages") or folder == STANDARD_LIBRARY:
        return False
    # The first entry is the folder of the script, or "" for the current folder; both hold for this process alone.
    here = {Path.cwd(), Path(sys.path[0]).resolve()}
    return folder in here or folder not in {Path(entry).resolve() for entry in sys.path if entry}


@contextmanager
def _by_value(cloudpickle: ModuleType) -> Iterator[None]:
    """Inside, cloudpickle stores in full what local modules define."""
    known = cloudpickle.list_registry_pickle_by_value()
    local = [
        module
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType)
        and module.__name__ == name  # the only one that cloudpickle takes
        and name not in known
        and getattr(module, "__file__", None) is not None
        and _is_local(module)
    ]
    for module in local:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in local:
            cloudpickle.unregister_pickle_by_value(module)
