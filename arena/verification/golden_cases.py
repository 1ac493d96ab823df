"""Golden folders of the Toto models: config.json and weights, manifest.json, and one file of arrays per case."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from arena.forecast.checkpoint import read_safetensors
from arena.verification.arrays import GoldenError

MANIFEST = "manifest.json"


class Case(NamedTuple):
    """One call of the upstream: what went in and what came out."""

    name: str
    facts: dict[str, Any]  # its entry in the manifest
    arrays: dict[str, Tensor]

    def fact(self, key: str) -> Any:
        if key not in self.facts:
            raise GoldenError(f"{MANIFEST} says no {key} of the case {self.name}")
        return self.facts[key]

    def array(self, key: str) -> Tensor:
        if key not in self.arrays:
            raise GoldenError(f"cases/{self.name}.safetensors holds no {key}; it has {', '.join(self.arrays)}")
        return self.arrays[key]


def read_cases(folder: Path) -> list[Case]:
    """All cases of the manifest, whose files must be there and hold what it lists; no other file may be."""
    manifest = read_object(folder / MANIFEST)
    entries = manifest.get("cases")
    if not isinstance(entries, dict) or not entries:
        raise GoldenError(f"{folder / MANIFEST} lists no cases")
    surplus = {path.stem for path in (folder / "cases").glob("*.safetensors")} - entries.keys()
    if surplus:
        raise GoldenError(f"{folder} holds cases that {MANIFEST} does not list: {', '.join(sorted(surplus))}")
    return [_read_case(folder, name, facts) for name, facts in entries.items()]


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GoldenError(f"{path.parent} holds no {path.name}") from None
    except ValueError as error:
        raise GoldenError(f"{path} is not a JSON file: {error}") from None
    if not isinstance(content, dict):
        raise GoldenError(f"{path} holds a JSON {type(content).__name__}, expected an object")
    return content


def _read_case(folder: Path, name: str, facts: Any) -> Case:
    path = folder / "cases" / f"{name}.safetensors"
    if not isinstance(facts, dict):
        raise GoldenError(f"{folder / MANIFEST} describes the case {name} by {facts!r:.60}, expected an object")
    if not path.is_file():
        raise GoldenError(f"{folder} holds no cases/{name}.safetensors, which {MANIFEST} lists")
    arrays = read_safetensors(path)
    missing = sorted(facts.get("tensors", {}).keys() - arrays.keys())
    if missing:
        raise GoldenError(f"{path} holds no {', '.join(missing)}, which {MANIFEST} lists")
    return Case(name, facts, arrays)
