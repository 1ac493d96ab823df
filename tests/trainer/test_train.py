"""The whole training, by call and by command: what it leaves, and that it continues after Ctrl-C and SIGKILL."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import ray
import torch

from arena.cli import main
from arena.errors import IncompleteTraining, UserError
from arena.rl.app.config import EvaluationConfig, load_train_config
from arena.rl.app.evaluation import evaluate, evaluation_tournament
from arena.rl.app.loop import algorithm_config, resource_shortage
from arena.rl.app.record import EVALUATIONS, PROGRESS, Record, read_rows
from arena.rl.app.run import load_training
from arena.rl.app.train import resume_training
from arena.rl.app.train import train as train_by_call

pytestmark = [pytest.mark.ray]

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "configs/train/smoke.yaml"
KILL_WITHIN = 240  # seconds that the process may take until there is a checkpoint to kill it after


@pytest.fixture(scope="module")
def field_file(tmp_path_factory):
    """A tournament of two agents: evaluations against the default field take longer than the training."""
    path = tmp_path_factory.mktemp("field") / "field.yaml"
    path.write_text("data: {num_assets: 4, episode_length: 20}\nagents: [{agent: cash}, {agent: equal_weight}]\n")
    return path


@pytest.fixture(scope="module")
def smoke_run(local_ray, field_file, tmp_path_factory):
    """One whole training for all tests that look at what it leaves; it is continued by none of them."""
    out = tmp_path_factory.mktemp("smoke") / "runs"
    return train_by_call(
        "smoke", seed=3, name="mine", out=out, overrides={"run.evaluation.tournament": field_file}, quiet=True
    )


@pytest.fixture
def field(field_file):
    """The tournament as a flag."""
    return f"--run.evaluation.tournament={field_file}"


def train(*arguments):
    return main(["train", *map(str, arguments)])


def assert_goes_on(run, iterations):
    """Every iteration is recorded once and adds market steps."""
    rows = read_rows(run / PROGRESS)
    assert [row["iteration"] for row in rows] == list(range(1, iterations + 1))
    assert all(later["env_steps"] > earlier["env_steps"] for earlier, later in pairwise(rows))


def test_a_run_leaves_a_policy_that_plays(smoke_run, field_file):
    run = smoke_run.path
    assert run.name == "0001-mine"
    assert_goes_on(run, 6)
    assert [row["iteration"] for row in read_rows(run / EVALUATIONS)] == [3, 6]
    for left in ("policy.pt", "checkpoints/best/policy.pt", "plots/learning.png", "league/league.json", "config.yaml"):
        assert (run / left).is_file(), left
    assert list((run / "tensorboard").iterdir())
    command = (run / "command.txt").read_text()
    assert command.startswith("arena.train('smoke', seed=3, name='mine', out=")
    assert command.endswith("# called from Python\n")
    summary = smoke_run.summary
    assert (summary["iteration"], summary["interrupted"], len(summary["evaluations"])) == (6, False, 2)
    assert summary["cpu_seconds"] > 0
    assert smoke_run.spec == f"policy:{run / 'policy.pt'}"
    assert smoke_run.checkpoint == run / "checkpoints/best"
    market = evaluation_tournament(EvaluationConfig(scenarios=4, tournament=field_file), {}, 64, seed=0)
    of_file, of_checkpoint = (evaluate(market, spec) for spec in (smoke_run.spec, f"rllib:{smoke_run.checkpoint}"))
    assert of_file.growth.value == of_checkpoint.growth.value != 0  # the same network


def test_a_quiet_run_prints_nothing_and_changes_no_settings(smoke_run, capfd):
    before = (signal.getsignal(signal.SIGINT), torch.get_num_threads(), warnings.filters[:])
    resumed = resume_training(smoke_run, iterations=6, quiet=True)  # at its end already: nothing is added
    assert capfd.readouterr().out == ""
    assert (signal.getsignal(signal.SIGINT), torch.get_num_threads(), warnings.filters[:]) == before
    assert resumed.path == smoke_run.path
    assert_goes_on(resumed.path, 6)
    with pytest.raises(UserError, match="continues with the config it began with"):
        resume_training(smoke_run, overrides={"training.lr": 1.0})


def test_the_command_continues_a_run_for_longer(smoke_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(smoke_run.path, run)
    league = json.loads((run / "league/league.json").read_text())
    assert train("--resume", run, "--run.iterations", 8) == 0
    said = capsys.readouterr().out
    assert said.startswith("train TensorPPO, assets, 2 learners against 2 opponents, in a league, until 8 iterations")
    assert f"arena tournament --agent policy:{run / 'policy.pt'}" in said
    assert_goes_on(run, 8)
    later = json.loads((run / "league/league.json").read_text())
    assert {member["name"] for member in league["members"]} < {member["name"] for member in later["members"]}
    assert train("--resume", run, "--training.lr", 1) == 2
    assert "only --run.* may be given" in capsys.readouterr().err


def test_an_error_says_how_to_continue(smoke_run, tmp_path, monkeypatch, capsys):
    """With a checkpoint it is an IncompleteTraining; the command says the same."""
    run = tmp_path / "run"
    shutil.copytree(smoke_run.path, run)

    def fail(self, row):
        raise OSError("no space left")

    monkeypatch.setattr(Record, "iteration", fail)
    with pytest.raises(IncompleteTraining, match=r"OSError: no space left; continue .*resume_training\('") as error:
        resume_training(run, iterations=7, quiet=True)
    assert error.value.run == run
    assert load_training(run).interrupted
    assert train("--resume", run, "--run.iterations", 7) == 1
    assert f"arena train --resume {run}" in capsys.readouterr().out


@pytest.mark.usefixtures("local_ray")
def test_ctrl_c_ends_after_the_iteration_and_saves(tmp_path, field, capsys, monkeypatch):
    written = Record.iteration

    def interrupt_the_second(self, row):
        written(self, row)
        if row["iteration"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Record, "iteration", interrupt_the_second)
    assert train("--config", SMOKE, "--run.out", tmp_path / "runs", field) == 130
    (run,) = (tmp_path / "runs").iterdir()
    assert f"--resume {run}" in capsys.readouterr().out
    assert load_training(run).interrupted
    assert load_training(run).policy == run / "policy.pt"  # nothing that was learned is lost
    assert_goes_on(run, 2)
    assert (run / "checkpoints/000002/training.json").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_the_stock_path_is_the_same_command(tmp_path, field, capsys):
    """Same network, so the same kind of policy file; a SAC of RLlib's own enters by its checkpoint."""
    for name, flags in (
        ("stock_ppo", ["--training.train_batch_size_per_learner", "80", "--training.minibatch_size", "64"]),
        ("stock_sac", ["--reporting.min_sample_timesteps_per_iteration", "40"]),
    ):
        env = "{num_agents: 2, synthetic: {num_assets: 4, num_bars: 80}" + (", reach: 4.0}" if "ppo" in name else "}")
        small = ["--env_runners.num_env_runners", "0", "--env_runners.num_envs_per_env_runner", "2"]
        code = train(
            *("--config", ROOT / f"configs/train/{name}.yaml", "--run.out", tmp_path / "runs", "--run.name", name),
            *("--run.iterations", "1", "--environment.env_config", env, "--run.evaluation.scenarios", "4"),
            *(field, *small, *flags),
        )
        assert code == 0, capsys.readouterr()
        (run,) = (tmp_path / "runs").glob(f"*{name}")
        assert (run / "policy.pt").exists() == ("ppo" in name)
        (row,) = read_rows(run / EVALUATIONS)
        assert set(row["field"]) == {"cash", "equal_weight"}


