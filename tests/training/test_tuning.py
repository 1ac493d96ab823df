"""Grids of trainings by Ray Tune."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from ray.rllib.algorithms.algorithm import Algorithm
from ray.tune.registry import register_env

from arena.rl.rllib.registration import make_tensor_market
from arena.rl.rllib.tuning import finite, grid, run_grid, tune_settings

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

CONFIGS = Path(__file__).parents[2] / "configs" / "train"
EPISODE, MARKETS, STEPS, ITERATIONS = 6, 8, 4, 3
ENV_CONFIG = {"num_agents": 2, "synthetic": {"num_assets": 2, "num_bars": 60 + EPISODE}, "num_windows": 4}
SECTIONS = {
    "algorithm": "TensorPPO",
    "environment": {"env": "arena_tensor", "env_config": ENV_CONFIG},
    "network": {"kind": "mlp", "width": 8},
    "env_runners": {"num_envs_per_env_runner": MARKETS, "rollout_fragment_length": STEPS},
    "training": {"minibatch_size": 32, "lr": 1e-3},
    "debugging": {"seed": 3},
}
STOP = {"stop": {"iterations": ITERATIONS}}


def search(section, **values):
    """SECTIONS with a grid over fields of a section."""
    return SECTIONS | {section: SECTIONS[section] | {name: {"grid_search": value} for name, value in values.items()}}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(rows, folder, lines) of a grid of three, of which the last cannot be built."""
    out, lines = tmp_path_factory.mktemp("tune") / "run", []
    return run_grid(search("network", width=[8, 4, -1]) | {"tune": STOP}, out, lines.append), out, lines


@pytest.mark.slow
def test_rows_come_best_first_and_tell_what_was_trained(ran):
    rows, _, lines = ran
    assert [row["state"] for row in rows] == ["done", "done", "failed"]
    assert [row["trial"] for row in rows] in ([0, 1, 2], [1, 0, 2])
    assert rows[0]["metric"] > rows[1]["metric"]
    for row in rows:
        assert row["parameters"] == {"network.width": [8, 4, -1][row["trial"]]}
    for row in rows[:2]:
        assert (row["iterations"], row["env_steps"]) == (ITERATIONS, ITERATIONS * MARKETS * STEPS)
        assert row["error"] is None
    failed = rows[2]
    assert "negative dimension" in failed["error"]
    assert "\n" not in failed["error"]
    assert (failed["metric"], failed["checkpoint"], failed["env_steps"]) == (None, None, 0)
    assert len(lines) == 3, "one as each trial ends"
    assert sum("done (network.width" in line and "env_runners/episode_return_mean" in line for line in lines) == 2


@pytest.mark.slow
def test_every_checkpoint_is_of_its_row_and_goes_on(ran):
    rows, out, _ = ran
    for row in rows[:2]:
        algorithm = Algorithm.from_checkpoint(str(out / row["checkpoint"]))
        try:
            assert algorithm.iteration == ITERATIONS
            mean = algorithm.get_module("shared").network.actor[-1]
            assert mean.in_features == row["parameters"]["network.width"]
            assert algorithm.train()["num_env_steps_sampled_lifetime"] == (ITERATIONS + 1) * MARKETS * STEPS
        finally:
            algorithm.stop()


@pytest.mark.slow
def test_an_iteration_without_an_end_of_an_episode_counts_for_nothing(ran):
    rows, out, _ = ran
    folder = (out / rows[0]["checkpoint"]).parent
    results = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
    values = [finite(result, ["env_runners", "episode_return_mean"]) for result in results]
    assert values[0] is None, "no episode has ended after 4 of 6 steps"
    assert rows[0]["metric"] == pytest.approx(values[-1])


