"""What a trained policy is worth: a tournament against the field on validation scenarios, played in this process."""

import time
from typing import NamedTuple

import pyarrow as pa

from arena.config.files import read_config
from arena.config.tournament import SCRIPTED_FIELD, AgentConfig, DataConfig, MarketConfig, TournamentConfig
from arena.data.synthetic.params import SyntheticParams
from arena.errors import UserError
from arena.rl.app.config import EvaluationConfig
from arena.rl.records import Fields, Row
from arena.tournament.play.job import run_unit
from arena.tournament.setup.plan import make_plan, resolve_paths
from arena.tournament.stats.growth import Estimate, growth_estimates, score_table
from arena.tournament.stats.paired_tests import paired_differences

LEARNER = "learner"  # the policy's name in the tournament


class EvaluationResult(NamedTuple):
    """Growth is log growth above cash, a fraction; luck is taken out where the price process is known."""

    growth: Estimate  # of the policy
    field: dict[str, Estimate]  # of the others, best first
    lead: Estimate  # of the policy over the best of the others, in the same scenarios
    seconds: float  # that playing took

    @property
    def best(self) -> str:
        """Who is best of the others."""
        return next(iter(self.field))

    def as_dict(self) -> Row:
        """JSON-ready."""
        field = {name: estimate.value for name, estimate in self.field.items()}
        return {
            **{f"growth{end}": value for end, value in zip(("", "_low", "_high"), self.growth)},
            "best_opponent": self.best,
            **{f"lead{end}": value for end, value in zip(("", "_low", "_high"), self.lead)},
            "field": field,
            "seconds": round(self.seconds, 1),
        }


def evaluation_tournament(evaluation: EvaluationConfig, env_config: Fields, warmup: int, seed: int) -> TournamentConfig:
    """The tournament that evaluates: the given one, or the scripted field in the market that is trained in."""
    if evaluation.tournament is not None:
        config = resolve_paths(read_config(evaluation.tournament))
    else:
        config = TournamentConfig(
            data=training_data(env_config, warmup),
            market=MarketConfig(preset=env_config.get("preset", "sqrt")),
            agents=SCRIPTED_FIELD,
        )
    if LEARNER in config.field:
        raise UserError(f"{evaluation.tournament}: agents: {LEARNER!r} is the name of the policy in training")
    held_out = {"seeds": "validation", "part": "validation", "scenarios": evaluation.scenarios}
    data = config.data.model_copy(update=held_out)
    schedule = config.tournament.model_copy(update={"paths_mb": 0.0})
    return config.model_copy(update={"data": data, "tournament": schedule, "seed": seed})


def training_data(env_config: Fields, warmup: int) -> DataConfig:
    """The data of an env_config as the tournament says it; the field may need more warm-up than the training."""
    warmup = max(warmup, DataConfig().warmup)
    if "bars" in env_config:
        return DataConfig(source="bars", warmup=warmup, **env_config["bars"])
    synthetic = SyntheticParams(**env_config.get("synthetic", {}))
    is_fair = synthetic.signal_ic == 0 and synthetic.drift_per_year == 0
    return DataConfig(
        mode="fair" if is_fair else "signal",
        num_assets=synthetic.num_assets,
        episode_length=synthetic.num_bars - warmup,
        warmup=warmup,
        drift_per_year=synthetic.drift_per_year,
        signal_ic=synthetic.signal_ic,
        signal_half_life=synthetic.signal_half_life,
    )


def evaluate(config: TournamentConfig, spec: str) -> EvaluationResult:
    """Play the whole tournament with one more entrant, the policy of this spec."""
    start = time.monotonic()
    plan = make_plan(config.model_copy(update={"agents": (*config.agents, AgentConfig(agent=spec, name=LEARNER))}))
    results = pa.concat_tables(run_unit(plan.job, unit).results for unit in plan.units)
    column = "growth_raw" if plan.kind == "window" else "growth_cv"
    estimates = growth_estimates(results, column, kind=plan.kind)
    growth = estimates.pop(LEARNER)
    (lead,) = paired_differences(score_table(results, column), [(LEARNER, next(iter(estimates)))], plan.kind)
    lead_over_best = Estimate(lead.growth, lead.growth_low, lead.growth_high)
    return EvaluationResult(growth, estimates, lead_over_best, time.monotonic() - start)
