"""A tournament on Ray has a forecast server, and the same result without it, whenever it dies."""

import threading
import time
from contextlib import suppress
from io import StringIO

import numpy as np
import pytest
import ray
from rich.console import Console

from arena.config.tournament import TournamentConfig
from arena.forecast.baselines import Drift
from arena.forecast.serving import server
from arena.tournament.play import unit_forecasts
from arena.tournament.run import forecast_server, workers
from arena.tournament.run.job_files import SharedJob
from arena.tournament.run.run_units import run_units
from arena.tournament.run.worker_task import run_shared_unit
from arena.tournament.setup.plan import make_plan
from arena.tournament.store.run_folder import create_run
from arena.tournament.store.units import compact, digest

pytestmark = [pytest.mark.ray]


@pytest.fixture
def bars(tmp_path):
    """Daily files of three symbols that hold four windows."""
    folder, generator = tmp_path / "bars", np.random.default_rng(0)
    folder.mkdir()
    days = np.busday_offset("2020-01-01", np.arange(120), roll="forward")
    for symbol in ("AAA", "BBB", "CCC"):
        close = 100 * np.exp(0.01 * generator.standard_normal(len(days)).cumsum())
        rows = [f"{day},{p},{p * 1.01},{p * 0.99},{p},1000000" for day, p in zip(days, close)]
        (folder / f"{symbol}.csv").write_text("date,open,high,low,close,volume\n" + "\n".join(rows))
    return folder


def field(tmp_path, workers, bars=None):
    """Three seats of a field of five, of which three follow forecasters."""
    data = {"num_assets": 2, "scenarios": 4, "episode_length": 8, "warmup": 60, "gap": 2}
    return TournamentConfig.model_validate(
        {
            "name": "served",
            "out": tmp_path / "runs",
            "data": data | ({"source": "bars", "dir": bars} if bars else {}),
            "agents": [
                {"agent": "cash"},
                {"agent": "momentum"},
                {"agent": "mean_variance", "name": "persistence", "params": {"forecaster": "persistence"}},
                {"agent": "mean_variance", "name": "drift", "params": {"forecaster": "drift", "speed": 0.5}},
                {"agent": "rank", "params": {"forecaster": "persistence+drift", "speed": 0.5}},
            ],
            "forecast": {"context_length": 20},
            "tournament": {"seats": 3, "lineups": 10, "batch_size": 2, "paths_mb": 0},
            "ray": {"workers": workers},
        }
    )


def played(config):
    """The digest of a fresh run."""
    plan = make_plan(config)
    run = create_run(config, "a command", plan.data_digest, plan.job.forecasters)
    run_units(config, plan, run, Console(file=StringIO()))
    return digest(compact(run, plan.units))


@pytest.fixture
def killer(monkeypatch):
    """(for_good) -> when a thread killed the server of a run: as soon as it had begun, and once more after that."""
    start, stop = server.start_server, ray.shutdown
    threads = []

    def make(for_good):
        begun, over, kills = threading.Event(), threading.Event(), []

        def kill():
            begun.wait()
            while not over.is_set() and len(kills) < 2:
                with suppress(ValueError):  # there is none any more
                    ray.kill(ray.get_actor(server.NAME, server.NAMESPACE), no_restart=for_good)
                    kills.append(time.monotonic())
                over.wait(1.0)

        def start_and_tell(*arguments, **settings):
            actor = start(*arguments, **settings)
            begun.set()
            return actor

        def stop_both():  # without Ray, a look for an actor would start one
            over.set()
            begun.set()
            threads[-1].join()
            stop()

        threads.append(threading.Thread(target=kill, daemon=True))
        threads[-1].start()
        monkeypatch.setattr(server, "start_server", start_and_tell)
        monkeypatch.setattr(ray, "shutdown", stop_both)
        return kills

    return make


@pytest.mark.usefixtures("local_ray")
def test_ray_and_its_forecast_server_change_nothing(tmp_path, bars):
    assert played(field(tmp_path, 2, bars)) == played(field(tmp_path, 0, bars))


@pytest.mark.parametrize(
    ("source", "for_good"),
    [
        ("synthetic", True),
        pytest.param("bars", False, marks=pytest.mark.slow),
        pytest.param("synthetic", False, marks=pytest.mark.slow),
        pytest.param("bars", True, marks=pytest.mark.slow),
    ],
)
def test_killing_the_forecast_server_changes_nothing(tmp_path, bars, killer, source, for_good):
    folder = bars if source == "bars" else None
    in_process = played(field(tmp_path, 0, folder))
    kills = killer(for_good)
    assert played(field(tmp_path, 1, folder)) == in_process
    assert kills


def test_workers_take_the_tables_of_bars_from_the_server(tmp_path, bars, monkeypatch):
    """What the driver is told is what workers would make; and a broken table is left to the workers."""
    config = field(tmp_path, 1, bars)
    plan = make_plan(config)
    workers.start_ray(config.ray, 1)
    try:
        served = forecast_server.start_forecast_server(plan.job, config.ray)
        assert served.name == server.NAME
        assert set(served.tables) == {"persistence", "drift", "persistence+drift"}
        request = unit_forecasts.table_request(plan.job.rules.forecast, plan.job.windows)
        expected = unit_forecasts.build_tables([Drift()], request)[0]
        assert (served.tables["drift"] == expected.numpy()).all()
        health = ray.get(served.actor.health.remote())
        assert (health.tables_asked, health.tables_built) == (3, 3)

        calls = []
        monkeypatch.setattr(unit_forecasts, "build_tables", lambda *asked: calls.append(asked))
        without = run_shared_unit(SharedJob(plan.job, (), None, served.tables), plan.units[0])
        assert not calls, "all tables were given"
        monkeypatch.undo()
        assert digest(run_shared_unit(SharedJob(plan.job, (), None, {}), plan.units[0]).results) == digest(
            without.results
        )
    finally:
        ray.shutdown()


def test_no_server_without_followers(tmp_path):
    config = field(tmp_path, 1)
    alone = TournamentConfig.model_validate(
        config.model_dump() | {"agents": [{"agent": "cash"}, {"agent": "momentum"}], "tournament": {}}
    )
    assert forecast_server.start_forecast_server(make_plan(alone).job, alone.ray) == (None, None, {})