@pytest.mark.slow
def test_the_files_say_what_the_rows_say(ran):
    rows, out, _ = ran
    table = json.loads((out / "trials.json").read_text())
    assert table["trials"] == rows
    assert (table["metric"], table["mode"]) == ("env_runners/episode_return_mean", "max")
    with (out / "trials.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["trial"]) for line in lines] == [row["trial"] for row in rows]
    assert [int(line["network.width"]) for line in lines] == [row["parameters"]["network.width"] for row in rows]
    assert float(lines[0]["metric"]) == rows[0]["metric"]


@pytest.mark.slow
def test_a_trial_that_fails_goes_on_at_its_checkpoint(tmp_path):
    """The environment breaks once, in the second iteration; every step that it makes is written down."""
    journal, breaks_at = tmp_path / "journal", STEPS + 2

    def make(context):
        env = make_tensor_market(context)
        whole = env.step

        def step(action):
            with journal.open("a") as file:
                file.write(".")
            if journal.stat().st_size == breaks_at:
                raise OSError("the disk of the bars is gone")
            return whole(action)

        env.step = step
        return env

    register_env("breaks_once", make)
    tune = STOP | {"max_failures": 1, "checkpoint_every": 1}
    sections = SECTIONS | {"environment": {"env": "breaks_once", "env_config": ENV_CONFIG}, "tune": tune}
    (row,) = run_grid(sections, tmp_path / "run")
    assert (row["state"], row["iterations"]) == ("done", ITERATIONS)
    assert row["env_steps"] == ITERATIONS * MARKETS * STEPS
    assert journal.stat().st_size == breaks_at + (ITERATIONS - 1) * STEPS, "the first iteration is not made again"


@pytest.mark.slow
def test_nothing_but_the_callers_lines_is_printed_and_an_unknown_metric_is_said(tmp_path, capfd):
    lines = []
    tune = {"stop": {"env_steps": 1}, "metric": "env_runners/episode_returns", "mode": "min"}
    (row,) = run_grid(SECTIONS | {"tune": tune}, tmp_path / "run", lines.append)
    assert (row["state"], row["metric"], row["parameters"]) == ("done", None, {})
    assert row["env_steps"] == MARKETS * STEPS, "it stops at the end of an iteration"
    assert "no trial reported env_runners/episode_returns" in lines[-1]
    assert capfd.readouterr().out.strip() == ""


def test_samples_of_a_point_have_seeds_of_their_own():
    points = grid(search("training", lr=[1e-3, 1e-4]), num_samples=2)
    assert [(point.config.lr, point.config.seed) for point in points] == [(1e-3, 3), (1e-3, 4), (1e-4, 3), (1e-4, 4)]
    assert points[1].parameters == {"training.lr": 1e-3, "sample": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1.0", True])
def test_what_is_not_a_number_is_none(value):
    assert finite({"a": {"b": value}}, ["a", "b"]) is None
    assert finite({"a": value}, ["a", "b"]) is None
    assert finite({"a": {"b": 2}}, ["a", "b"]) == 2.0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (None, "expected fields"),
        ({}, "lacks stop"),
        (STOP | {"metrics": "x"}, "did you mean metric"),
        (STOP | {"verbose": 1}, "expected stop, metric"),
        ({"stop": {"seconds": 3}}, "expected iterations or env_steps"),
        ({"stop": {"iterations": 0}}, "expected iterations or env_steps"),
        ({"stop": 3}, "expected iterations or env_steps"),
        (STOP | {"mode": "best"}, "expected max or min"),
        (STOP | {"metric": 3}, "joined by '/'"),
        (STOP | {"num_samples": 0}, "expected a whole number from 1"),
        (STOP | {"max_failures": 0.5}, "expected a whole number from 0"),
    ],
)
def test_mistakes_of_the_section_are_said(section, message):
    with pytest.raises(ValueError, match=message):
        tune_settings(section)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (search("training", learning_rate=[1e-3]), r"^training.learning_rate 0.001: .*learning_rate"),
        (search("env_runners", rollout_fragment_length=[4, "auto"]), r"rollout_fragment_length auto: .* steps T of"),
        (search("training", lr=3), "expected a list of values"),
        (search("network", kind=["mlp", 3]) | {"algorithm": {"grid_search": ["PPO", "TensorPPO"]}}, "expected one"),
    ],
)
def test_mistakes_anywhere_in_the_grid_are_said_before_it_starts(tmp_path, sections, message):
    with pytest.raises(ValueError, match=message) as error:
        run_grid(sections | {"tune": STOP}, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_what_would_wait_for_ever_or_overwrite_is_refused(tmp_path):
    runners = {"env_runners": SECTIONS["env_runners"] | {"num_env_runners": 5}}
    with pytest.raises(ValueError, match="a trial needs 6 CPU and Ray has 4"):
        run_grid(SECTIONS | runners | {"tune": STOP}, tmp_path)
    (tmp_path / "trials").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        run_grid(SECTIONS | {"tune": STOP}, tmp_path)


def test_the_shipped_grid_is_valid():
    sections = yaml.safe_load((CONFIGS / "grid.yaml").read_text())
    settings = tune_settings(sections.pop("tune"))
    assert len(grid(sections, settings.num_samples)) > 1
