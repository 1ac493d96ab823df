"""Mistakes in a config become one sentence with file, line and field; good ones become numbers in the right units."""

import subprocess
import sys
from pathlib import Path

import pytest

from arena.config.files import dump_config, read_config
from arena.config.flags import load_config, override
from arena.config.tournament import DEFAULT_FIELD, TournamentConfig
from arena.errors import UserError
from arena.market.presets import PRESETS, preset
from arena.tournament.setup.plan import match_rules

CONFIGS = Path(__file__).parent.parent / "configs"
SHIPPED = sorted(CONFIGS.glob("tournament/*.yaml")) + sorted(CONFIGS.glob("market/*.yaml"))


def refusal(tmp_path, text):
    """What is said about a YAML text, without the folder in front."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(path)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data:\n  num_asets: 4\n", "bad.yaml:2: data.num_asets: unknown key 'num_asets'; did you mean 'num_assets'?"),
        ("dta: {}\n", "bad.yaml:1: dta: unknown key 'dta'; did you mean 'data'?"),
        (
            "data:\n  num_assets: -3\n",
            "bad.yaml:2: data.num_assets: Input should be greater than or equal to 1 (got -3)",
        ),
        (
            "market:\n  fee_bps: on\n",
            "bad.yaml:2: market.fee_bps: expected a number; YAML reads on, off, yes and no as true or false (got True)",
        ),
        (
            "agents:\n  - agent: cash\n  - agent: momentum\n    params: {lookback: [1, 2]}\n",
            "bad.yaml:4: agents.1.params.lookback: expected a number, true, false or text (got [1, 2])",
        ),
        ("seed: 1\nseed: 2\n", "bad.yaml:2: seed: key given twice, first in line 1"),
        ("data: [1\n", "bad.yaml:2: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("- 1\n", "bad.yaml:1: expected sections such as `data:` (got [1])"),
        ("tournament:\n  seats: 40\n", "bad.yaml:2: tournament.seats: larger than the field of 16 agents (got 40)"),
        (
            "seed: 1\nagents:\n  - agent: random\n  - agent: random\n",
            "bad.yaml:2: agents: entrants share a name; give each its own `name` (got 'random')",
        ),
        (
            "data:\n  episode_length: 2\n",
            "bad.yaml:1: market.wind_down: longer than the episode of 2 bars (got 3)",
        ),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, text, said):
    assert refusal(tmp_path, text) == said


@pytest.mark.parametrize("trap", ["ON", "13:30", "2020-01-01", "1_000"])
def test_text_that_yaml_reads_as_something_else_is_refused(tmp_path, trap):
    said = refusal(tmp_path, f"data:\n  symbols: [AAPL, {trap}]\n")
    assert "bad.yaml:2: data.symbols.1: " in said
    assert "quote it" in said
    path = tmp_path / "good.yaml"
    path.write_text(f'data:\n  symbols: [AAPL, "{trap}"]\n')
    assert read_config(path).data.symbols == ("AAPL", trap)


def test_every_mistake_is_named_at_once(tmp_path):
    said = refusal(tmp_path, "data:\n  num_assets: 0\nmarket:\n  fee_bps: -1\n")
    assert [line.split(": ")[1] for line in said.splitlines()] == ["data.num_assets", "market.fee_bps"]


def test_scientific_notation_without_a_dot_is_a_number(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("data:\n  drift_per_year: 1e-3\n")
    assert read_config(path).data.drift_per_year == 1e-3


def test_fair_mode_needs_a_drift_equal_to_the_cash_rate(tmp_path):
    said = refusal(tmp_path, "data:\n  mode: fair\n  drift_per_year: 0.06\n")
    assert said.startswith("bad.yaml:3: data.drift_per_year: in fair mode it must equal market.cash_rate_per_year")
    path = tmp_path / "good.yaml"
    path.write_text("data: {mode: fair, drift_per_year: 0.02}\nmarket: {cash_rate_per_year: 0.02}\n")
    assert read_config(path).data.mode == "fair"


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.yaml: cannot be read: No such file or directory"):
        read_config(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_configs_are_good_and_survive_saving(path, tmp_path):
    config = read_config(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(config))
    assert read_config(copy) == config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_config_that_plays_its_rules(name):
    rules = match_rules(read_config(CONFIGS / "market" / f"{name}.yaml"), dt=1.0)
    assert rules.market == preset(name)
    costs = rules.half_spread, rules.borrow_rate
    assert costs == (0, 0) if name == "frictionless" else min(costs) > 0


def test_no_file_means_the_defaults():
    config = load_config()
    assert config == TournamentConfig()
    assert config.agents == DEFAULT_FIELD
    assert len(config.field) == 16
    assert read_config(CONFIGS / "tournament" / "default.yaml").model_dump(exclude={"agents"}) == config.model_dump(
        exclude={"agents"}
    )


def test_flags_change_fields_of_the_file():
    config = override(
        TournamentConfig(), ["--seed", "7", "--market.fee-bps", "2", "--agents.4.params", "lookback", "9"]
    )
    assert (config.seed, config.market.fee_bps, config.agents[4].params) == (7, 2.0, {"lookback": 9})


@pytest.mark.parametrize(
    ("flags", "place", "value"),
    [
        (["--market.no-margin"], "market.margin", False),
        (["--ray.dashboard"], "ray.dashboard", True),
        (["--market.fee_bps=2"], "market.fee_bps", 2.0),
        (["--data.drift-per-year", "-1e-2"], "data.drift_per_year", -0.01),
        (["--tournament.seats", "None"], "tournament.seats", None),
        (["--data.symbols", "A", "B"], "data.symbols", ("A", "B")),
        (["--tournament.stop.when", "leader"], "tournament.stop.when", "leader"),
    ],
)
def test_a_flag_of_each_kind(flags, place, value):
    found = override(TournamentConfig(), flags)
    for part in place.split("."):
        found = getattr(found, part)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--market.fee-bps", "-2"], "command line: market.fee_bps: Input should be greater than or equal to 0"),
        (["--tournament.seats", "40"], "command line: tournament.seats: larger than the field of 16 agents"),
        (["--market.fee-bpss", "2"], "command line: market.fee_bpss: unknown key 'fee_bpss'; did you mean 'fee_bps'?"),
        (["--data.scenarios", "many"], "command line: data.scenarios: Input should be a valid integer"),
        (["--data.scenarios"], "command line: argument --data.scenarios: expected one argument"),
        (["--nonsense"], "command line: unknown options: --nonsense"),
        (["--agents.16.agent", "cash"], "command line: agents.16: expected a number from 0 to 15"),
        (["--agents.0.params", "lookback"], "command line: --agents.0.params: expected pairs of a name and a value"),
        (["--seed.x.y", "1"], "command line: --seed.x.y: no such field; --help lists all of them"),
    ],
)
def test_a_refused_flag_is_one_sentence(flags, said):
    with pytest.raises(UserError) as caught:
        override(TournamentConfig(), flags)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_units_become_fractions_and_steps():
    market = TournamentConfig.model_validate(
        {"market": {"fee_bps": 3, "cash_rate_per_year": 0.0252, "margin_spread_per_year": 0.0504, "margin": False}}
    ).market
    rules = market.apply(preset("sqrt", dt=0.5), dt=0.5)
    assert rules.fee_rate == pytest.approx(3e-4)
    assert rules.cash_rate == pytest.approx(0.5e-4)
    assert rules.margin_spread == pytest.approx(1e-4)
    assert (rules.margin, rules.ruin, rules.dt) == (False, True, 0.5)
    assert rules.participation_cap == preset("sqrt").participation_cap


def test_copies_have_their_own_names():
    config = TournamentConfig.model_validate(
        {"agents": [{"agent": "random", "copies": 3}, {"agent": "a/b.py:Mine", "name": "mine"}, {"agent": "x.y:Other"}]}
    )
    assert config.field == ("random-1", "random-2", "random-3", "mine", "Other")


def test_a_mistake_is_found_before_anything_slow_is_imported(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("sed: 1\n")
    script = (
        "import sys; from arena.cli import tournament\n"
        f"code = tournament(['--config', {str(path)!r}])\n"
        "slow = {'torch', 'ray', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow or code != 2 else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"error: {path}:1: sed: unknown key 'sed'; did you mean 'seed'?\n"
