"""What is wrong with an entrant is said before the first match, and its file stays the same for all of a run."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.agents.loading import spec_file
from arena.agents.policies.network import AssetPolicy, MlpPolicy
from arena.agents.policies.policy import NUM_SEAT_FEATURES, PolicyManifest, num_asset_features, policy_layout
from arena.agents.sandbox.isolation import SUPPORTED
from arena.cli import tournament
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.rl.rllib.export import export_policy
from arena.tournament.play.seats import Entrant
from arena.tournament.report import plots
from arena.tournament.setup.entrants import file_digests
from arena.tournament.setup.plan import make_plan
from arena.tournament.store.run_folder import create_run

OF_FOUR = "plays markets of 4 assets, this one has 6"


def policy(path: Path, num_modes: int = 3, any_assets: bool = False) -> str:
    """The spec of a policy that was made for markets of four assets, or for any."""
    features = num_asset_features(num_modes)
    network = AssetPolicy(4, features) if any_assets else MlpPolicy(features * 4 + NUM_SEAT_FEATURES, 4)
    manifest = PolicyManifest(
        layout=policy_layout(num_modes), num_modes=num_modes, num_assets=4, any_assets=any_assets, reach=2.0
    )
    export_policy(network, path, manifest, command="test", seed=0)
    return f"policy:{path}"


def field(agent: str, num_assets: int = 4, isolate: str = "none", **changes: object) -> TournamentConfig:
    content = {
        "data": {"num_assets": num_assets, "scenarios": 2, "episode_length": 4},
        "agents": [{"agent": "cash"}, {"agent": agent, "name": "mine", "isolate": isolate}],
        "ray": {"workers": 0},
    }
    return TournamentConfig.model_validate(content | changes)


def test_a_policy_for_another_number_of_assets_is_refused(tmp_path: Path) -> None:
    spec = policy(tmp_path / "four.pt")
    assert make_plan(field(spec)).units
    with pytest.raises(UserError, match=rf"^entrant 'mine' {OF_FOUR}; enter one that .* number of assets$"):
        make_plan(field(spec, num_assets=6))
    with pytest.raises(UserError, match=f"^entrant 'mine' {OF_FOUR}"):
        make_plan(field(spec, num_assets=6, tournament={"format": "population", "copies": 2}))


def test_a_policy_for_any_number_of_assets_fits_all(tmp_path: Path) -> None:
    spec = policy(tmp_path / "any.pt", any_assets=True)
    assert all(make_plan(field(spec, num_assets=count)).units for count in (1, 6, 60))


def test_a_policy_for_fewer_impact_modes_is_refused_and_for_more_is_not(tmp_path: Path) -> None:
    few, many = policy(tmp_path / "few.pt", num_modes=1), policy(tmp_path / "many.pt", num_modes=3)
    with pytest.raises(UserError, match=r"'mine' was made for 1 impact modes, this market has 3; .* market.preset"):
        make_plan(field(few))
    assert make_plan(field(few, market={"preset": "athl"})).units
    assert make_plan(field(many, market={"preset": "linear_ow"})).units
    assert make_plan(field(many, market={"preset": "frictionless"})).units


def test_bars_of_another_number_of_symbols_are_noticed(tmp_path: Path) -> None:
    generator, folder = np.random.default_rng(0), tmp_path / "bars"
    folder.mkdir()
    days = np.datetime64("2020-01-01") + np.arange(90)
    for symbol in "ABC":
        prices = 50 * np.exp(0.01 * generator.normal(size=90).cumsum())
        rows = [f"{day},{price},{price + 1},{price - 1},{price},100000" for day, price in zip(days, prices)]
        (folder / f"{symbol}.csv").write_text("\n".join(("date,open,high,low,close,volume", *rows)) + "\n")
    data = {"source": "bars", "dir": folder, "warmup": 64, "episode_length": 20}
    with pytest.raises(UserError, match="'mine' plays markets of 4 assets, this one has 3"):
        make_plan(field(policy(tmp_path / "four.pt"), data=data))


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("asset_counts = (2, 5)", "plays markets of at least 2 assets, this one has 1"),
        ("asset_counts = 8", "has asset_counts 8, expected a tuple of whole numbers"),
        ("asset_counts = ()", r"has asset_counts \(\), expected a tuple of whole numbers"),
        ("num_modes = 'three'", "has num_modes 'three', expected a whole number"),
    ],
)
def test_what_an_agent_says_of_its_markets_is_checked(tmp_path: Path, claim: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(
        f"class Mine:\n    history_length = 0\n    {claim}\n"
        "    def reset(self): pass\n    def act(self, observation, generator): return observation.weight\n"
    )
    with pytest.raises(UserError, match=said):
        make_plan(field(f"{tmp_path}/mine.py:Mine", num_assets=1))


@pytest.mark.slow
@pytest.mark.skipif(not SUPPORTED, reason="isolates, for which this system has no means")
def test_an_isolated_agent_says_it_from_its_process(tmp_path: Path) -> None:
    spec = policy(tmp_path / "four.pt")
    assert make_plan(field(spec, isolate="process")).units
    with pytest.raises(UserError, match=OF_FOUR):
        make_plan(field(spec, num_assets=6, isolate="process"))


AGENT = """
import torch

