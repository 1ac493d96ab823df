"""The validation tournament is the training's market, on seeds that are neither trained nor ranked on."""

import pytest

from arena.agents.policies.network import AssetPolicy
from arena.config.tournament import SCRIPTED_FIELD
from arena.data.synthetic.seeds import SEED_RANGES
from arena.errors import UserError
from arena.rl.app.config import EvaluationConfig
from arena.rl.app.evaluation import LEARNER, evaluate, evaluation_tournament, training_data
from arena.rl.rllib.export import export_policy
from arena.rl.rllib.registration import policy_manifest
from arena.tournament.setup.plan import make_plan

ENV = {"synthetic": {"num_assets": 3, "num_bars": 70, "signal_ic": 0.2}, "warmup": 64}


def test_it_is_the_market_of_the_training():
    config = evaluation_tournament(EvaluationConfig(scenarios=5), ENV, 64, seed=3)
    assert (config.data.num_assets, config.data.episode_length, config.data.signal_ic) == (3, 6, 0.2)
    assert config.agents == SCRIPTED_FIELD
    low, size = SEED_RANGES["validation"]
    seeds = [seed for unit in make_plan(config).units for seed in unit.scenarios]
    assert len(seeds) == 5
    assert all(low <= seed < low + size for seed in seeds)


def test_fair_training_is_evaluated_in_a_fair_market():
    fair = {"synthetic": {"num_bars": 70, "signal_ic": 0.0, "drift_per_year": 0.0}}
    assert training_data(fair, 64).mode == "fair"
    assert training_data(ENV, 64).mode == "signal"


def test_a_tournament_of_the_users_is_taken_with_its_field(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("data: {num_assets: 2, scenarios: 999}\nagents: [{agent: cash}, {agent: equal_weight}]\n")
    config = evaluation_tournament(EvaluationConfig(scenarios=5, tournament=path), ENV, 64, seed=3)
    assert config.field == ("cash", "equal_weight")
    assert (config.data.num_assets, config.data.scenarios, config.data.seeds) == (2, 5, "validation")
    path.write_text(f"agents: [{{agent: cash, name: {LEARNER}}}]\n")
    with pytest.raises(UserError, match="is the name of the policy in training"):
        evaluation_tournament(EvaluationConfig(tournament=path), ENV, 64, seed=3)


def test_a_policy_that_holds_nothing_grows_as_cash_and_trails_the_best(tmp_path):
    network = AssetPolicy(3, width=8)
    network.actor_mean.weight.data.zero_()
    export_policy(network, tmp_path / "idle.pt", policy_manifest(ENV, 3, any_assets=True))
    evaluation = EvaluationConfig(scenarios=60)
    config = evaluation_tournament(evaluation, ENV, 64, seed=0)
    config = config.model_copy(update={"agents": SCRIPTED_FIELD[:3]})
    result = evaluate(config, f"policy:{tmp_path / 'idle.pt'}")
    assert result.growth.value == pytest.approx(0, abs=1e-12)
    assert set(result.field) == {"cash", "buy_and_hold", "equal_weight"}
    assert result.lead.value == pytest.approx(-result.field[result.best].value)
    assert result.lead.low <= result.lead.value <= result.lead.high
    assert result.as_dict()["best_opponent"] == result.best
