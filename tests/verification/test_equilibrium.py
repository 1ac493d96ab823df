"""Gradient play finds equilibria known in closed form, says when it found none, and solves a folder of games."""

import copy
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.market.types import ImpactMode
from tests.script import run_script
from tools.verify.physics.equilibrium import Equilibrium, best_response_gains, nash_conv, play
from tools.verify.physics.games import Game, price_risk
from tools.verify.physics.replay import bare_rules, flat_quotes, half_life
from tools.verify.physics.solutions import PROBLEMS, solve, solve_folder
from tools.verify.physics.truth import Entry, TruthError

SCRIPT = Path(__file__).parents[2] / "scripts" / "solve_game.py"
WriteFolder = Callable[..., Path]


def linear_game(
    num_trades: int, permanent: float, resilient: float, decay: float, theta: float, phi: float = 0.0
) -> Game:
    """Books of coefficient `permanent` and `resilient`, of which the share `decay` is left a bar later, at price 10."""
    modes = (
        ImpactMode(permanent / 10.0, 1.0, half_life(0.0)),
        ImpactMode(resilient / 10.0, 1.0, half_life(-np.log(decay))),
    )
    params = bare_rules(modes, 1.0, theta / 10.0, temporary_coef=phi / 10.0)
    return Game(params, flat_quotes(10.0), price_risk(0.0, 0.0, num_trades, 1.0))


def equilibrium(game: Game, sizes: list[float]) -> Equilibrium:
    return play(game.objectives, torch.tensor(sizes, dtype=torch.float64), len(game.risk))