class Mine:
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator): return torch.full_like(observation.weight, 0.1)
"""


def test_a_replaced_file_of_an_agent_is_noticed_on_a_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "write_plots", lambda *shown: None)  # they take longer than all the rest
    path = tmp_path / "mine.py"
    path.write_text(AGENT)
    config = field(f"{path}:Mine", out=tmp_path / "runs")
    run = create_run(config, "a command", "", agents=make_plan(config).agent_digests)
    path.write_text(AGENT.replace("0.1", "0.2"))
    assert tournament(["--resume", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"error: the file of agent {path}:Mine has changed since {run} began; put back what it was, or start a new "
        "run\n"
    )
    assert not (run / "units").exists()
    path.write_text(AGENT)
    assert tournament(["--resume", str(run)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "with your rights" in line]
    assert said == [
        "note: these entrants run code with your rights: mine. "
        "Use --tournament.isolate sandbox for entrants you do not trust."
    ]


def test_a_replaced_policy_is_noticed(tmp_path: Path) -> None:
    spec = policy(tmp_path / "four.pt")
    first = make_plan(field(spec)).agent_digests
    assert list(first) == [spec]
    assert make_plan(field(spec)).agent_digests == first
    torch.manual_seed(1)
    policy(tmp_path / "four.pt")
    assert make_plan(field(spec)).agent_digests != first


def test_every_kind_of_file_has_a_digest_and_names_have_none(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "module").mkdir(parents=True)
    weights = checkpoint / "module" / "weights.pkl"
    weights.write_bytes(b"1")
    for name in ("a.zip", "a.onnx", "a.pt", "a.py"):
        (tmp_path / name).write_bytes(name.encode())
    specs = [f"sb3:{tmp_path}/a.zip", f"onnx:{tmp_path}/a.onnx", f"policy:{tmp_path}/a.pt", f"{tmp_path}/a.py:A"]
    specs += [f"rllib:{checkpoint}", f"rllib:{checkpoint}@learner"]
    entrants = {str(place): Entrant(spec) for place, spec in enumerate([*specs, "cash", "package.module:Class"])}
    digests = file_digests(entrants)
    assert list(digests) == specs
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in digests.values())
    assert len(set(digests.values())) == len(specs) - 1, "of one checkpoint"
    weights.write_bytes(b"2")
    changed = file_digests({name: replace(entrant) for name, entrant in entrants.items()})
    assert [spec for spec in specs if changed[spec] != digests[spec]] == specs[-2:]
    assert spec_file(f"policy:{tmp_path}/nothing.pt") is None
    assert spec_file("nothing.py:A") is None
