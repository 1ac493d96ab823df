"""Who finished ahead of whom: counted on the device where the episodes end, read once.

Axes: B markets, S seats, P players.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LEARNER = "learner"  # the player in all seats of the policy that is trained to win
Wins = dict[tuple[str, str], float]  # (a, b): how often a finished ahead of b; a tie is half a win of both


class Outcome(NamedTuple):
    """Of one player against another."""

    games: float  # seats compared at the end of an episode
    wins: float


class Scoreboard:
    """Counts pairs of seats in finished episodes; players are added as they come.

    Which of two final navs in a market is the larger decides, as it does for any utility that increases.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = device
        self._places: dict[str, int] = {}  # of players in the table
        self._wins = torch.zeros(0, 0, dtype=torch.float64, device=device)  # [P, P]

    def add(self, names: Sequence[str], nav: Tensor) -> None:
        """An episode has ended with nav [B, S]; names [S] of the seats' players. Does not wait for the device."""
        for name in names:
            self._places.setdefault(name, len(self._places))
        lacking = len(self._places) - len(self._wins)
        self._wins = torch.nn.functional.pad(self._wins, (0, lacking, 0, lacking))
        lead = nav.unsqueeze(2) - nav.unsqueeze(1)  # [B, S, S]
        won = ((lead > 0).double() + 0.5 * (lead == 0).double()).sum(0)  # [S, S]
        place = torch.tensor([self._places[name] for name in names], device=self._device)
        self._wins.index_put_((place.unsqueeze(1), place.unsqueeze(0)), won, accumulate=True)

    def drain(self) -> Wins:
        """What was counted since the last call; a player is not compared with itself."""
        if not self._places:
            return {}
        wins, names = self._wins.tolist(), list(self._places)
        self._places, self._wins = {}, self._wins[:0, :0]
        size = range(len(names))
        return {(names[i], names[j]): wins[i][j] for i in size for j in size if i != j and wins[i][j] + wins[j][i]}


def add_up(parts: Iterable[Wins]) -> Wins:
    """All of them together."""
    whole: Wins = {}
    for part in parts:
        for pair, wins in part.items():
            whole[pair] = whole.get(pair, 0.0) + wins
    return whole


def against(wins: Wins, player: str) -> dict[str, Outcome]:
    """Outcomes of a player by the name of whom it met."""
    met = [other for first, other in wins if first == player]
    return {other: Outcome(wins[player, other] + wins.get((other, player), 0.0), wins[player, other]) for other in met}
