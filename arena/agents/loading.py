"""Finds the class behind "package.module:Class" or "path/to/file.py:Class"."""

import hashlib
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

FILE_PREFIXES = ("policy", "rllib", "sb3", "onnx", "pickle")  # of specs "prefix:FILE"


def resolve_spec(spec: str) -> str:
    """The spec with an absolute path where it names a file, for a process that runs in another directory."""
    prefix, _, file = spec.partition(":")
    if prefix in FILE_PREFIXES:
        return f"{prefix}:{Path(file).resolve()}"
    place, colon, name = spec.rpartition(":")
    return f"{Path(place).resolve()}:{name}" if colon and place.endswith(".py") else spec


def spec_file(spec: str) -> Path | None:
    """The file or folder that the spec names; None of a name or a module, or if there is nothing."""
    prefix, _, file = spec.partition(":")
    if prefix in FILE_PREFIXES:
        path = Path(file)
        if not path.exists():  # one module of a checkpoint: FOLDER@module
            path = Path(file.rpartition("@")[0])
    else:
        path = Path(spec.rpartition(":")[0])
        if path.suffix != ".py":
            return None
    return path if path.name and path.exists() else None


def load_member(spec: str) -> Any:
    """What the spec names, imported or executed on first use."""
    place, _, name = spec.rpartition(":")
    if place.endswith(".py"):
        module = _run_file(spec, Path(place).resolve())
    else:
        try:
            module = import_module(place)
        except Exception as error:
            raise ValueError(f"agent {spec!r}: cannot import {place!r}: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise ValueError(f"agent {spec!r}: no {name!r} in {place}; it defines {', '.join(own) or 'nothing'}")
    return getattr(module, name)


def _run_file(spec: str, path: Path) -> ModuleType:
    """The module of a loose file; the same content is executed once per process, an edited file again."""
    if not path.is_file():
        raise ValueError(f"agent {spec!r}: no file {path}")
    digest = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:16]
    name = f"arena_agent_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    module_spec = spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = module_from_spec(module_spec)
    sys.modules[name] = module  # before execution: dataclasses look their module up there
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"agent {spec!r}: cannot run {path}: {type(error).__name__}: {error}") from error
    return module
