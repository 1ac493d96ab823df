"""Records of a tournament. One flat row per (lineup, scenario, seat) is all that is kept of a match."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_args

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
    """One seat of one match; each field carries its unit and its meaning. Costs are positive.

    A row of a forfeit keeps its place: status FORFEIT, final_nav FORFEIT_FINAL_NAV, both growths its utility,
    last rank, max_drawdown 1, every other number 0.
    """

    scenario: Annotated[int, "", "seed (synthetic) or window index (bars); each scenario is one independent sample"]
    lineup: Annotated[int, "", "index of the lineup in the schedule"]
    seat: Annotated[int, "", "index of the seat in the market"]
    agent: Annotated[str, "", "name of the entrant; copies of one agent have distinct names"]
    final_nav: Annotated[float, "nav_T / nav_0", "can be negative after ruin; the return is final_nav - 1"]
    growth_raw: Annotated[float, "log growth", "growth of the game, market luck included: utility(final_nav)"]
    growth_cv: Annotated[float, "log growth", "growth_raw minus the control variate; NaN without conditional means"]
    rank: Annotated[float, "", "1 = highest final_nav in the match, ties averaged"]
    return_sum: Annotated[float, "fraction", "sum of the simple returns of all steps"]
    return_square_sum: Annotated[float, "fraction^2", "sum of their squares"]
    downside_square_sum: Annotated[float, "fraction^2", "sum of the squares of the negative ones"]
    num_steps: Annotated[int, "steps", "number of steps played"]
    max_drawdown: Annotated[float, "fraction", "deepest fall of nav below its running maximum"]
    turnover: Annotated[float, "nav", "one-way, summed over the game"]
    cost: Annotated[float, "nav_0", "explicit cost: half-spread, fee and quadratic term"]
    fee: Annotated[float, "nav_0", "commission, a part of cost"]
    penalty: Annotated[float, "nav_0", "cost of forced fills"]
    impact_cost: Annotated[float, "nav_0", "paid through the execution price, against the fill price at rest"]
    financing: Annotated[float, "nav_0", "received: interest - borrow fee + dividends"]
    margin_calls: Annotated[int, "steps", "steps that began under a margin call"]
    ruined: Annotated[bool, "", "True: the game ended without wealth"]
    rejected: Annotated[int, "", "number of target weights that were NaN or infinite; the position was kept"]
    status: Annotated[str, "", "ok or forfeit"]
    reason: Annotated[str, "", "reason of a forfeit in one line; empty otherwise"]
    traceback: Annotated[str, "", "Python traceback of a forfeit; not in the fingerprint"]
    seconds: Annotated[float, "s", "wall clock of this seat's decisions in its batch; not in the fingerprint"]


@dataclass(frozen=True)
class Column:
    """One column of a stored table."""

    name: str
    kind: str  # Arrow's name of the type
    unit: str
    meaning: str


# Column types by Arrow's names; store.arrow_schema builds the pyarrow schema from this.
KINDS = {int: "int64", float: "float64", bool: "bool", str: "string"}
RESULT_COLUMNS = tuple(
    Column(name, KINDS[get_args(field)[0]], *get_args(field)[1:]) for name, field in ResultRow.__annotations__.items()
)
SCHEMA: dict[str, str] = {column.name: column.kind for column in RESULT_COLUMNS}
KEY = ("lineup", "scenario", "seat")  # unique in a results table, and its sort order
NOT_IN_DIGEST = ("traceback", "seconds")

PATH_COLUMNS = (
    Column("lineup", "int64", "", "as in results"),
    Column("scenario", "int64", "", "as in results"),
    Column("seat", "int64", "", "as in results"),
    Column("agent", "string", "", "as in results"),
    Column("step", "int64", "", "0 = before the first fill"),
    Column("nav", "float32", "nav_t / nav_0", "wealth after the step"),
    Column("cost", "float32", "nav_0", "explicit cost of the step"),
    Column("impact_cost", "float32", "nav_0", "impact paid in the step"),
    Column("financing", "float32", "nav_0", "financing received in the step"),
)
PATH_SCHEMA: dict[str, str] = {column.name: column.kind for column in PATH_COLUMNS}

# One row per asset, step and seat of a sampled match; what all seats share stands in each of their rows.
MARKET_COLUMNS = (
    Column("lineup", "int64", "", "as in results"),
    Column("scenario", "int64", "", "as in results"),
    Column("asset", "int64", "", "index of the asset in the market"),
    Column("step", "int64", "", "0 = before the first fill"),
    Column("seat", "int64", "", "as in results"),
    Column("agent", "string", "", "as in results"),
    Column("ref_price", "float32", "currency", "reference close of the step's bar"),
    Column("mid", "float32", "currency", "displayed close of that bar: ref_price * (1 + displacement)"),
    Column("displacement", "float32", "ref_price", "change of the price by all fills so far"),
    Column("price", "float32", "currency", "execution price of all seats, without spread and fee; NaN at step 0"),
    Column("net_flow", "float32", "shares", "sum of the fills of all seats in the step"),
    Column("shares", "float32", "shares", "signed fill of the seat in the step"),
    Column("position", "float32", "shares", "signed position of the seat after the step"),
)
MARKET_SCHEMA: dict[str, str] = {column.name: column.kind for column in MARKET_COLUMNS}
OF_MARKET = ("ref_price", "mid", "displacement", "price", "net_flow")
OF_SEAT = ("shares", "position")

# One row per ordered pair of seats of a match that keeps its paths; see arena.tournament.play.transfers.
TRANSFER_COLUMNS = (
    Column("lineup", "int64", "", "as in results"),
    Column("scenario", "int64", "", "as in results"),
    Column("agent", "string", "", "entrant that paid"),
    Column("by", "string", "", "entrant whose flow had moved the price; can be the same entrant"),
    Column("cost", "float64", "nav_0", "impact paid over the match; negative: the entrant gained"),
)
TRANSFER_SCHEMA: dict[str, str] = {column.name: column.kind for column in TRANSFER_COLUMNS}
