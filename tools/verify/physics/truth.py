"""Reading a truth file: every key that is missing or of the wrong kind gets one sentence with file and place."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class TruthError(ValueError):
    """A truth folder that cannot be replayed; the message is one sentence for the user."""


class Entry(dict[str, Any]):
    """A JSON object that knows where it stands, e.g. `d_nash_games.json games[3]`."""

    def __init__(self, where: str, content: dict[str, Any]) -> None:
        super().__init__({key: _locate(f"{where} {key}", value) for key, value in content.items()})
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise TruthError(f"{self.where} has no key {key!r}; it has {', '.join(self) or 'no keys'}")

    def number(self, key: str) -> float:
        value = self[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TruthError(f"{self.where} {key} is {value!r:.60}, expected a number")
        return float(value)

    def tensor(self, key: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """Number or (nested) list of numbers, float64; -1 in `shape` stands for any length."""
        content = self[key]
        try:
            value = torch.tensor(content, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TruthError(f"{self.where} {key} is not an array of numbers: {error}") from None
        if shape is not None and (
            value.dim() != len(shape) or any(want not in (-1, have) for want, have in zip(shape, value.shape))
        ):
            raise TruthError(f"{self.where} {key} has shape {tuple(value.shape)}, expected {shape} (-1: any length)")
        return value

    def vector(self, key: str, length: int) -> Tensor:
        """One number for all, or one for each: [length]."""
        return self.tensor(key).expand(length) if not isinstance(self[key], list) else self.tensor(key, (length,))

    def tensor_with_null(self, key: str, null: float, shape: tuple[int, ...]) -> Tensor:
        """Rows of numbers in which JSON null stands for `null`."""
        rows = self[key]
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise TruthError(f"{self.where} {key} is {rows!r:.60}, expected a list of lists")
        filled = [[null if number is None else number for number in row] for row in rows]
        return Entry(self.where, {key: filled}).tensor(key, shape)

    def entry(self, key: str) -> "Entry":
        value = self[key]
        if not isinstance(value, Entry):
            raise TruthError(f"{self.where} {key} is {value!r:.60}, expected an object")
        return value

    def entries(self, key: str) -> list["Entry"]:
        value = self[key]
        if not isinstance(value, list) or not all(isinstance(item, Entry) for item in value):
            raise TruthError(f"{self.where} {key} is {value!r:.60}, expected a list of objects")
        return value


def read(path: Path) -> Entry:
    """The JSON object in `path`; TruthError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TruthError(f"{path} is missing") from None
    except OSError as error:
        raise TruthError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # malformed JSON or not UTF-8
        raise TruthError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise TruthError(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return Entry(path.name, content)


def _locate(where: str, value: Any) -> Any:
    if isinstance(value, dict):
        return Entry(where, value)
    if isinstance(value, list):
        return [_locate(f"{where}[{index}]", item) for index, item in enumerate(value)]
    return value