@pytest.mark.usefixtures("local_ray")
def test_a_grid_is_a_section_of_the_file(tmp_path, capsys):
    path = tmp_path / "grid.yaml"
    path.write_text(
        "algorithm: TensorPPO\n"
        "environment: {env: arena_tensor, env_config: {num_windows: 4, synthetic: {num_assets: 2, num_bars: 64}}}\n"
        "env_runners: {num_envs_per_env_runner: 8, rollout_fragment_length: 4}\n"
        "training: {minibatch_size: 32, lr: {grid_search: [1e-3, 1e-4]}}\n"
        "tune: {stop: {iterations: 2}, max_concurrent: 1}\n"
    )
    assert train("--config", path, "--run.out", tmp_path / "runs") == 0
    said = capsys.readouterr().out
    assert said.startswith("train a grid of TensorPPO")
    assert said.count(" done (training.lr ") == 2
    (run,) = (tmp_path / "runs").iterdir()
    grid = load_training(run)
    assert sorted(grid.trials["training.lr"]) == [1e-4, 1e-3]
    assert list(grid.trials["state"]) == ["done", "done"]
    assert not grid.interrupted
    assert grid.spec == f"rllib:{run / grid.trials['checkpoint'][0]}"
    assert (run / grid.trials["checkpoint"][0]).is_dir()


