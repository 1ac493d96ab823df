"""Entrants that follow forecasters: what they see, who pays when a forecaster breaks, what a result depends on."""

import json
from dataclasses import replace
from io import StringIO

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from arena.cli import tournament
from arena.config.files import dump_config, read_config
from arena.config.tournament import TournamentConfig
from arena.data.synthetic.market import SyntheticParams, generate
from arena.errors import UserError
from arena.forecast.baselines import Drift
from arena.forecast.loading import absolute
from arena.forecast.table import TableRequest, build_table
from arena.forecast.types import ForecasterInfo
from arena.market.presets import preset
from arena.tournament.play import unit_forecasts
from arena.tournament.play.job import run_unit
from arena.tournament.play.match import Entrant, MatchRules, play_match
from arena.tournament.play.unit_forecasts import ForecastRules, UnitForecasts
from arena.tournament.run.run_units import run_units
from arena.tournament.setup.forecast_pairs import followed, forecast_pairs
from arena.tournament.setup.plan import make_plan, resolve_paths
from arena.tournament.stats.leaderboard import leaderboard
from arena.tournament.store.run_folder import check_same_inputs, create_run
from arena.tournament.store.units import compact, digest, table_from_columns
from arena.tournament.types import FORFEIT, OK, Lineup, Unit
from tests.tournament.simulated import simulated_results

SEEDS = (11, 12, 13)
WARMUP, STEPS, ASSETS, CONTEXT = 64, 10, 3, 40
RULES = MatchRules(preset("sqrt"), seed=5, forecast=ForecastRules(context_length=CONTEXT))
# A live batch has another shape than that of a table: a baseline's sums differ by some units in the last place of
# float32, and so do the weights that follow from them.
LIVE_TOLERANCE = 1e-6

WATCHERS = """
import torch

class Watcher:
    '''Keeps what it was shown in a file, and does nothing.'''
    history_length = 0
    def __init__(self, path, forecaster=""): self.path, self.forecaster = path, forecaster
    def reset(self): self.seen = []
    def act(self, observation, generator):
        self.seen.append([x.clone() for x in (observation.forecast_return, observation.forecast_spread,
                                              observation.forecast_present, observation.volatility)])
        torch.save(self.seen, self.path)
        for value in (observation.forecast_return, observation.forecast_spread):
            value.fill_(9.0)  # must reach nobody
        return observation.weight

class NotText:
    history_length, forecaster = 0, 3
    def reset(self): pass
    def act(self, observation, generator): return observation.weight

def reader(obs):
    return 0.5 * obs.forecast_present / obs.num_assets * (obs.forecast_spread > 0)
reader.forecaster = "persistence"
"""


class Broken(Drift):
    """Loads, but breaks in use."""

    def __init__(self):
        super().__init__()
        self.info = ForecasterInfo("broken", "broken", min_context=2)

    def predict(self, context, stamps, horizon):
        raise RuntimeError(f"no memory at {object()}")


class Upward(nn.Module):
    """A bar model that expects every price to rise by one part in a hundred per bar."""

    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        growth = 1.0 + 0.01 * torch.arange(1, horizon + 1)
        spread = torch.linspace(0.97, 1.03, 9)
        quantiles = context[:, -1, None, :, None] * growth[:, None, None] * spread
        return quantiles, torch.zeros(context.size(0), 0, horizon, 6)


def write_artifact(path, name="upward", max_horizon=64):
    manifest = {"name": name, "format": "torchscript", "min_context": 2, "max_horizon": max_horizon, "context": CONTEXT}
    torch.jit.save(torch.jit.script(Upward()), str(path), _extra_files={"manifest.json": json.dumps(manifest)})
    return path


@pytest.fixture(autouse=True)
def fresh():
    """Nothing that another test has loaded or computed."""
    unit_forecasts._loaded.clear()
    unit_forecasts._recent.clear()


