"""Records of a tournament. One flat row per (lineup, scenario, seat) is all that is kept of a match."""

from dataclasses import dataclass
from typing import NamedTuple

FORFEIT_FINAL_NAV = 0.0  # a forfeit scores as a total loss, so quitting a bad match is never worth it
OK, FORFEIT = "ok", "forfeit"


class Lineup(NamedTuple):
    """Who sits where: one assignment of distinct entrants to the seats of a market."""

    lineup: int  # index in the schedule
    agents: tuple[str, ...]  # N entrant names by seat


class Unit(NamedTuple):
    """A unit of work: one lineup over one batch of scenarios. Its batch is part of its identity."""

    name: str  # deterministic, sorts in schedule order, safe as a file name
    lineup: Lineup
    scenarios: tuple[int, ...]  # seeds (synthetic) or window indices (bars), all played in one batch


class ResultRow(NamedTuple):
    """One seat of one match. Money is in fractions of the initial nav, costs are positive.

    A row of a forfeit keeps its place: status FORFEIT, final_nav FORFEIT_FINAL_NAV, both growths its utility,
    last rank, max_drawdown 1, every other number 0.
    """

    scenario: int  # seed or window index; the unit of every interval
    lineup: int
    seat: int
    agent: str  # entrant; copies of one agent enter under distinct names
    final_nav: float  # nav_T / nav_0, may be negative after ruin; the total return is final_nav - 1
    growth_raw: float  # utility(final_nav)
    growth_cv: float  # growth_raw minus the control variate, NaN where conditional means are unknown
    rank: float  # 1 = highest final_nav in the match, ties averaged (metrics.descending_rank)
    return_sum: float  # of per-step simple returns: a pooled Sharpe needs these three
    return_square_sum: float
    downside_square_sum: float  # of the negative ones, for a pooled Sortino ratio
    num_steps: int
    max_drawdown: float
    turnover: float  # one-way, summed over the episode
    cost: float  # half-spread + fee + quadratic term
    fee: float  # commission, a part of cost
    penalty: float  # of forced fills
    impact_cost: float  # paid through the execution price, against the fill price at rest
    financing: float  # received: interest - borrow fee + dividends, as Fills.financing
    margin_calls: int  # steps that began under a margin call
    ruined: bool
    rejected: int  # non-finite target weights, replaced by "keep the position"
    status: str  # OK or FORFEIT
    reason: str  # of a forfeit, in one line without numbers that a clock made; "" otherwise
    traceback: str  # of a forfeit; not in the digest
    seconds: float  # wall clock of this seat's decisions in its unit; not in the digest


@dataclass(frozen=True)
class PathColumn:
    """Meaning of one column of the files in paths/."""

    name: str
    kind: str
    meaning: str


# Column types by Arrow's names; store.arrow_schema builds the pyarrow schema from this.
KINDS = {int: "int64", float: "float64", bool: "bool", str: "string"}
SCHEMA: dict[str, str] = {name: KINDS[kind] for name, kind in ResultRow.__annotations__.items()}
KEY = ("lineup", "scenario", "seat")  # unique in a results table, and its sort order
NOT_IN_DIGEST = ("traceback", "seconds")

PATH_COLUMNS = (
    PathColumn("lineup", "int64", "as in the results"),
    PathColumn("scenario", "int64", "as in the results"),
    PathColumn("seat", "int64", "as in the results"),
    PathColumn("agent", "string", "as in the results"),
    PathColumn("step", "int64", "0 = before the first fill"),
    PathColumn("nav", "float32", "nav_t / nav_0"),
    PathColumn("cost", "float32", "explicit cost of the step / nav_0"),
    PathColumn("impact_cost", "float32", "impact paid in the step / nav_0"),
    PathColumn("financing", "float32", "received in the step / nav_0"),
)
PATH_SCHEMA: dict[str, str] = {column.name: column.kind for column in PATH_COLUMNS}

# One row per asset, step and seat of a sampled match; what all seats share stands in each of their rows.
MARKET_COLUMNS = (
    PathColumn("lineup", "int64", "as in the results"),
    PathColumn("scenario", "int64", "as in the results"),
    PathColumn("asset", "int64", "index in the market"),
    PathColumn("step", "int64", "0 = before the first fill"),
    PathColumn("seat", "int64", "as in the results"),
    PathColumn("agent", "string", "as in the results"),
    PathColumn("ref_price", "float32", "reference close of the step's bar [currency]"),
    PathColumn("mid", "float32", "displayed close of that bar, ref_price * (1 + displacement) [currency]"),
    PathColumn("displacement", "float32", "what the fills so far have done to the price, fraction of ref_price"),
    PathColumn("price", "float32", "all seats' execution price in the step, without spread and fee; NaN at step 0"),
    PathColumn("net_flow", "float32", "sum of all seats' fills in the step [shares]"),
    PathColumn("shares", "float32", "the seat's fill in the step [signed shares]"),
    PathColumn("position", "float32", "of the seat after the step [signed shares]"),
)
MARKET_SCHEMA: dict[str, str] = {column.name: column.kind for column in MARKET_COLUMNS}
OF_MARKET = ("ref_price", "mid", "displacement", "price", "net_flow")
OF_SEAT = ("shares", "position")

# One row per ordered pair of seats of a match that keeps its paths; see arena.tournament.transfers.
TRANSFER_COLUMNS = (
    PathColumn("lineup", "int64", "as in the results"),
    PathColumn("scenario", "int64", "as in the results"),
    PathColumn("agent", "string", "who paid"),
    PathColumn("by", "string", "whose flow had moved the price; the agent itself for what it did to its own price"),
    PathColumn("cost", "float64", "impact paid over the match / nav_0; negative where the other's flow served"),
)
TRANSFER_SCHEMA: dict[str, str] = {column.name: column.kind for column in TRANSFER_COLUMNS}
