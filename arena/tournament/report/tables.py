"""Tables of the report as rows of text: what stands in a cell, and the number it is sorted by."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from arena.tournament.leaderboard import Leaderboard, Profiles, Standing
from arena.tournament.report.column_dictionary import meaning
from arena.tournament.report.figures import COST_PARTS
from arena.tournament.stats.convergence import Running
from arena.tournament.stats.curves import Band
from arena.tournament.wording import EMPTY, bps, interval, number, p_value, percent

NUM_LEADERS = 5  # of a table beside a chart that gives colours to as many
PROFILE_COLUMNS = 7  # thresholds of a profile that its table shows
RUNNING_ROWS = 8  # counts of scenarios, likewise

MEASURES = {
    "mean return": meaning("mean_return"),
    "middle half [bps]": meaning("iqm"),
    "beats the next": meaning("prob_better"),
    "Sortino [per year]": meaning("sortino"),
    "Calmar": meaning("calmar"),
    "alpha-rank": meaning("alpha_rank"),
    "in the best set": "not ruled out as the best (model confidence set, 95 %); a dash: not computed, which needs the "
    "package arch, enough scenarios and at most 50 entrants",
    "margin calls": meaning("margin_calls"),
    "ruined": meaning("ruined"),
    "orders refused": meaning("rejected"),
}

Form = Callable[[float | None], str]


class Cell(NamedTuple):
    """One cell."""

    text: str
    value: float | str | None = None  # what its column is sorted by; None: last
    small: str = ""  # second line


class Table(NamedTuple):
    """The first cell of a row is its name."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    terms: Mapping[str, str] = {}  # title of a column -> what it means, for columns that need a sentence


def pair_table(board: Leaderboard, names: Sequence[str]) -> Table:
    """Every pair of the named entrants: difference with its interval, p and verdict."""
    rows = [
        [
            Cell(pair.agent, pair.agent),
            Cell(pair.against, pair.against),
            Cell(bps(pair.growth), pair.growth, interval(bps(pair.growth_low), bps(pair.growth_high))),
            Cell(p_value(pair.p_value), pair.p_value),
            Cell(pair.verdict, pair.verdict),
        ]
        for pair in board.pairs
        if pair.agent in names and pair.against in names
    ]
    caption = "Paired differences in growth per game, 95 % interval of each pair alone; p adjusted over all pairs"
    return Table(caption, ["entrant", "against", "difference [bps]", "p", "verdict"], rows)


def measure_table(board: Leaderboard) -> Table:
    """Companions of the headline that are looked up rather than read."""

    def ranged(entry: Standing, field: str, form: Form) -> Cell:
        return Cell(form(entry.number(field)), entry.number(field), interval(*map(form, entry.ends(field))))

    best = board.confidence_set
    rows = [
        [
            Cell(entry.agent, entry.agent),
            Cell(percent(entry.mean_return, signed=True), entry.mean_return),
            ranged(entry, "iqm", bps),
            ranged(entry, "prob_better", percent),
            ranged(entry, "sortino", lambda value: number(value, 2)),
            Cell(number(entry.calmar, 2), entry.calmar),
            Cell(percent(entry.alpha_rank), entry.alpha_rank),
            Cell(EMPTY if best is None else "yes" if entry.agent in best else "no"),
            Cell(number(entry.margin_calls), entry.margin_calls),
            Cell(number(entry.ruined), entry.ruined),
            Cell(number(entry.rejected), entry.rejected),
        ]
        for entry in board.standings
    ]
    return Table("Further measures of each entrant, 95 % intervals below", ["entrant", *MEASURES], rows, MEASURES)


def cost_table(board: Leaderboard) -> Table:
    """What was paid for what."""
    rows = [
        [
            Cell(entry.agent, entry.agent),
            *(Cell(bps(paid, signed=False), paid) for paid in (_paid(entry, part) for part in COST_PARTS)),
            Cell(bps(_total(entry), signed=False), _total(entry)),
            Cell(number(entry.turnover, 1), entry.turnover),
        ]
        for entry in board.standings
    ]
    labels = [label for label, _ in COST_PARTS.values()]
    caption = "Mean cost per game in bps of the initial nav; financing received is negative; turnover in nav per game"
    return Table(caption, ["entrant", *labels, "total", "turnover"], rows)


def band_table(bands: Mapping[str, Band], ranking: Sequence[str], origin: float, caption: str) -> Table:
    """Where the curves end."""
    rows = [
        [
            Cell(name, name),
            *(
                Cell(percent(curve[-1] - origin, signed=origin != 0), curve[-1])
                for curve in (bands[name].low, bands[name].median, bands[name].high)
            ),
            Cell(number(bands[name].num_games), bands[name].num_games),
        ]
        for name in ranking
        if name in bands
    ]
    return Table(caption, ["entrant", "10 % below", "median", "90 % below", "games"], rows)


def running_table(running: Running, ranking: Sequence[str], form: Form, caption: str, unit: str) -> Table:
    """Running estimates of the leaders at some of the counts."""
    leaders = ranking[:NUM_LEADERS]
    chosen = _spread(len(running.scenarios), RUNNING_ROWS)
    rows = []
    for look in chosen:
        cells = [Cell(number(running.scenarios[look]), running.scenarios[look])]
        for name in leaders:
            found = running.estimates[name][look]
            cells.append(Cell(form(found.value), found.value, interval(form(found.low), form(found.high))))
        rows.append(cells)
    return Table(caption, [f"{unit}s", *leaders], rows)


def profile_table(profiles: Profiles, ranking: Sequence[str], unit: str) -> Table:
    """Profiles of all entrants at some thresholds."""
    chosen = _spread(len(profiles["threshold"]), PROFILE_COLUMNS)
    head = ["entrant", *(f"{bps(profiles['threshold'][index])} bps" for index in chosen)]
    rows = [
        [
            Cell(name, name),
            *(
                Cell(f"{100 * profiles['share'][name][index]:.0f} %", profiles["share"][name][index])
                for index in chosen
            ),
        ]
        for name in ranking
    ]
    return Table(f"Share of the {unit}s with at least that growth above cash", head, rows)


def _paid(entry: Standing, part: str) -> float | None:
    paid = entry.number(part)
    return -paid if paid is not None and part == "financing" else paid


def _total(entry: Standing) -> float:
    return sum(_paid(entry, part) or 0.0 for part in COST_PARTS)


def _spread(num: int, most: int) -> list[int]:
    """At most `most` indices of `num`, evenly spaced, with both ends."""
    if num <= most:
        return list(range(num))
    return [round(step * (num - 1) / (most - 1)) for step in range(most)]
