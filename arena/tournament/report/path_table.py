"""The table of the continuous paths in a report, and what its columns mean and do not mean."""

from collections.abc import Sequence

from arena.tournament.leaderboard import ContinuousPath
from arena.tournament.report.tables import Cell, Table
from arena.tournament.wording import chance, interval, number, percent

PATH_TERMS = {
    "return [per year]": "compound, after all costs",
    "volatility [per year]": "standard deviation of the returns",
    "Sharpe [per year]": "mean return above cash over its standard deviation; the interval allows for skew and fat "
    "tails, and takes the returns of different bars as independent (Mertens 2002)",
    "PSR": "probabilistic Sharpe ratio: how surely the true ratio is above 0, were the returns drawn one by one from "
    "one law; 1 less the p-value of a one-sided test. It is not the chance to earn next year, and knows nothing of how "
    "the entrant was chosen",
    "DSR": "deflated Sharpe ratio: the same against the ratio that the best of all entrants would show by luck if none "
    "had skill. It corrects for choosing the best of this field, and not for what was tried before and never entered. "
    "It depends on the field: a few entrants that only pay fees spread the ratios and lower the DSR of everybody",
    "bars needed": "for a PSR of 95 % at this ratio; a dash: the ratio is not above 0, so no number of bars does",
    "skew": "of the returns above cash, 0 if symmetric; below 0 the large ones are losses",
    "kurtosis": "of the same, 3 for a normal law, more with fat tails",
    "Sortino [per year]": "as Sharpe with the downside deviation",
    "Calmar": "return per year over the deepest drawdown",
    "drawdown": "the deepest of the whole path",
}


def path_table(found: ContinuousPath, ranking: Sequence[str]) -> Table:
    """Statistics of the continuous path of each entrant that has one."""
    rows = []
    for name in (name for name in ranking if name in found["agents"]):
        of = found["agents"][name]
        sharpe, low, high = (number(of[field], 2) for field in ("sharpe", "sharpe_low", "sharpe_high"))
        cells = [
            Cell(percent(of["annual_return"], signed=True), of["annual_return"]),
            Cell(percent(of["annual_volatility"]), of["annual_volatility"]),
            Cell(sharpe, of["sharpe"], interval(low, high)),
            *(Cell(chance(of[field]), of[field]) for field in ("psr", "dsr")),
            Cell(number(of["steps_needed"]), of["steps_needed"]),
            Cell(number(of["skewness"], 2), of["skewness"]),
            Cell(number(of["kurtosis"], 1), of["kurtosis"]),
            *(Cell(number(of[field], 2), of[field]) for field in ("sortino", "calmar")),
            Cell(percent(of["max_drawdown"]), of["max_drawdown"]),
        ]
        rows.append([Cell(name, name), *cells])
    return Table("Statistics of one path of each entrant", ["entrant", *PATH_TERMS], rows, PATH_TERMS)
