"""What a replay says about one number, or one array of numbers, of a truth folder."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import torch
from torch import Tensor

from tools.verify.physics.truth import TruthError

# Two float64 programs that do the same sums in another order differ by a few hundred roundings of 1.1e-16, and at most
# a thousandfold of that where impact (1e-3 of a price) is read off prices; any wrong rule differs by far more.
RELATIVE = 1e-9
# Values that are differences of larger numbers (a cost is cash received minus notional) may in addition be off by some
# hundred roundings of those numbers: 1e-14 of `scale`.
ROUNDING = 1e-14


@dataclass(frozen=True)
class Check:
    """One line of the report. Of an array the worst element is shown."""

    name: str
    status: Literal["PASS", "FAIL", "SKIP"]
    value: float = 0.0
    expected: float = 0.0
    error: float = 0.0  # passes when <= its tolerance
    reason: str = ""  # why it is skipped

    @property
    def line(self) -> str:
        if self.status == "SKIP":
            return f"SKIP {self.name} {self.reason}"
        return f"{self.status} {self.name} {self.value:.15g} {self.expected:.15g} {self.error:.1e}"


def compare(
    name: str,
    value: Tensor | float,
    expected: Tensor | float,
    scale: Tensor | float = 0.0,
    slack: Tensor | float = 0.0,
    tolerance: float = RELATIVE,
) -> Check:
    """PASS where |value - expected| <= tolerance |expected| + ROUNDING scale + slack, for every element.

    scale  size of the numbers whose difference `value` is     slack  other known error of `value`, absolute
    error  (|value - expected| - slack) / (|expected| + ROUNDING / tolerance scale), to be compared with `tolerance`
    """
    found, wanted = _float64(value), _float64(expected)
    if found.shape != wanted.shape:
        raise TruthError(f"{name} has shape {tuple(wanted.shape)}, the replay gives {tuple(found.shape)}")
    distance = ((found - wanted).abs() - _float64(slack)).clamp(min=0.0)
    size = wanted.abs() + ROUNDING / tolerance * _float64(scale)
    error = torch.where(distance == 0, 0.0, distance / size).nan_to_num(nan=torch.inf)
    if error.numel() == 0:
        return skip(name, "holds no numbers")
    worst = int(error.argmax())
    return _judge(name, found.flatten()[worst], wanted.flatten()[worst], error.flatten()[worst], tolerance)


def at_most_zero(name: str, value: Tensor | float, size: Tensor | float, tolerance: float = RELATIVE) -> Check:
    """PASS where value <= tolerance * size: gains that an optimum leaves nobody. `size` > 0."""
    found, unit = torch.broadcast_tensors(_float64(value), _float64(size))
    error = (found / unit).nan_to_num(nan=torch.inf)
    worst = int(error.argmax())
    return _judge(name, found.flatten()[worst], torch.zeros(()), error.flatten()[worst], tolerance)


def skip(name: str, reason: str) -> Check:
    """A number that is not replayed, and why."""
    return Check(name, "SKIP", reason=reason)


def _judge(name: str, value: Tensor, expected: Tensor, error: Tensor, tolerance: float) -> Check:
    passed = isfinite(float(error)) and float(error) <= tolerance
    return Check(name, "PASS" if passed else "FAIL", float(value), float(expected), float(error))


def _float64(number: Tensor | float) -> Tensor:
    return torch.as_tensor(number, dtype=torch.float64).detach()