def forms(game_args: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Own cost x'Ax / 2 and cross cost x'B y [K, K] of `linear_game`, by formula."""
    num_trades = game_args["num_trades"]
    lags = np.abs(np.subtract.outer(np.arange(num_trades), np.arange(num_trades)))
    kernel = game_args["permanent"] + game_args["resilient"] * game_args["decay"] ** lags
    phi, unit = game_args.get("phi", 0.0), np.eye(num_trades)
    own = kernel + 2.0 * (game_args["theta"] + phi) * unit
    return own, np.tril(kernel, -1) + (0.5 * kernel[0, 0] + phi) * unit


@pytest.mark.parametrize("num_players", [1, 2, 4])
def test_equal_sellers_in_a_permanent_book_sell_geometrically(num_players: int) -> None:
    """Marginal costs of trades k and k + 1 are equal where x_k+1 / x_k = ((n+1) phi - d) / ((n+1) phi + d).

    phi net temporary impact, d = (n - 1) gamma / 2 the half of what the others' permanent impact costs.
    """
    gamma, phi, num_trades = 0.3, 0.8, 6
    drift = (num_players - 1) * gamma / 2
    ratio = ((num_players + 1) * phi - drift) / ((num_players + 1) * phi + drift)
    wanted = ratio ** np.arange(num_trades)
    wanted *= 2.0 / wanted.sum()
    end = equilibrium(linear_game(num_trades, gamma, 0.0, 0.5, 0.0, phi), [2.0] * num_players)
    assert end.converged
    np.testing.assert_allclose(end.strategies.numpy(), np.tile(wanted, (num_players, 1)), rtol=1e-9)


@given(
    sizes=st.lists(st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0]), min_size=2, max_size=4),
    permanent=st.floats(0.0, 1.0),
    decay=st.floats(0.1, 0.95),
    theta=st.floats(0.0, 1.0),
)
@settings(max_examples=10, deadline=None)
def test_equilibria_of_random_linear_games(sizes: list[float], permanent: float, decay: float, theta: float) -> None:
    args = {"num_trades": 5, "permanent": permanent, "resilient": 0.7, "decay": decay, "theta": theta}
    game = linear_game(**args)
    end = equilibrium(game, sizes)
    assert end.converged
    own, cross = forms(args)
    x = np.array(sizes)
    v = np.linalg.solve(own + (len(x) - 1) * cross, np.ones(5))
    w = np.linalg.solve(own - cross, np.ones(5))
    wanted = x.mean() * v / v.sum() + np.outer(x - x.mean(), w / w.sum())
    unit = max(1e-3, np.abs(wanted).max())
    np.testing.assert_allclose(end.strategies.numpy(), wanted, atol=1e-7 * unit)
    np.testing.assert_allclose(end.strategies.sum(-1).numpy(), x, atol=1e-12)
    assert abs(nash_conv(game.objectives, end.strategies)) <= 1e-9 * unit


def test_gains_of_best_responses_in_closed_form() -> None:
    args = {"num_trades": 4, "permanent": 0.2, "resilient": 1.0, "decay": 0.6, "theta": 0.1, "phi": 0.3}
    own, cross = forms(args)
    strategies = np.array([[1.0, -0.5, 0.25, 2.0], [0.3, 0.3, 0.3, -0.9], [0.0, 1.0, 0.0, 0.0]])
    gains = []
    for i, x in enumerate(strategies):
        slope = own @ x + cross @ (strategies.sum(0) - x)
        inverse = np.linalg.inv(own)
        slope = slope - np.ones(4) * (inverse @ slope).sum() / inverse.sum()  # the sum stays
        gains.append(0.5 * slope @ inverse @ slope)
        assert gains[i] > 0.01
    found = best_response_gains(linear_game(**args).objectives, torch.from_numpy(strategies))
    np.testing.assert_allclose(found.numpy(), gains, rtol=1e-10)
    np.testing.assert_allclose(
        nash_conv(linear_game(**args).objectives, torch.from_numpy(strategies)), sum(gains), rtol=1e-10
    )


def test_ends_where_best_responses_circle() -> None:
    """x'My + c x'x / 2 against y'y c / 2 - x'My with a small c: best responses overshoot further and further."""
    form = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)) + 1.0
    form[0] += torch.arange(4)
    own = 0.1

    def objectives(strategies: torch.Tensor) -> torch.Tensor:
        value = torch.einsum("bk,kl,bl->b", strategies[:, 0], form, strategies[:, 1])
        return torch.stack([value, -value], -1) + 0.5 * own * (strategies**2).sum(-1)

    end = play(objectives, torch.tensor([1.0, 2.0], dtype=torch.float64), 4)
    assert end.converged
    assert end.num_rounds <= 2 * 3 + 1
    x, y = end.strategies
    for marginal in (form @ y + own * x, own * y - x @ form):
        torch.testing.assert_close(marginal, marginal.mean().expand(4))


def test_says_when_it_did_not_converge() -> None:
    game = linear_game(5, 0.0, 1.0, 0.5, 0.0)
    stopped = play(game.objectives, torch.tensor([1.0, 0.0], dtype=torch.float64), 5, max_rounds=2)
    assert stopped.num_rounds == 2
    assert not stopped.converged
    with pytest.raises(ValueError, match="no finite gradient"):
        play(lambda x: x.sum(-1) * torch.nan, torch.tensor([1.0], dtype=torch.float64), 3)


def test_nothing_to_trade_is_an_equilibrium() -> None:
    end = equilibrium(linear_game(4, 0.1, 0.5, 0.5, 0.0), [0.0, 0.0])
    assert end.converged
    assert torch.equal(end.strategies, torch.zeros(2, 4, dtype=torch.float64))


def test_every_problem_of_a_folder_is_solved(write_folder: WriteFolder) -> None:
    solutions = list(solve_folder(write_folder(), max_trades=19))
    assert [solution.line for solution in solutions if solution.status == "FAIL"] == []
    assert [solution.name[:3] for solution in solutions].count("d.g") == 4
    by_name = {solution.name: solution for solution in solutions}
    assert by_name["b.power_law_book[0]"].exploitability is None
    assert by_name["b.rows[0]"].exploitability is not None
    assert by_name["d.carlin_lobo_viswanathan[0].discrete[1].N=20"].reason == "20 trades, more than 19"


# One number of every kind that the solutions are compared with, or that the games are made of.
NUMBERS = [
    ("a_almgren_chriss.json", "rows", 1, "expected_cost"),
    ("a_almgren_chriss.json", "rows", 2, "sales", 0),
    ("a_almgren_chriss.json", "params", "sigma"),
    ("b_obizhaeva_wang.json", "rows", 1, "schedule", 2),
    ("b_obizhaeva_wang.json", "power_law_book", 0, "expected_cost_currency"),
    ("b_obizhaeva_wang.json", "power_law_book", 1, "c_rel"),
    ("d_nash_games.json", "games", 0, "expected_costs", 2),
    ("d_nash_games.json", "games", 1, "strategies", 0, 0),
    ("d_nash_games.json", "games", 2, "phi_net"),
    ("d_nash_games.json", "games", 3, "risk_aversion"),
    ("d_nash_games.json", "carlin_lobo_viswanathan", 0, "gamma"),
    ("d_nash_games.json", "carlin_lobo_viswanathan", 0, "discrete", 1, "expected_costs", 1),
]


def change_number(truths: Any, path: tuple[Any, ...]) -> None:
    *parents, last = path
    place = truths
    for key in parents:
        place = place[key]
    place[last] *= 1 + 1e-4


@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: ".".join(map(str, path)))
def test_one_number_off_by_a_ten_thousandth_fails(path: tuple[Any, ...], truths: dict[str, Any]) -> None:
    edited = copy.deepcopy(truths)
    change_number(edited, path)
    problems = PROBLEMS[path[0]](Entry(path[0], edited[path[0]]))
    changed = f"{path[0][0]}.{path[1]}[{path[2]}]" if path[1] != "params" else ""
    solutions = [solve(problem) for problem in problems if problem.name.startswith(changed)]
    assert any(solution.status == "FAIL" for solution in solutions)


def run(folder: Path) -> CompletedProcess[str]:
    return run_script(SCRIPT, "--truth", folder, "--max-trades", 19)


def test_script_prints_a_line_a_game_and_counts(write_folder: WriteFolder) -> None:
    result = run(write_folder())
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stdout + result.stderr
    count = {word: sum(line.startswith(word) for line in lines) for word in ("PASS", "FAIL", "SKIP")}
    assert count == {"PASS": 13, "FAIL": 0, "SKIP": 1}
    assert lines[-1] == "13 passed, 0 failed, 1 skipped"


def test_script_exits_1_on_one_wrong_number_and_2_without_files(write_folder: WriteFolder, tmp_path: Path) -> None:
    folder = write_folder(lambda truths: change_number(truths, NUMBERS[0]))
    result = run(folder)
    assert result.returncode == 1
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("FAIL")] == ["a.rows[1]"]
    (folder / "d_nash_games.json").unlink()
    result = run(folder)
    assert result.returncode == 2
    assert result.stderr == f"solve_game: {folder / 'd_nash_games.json'} is missing\n"


def test_a_schedule_of_another_length_is_explained(write_folder: WriteFolder) -> None:
    folder = write_folder(lambda truths: truths["d_nash_games.json"]["params"].update(N=7))
    with pytest.raises(TruthError, match=r"strategies has shape \(3, 7\), expected \(3, 8\)"):
        list(solve_folder(folder, max_trades=20))
