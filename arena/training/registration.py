"""The environments by the names under which RLlib finds them: `arena` (stock path), `arena_tensor` (tensor path)."""

from collections.abc import Mapping
from typing import Any

from ray.tune.registry import register_env

from arena.agents.policy import PolicyManifest, policy_layout
from arena.agents.registry import make_agent
from arena.data.synthetic_params import SyntheticParams
from arena.envs.presets import preset
from arena.envs.rllib import register_arena_env
from arena.envs.storage import keep_freed_memory
from arena.training.market_env import Domain, EnvParams, MarketEnv
from arena.training.opponents import opponent_names
from arena.training.rewards import RewardParams
from arena.training.windows import SyntheticSource

DEFAULT_PRESET = "sqrt"
OF_POLICY = ("reach", "speed", "history_length", "forecaster")  # fields of EnvParams that a policy depends on
STOCK_ENV, TENSOR_ENV = "arena", "arena_tensor"  # as RLlib knows them
WARMUP = 60  # bars before an episode of the synthetic market, as in ArenaParallelEnv


def make_tensor_market(context: Mapping[str, Any]) -> MarketEnv:
    """The tensor environment of an `env_config`, over windows of the synthetic market.

    preset      name of the rules           synthetic  fields of SyntheticParams
    num_agents  learners, exploiters included
    opponents   specs of agents; num_opponents of them are drawn every episode, all by default
    signal_ic   range of it, else that of `synthetic`
    warmup      bars before an episode, WARMUP if left out; a forecaster needs its context_length
    reward, domain  fields of RewardParams and of Domain            compile    the step
    the rest    fields of EnvParams
    """
    options = dict(context)
    if options["device"] == "cpu":
        keep_freed_memory()  # steps make and free tensors of the same sizes
    synthetic = SyntheticParams(**options.pop("synthetic", {}))
    specs = options.pop("opponents", ())
    opponents = {name: make_agent(spec) for name, spec in zip(opponent_names(specs), specs)}
    rules = preset(options.pop("preset", DEFAULT_PRESET), synthetic.dt)
    source = SyntheticSource(synthetic, options.pop("warmup", WARMUP), options.pop("signal_ic", None))
    settings = {name: options.pop(name, default) for name, default in (("seed", 0), ("compile", False))}
    device = options.pop("device")
    params = EnvParams(
        num_learners=options.pop("num_agents", 1),
        num_opponents=options.pop("num_opponents", len(opponents)),
        reward=RewardParams(**options.pop("reward", {})),
        domain=Domain(**options.pop("domain", {})),
        **options,
    )
    return MarketEnv(params, rules, source, opponents, device=device, **settings)


def policy_manifest(context: Mapping[str, Any], num_assets: int, any_assets: bool, command: str = "") -> PolicyManifest:
    """What a policy file must say of a policy trained in `make_tensor_market(context)`."""
    synthetic = SyntheticParams(**context.get("synthetic", {}))
    num_modes = len(preset(context.get("preset", DEFAULT_PRESET), synthetic.dt).modes)
    of_env = {name: context.get(name, getattr(EnvParams, name)) for name in OF_POLICY}
    return PolicyManifest(
        layout=policy_layout(num_modes),
        num_modes=num_modes,
        num_assets=num_assets,
        any_assets=any_assets,
        command=command,
        **of_env,
    )


def register_envs() -> None:
    """In every process of the cluster."""
    register_arena_env(STOCK_ENV)
    register_env(TENSOR_ENV, make_tensor_market)
