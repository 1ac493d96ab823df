"""The contract between a match and an entrant."""

from typing import Protocol

import torch
from torch import Tensor

from arena.market.types import Observation


class Agent(Protocol):
    """Decides for one seat in B markets at once.

    An agent that wants forecasts has also an attribute `forecaster`: str, a spec of arena.forecast.loading; whoever
    runs it then fills the forecast slot of its observation from that forecaster.

    A trained agent may also say which markets it plays, and is tried in by arena.agents.contracts.check_agent:
    `asset_counts`: tuple[int, ...], its only number of assets, or several, of which the least is the fewest it plays;
    `num_modes`: int, the most impact modes. `precision`: torch.dtype is what it computes in.
    """

    @property
    def history_length(self) -> int:
        """Displayed bars wanted in `observation.history`; 0 = none (the field may then be None).

        Only read, so a plain attribute, a class attribute and a property all do.
        """

    def reset(self) -> None:
        """Forget the past: called before every match."""

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Target weights [B, A]: signed fractions of nav, at the reference price. `observation.weight` means hold."""
