"""What every scripted agent is made of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from math import isfinite
from typing import ClassVar

import torch
from torch import Tensor

from arena.data.types import CLOSE
from arena.market.types import Observation


@dataclass(frozen=True)
class Rule(ABC):
    """A trading rule that reads all it needs from the observation and remembers nothing.

    Its fields are its parameters: whole numbers are counts (>= 1), others are sizes (>= 0). Without memory it is right
    in every market of a batch whatever step each one is at.
    """

    is_cheat: ClassVar[bool] = False  # True: uses what no trader can know

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if kind is int and not (number and isinstance(value, int) and value >= 1):
                wanted = "a whole number >= 1"
            elif kind is float and not (number and isfinite(value) and value >= 0):
                wanted = "a finite number >= 0"
            else:
                continue
            raise ValueError(f"{type(self).__name__}: {field.name} is {value!r}, expected {wanted}")

    @property
    def history_length(self) -> int:
        """Displayed bars wanted in the observation."""
        return 0

    def reset(self) -> None:  # noqa: B027 - a rule without memory has nothing to do here
        """Nothing to forget."""

    @abstractmethod
    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Target weights [B, A]."""

    def closes(self, observation: Observation) -> Tensor:
        """The last `history_length` displayed closes [B, A, C], fewer where the market shows fewer."""
        if observation.history is None:
            raise ValueError(
                f"{type(self).__name__}: observation.history is None, expected the last {self.history_length} bars; "
                "give the agent the history_length it asks for"
            )
        return observation.history[..., -self.history_length :, CLOSE]
