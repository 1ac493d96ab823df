"""The league of a TensorPPO: what a training script calls before, between and after iterations.

config = seat_league(config, params)                                       # once
league = League.open(params, run_folder / "league"); push(algorithm, league)       # at the start, after a restore
numbers = league_step(algorithm, league, iteration, env_steps, rate)       # after every algorithm.train()
"""

from functools import partial

import numpy as np
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from arena.agents.loading import resolve_spec
from arena.agents.policies.network import AssetPolicy
from arena.rl.league.league import League, LeagueParams, Member, Rate
from arena.rl.league.outcomes import LEARNER
from arena.rl.rllib.algorithm import TensorPPO, TensorPPOConfig
from arena.rl.rllib.export import export_policy
from arena.rl.rllib.frozen_module import force_weights
from arena.rl.rllib.learner import TensorPPOLearner
from arena.rl.rllib.registration import policy_manifest
from arena.rl.rllib.rl_module import Network

MAIN = "shared"  # module id of the learner


def seat_league(config: TensorPPOConfig, params: LeagueParams) -> TensorPPOConfig:
    """Seats and policies of a league, in `config` itself: the last `num_exploiters` of the agents are exploiters.

    The environment's own opponents, which evaluation meets too, are the scripted ones; env_config says how many are
    drawn (num_opponents).
    """
    num_agents = config.env_config.get("num_agents", 1)
    if params.num_exploiters >= num_agents:
        raise ValueError(
            f"num_exploiters is {params.num_exploiters}, expected fewer than num_agents = {num_agents}: the other "
            "agents are whom they exploit"
        )
    opponents = [resolve_spec(spec) for spec in params.scripted]
    if list(config.env_config.get("opponents", opponents)) != opponents:
        raise ValueError("env_config.opponents differ from the league's scripted agents; name them in one place")
    config.environment(env_config={"opponents": opponents, "num_exploiters": params.num_exploiters})
    exploiters = [f"exploiter_{number}" for number in range(params.num_exploiters)]
    mapping = partial(seat_module, num_main=num_agents - params.num_exploiters)
    return config.multi_agent(policies=[MAIN, *exploiters], policy_mapping_fn=mapping)


def seat_module(agent_id: str, episode: object, *, num_main: int, **kwargs: object) -> str:
    """Module of an agent trader_<seat>."""
    seat = int(agent_id.rpartition("_")[2])
    return MAIN if seat < num_main else f"exploiter_{seat - num_main}"


def push(algorithm: TensorPPO, league: League) -> None:
    """Give the pool to all who sample."""
    algorithm.set_opponents(league.opponents())


def league_step(
    algorithm: TensorPPO, league: League, iteration: int, env_steps: int, rate: Rate | None = None
) -> dict[str, float]:
    """After an iteration: record who won, take snapshots when due, weigh the pool anew, save; numbers to log.

    rate  fits ratings (arena.tournament.stats.ratings.rate_players); None: no ratings
    """
    league.record(algorithm.drain_outcomes())
    numbers = _describe(league) | {"exploiters_restarted": 0.0}
    if iteration % league.params.snapshot_every == 0:
        for author in (LEARNER, *league.exploiters):
            _take_snapshot(algorithm, league, author, iteration, env_steps)
        numbers["exploiters_restarted"] = float(_restart_exploiters(algorithm, league))
        push(algorithm, league)
    else:
        algorithm.weigh_opponents(league.weights())
    if rate is not None and iteration % league.params.rate_every == 0:
        ratings = league.rate(rate, iteration, env_steps)
        numbers |= {f"rating/{name}": rating for name, rating in ratings.items()}
    league.save()
    return numbers


def trained_network(algorithm: TensorPPO, module_id: str = MAIN) -> Network:
    """A copy of the learners' network, critic included, on the CPU."""
    module = algorithm.get_module(module_id)
    spec = RLModuleSpec.from_module(module)
    spec.inference_only = False
    whole = spec.build()
    whole.set_state(algorithm.learner_group.get_weights(module_ids=[module_id])[module_id])
    return whole.network


def _take_snapshot(algorithm: TensorPPO, league: League, author: str, iteration: int, env_steps: int) -> Member:
    network = trained_network(algorithm, _module_of(author))
    num_assets = algorithm.get_module(MAIN).action_space.shape[0]
    manifest = policy_manifest(algorithm.config.env_config, num_assets, isinstance(network, AssetPolicy))
    path = league.new_policy_file(author)
    export_policy(network, path, manifest, author=author, iteration=iteration, env_steps=env_steps)
    return league.add_snapshot(author, path, env_steps)


def _restart_exploiters(algorithm: TensorPPO, league: League) -> int:
    """Begin anew, as copies of the learner, with those that beat it: there is more than one hole to find."""
    done = [
        name for name in league.exploiters if 1.0 - league.win_probability(name) > league.params.exploiter_threshold
    ]
    if not done:
        return 0
    restart = partial(_copy_learner, module_ids=done)
    for result in algorithm.learner_group.foreach_learner(restart):
        if not result.ok:
            raise result.get()
    force_weights(algorithm, done)
    for name in done:
        league.forget(name)
    return len(done)


def _copy_learner(learner: TensorPPOLearner, module_ids: list[str]) -> None:
    """In a learner: weights of the main module, and an optimizer without a past."""
    weights = learner.module[MAIN].unwrapped().state_dict()
    for module_id in module_ids:
        learner.module[module_id].unwrapped().load_state_dict(weights)
        for _, optimizer in learner.get_optimizers_for_module(module_id):
            optimizer.state.clear()


def _module_of(author: str) -> str:
    return MAIN if author == LEARNER else author


def _describe(league: League) -> dict[str, float]:
    """How the learner fares: by player, and against each kind of member on average."""
    members = {
        kind: [m.name for m in league.members if m.kind == kind] for kind in ("scripted", "snapshot", "exploiter")
    }
    players = [*league.exploiters, *(name for names in members.values() for name in names)]
    numbers = {f"win_probability/{name}": league.win_probability(name) for name in players}
    for kind, names in members.items():
        if names:
            numbers[f"win_probability_of_{kind}"] = float(np.mean([league.win_probability(name) for name in names]))
    return numbers | {"members": float(len(league.members))}
