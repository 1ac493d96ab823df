"""A tournament turned into a test of itself, by one flag: what must come out is known before it is played."""

from typing import Literal

from arena.config.tournament import AgentConfig, TournamentConfig
from arena.errors import UserError
from arena.market.presets import preset
from arena.units import BPS

Control = Literal["null", "positive", "costs"]
CHEAT = "oracle"


def control(config: TournamentConfig, kind: Control) -> TournamentConfig:
    """The config of the control run; its name tells.

    null      the whole field in a fair market: prices are martingales, nothing but another's impact can be earned
    positive  one more entrant that sees the predictable part of the next return: it must come first
    costs     twice the commission and twice the spread: who pays more must fall
    """
    changed = {"null": _null, "positive": _positive, "costs": _costs}[kind](config)
    return changed.model_copy(update={"name": f"{config.name}-{kind}"})


def _null(config: TournamentConfig) -> TournamentConfig:
    _needs_synthetic(config, "null")
    fair = {"mode": "fair", "drift_per_year": config.market.cash_rate_per_year}
    return config.model_copy(update={"data": config.data.model_copy(update=fair)})


def _positive(config: TournamentConfig) -> TournamentConfig:
    _needs_synthetic(config, "positive")
    if config.data.mode == "fair" or config.data.signal_ic == 0:
        raise UserError("--control positive: there is no signal to see; set data.mode to signal and data.signal_ic")
    schedule = config.tournament.model_copy(update={"allow_cheats": True})
    agents = config.agents
    if not any(agent.agent == CHEAT for agent in agents):
        if CHEAT in config.field:
            raise UserError(f"--control positive: an entrant is named {CHEAT!r} and is none; rename it")
        # Not the last, which is the newcomer of a gauntlet that names none.
        agents = (AgentConfig(agent=CHEAT), *agents)
    return config.model_copy(update={"agents": agents, "tournament": schedule})


def _costs(config: TournamentConfig) -> TournamentConfig:
    market = config.market
    fee_bps = preset(market.preset, 1.0).fee_rate / BPS if market.fee_bps is None else market.fee_bps
    doubled = {"fee_bps": 2 * fee_bps, "half_spread_bps": 2 * market.half_spread_bps}
    return config.model_copy(update={"market": market.model_copy(update=doubled)})


def _needs_synthetic(config: TournamentConfig, kind: Control) -> None:
    if config.data.source != "synthetic":
        raise UserError(f"--control {kind}: of bars nobody knows what could be earned; leave --data out")