@pytest.fixture
def broken(monkeypatch):
    """A forecaster named "broken"."""
    real = unit_forecasts.load_forecaster
    monkeypatch.setattr(unit_forecasts, "load_forecaster", lambda spec: Broken() if spec == "broken" else real(spec))


@pytest.fixture(scope="module")
def scenarios():
    return generate(SyntheticParams(num_assets=ASSETS, num_bars=WARMUP + STEPS), SEEDS, warmup=WARMUP)


@pytest.fixture
def watcher(tmp_path):
    """(name, spec of a forecaster) -> an entrant that keeps what it is shown, and where."""
    (tmp_path / "watchers.py").write_text(WATCHERS)

    def make(name, forecaster=""):
        path = tmp_path / f"{name}.pt"
        return Entrant(f"{tmp_path}/watchers.py:Watcher", {"path": str(path), "forecaster": forecaster}), path

    return make


def rows(scenarios, entrants, rules=RULES):
    """Result rows as a data frame."""
    unit = Unit("unit", Lineup(0, tuple(entrants)), SEEDS)
    return table_from_columns(play_match(rules, entrants, unit, scenarios).results).to_pandas()


def follower(forecaster, agent="mean_variance", **params):
    return Entrant(agent, {"forecaster": forecaster, **params})


def small(tmp_path, **changes):
    """Three seats of a field of five, two batches of scenarios: ten units."""
    return TournamentConfig.model_validate(
        {
            "name": "small",
            "out": tmp_path / "runs",
            "data": {"num_assets": 2, "scenarios": 4, "episode_length": 6},
            "agents": [
                {"agent": "cash"},
                {"agent": "momentum"},
                {"agent": "mean_variance", "name": "persistence", "params": {"forecaster": "persistence"}},
                {"agent": "mean_variance", "name": "drift", "params": {"forecaster": "drift", "speed": 0.5}},
                {"agent": "rank", "params": {"forecaster": "persistence+drift", "speed": 0.5}},
            ],
            "tournament": {"seats": 3, "lineups": 5, "batch_size": 2, "paths_mb": 0},
            "ray": {"workers": 0},
            **changes,
        }
    )


def played(config):
    """The digest of a fresh run."""
    plan = make_plan(config)
    run = create_run(config, "a command", plan.data_digest, plan.job.forecasters)
    run_units(config, plan, run, Console(file=StringIO()))
    return digest(compact(run, plan.units))


def test_a_seat_sees_the_forecast_made_at_the_last_close_and_others_see_none(scenarios, watcher):
    (drift, drift_path), (calm, calm_path), (plain, plain_path) = (
        watcher("drift", "drift"),
        watcher("calm", "persistence"),
        watcher("plain"),
    )
    rows(scenarios, {"one": drift, "two": calm, "three": plain, "four": drift})
    table = build_table(Drift(), TableRequest(scenarios.bars, WARMUP - 1, CONTEXT)).double()
    seen = torch.load(drift_path)
    assert len(seen) == STEPS
    for step, (forecast_return, spread, present, volatility) in enumerate(seen):
        row = table[:, WARMUP - 1 + step]
        torch.testing.assert_close(forecast_return * volatility.unsqueeze(-1), row[..., :3])
        torch.testing.assert_close(spread * volatility, row[..., 3])
        assert (present == 1).all()
    for forecast_return, spread, present, _ in torch.load(calm_path):
        assert (forecast_return == 0).all()
        assert (spread > 0).all()
        assert (present == 1).all()
    for forecast_return, spread, present, _ in torch.load(plain_path):
        assert (torch.cat([forecast_return.flatten(), spread.flatten(), present]) == 0).all()


def test_no_forecast_reads_a_later_bar(scenarios, watcher):
    cut = WARMUP + 4
    bars = scenarios.bars.clone()
    bars[:, cut:] *= 1.5
    shown = []
    for windows in (scenarios, scenarios._replace(bars=bars)):
        entrant, path = watcher("drift", "drift")
        rows(windows, {"one": entrant})
        shown.append(torch.load(path))
    for step, (before, after) in enumerate(zip(*shown)):
        same = all(torch.equal(a, b) for a, b in zip(before, after))
        assert same == (WARMUP - 1 + step < cut), f"step {step}"


