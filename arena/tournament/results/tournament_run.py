"""The results of a tournament as an object: what its folder holds, as DataFrames, figures and a report."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from arena.config.files import read_config
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.tournament import wording
from arena.tournament.leaderboard import Leaderboard, Standing
from arena.tournament.results.batches import Batches, finished_batches

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

    from arena.tournament.report.column_dictionary import Entry
    from arena.tournament.results.leaderboard_frame import LeaderboardFrame

NUM_LEADERS = 3  # entrants in the text of a run


class TournamentRun:
    """The results of a tournament. Numbers of its tables are fractions; `columns` has the unit of each column.

    path         the folder of the run
    leaderboard  DataFrame, one row per entrant in rank order; a notebook shows it with intervals
    final        the same of the final of a swiss tournament; None in another format
    board        what leaderboard.json holds, as a record (arena.tournament.leaderboard)
    fingerprint  equal fingerprints mean equal results
    partial      True while batches are missing; the leaderboard is then of the finished ones
    """

    def __init__(
        self, path: Path, board: Leaderboard, batches: Batches | None = None, rows: "pa.Table | None" = None
    ) -> None:
        """`run_result.load_run` makes it.

        board    from outcome.rank_units or run_comparison.read_board
        batches  of an unfinished run; None: it is finished
        rows     its result rows; None: those of results.parquet
        """
        self.path = path
        self.board, self._unfinished, self._given_rows = board, batches, rows

    @property
    def leaderboard(self) -> "LeaderboardFrame":
        """One row per entrant in rank order, in fractions."""
        from arena.tournament.results.leaderboard_frame import LeaderboardFrame

        return LeaderboardFrame.of(self.board)

    @property
    def final(self) -> "LeaderboardFrame | None":
        """The leaderboard of the final of a swiss tournament; None in another format, or before the final."""
        from arena.tournament.results.leaderboard_frame import LeaderboardFrame

        return LeaderboardFrame.of(self.board.final) if self.board.final else None

    @property
    def pairs(self) -> "pd.DataFrame":
        """One row per pair of entrants, the one that ranks higher first."""
        from arena.tournament.results.leaderboard_frame import frame

        names = [entry.column for entry in _dictionary() if entry.table == "pairs"]
        return frame(self.board.pairs).reindex(columns=names)

    @cached_property
    def results(self) -> "pd.DataFrame":
        """One row per match and seat."""
        return self._rows.to_pandas()

    def paths(self) -> "pd.DataFrame | None":
        """Wealth and costs step by step, of the games that keep them; None if none does."""
        from arena.tournament.store import units

        return _frame(units.read_paths(self.path))

    def markets(self) -> "pd.DataFrame | None":
        """Prices, fills and positions step by step, of a few sampled matches; None if there are none."""
        from arena.tournament.store import units

        return _frame(units.read_markets(self.path))

    def transfers(self) -> "pd.DataFrame | None":
        """Which entrant paid for the impact of which other, in the matches that keep paths; None if none does."""
        from arena.tournament.store import units

        return _frame(units.read_transfers(self.path))

    @property
    def columns(self) -> "pd.DataFrame":
        """Unit and meaning of every column of these tables."""
        import pandas as pd

        return pd.DataFrame(_dictionary())

    @cached_property
    def config(self) -> TournamentConfig:
        """The whole config of the run."""
        return read_config(self.path / "config.yaml")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the results."""
        return self.board.digest

    @property
    def verdict(self) -> str:
        """Which entrant leads and whether that is more than luck, in a sentence or two."""
        return wording.claim(self.board)

    @property
    def forecasts(self) -> list[str]:
        """Whether a forecast pays: a sentence for each entrant whose rule also plays on a random walk."""
        return wording.forecast_claims(self.board)

    @property
    def notes(self) -> list[str]:
        """What to know before trusting the leaderboard, one sentence each."""
        return [*self.board.notes, *self.board.data]

    @property
    def partial(self) -> bool:
        """Whether batches are missing."""
        return self._unfinished is not None

    @property
    def num_finished(self) -> int:
        """Batches that count."""
        return self._batches.finished

    @property
    def num_planned(self) -> int:
        """Batches if nothing ends the tournament early."""
        return self._batches.planned

    def plot(self, kind: str = "growth") -> "Figure":
        """A matplotlib Figure: growth, rating, costs or wealth. Use its `savefig(path)` to keep it."""
        from arena.tournament.report import plots, report_data
        from arena.tournament.stats import curves
        from arena.tournament.store import units

        if kind not in plots.KINDS:
            raise UserError(f"plot: unknown kind {kind!r}; choose one of {', '.join(plots.KINDS)}")
        if kind != "wealth":
            return plots.plot(kind, self.board)
        kept = report_data.of_games(units.read_paths(self.path), self._ranked(self.board))
        if kept is None:
            raise UserError(f"{self.path}: the run kept no paths to plot; raise tournament.paths_mb and play it again")
        return plots.plot(kind, self.board, curves.wealth_bands(kept))

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, a page that needs no network, and return where it is.

        path  of the file; None: report.html in the folder of the run, and RUN/final/report.html of a final
        """
        from arena.tournament.report import report_data
        from arena.tournament.results.outcome import write_page

        title = f"{self.config.name}, seed {self.config.seed}" + (" (partial)" if self.partial else "")
        # A page elsewhere has no report of the final beside it, and so no link to one.
        board = self.board if path is None else replace(self.board, final=None)
        folders = [(self.path, board, title)]
        if board.final:
            (self.path / "final").mkdir(exist_ok=True)
            folders.append((self.path / "final", board.final, f"{title}: final"))
        written = [
            write_page(
                self.path,
                folder,
                shown,
                report_data.collect(self.path, self._ranked(shown), shown),
                its_title,
                None if path is None else Path(path),
            )
            for folder, shown, its_title in folders
        ]
        return written[0]

    def __repr__(self) -> str:
        leaders = [
            f"  {entry.rank}. {entry.agent}: {wording.bps(entry.growth)} bps a game{_interval(entry)}"
            for entry in self.board.standings[:NUM_LEADERS]
        ]
        return "\n".join([self._facts, *leaders, f"  fingerprint {self.fingerprint[:16]}, folder {self.path}"])

    def _repr_html_(self) -> str:
        from html import escape

        from arena.tournament.results.leaderboard_frame import leaderboard_html

        table = leaderboard_html(self.board, self.verdict)
        last = f"fingerprint {self.fingerprint[:16]}, folder {self.path}"
        return f"<p>{escape(self._facts)}</p>{table}<p><small>{escape(last)}</small></p>"

    @property
    def _facts(self) -> str:
        state = self._unfinished.sentence if self._unfinished else "finished."
        num = len(self.board.standings)
        return f"Tournament {self.config.name}, seed {self.config.seed}, {wording.counted(num, 'entrant')}: {state}"

    @cached_property
    def _rows(self) -> "pa.Table":
        if self._given_rows is not None:
            return self._given_rows
        import pyarrow.parquet as pq

        path = self.path / "results.parquet"
        try:
            return pq.read_table(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read ({str(error).splitlines()[0]}). "
                f"Use `arena tournament --resume {self.path}` to write it again."
            ) from error

    @cached_property
    def _batches(self) -> Batches:
        return self._unfinished or finished_batches(self._rows, self.config, self.board)

    def _ranked(self, board: Leaderboard) -> "pa.Table":
        """The rows that a leaderboard was made from."""
        import numpy as np

        first, last = board.lineups
        lineup, agents = self._rows["lineup"].to_numpy(), np.asarray(self._rows["agent"].to_pylist(), dtype=str)
        ranked = np.isin(agents, board.ranking)
        return self._rows.filter(ranked & (first <= lineup) & (lineup <= last))


def _dictionary() -> "tuple[Entry, ...]":
    from arena.tournament.report.column_dictionary import ENTRIES

    return ENTRIES


def _frame(table: "pa.Table | None") -> "pd.DataFrame | None":
    return None if table is None else table.to_pandas()


def _interval(entry: Standing) -> str:
    span = wording.interval(*map(wording.bps, entry.ends("growth")))
    return f" ({span})" if span else ""
