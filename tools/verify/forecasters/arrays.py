"""How far an array is from the one that a golden folder holds, in units of what is tolerated."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Route = Literal["eager", "script"]  # modules of this process; or saved as TorchScript and loaded again


class GoldenError(ValueError):
    """A golden folder that cannot be run; the message is one sentence for the user."""


@dataclass(frozen=True)
class ArrayCheck:
    """One line of the report."""

    name: str
    route: Route
    status: Literal["PASS", "FAIL", "SKIP"]
    error: float = 0.0  # of the worst element, as share of its tolerance; passes when <= 1
    reason: str = ""  # why it is skipped

    @property
    def line(self) -> str:
        if self.status == "SKIP":
            return f"{self.name} {self.route} skipped: {self.reason}"
        return f"{self.name} {self.route} {self.error:.2g} {'ok' if self.status == 'PASS' else 'FAILED'}"


def judge(name: str, route: Route, error: float) -> ArrayCheck:
    """Passes where the error, as share of its tolerance, is at most 1."""
    return ArrayCheck(name, route, "PASS" if error <= 1.0 else "FAIL", error)


def skip(name: str, route: Route, reason: str) -> ArrayCheck:
    """An array that is not compared, and why."""
    return ArrayCheck(name, route, "SKIP", reason=reason)


def error_within(found: Tensor, expected: Tensor, atol: Tensor | float = 0.0, rtol: float = 0.0) -> float:
    """Largest |found - expected| / (atol + rtol |expected|); inf where a shape or a kind of number differs.

    With both tolerances 0 the arrays must be equal, and the error is 0 or inf.
    """
    if found.shape != expected.shape or found.is_floating_point() != expected.is_floating_point():
        return torch.inf
    value, wanted = found.detach().double(), expected.double()
    distance = (value - wanted).abs()
    tolerance = torch.as_tensor(atol, dtype=torch.float64) + rtol * wanted.abs()
    error = torch.where(value == wanted, 0.0, distance / tolerance).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return float(error.max()) if error.numel() else 0.0