def test_what_cannot_be_trained_is_said_before_a_folder_is_made(tmp_path, capsys):
    out = tmp_path / "runs"
    for flags, said in (
        (["--network.kind", "cnn"], "unknown network"),
        (["--algorithm.x", "1"], "algorithm is 'TensorPPO' and has no fields"),
        (["--trainin.lr", "1"], "unknown section 'trainin'"),
        (
            ["--environment.env_config.num_agent", "3"],
            "env_config has no field 'num_agent'; did you mean 'num_agents'?",
        ),
        (["--environment.env_config.domain", "{impct: [1, 2]}"], "env_config.domain has no field 'impct'"),
        (["--environment.env_config.num_groups", "5"], "expected a multiple of the 5 groups"),
        (["--environment.env_config.bars", "{fill: halt}"], "env_config has bars and synthetic"),
        (["--league.sampling", "best"], "sampling is 'best', expected uniform or prioritised"),
    ):
        assert train("--config", SMOKE, "--run.out", out, *flags) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert said in error
    assert not out.exists()
    assert train("--config", SMOKE, "--resume", out) == 2
    assert train("--resume", tmp_path) == 2
    assert "no config.yaml there" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_process_is_gone_on_from_its_last_checkpoint(tmp_path, field):
    """SIGKILL cannot be heeded: what it leaves is what every crash leaves."""
    command = [sys.executable, str(ROOT / "scripts/train.py")]
    smoke = ["--config", str(SMOKE), "--run.out", str(tmp_path / "runs"), field]
    endless = [*smoke, "--run.iterations", "100000", "--run.checkpoint_every", "2"]
    process = subprocess.Popen([*command, *endless], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + KILL_WITHIN
    try:
        while not list((tmp_path / "runs").glob("*/checkpoints/0*/training.json")):
            assert process.poll() is None, "ended by itself"
            assert time.monotonic() < deadline, "no checkpoint"
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
    (run,) = (tmp_path / "runs").iterdir()
    reached = max(int(path.name) for path in (run / "checkpoints").glob("0*"))
    end = reached + 3
    again = [*command, "--resume", str(run), "--run.iterations", str(end)]
    done = subprocess.run(again, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert_goes_on(run, end)


@pytest.mark.parametrize(("runners", "learners", "asked"), [(0, 0, 0), (2, 0, 0), (2, 1, 3), (3, 0, 3)])
def test_what_would_be_waited_for_in_silence_is_said(monkeypatch, runners, learners, asked):
    """The process that drives asks Ray for nothing."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    flags = ["--env_runners.num_env_runners", str(runners), "--learners.num_learners", str(learners)]
    said = resource_shortage(algorithm_config(load_train_config(SMOKE, flags)))
    assert said.startswith(f"env runners and learners ask for {asked} CPU and Ray has 2: waiting") == bool(asked)
    assert bool(said) == bool(asked)
