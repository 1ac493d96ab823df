"""What the README claims of the shipped policy, on seeds that it was neither trained nor chosen on."""

import pyarrow as pa
import pytest

from arena.cli import main
from arena.config.tournament import SCRIPTED_FIELD, AgentConfig, DataConfig, TournamentConfig
from arena.rl.app.record import EVALUATIONS, PROGRESS, read_rows
from arena.tournament.play.job import run_unit
from arena.tournament.setup.plan import make_plan
from arena.tournament.stats.growth import growth_estimates, score_table
from arena.tournament.stats.paired_tests import paired_differences

TRAINED = AgentConfig(agent="trained")


def played(config):
    plan = make_plan(config)
    return pa.concat_tables(run_unit(plan.job, unit).results for unit in plan.units)


@pytest.mark.slow
def test_it_is_ahead_of_every_scripted_agent():
    config = TournamentConfig(data=DataConfig(scenarios=512), agents=(*SCRIPTED_FIELD, TRAINED))
    scores = score_table(played(config), "growth_cv")
    others = [name for name in config.field if name != "trained"]
    for lead in paired_differences(scores, [("trained", name) for name in others], "seed"):
        assert lead.growth_low > 0, lead
        assert lead.p_value < 0.05, lead


def test_alone_in_a_fair_market_it_earns_nothing():
    """There is nothing to find, and nobody to find it from: what it does there can only cost."""
    data = DataConfig(mode="fair", drift_per_year=0.0, scenarios=64)
    config = TournamentConfig(data=data, agents=(AgentConfig(agent="cash"), TRAINED))
    assert growth_estimates(played(config), "growth_cv")["trained"].high < 0


@pytest.mark.slow
@pytest.mark.ray
def test_training_in_a_fair_market_finds_lower_costs_and_nothing_else(tmp_path):
    assert main(["train", "--config", "configs/train/fair.yaml", "--run.out", str(tmp_path)]) == 0
    (run,) = tmp_path.iterdir()
    returns = [row["episode_return"] for row in read_rows(run / PROGRESS) if row["episode_return"] is not None]
    assert returns[-1] > 0.6 * returns[0], returns  # both are costs, below 0
    for row in read_rows(run / EVALUATIONS):
        assert row["growth_high"] <= 0, row