def test_live_forecasts_of_undisturbed_prices_are_those_of_the_table(scenarios):
    entrants = {"one": follower("drift", speed=0.5), "two": follower("drift", "rank"), "cash": Entrant("cash")}
    navs = {}
    for market in ("frictionless", "sqrt"):
        for mode in ("table", "live"):
            rules = MatchRules(preset(market), forecast=ForecastRules(mode, CONTEXT))
            frame = rows(scenarios, entrants, rules)
            assert set(frame["status"]) == {OK}
            assert (frame["turnover"] > 0).sum() == 2 * len(SEEDS)
            navs[market, mode] = frame["final_nav"].to_numpy()
    assert abs(navs["frictionless", "live"] - navs["frictionless", "table"]).max() < LIVE_TOLERANCE
    assert abs(navs["sqrt", "live"] - navs["sqrt", "table"]).max() > LIVE_TOLERANCE, "here prices are moved"


@pytest.mark.parametrize("mode", ["table", "live"])
def test_who_follows_a_broken_forecaster_forfeits_and_nobody_else(scenarios, broken, mode):
    rules = replace(RULES, forecast=ForecastRules(mode, CONTEXT))
    honest = {"momentum": Entrant("momentum"), "drift": follower("drift", speed=0.5)}
    frame = rows(scenarios, {**honest, "one": follower("broken"), "two": follower("broken", "rank")}, rules)
    lost = frame[frame["status"] == FORFEIT]
    assert set(lost["agent"]) == {"one", "two"}
    assert set(lost["reason"]) == {"follows broken, which raised RuntimeError: no memory at <object object at 0x>"}


def test_a_forfeit_by_a_forecaster_leaves_the_others_as_they_were(scenarios, broken):
    honest = {"momentum": Entrant("momentum"), "drift": follower("drift", speed=0.5), "random": Entrant("random")}
    with_broken = rows(scenarios, {**honest, "last": follower("broken")})
    with_cash = rows(scenarios, {**honest, "last": Entrant("cash")})
    kept = [name for name in with_broken.columns if name not in ("seconds", "rank")]
    others = [frame[frame["agent"] != "last"][kept].reset_index(drop=True) for frame in (with_broken, with_cash)]
    assert others[0].equals(others[1])


def test_a_forecaster_must_be_text_and_a_function_may_name_one(scenarios, tmp_path):
    (tmp_path / "watchers.py").write_text(WATCHERS)
    entrants = {name: Entrant(f"{tmp_path}/watchers.py:{name}") for name in ("NotText", "reader")}
    frame = rows(scenarios, entrants).set_index("agent")
    assert set(frame.loc["NotText", "reason"]) == {"forecaster is 3, expected text"}
    assert set(frame.loc["reader", "status"]) == {OK}
    assert (frame.loc["reader", "turnover"] > 0).all(), "the fields of the forecast were filled"


def test_persistence_keeps_cash(scenarios):
    frame = rows(scenarios, {"one": follower("persistence"), "two": follower("persistence", "rank")})
    assert (frame["final_nav"] == 1).all()
    assert (frame["turnover"] == 0).all()


def test_lineups_on_the_same_scenarios_share_their_tables(tmp_path, monkeypatch):
    built = []
    real = unit_forecasts.build_tables
    monkeypatch.setattr(
        unit_forecasts,
        "build_tables",
        lambda *asked: (built.extend(each.info.name for each in asked[0]), real(*asked))[1],
    )
    plan = make_plan(small(tmp_path))
    first = [digest(run_unit(plan.job, unit).results) for unit in plan.units]
    assert len(plan.units) == 10
    assert sorted(built) == sorted(2 * ["persistence", "drift", "persistence+drift"])
    assert [digest(run_unit(plan.job, unit).results) for unit in plan.units[::-1]] == first[::-1]


