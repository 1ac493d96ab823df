"""How many batches of a run are finished, and how many were planned. A batch is a unit of `arena.tournament.types`."""

from typing import TYPE_CHECKING, NamedTuple

from arena.config.tournament import TournamentConfig
from arena.tournament.leaderboard import Leaderboard

if TYPE_CHECKING:
    import pyarrow as pa


class Batches(NamedTuple):
    """How much of a run is there."""

    finished: int
    planned: int  # if nothing ends the tournament early

    @property
    def sentence(self) -> str:
        """For the reader of an unfinished run."""
        return f"Partial: {self.finished} of {self.planned} batches are finished."


def finished_batches(rows: "pa.Table", config: TournamentConfig, board: Leaderboard) -> Batches:
    """The batches of a finished run, from its result rows; fewer than planned only if the stop rule ended it."""
    scenarios: dict[int, set[int]] = {}
    for lineup, scenario in zip(rows["lineup"].to_pylist(), rows["scenario"].to_pylist()):
        scenarios.setdefault(lineup, set()).add(scenario)
    finished = sum(-(-len(played) // config.tournament.batch_size) for played in scenarios.values())
    if not (board.stop and board.stop["decided"]):
        return Batches(finished, finished)
    from arena.tournament.setup.plan import make_schedule, synthetic_seeds  # bars are never stopped early

    return Batches(finished, make_schedule(config, synthetic_seeds(config)).num_units)
