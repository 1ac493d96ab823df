"""The log of a job can be read while it grows."""

import re
from io import StringIO

import pytest
from rich.console import Console

from arena.config.tournament import TournamentConfig
from arena.tournament.run import progress
from arena.tournament.run.run_units import run_units
from arena.tournament.setup.plan import make_plan
from arena.tournament.store.run_folder import create_run


@pytest.mark.parametrize(("seconds", "lines"), [(-1.0, 5), (1000.0, 0)])
def test_a_pipe_gets_whole_lines_now_and_then(tmp_path, monkeypatch, seconds, lines):
    monkeypatch.setattr(progress, "PIPE_SECONDS", seconds)
    config = TournamentConfig.model_validate(
        {
            "out": tmp_path,
            "data": {"num_assets": 2, "scenarios": 6, "episode_length": 4},
            "agents": [{"agent": "cash"}, {"agent": "momentum"}],
            "tournament": {"batch_size": 1, "paths_mb": 0},
            "ray": {"workers": 0},
        }
    )
    plan, pipe = make_plan(config), StringIO()
    run = create_run(config, "a command", plan.data_digest)
    run_units(config, plan, run, Console(file=pipe, width=60))
    said = re.findall(
        r"^(\d) of 6 batches in 0\.\d min, about 0\.\d left; ahead so far.*momentum", pipe.getvalue(), re.M
    )
    assert [int(number) for number in said] == list(range(1, lines + 1))
    assert "6/6" in pipe.getvalue(), "the last state"
    assert "\x1b" not in pipe.getvalue()