def test_tables_in_a_folder_are_made_once(tmp_path, monkeypatch):
    config = small(tmp_path, forecast={"tables": tmp_path / "tables"})
    expected = played(small(tmp_path))
    assert played(config) == expected
    assert len(list((tmp_path / "tables").iterdir())) == 3 * 4  # forecasters x scenarios
    monkeypatch.setattr(Drift, "predict", Broken.predict)
    assert played(config) == expected


def test_timestamps_reach_the_forecaster_in_both_modes(scenarios, monkeypatch):
    """A table's windows and a live batch ask about the same bars at the same times."""
    asked = []

    class Clock(Drift):
        def predict(self, context, stamps, horizon):
            asked.append(stamps)
            return super().predict(context, stamps, horizon)

    monkeypatch.setattr(unit_forecasts, "load_forecaster", lambda spec: Clock())
    day = 86_400_000_000
    timestamps = day * (torch.arange(WARMUP + STEPS) + 1000 * torch.arange(len(SEEDS)).unsqueeze(1))
    windows = scenarios._replace(timestamps=timestamps)
    bar = WARMUP + 3
    table = UnitForecasts(ForecastRules("table", CONTEXT), windows).at("clock", bar, None)
    history = windows.bars[:, bar - CONTEXT + 1 : bar + 1].transpose(1, 2)
    live = UnitForecasts(ForecastRules("live", CONTEXT), windows).at("clock", bar, history)
    torch.testing.assert_close(live, table)
    of_tables, of_live = torch.stack(asked[:-1]), asked[-1]
    assert torch.equal(of_tables[:, bar - WARMUP + 1], of_live)
    assert torch.equal(of_live[:, 0, :CONTEXT], 1000 * timestamps[:, bar - CONTEXT + 1 : bar + 1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forecaster": "persistance"}, r"forecaster 'persistance' is unknown.*did you mean persistence\?"),
        ({"forecaster": "missing.pt"}, r"entrant 'mv': forecaster .*missing\.pt': no such file"),
        ({"forecaster": "{tmp}/pickle.pt"}, r"entrant 'mv': .*pickle\.pt is a pickle"),
        ({"forecaster": "{tmp}/short.pt"}, "short needs 2 bars and forecasts at most 5, expected .* to forecast 20"),
        ({"horizon": 3}, "horizon is 3, expected one of"),
    ],
)
def test_a_forecaster_that_cannot_be_used_is_refused_before_the_first_match(tmp_path, changes, said):
    torch.save([1], tmp_path / "pickle.pt", _use_new_zipfile_serialization=False)
    write_artifact(tmp_path / "short.pt", "short", max_horizon=5)
    params = {"forecaster": "persistence"} | changes
    params = {
        name: value.replace("{tmp}", str(tmp_path)) if name == "forecaster" else value for name, value in params.items()
    }
    config = small(tmp_path, agents=[{"agent": "mean_variance", "name": "mv", "params": params}], tournament={})
    with pytest.raises(UserError, match=said):
        make_plan(config)


def test_the_warm_up_must_hold_what_a_forecaster_looks_at(tmp_path):
    data = {"num_assets": 2, "scenarios": 4, "episode_length": 6, "warmup": 63}
    with pytest.raises(UserError, match=r"looks at 64 bars, data.warmup is 63; raise data.warmup or lower forecast"):
        make_plan(small(tmp_path, data=data))
    make_plan(small(tmp_path, data=data, forecast={"context_length": 63}))


