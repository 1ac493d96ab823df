"""The environments by the names under which RLlib finds them: `arena` (stock path), `arena_tensor` (tensor path)."""

from dataclasses import fields
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

from ray.tune.registry import register_env

from arena.agents.policies.policy import PolicyManifest, policy_layout
from arena.agents.registry import make_agent
from arena.agents.types import Agent
from arena.data.bars.align import split
from arena.data.bars.readers import load_bars
from arena.data.synthetic.params import SyntheticParams
from arena.envs.rllib import register_arena_env
from arena.market.presets import preset
from arena.market.storage import keep_freed_memory
from arena.market.types import MarketParams
from arena.rl.league.opponents import opponent_names
from arena.rl.market_env import Domain, EnvParams, MarketEnv
from arena.rl.records import Fields
from arena.rl.rewards import RewardParams
from arena.rl.windows import BarsSource, SyntheticSource, WindowSource

Record = TypeVar("Record")

DEFAULT_PRESET = "sqrt"
# Of an env_config, besides those of EnvParams.
OWN_FIELDS = (
    *("bars", "compile", "domain", "num_agents", "num_opponents", "opponents", "preset", "reward", "signal_ic"),
    *("synthetic", "warmup"),
)
OF_POLICY = ("reach", "speed", "history_length", "forecaster")  # fields of EnvParams that a policy depends on
STOCK_ENV, TENSOR_ENV = "arena", "arena_tensor"  # as RLlib knows them
EPISODE_LENGTH = 120  # of windows of bars
WARMUP = 60  # bars before an episode of the synthetic market, as in ArenaParallelEnv


class MarketSetup(NamedTuple):
    """What an `env_config` of the tensor path stands for."""

    params: EnvParams
    rules: MarketParams
    source: WindowSource
    opponents: dict[str, Agent]
    compile: bool


def make_tensor_market(context: Fields) -> MarketEnv:
    """The tensor environment of an `env_config`, see `market_setup`; runners add num_markets, device and seed."""
    options = dict(context)
    device, seed = options.pop("device"), options.pop("seed", 0)
    if device == "cpu":
        keep_freed_memory()  # steps make and free tensors of the same sizes
    made = market_setup(options)
    return MarketEnv(
        made.params, made.rules, made.source, made.opponents, seed=seed, compile=made.compile, device=device
    )


def market_setup(context: Fields) -> MarketSetup:
    """Read an `env_config`; ValueError says what is wrong with it.

    preset      name of the rules           synthetic  fields of SyntheticParams
    bars        in place of `synthetic`, files of yours: {dir, fill, symbols} as load_bars takes them, episode_length.
                Windows are drawn from the training part of the history (arena.data.bars.align.split)
    num_agents  learners, exploiters included
    opponents   specs of agents; num_opponents of them are drawn every episode, all by default
    signal_ic   range of it, else that of `synthetic`
    warmup      bars before an episode, WARMUP if left out; a forecaster needs its context_length
    reward, domain  fields of RewardParams and of Domain            compile    the step
    the rest    fields of EnvParams
    """
    options = dict(context)
    specs = options.pop("opponents", ())
    opponents = {name: make_agent(spec) for name, spec in zip(opponent_names(specs), specs)}
    source, dt = _source(options)
    rules = preset(options.pop("preset", DEFAULT_PRESET), dt)
    compile = options.pop("compile", False)
    told = {
        "num_learners": options.pop("num_agents", 1),
        "num_opponents": options.pop("num_opponents", len(opponents)),
        "reward": _made(RewardParams, options.pop("reward", {}), "env_config.reward"),
        "domain": _made(Domain, options.pop("domain", {}), "env_config.domain"),
    }
    _check_names(options, [*OWN_FIELDS, *(name for name in _names(EnvParams) if name not in told)], "env_config")
    params = _made(EnvParams, {**told, **options}, "env_config")
    return MarketSetup(params, rules, source, opponents, compile)


def _source(options: dict[str, Any]) -> tuple[WindowSource, float]:
    """Where windows come from, and the length of a bar [trading days]; takes its fields out of `options`."""
    names = ("synthetic", "bars", "signal_ic")
    synthetic, told, signal_ic = (options.pop(name, None) for name in names)
    warmup = options.pop("warmup", WARMUP)
    if told is None:
        params = _made(SyntheticParams, synthetic or {}, "env_config.synthetic")
        return SyntheticSource(params, warmup, signal_ic), params.dt
    if synthetic is not None or signal_ic is not None:
        raise ValueError("env_config has bars and synthetic or signal_ic, expected one market")
    told = dict(told)
    if "dir" not in told:
        raise ValueError("env_config.bars has no dir, expected the folder of your files")
    episode_length = told.pop("episode_length", EPISODE_LENGTH)
    bars = split(load_bars(told.pop("dir"), **told)[0])[0]
    return BarsSource(bars, warmup, episode_length), bars.dt


def _made(kind: type[Record], told: Fields, place: str) -> Record:
    """A dataclass of the fields that stand in `place`."""
    _check_names(told, _names(kind), place)
    return kind(**told)


def _check_names(told: Fields, known: list[str], place: str) -> None:
    for name in told:
        if name not in known:
            close = get_close_matches(str(name), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise ValueError(f"{place} has no field {name!r}; {hint}")


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def policy_manifest(context: Fields, num_assets: int, any_assets: bool, command: str = "") -> PolicyManifest:
    """What a policy file must say of a policy trained with this `env_config`."""
    num_modes = len(preset(context.get("preset", DEFAULT_PRESET)).modes)
    of_env = {name: context.get(name, getattr(EnvParams, name)) for name in OF_POLICY}
    return PolicyManifest(
        layout=policy_layout(num_modes),
        num_modes=num_modes,
        num_assets=num_assets,
        any_assets=any_assets,
        command=command,
        **of_env,
    )


def register_rllib() -> None:
    """Make the environments `arena` and `arena_tensor` known to RLlib. Call it before `Algorithm.from_checkpoint`.

    Ray passes the registration on to its workers, which need this package installed.
    """
    register_arena_env(STOCK_ENV)
    register_env(TENSOR_ENV, make_tensor_market)
