"""Golden folders of the Toto models: config.json and weights, manifest.json, and one file of arrays per case."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from arena.forecast.models.checkpoint import read_safetensors
from tools.verify.forecasters.arrays import GoldenError

MANIFEST = "manifest.json"
NOISE_FLOOR = "f32_noise_floor"
# Two float32 computations of a forecast are each about one floor from the exact one, so two floors from one another.
# Twice that, because the floor is one draw of the noise: other orders of the sums gave 0.3 to 1.7 times it.
FLOOR_FACTOR = 4.0
MAX_FLOOR = 0.1  # in units of the scale; a tolerance that is wider than this would hide every mistake


class Case(NamedTuple):
    """One call of the upstream: what went in and what came out."""

    name: str
    facts: dict[str, Any]  # its entry in the manifest
    arrays: dict[str, Tensor]
    noise_floor: float = 0.0  # of its forecast, upstream float32 against float64, in units of the scale; 0: not stated

    def tolerance(self, fixed: float) -> float:
        """The fixed tolerance of an array that shares the noise of the forecast, or a wider one for a noisy case."""
        return max(fixed, FLOOR_FACTOR * self.noise_floor)

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
    return Case(name, facts, arrays, _noise_floor(folder / MANIFEST, name, facts))


def _noise_floor(manifest: Path, case: str, facts: dict[str, Any]) -> float:
    """The floor that the manifest states, 0 if it states none."""
    floor = facts.get(NOISE_FLOOR, 0.0)
    is_number = isinstance(floor, int | float) and not isinstance(floor, bool)
    if not is_number or not 0 <= floor <= MAX_FLOOR:
        raise GoldenError(
            f"{manifest} states {NOISE_FLOOR} {floor!r:.60} of the case {case}, expected a number from 0 to "
            f"{MAX_FLOOR:g}; measure it again, or remove it"
        )
    return float(floor)