def test_a_changed_file_is_neither_mixed_into_a_run_nor_into_its_workers(tmp_path):
    path = write_artifact(tmp_path / "upward.pt")
    agents = [{"agent": "cash"}, {"agent": "rank", "params": {"forecaster": str(path)}}]
    config = small(tmp_path, agents=agents, tournament={})
    plan = make_plan(config)
    run = create_run(config, "a command", plan.data_digest, plan.job.forecasters)
    recorded = json.loads((run / "environment.json").read_text())["forecasters"]
    assert recorded == {str(path): unit_forecasts.loaded(str(path)).info.fingerprint}
    check_same_inputs(run, plan.data_digest, plan.job.forecasters)

    write_artifact(path, "another")
    unit_forecasts._loaded.clear()
    with pytest.raises(ValueError, match=r"upward.pt' is not the one that the tournament began with"):
        run_unit(plan.job, plan.units[0])
    with pytest.raises(UserError, match=r"the forecaster .*upward.pt has changed since .* began; start a new run"):
        check_same_inputs(run, plan.data_digest, make_plan(config).job.forecasters)


def test_files_are_absolute_in_a_stored_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_artifact(tmp_path / "a+b.pt")
    assert absolute("a+b.pt") == f"{tmp_path}/a+b.pt"
    assert absolute("drift + other.pt2") == f"drift+{tmp_path}/other.pt2"
    assert absolute("ensemble") == "ensemble"
    agent = {"agent": "mean_variance", "params": {"forecaster": "other.pt", "speed": 0.5}}
    config = resolve_paths(small(tmp_path, agents=[agent], tournament={}, forecast={"tables": "tables"}))
    assert config.agents[0].params == {"forecaster": f"{tmp_path}/other.pt", "speed": 0.5}
    assert config.forecast.tables == tmp_path / "tables"
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert read_config(tmp_path / "config.yaml") == config


def test_a_file_given_on_the_command_line_enters_twice(tmp_path, capsys):
    path = write_artifact(tmp_path / "my model.pt")
    (tmp_path / "config.yaml").write_text(
        "agents: [{agent: cash}, {agent: momentum}]\nray: {workers: 0}\n"
        "data: {num_assets: 2, scenarios: 3, episode_length: 5}\n"
    )
    arguments = ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "runs")]
    assert tournament([*arguments, "--forecaster", str(path)]) == 0
    assert "4: cash, momentum, my-model, my-model_rank" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    board = json.loads((run / "leaderboard.json").read_text())
    turnover = {entry["agent"]: entry["turnover"] for entry in board["agents"]}
    assert turnover["my-model"] > 0
    assert turnover["my-model_rank"] == 0, "it expects the same of all assets"
    assert tournament(["--resume", str(run)]) == 0

    capsys.readouterr()
    for wrong, said in (
        (["--forecaster", "nowhere.pt"], "entrant 'nowhere': forecaster "),
        (["--forecaster", str(path), "--forecaster", str(path)], "two entrants would be named 'my-model'"),
        (["--forecaster"], "argument --forecaster: expected one argument"),
    ):
        assert tournament([*arguments, *wrong]) == 2
        assert said in capsys.readouterr().err
    assert tournament(["--resume", str(run), "--forecaster", "drift"]) == 2


def test_a_follower_is_compared_with_its_own_rule_on_a_random_walk():
    entrants = {
        "cash": Entrant("cash"),
        "walk": follower("persistence", speed=0.5),
        "walk_rank": follower("persistence", "rank"),
        "drift": follower("drift", speed=0.5),
        "faster": follower("drift", speed=0.6),
        "file": follower("/some/where/kronos.pt", speed=0.5),
        "drift_rank": follower("drift", "rank"),
    }
    pairs = forecast_pairs(entrants, {name: followed(entrant) for name, entrant in entrants.items()})
    assert pairs == [
        ("drift", "walk"),
        ("file", "walk"),
        ("drift_rank", "walk_rank"),
    ]
    results = simulated_results({"cash": 0.0, "walk": 0.0, "drift": 0.02}, 80, seed=1)
    board = leaderboard(results, seed=0, periods_per_year=252, pairs=pairs)
    (found,) = board.forecasts
    assert (found.agent, found.against) == ("drift", "walk")
    assert found.growth_low < 0.02 < found.growth_high
    assert json.loads(json.dumps(board.to_json()))["forecasts"] == [vars(found)]
