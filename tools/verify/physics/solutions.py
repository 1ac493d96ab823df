"""The execution problems of a truth folder, solved by gradient play and compared with the equilibria the files give.

A problem of one player is an optimal schedule. Sells are positive; costs exclude the risk that the averse also weigh.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from tools.verify.physics.equilibrium import nash_conv, play
from tools.verify.physics.games import Game, resilient_game, temporary_impact_game
from tools.verify.physics.schedules import almgren_chriss_seller, obizhaeva_wang_seller, power_law_seller
from tools.verify.physics.truth import Entry, TruthError, read

# Costs and schedules may differ from the file's by this share, and NashConv be this share of the total cost.
SOLVED = 1e-6


@dataclass(frozen=True)
class Problem:
    """A game of the files, and its solution as far as they give one."""

    name: str
    game: Game
    sizes: Tensor  # [n]
    num_trades: int
    costs: Tensor  # [n] expected
    strategies: Tensor | None  # [n, K]


@dataclass(frozen=True)
class Solution:
    """One line of the report. Of the players' costs the one furthest from its expected value is shown."""

    name: str
    status: Literal["PASS", "FAIL", "SKIP"]
    num_players: int = 0
    num_trades: int = 0
    num_rounds: int = 0
    first_order: float = 0.0  # tools.verify.physics.equilibrium.Equilibrium
    cost: float = 0.0
    expected: float = 0.0
    cost_error: float = 0.0  # |cost - expected| / |expected|
    schedule_error: float | None = None  # |difference| / largest |expected trade|; None: not in the file
    exploitability: float | None = None  # NashConv / total |cost|; None: costs are not quadratic
    reason: str = ""  # why it is skipped

    @property
    def line(self) -> str:
        if self.status == "SKIP":
            return f"SKIP {self.name} {self.reason}"
        schedule, exploitability = (_or_dash(number) for number in (self.schedule_error, self.exploitability))
        return (
            f"{self.status} {self.name} {self.num_players} {self.num_trades} {self.num_rounds} {self.first_order:.1e} "
            f"{self.cost:.12g} {self.expected:.12g} {self.cost_error:.1e} {schedule} {exploitability}"
        )


COLUMNS = (
    "result, name, players, trades, rounds, first-order residual, cost found, cost expected, "
    "its relative error, that of the schedules, exploitability (NashConv / total cost)"
)


def solve_folder(folder: Path, max_trades: int) -> Iterator[Solution]:
    """Solve the files of PROBLEMS one problem at a time; TruthError, before the first, if one is unreadable."""
    if not folder.is_dir():
        raise TruthError(f"{folder} is not a folder; expected one with {', '.join(PROBLEMS)}")
    problems = [problem for name, problems_of in PROBLEMS.items() for problem in problems_of(read(folder / name))]
    for problem in problems:
        if problem.num_trades > max_trades:
            yield Solution(problem.name, "SKIP", reason=f"{problem.num_trades} trades, more than {max_trades}")
        else:
            yield solve(problem)


def solve(problem: Problem) -> Solution:
    """Play from even schedules, then compare with the file and with every player's best response."""
    game = problem.game
    end = play(game.objectives, problem.sizes, problem.num_trades)
    costs = game.costs(end.strategies.unsqueeze(0))[0]
    cost_errors = (costs - problem.costs).abs() / problem.costs.abs()
    worst = int(cost_errors.argmax())
    schedule_error = exploitability = None
    if problem.strategies is not None:
        schedule_error = float((end.strategies - problem.strategies).abs().max() / problem.strategies.abs().max())
    if all(mode.exponent == 1.0 for mode in game.params.modes):
        exploitability = nash_conv(game.objectives, end.strategies) / float(costs.abs().sum())
    errors = (float(cost_errors[worst]), schedule_error or 0.0, exploitability or 0.0)
    return Solution(
        problem.name,
        "PASS" if end.converged and all(error <= SOLVED for error in errors) else "FAIL",
        len(problem.sizes),
        problem.num_trades,
        end.num_rounds,
        end.first_order,
        float(costs[worst]),
        float(problem.costs[worst]),
        errors[0],
        schedule_error,
        exploitability,
    )


def almgren_chriss_problems(truth: Entry) -> Iterator[Problem]:
    """One averse seller."""
    for index, row in enumerate(truth.entries("rows")):
        yield _one_seller(f"a.rows[{index}]", truth, almgren_chriss_seller(truth, row), row, "expected_cost", "sales")


def obizhaeva_wang_problems(truth: Entry) -> Iterator[Problem]:
    """One seller in a linear, then in power-law books."""
    for index, row in enumerate(truth.entries("rows")):
        seller = obizhaeva_wang_seller(truth, row)
        yield _one_seller(f"b.rows[{index}]", truth, seller, row, "expected_cost", "schedule")
    for index, book in enumerate(truth.entries("power_law_book")):
        name, seller = f"b.power_law_book[{index}]", power_law_seller(truth, book)
        yield _one_seller(name, truth, seller, book, "expected_cost_currency", "schedule")


def nash_problems(truth: Entry) -> Iterator[Problem]:
    """Games in a resilient book, then with net temporary impact."""
    given = truth.entry("params")
    num_trades = int(given.number("N")) + 1
    for index, row in enumerate(truth.entries("games")):
        sizes = row.tensor("X", (-1,))
        shape = (len(sizes), num_trades)
        game = resilient_game(row, given, num_trades)
        costs, strategies = row.tensor("expected_costs", shape[:1]), row.tensor("strategies", shape)
        yield Problem(f"d.games[{index}].{row['name']}", game, sizes, num_trades, costs, strategies)
    for index, row in enumerate(truth.entries("carlin_lobo_viswanathan")):
        sizes = row.tensor("X", (-1,))
        for place, discrete in enumerate(row.entries("discrete")):
            num_trades = int(discrete.number("N"))
            shape = (len(sizes), num_trades)
            name = f"d.carlin_lobo_viswanathan[{index}].discrete[{place}].N={num_trades}"
            game = temporary_impact_game(row, given.number("S0"), num_trades)
            costs = discrete.tensor("expected_costs", shape[:1])
            schedules = None if discrete["strategies"] is None else discrete.tensor("strategies", shape)
            yield Problem(name, game, sizes, num_trades, costs, schedules)


PROBLEMS: dict[str, Callable[[Entry], Iterator[Problem]]] = {
    "a_almgren_chriss.json": almgren_chriss_problems,
    "b_obizhaeva_wang.json": obizhaeva_wang_problems,
    "d_nash_games.json": nash_problems,
}


def _one_seller(name: str, truth: Entry, seller: Game, row: Entry, cost: str, schedule: str) -> Problem:
    num_trades = len(seller.risk)
    size, costs = truth.entry("params").tensor("X", ()).reshape(1), row.tensor(cost, ()).reshape(1)
    strategies = row.tensor(schedule, (num_trades,)).unsqueeze(0)
    return Problem(name, seller, size, num_trades, costs, strategies)


def _or_dash(number: float | None) -> str:
    return "-" if number is None else f"{number:.1e}"
