"""What there is of a tournament, and so what is to be played next: functions of the results on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arena.tournament.schedule.formats import Schedule
from arena.tournament.store.digest import sort_rows
from arena.tournament.store.units import Finished, finished_units, read_units
from arena.tournament.types import Unit

if TYPE_CHECKING:
    import pyarrow as pa


class RunState(NamedTuple):
    """What a run folder holds of a schedule, stage by stage as far as results go."""

    done: list[Unit]  # of the stages that are complete
    results: "pa.Table | None"  # their rows, sorted; None before the first
    num_stages: int
    stage: list[Unit]  # the first that is not complete; empty at the end
    finished: Finished  # of that stage

    @property
    def missing(self) -> list[Unit]:
        """What is to be played next, in this order."""
        return [unit for unit in self.stage if unit.name not in self.finished.names]

    @property
    def present(self) -> list[Unit]:
        """What is there."""
        return [*self.done, *(unit for unit in self.stage if unit.name in self.finished.names)]


NOTHING = RunState([], None, 0, [], Finished(frozenset(), {}))


def run_state(run: Path, schedule: Schedule, before: RunState = NOTHING, set_aside: bool = True) -> RunState:
    """Looks at the run folder; `before`: stages that need not be looked at again.

    A damaged unit is set aside, and the stages after its own wait until it has been played again.
    `set_aside`: False leaves its file where it is, for those who only read the run.
    """
    import pyarrow as pa

    done, results, num_stages = before.done, before.results, before.num_stages
    while stage := schedule.stage(num_stages, results):
        finished = finished_units(run, stage, set_aside)
        if len(finished.names) < len(stage):
            return RunState(done, results, num_stages, stage, finished)
        done = done + stage
        rows = read_units(run, stage)
        results = rows if results is None else sort_rows(pa.concat_tables([results, rows]))
        num_stages += 1
    return RunState(done, results, num_stages, [], NOTHING.finished)
