"""The replays agree with values computed elsewhere, notice one wrong number, and explain a broken folder."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.script import run_script
from tools.verify.physics.checks import Check, compare
from tools.verify.physics.folder import REPLAYS, verify_folder
from tools.verify.physics.quadratic import minimise
from tools.verify.physics.truth import Entry, TruthError
from tools.verify.summary import summary

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_physics.py"
WriteFolder = Callable[..., Path]


def failures(checks: list[Check]) -> list[str]:
    return [check.line for check in checks if check.status == "FAIL"]


@pytest.mark.parametrize("name", REPLAYS)
def test_other_parameters_pass(name: str, truths: dict[str, Any]) -> None:
    checks = list(REPLAYS[name](Entry(name, truths[name])))
    assert failures(checks) == []
    assert any(check.status == "PASS" for check in checks)
    assert all(check.reason for check in checks if check.status == "SKIP")


# One number of every kind, each a path into the files.
NUMBERS = [
    ("a_almgren_chriss.json", "rows", 1, "expected_cost"),
    ("a_almgren_chriss.json", "rows", 2, "sales", 3),
    ("a_almgren_chriss.json", "rows", 1, "kappa_per_day"),
    ("a_almgren_chriss.json", "arena_mapping", "theta_rel"),
    ("b_obizhaeva_wang.json", "rows", 1, "expected_cost"),
    ("b_obizhaeva_wang.json", "rows", 0, "twap_cost"),
    ("b_obizhaeva_wang.json", "rows", 0, "block_cost_now"),
    ("b_obizhaeva_wang.json", "power_law_book", 0, "schedule", 2),
    ("b_obizhaeva_wang.json", "power_law_book", 1, "twap_cost_currency"),
    ("b_obizhaeva_wang.json", "arena_mapping", "modes", 1, "rho"),
    ("c_square_root_law.json", "params", "beta"),
    ("c_square_root_law.json", "tables", "sqrt_single_mode_K1", "rows", 0, "impact_after_days_1_5_20_50", 3),
    ("c_square_root_law.json", "tables", "default_full_K4", "rows", 1, "exec_prices", 2),
    ("c_square_root_law.json", "tables", "sqrt_two_modes_K4", "fitted_cost_exponent"),
    ("c_square_root_law.json", "tables", "sqrt_two_modes_K4", "fitted_peak_exponent"),
    ("d_nash_games.json", "games", 0, "expected_costs", 2),
    ("d_nash_games.json", "games", 1, "strategies", 0, 3),
    ("d_nash_games.json", "games", 2, "planner_total_cost"),
    ("d_nash_games.json", "games", 3, "single_agent_optimal_cost_if_alone", 1),
    ("d_nash_games.json", "games", 0, "markov_perfect", "expected_costs", 0),
    ("d_nash_games.json", "games", 0, "kernel", 4),
    ("d_nash_games.json", "carlin_lobo_viswanathan", 0, "lambda_temp"),
    ("e_kyle.json", "single", "4", "expected_profit_each"),
    ("e_kyle.json", "single", "4", "beta"),
    ("e_kyle.json", "multi", "1", "alpha", 0),
    ("f_golden_ledger.json", "steps", 1, "financing", 0),
    ("f_golden_ledger.json", "steps", 2, "fills", 1, 1),
    ("f_golden_ledger.json", "steps", 3, "v_rest", 2),
    ("f_golden_ledger.json", "params", "r_borrow"),
    ("g_statistics.json", "returns", 17),
    ("g_statistics.json", "sharpe_per_period"),
    ("g_statistics.json", "kurtosis_pearson"),
    ("g_statistics.json", "psr_vs_0p05"),
    ("g_statistics.json", "expected_max_sharpe"),
    ("g_statistics.json", "dsr"),
    ("g_statistics.json", "min_track_record_length_90"),
    ("g_statistics.json", "plackett_luce", "worth", 1),
    ("g_statistics.json", "alpha_rank", "cycle_result_alpha0p5", 0),
    ("g_statistics.json", "alpha_rank", "cycle_result_alpha3_m10", 2),
    ("h_energy_limiter_valuation.json", "steps", 5, "dissipated"),
    ("h_energy_limiter_valuation.json", "limiter", "eff_multiplier_fast_slow", 7, 1),
    ("h_energy_limiter_valuation.json", "block_buy_from_rest", "n5_equal_coalition_sum", "v_rest"),
]


def change_number(truths: dict[str, Any], path: tuple[Any, ...], factor: float) -> None:
    *parents, last = path
    place: Any = truths
    for key in parents:
        place = place[key]
    assert place[last] != 0
    place[last] *= factor


@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: ".".join(map(str, path)))
def test_one_number_off_by_a_millionth_fails(path: tuple[Any, ...], truths: dict[str, Any]) -> None:
    edited = copy.deepcopy(truths)
    change_number(edited, path, 1 + 1e-6)
    assert failures(list(REPLAYS[path[0]](Entry(path[0], edited[path[0]]))))


def test_schedules_off_the_equilibrium_leave_a_gain(truths: dict[str, Any]) -> None:
    """A swap of two sales keeps the size sold and, with the costs recomputed, only the best response tells."""
    edited = copy.deepcopy(truths["d_nash_games.json"])
    strategy = edited["games"][0]["strategies"][0]
    strategy[1], strategy[3] = strategy[3], strategy[1]
    failed = failures(list(REPLAYS["d_nash_games.json"](Entry("d", edited))))
    assert any("three.best_response_gain" in line for line in failed)


def test_fewer_and_more_rows_are_replayed(write_folder: WriteFolder) -> None:
    def change(truths: dict[str, Any]) -> None:
        truths["a_almgren_chriss.json"]["rows"] *= 2
        del truths["d_nash_games.json"]["games"][1:]
        del truths["f_golden_ledger.json"]["steps"][2:]
        truths["e_kyle.json"]["multi"] = {}

    checks = list(verify_folder(write_folder(change)))
    assert failures(checks) == []
    names = [check.name for check in checks]
    assert "a.rows[5].expected_cost" in names
    assert not [name for name in names if name.startswith(("d.games[1]", "f.steps[2]", "e.multi"))]


def test_every_number_left_out_is_named_with_a_reason(write_folder: WriteFolder) -> None:
    skipped = {check.name: check.reason for check in verify_folder(write_folder()) if check.status == "SKIP"}
    for name in (
        "a.rows[0].variance",
        "b.continuous_limit",
        "d.games[0].three.markov_perfect.best_response_gain",
        "d.carlin_lobo_viswanathan[0].discrete[1].N=20",
        "h.block_buy_from_rest.n5_equal_coalition_sum.v_liq",
    ):
        assert skipped[name]


def test_script_counts_and_exits_0(write_folder: WriteFolder) -> None:
    result = run_script(SCRIPT, "--truth", write_folder())
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stdout + result.stderr
    count = {word: sum(line.startswith(word) for line in lines) for word in ("PASS", "FAIL", "SKIP")}
    assert lines[-1] == f"{count['PASS']} passed, 0 failed, {count['SKIP']} skipped"


def test_script_exits_1_on_one_wrong_number(write_folder: WriteFolder) -> None:
    result = run_script(SCRIPT, "--truth", write_folder(lambda truths: change_number(truths, NUMBERS[0], 1 + 1e-6)))
    assert result.returncode == 1
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("FAIL")] == [
        "a.rows[1].expected_cost"
    ]
    assert ", 1 failed, " in result.stdout.splitlines()[-1]


def test_script_explains_a_missing_file(write_folder: WriteFolder) -> None:
    folder = write_folder()
    (folder / "e_kyle.json").unlink()
    result = run_script(SCRIPT, "--truth", folder)
    assert result.returncode == 2
    assert result.stderr == f"verify_physics: {folder / 'e_kyle.json'} is missing\n"


def damage(write_folder: WriteFolder, change: Callable[[dict[str, Any]], object]) -> str:
    with pytest.raises(TruthError) as caught:
        list(verify_folder(write_folder(change)))
    return str(caught.value)


def test_broken_content_is_explained(write_folder: WriteFolder) -> None:
    folder = write_folder()
    (folder / "b_obizhaeva_wang.json").write_text('{"params": ')
    with pytest.raises(TruthError, match=r"b_obizhaeva_wang\.json is not valid JSON: .*line 1"):
        list(verify_folder(folder))
    (folder / "b_obizhaeva_wang.json").write_text("[1]")
    with pytest.raises(TruthError, match="holds a list, expected a JSON object"):
        list(verify_folder(folder))
    with pytest.raises(TruthError, match="is not a folder"):
        list(verify_folder(folder / "nowhere"))


def test_missing_or_wrong_keys_are_explained(write_folder: WriteFolder) -> None:
    said = damage(write_folder, lambda truths: truths["a_almgren_chriss.json"]["rows"][1].pop("sales"))
    assert said.startswith("a_almgren_chriss.json rows[1] has no key 'sales'; it has lam, kappa_per_day")
    said = damage(write_folder, lambda truths: truths["a_almgren_chriss.json"]["params"].update(S0="50"))
    assert said == "a_almgren_chriss.json params S0 is '50', expected a number"
    said = damage(write_folder, lambda truths: truths["f_golden_ledger.json"]["steps"][0]["orders"].pop())
    assert said == "f_golden_ledger.json steps[0] orders has shape (2, 2), expected (3, 2) (-1: any length)"
    said = damage(write_folder, lambda truths: truths["d_nash_games.json"]["games"][0]["X"].pop())
    assert "strategies has shape (3, 7), expected (2, -1)" in said
    said = damage(
        write_folder, lambda truths: truths["c_square_root_law.json"]["tables"].update(cubic_K1={"rows": [{}]})
    )
    assert "cubic_K1 is not a known table" in said
    said = damage(write_folder, lambda truths: truths["g_statistics.json"]["alpha_rank"].update(lonely=[[0.0]]))
    assert said == "g_statistics.json alpha_rank has payoffs 'lonely' without a result"


def test_compare_is_relative_and_knows_rounding() -> None:
    assert compare("x", 1.0 + 5e-10, 1.0).status == "PASS"
    assert compare("x", 1.0 + 5e-9, 1.0).status == "FAIL"
    assert compare("x", 1e-13, 0.0).status == "FAIL"
    assert compare("x", 1e-13, 0.0, scale=100.0).status == "PASS"
    assert compare("x", torch.nan, 1.0).status == "FAIL"
    assert compare("x", 1.0, torch.nan).status == "FAIL"
    worst = compare("x", torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.5, 3.1]))
    assert (worst.value, worst.expected) == (2.0, 2.5)
    with pytest.raises(TruthError, match=r"x has shape \(2,\), the replay gives \(3,\)"):
        compare("x", torch.zeros(3), torch.zeros(2))
    assert summary([worst, compare("y", 1.0, 1.0), Check("z", "SKIP")]) == "1 passed, 1 failed, 1 skipped"


def test_minimise_solves_a_constrained_quadratic() -> None:
    """min (x - 1)**2 + 2 (y + z)**2 with x + y = 2: flat in y against z, so only the objective is unique."""

    def objective(points: torch.Tensor) -> torch.Tensor:
        x, y, z = points.unbind(-1)
        return (x - 1.0) ** 2 + 2.0 * (y + z) ** 2

    best = minimise(objective, torch.tensor([[2.0, 0, 5]]).double(), torch.tensor([[1.0, 1, 0]]).double(), unit=3.0)
    torch.testing.assert_close(objective(best), torch.zeros(1, dtype=torch.float64), atol=1e-20, rtol=0)
    torch.testing.assert_close(best[0, 0] + best[0, 1], torch.tensor(2.0, dtype=torch.float64))


def test_the_scripts_find_their_tools_from_any_folder(tmp_path: Path) -> None:
    program = f"""
import runpy, sys
from pathlib import Path
elsewhere = [path for path in sys.path if not Path(path or ".", "tools", "verify").is_dir()]
for name in ("solve_game", "verify_forecaster", "verify_physics"):
    sys.path[:] = elsewhere
    for module in [module for module in sys.modules if module.partition(".")[0] == "tools"]:
        del sys.modules[module]
    runpy.run_path(f"{SCRIPT.parent}/{{name}}.py")
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
