"""What `arena check` looks at, clause by clause, with a verdict each; nothing of it can harm whoever asks.

Besides the clauses of arena.agents.contracts:

    start           the agent can be made, in time
    limits          a decision ends in time, the process stays alive, prints little and sends nothing but weights
    deterministic   two new agents give the same weights in the same market
    look-ahead      the same past with another future gives the same weights
    numbers         share of NaN and infinity among the weights in that market
    speed           wall clock of a decision for 128 markets
"""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from arena.agents.contracts import ContractViolation, check_agent
from arena.agents.fake_observation import fake_observation
from arena.agents.faults import AgentFault, decide, one_line
from arena.agents.sandbox.isolation import Isolation, IsolationUnavailable, opened
from arena.agents.types import Agent
from arena.data.synthetic.market import SyntheticParams, generate
from arena.data.types import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME, Scenarios
from arena.market.observation import seat_view
from arena.market.presets import preset
from arena.market.vector import VectorMarket

Verdict = Literal["ok", "FAILS", "slow", "not tried"]
Open = Callable[[], AbstractContextManager[Agent]]

CONTRACT = (  # in the order in which check_agent comes to them
    *("history_length", "forecaster", "runs", "limits", "randomness", "shape", "dtype", "finite", "no mutation"),
    *("reset", "batch"),
)
PROBES = ("deterministic", "look-ahead", "numbers", "speed")
CLAUSES = ("start", *CONTRACT, *PROBES)
FATAL = ("start", "history_length", "forecaster", "limits", "runs")
SCENARIOS, STEPS, FORK = (7, 8), 12, 6  # markets of the probes, decisions in them, decisions before the futures part
MIN_WARMUP, MAX_HISTORY = 60, 5000  # bars
SPEED_MARKETS, SPEED_DECISIONS = 128, 5
SLOW_SECONDS = 1.0  # a decision that takes longer makes a tournament of minutes one of hours


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    clause: str
    verdict: Verdict
    detail: str = ""


def examine(spec: str, params: Mapping[str, Any], isolation: Isolation) -> list[Finding]:
    """A finding for each of CLAUSES, in that order. ValueError or IsolationUnavailable if nothing can be examined."""
    found: dict[str, Finding] = {}
    for look in (_start, _contract, _probes):
        for finding in look(partial(opened, spec, params, isolation, check_contract=True), spec):
            found.setdefault(finding.clause, finding)
        if any(found[clause].verdict == "FAILS" for clause in FATAL if clause in found):
            break  # it would only fail again, and slowly
    return [found.get(clause, Finding(clause, "not tried")) for clause in CLAUSES]


def _start(open_: Open, name: str) -> list[Finding]:
    try:
        with open_() as agent:
            agent.reset()
    except AgentFault as error:
        return [Finding(error.clause, "FAILS", error.reason)]
    except IsolationUnavailable:
        raise
    except (Exception, SystemExit) as error:
        return [Finding("start", "FAILS", one_line(f"{type(error).__name__}: {error}"))]
    return [Finding("start", "ok")]


def _contract(open_: Open, name: str) -> list[Finding]:
    """The first violation that check_agent finds; a clause that it came to before counts as kept."""
    num_passed = 0
    with open_() as agent:
        agent.reset()
        length = agent.history_length
        if isinstance(length, int) and length > MAX_HISTORY:
            return [Finding("history_length", "FAILS", f"found {length}, expected {MAX_HISTORY} at most")]
        cheats = getattr(agent, "is_cheat", False)
        try:
            for num_assets in getattr(agent, "asset_counts", (1, 4, 50)):
                for dtype in (torch.float32, torch.float64):
                    check_agent(agent, name, num_assets=(num_assets,), dtypes=(dtype,))
                    num_passed += 1
        except ContractViolation as error:
            clause = error.clause if error.clause in CONTRACT else "runs"
            kept = CONTRACT if num_passed else CONTRACT[: CONTRACT.index(clause)]
            detail = one_line(error.detail)
            if cheats and clause == "runs":
                detail += "; a cheat is shown its signal at --isolate none only"
            return [Finding(clause, "FAILS", detail), *(Finding(other, "ok") for other in kept if other != clause)]
    return [Finding(clause, "ok") for clause in CONTRACT]


def _probes(open_: Open, name: str) -> list[Finding]:
    """In a real market: it shows what made-up observations cannot."""
    findings: list[Finding] = []
    try:
        with open_() as agent:
            agent.reset()
            scenarios = _scenarios(agent)
            first = _play(agent, scenarios)
        share = float((~first.isfinite()).double().mean())
        findings.append(Finding("numbers", "FAILS" if share else "ok", f"{share:.1%} NaN or infinite"))
        with open_() as agent:
            agent.reset()
            again = _play(agent, scenarios)
        findings.append(_equal("deterministic", first, again, "two new agents in the same market"))
        with open_() as agent:
            agent.reset()
            other = _play(agent, with_another_future(scenarios, scenarios.warmup + FORK))
        if findings[-1].verdict == "ok":
            findings.append(_equal("look-ahead", first[: FORK + 1], other[: FORK + 1], "same past, another future"))
        with open_() as agent:
            agent.reset()
            findings.append(_speed(agent))
    except AgentFault as error:
        findings.append(Finding(error.clause, "FAILS", error.reason))
    return findings


def with_another_future(scenarios: Scenarios, bar: int) -> Scenarios:
    """The scenarios up to the bar before `bar`, then with every price move turned round.

    price'(t) = close(bar - 1)**2 / price(t),   t >= bar
    """
    bars = scenarios.bars.clone()
    future = bars[:, bar:]
    base = bars[:, bar - 1 : bar, :, CLOSE]
    turned = {channel: base**2 / future[..., channel] for channel in (OPEN, HIGH, LOW, CLOSE)}
    future[..., OPEN], future[..., CLOSE] = turned[OPEN], turned[CLOSE]
    future[..., HIGH], future[..., LOW] = turned[LOW], turned[HIGH]
    future[..., AMOUNT] = future[..., VOLUME] * future[..., CLOSE]
    signal = scenarios.signal
    if signal is not None:
        signal = signal.clone()
        signal[:, bar + 1 :] *= -1  # that of `bar` is known before it
    return scenarios._replace(bars=bars, signal=signal, expected_open=None, expected_close=None)


def _scenarios(agent: Agent) -> Scenarios:
    counts = getattr(agent, "asset_counts", (1, 4))
    warmup = max(MIN_WARMUP, agent.history_length)
    market = SyntheticParams(num_assets=counts[min(1, len(counts) - 1)], num_bars=warmup + STEPS)
    return generate(market, SCENARIOS, warmup=warmup)


@torch.no_grad()
def _play(agent: Agent, scenarios: Scenarios) -> Tensor:
    """Weights [T, B, A] of the agent alone in its markets."""
    rules = preset("sqrt")
    rules = replace(rules, modes=rules.modes[-getattr(agent, "num_modes", len(rules.modes)) :])
    length = agent.history_length
    market = VectorMarket(rules, scenarios, 1, history_length=length, dtype=torch.float64)
    generator, weights = torch.Generator().manual_seed(11), []
    for step in range(market.episode_length):
        view = seat_view(market.observe(), 0)
        if getattr(agent, "is_cheat", False) and scenarios.signal is not None:
            view = view._replace(signal=scenarios.signal[:, scenarios.warmup + step])
        weights.append(decide(agent, view, generator))
        market.step(weights[-1].unsqueeze(1))
    return torch.stack(weights)


def _equal(clause: str, first: Tensor, second: Tensor, what: str) -> Finding:
    differ = ~torch.isclose(first, second, rtol=0.0, atol=0.0, equal_nan=True)
    if not differ.any():
        return Finding(clause, "ok", what)
    step = int(differ.flatten(1).any(1).nonzero()[0])
    return Finding(clause, "FAILS", f"{what}: the weights of decision {step} differ")


def _speed(agent: Agent) -> Finding:
    counts = getattr(agent, "asset_counts", (8,))
    num_assets = counts[min(1, len(counts) - 1)]
    num_modes = getattr(agent, "num_modes", 3)
    seconds, generator = [], torch.Generator().manual_seed(0)
    for step in range(SPEED_DECISIONS):
        view = fake_observation(SPEED_MARKETS, num_assets, agent.history_length, num_modes=num_modes, step=step)
        start = time.perf_counter()
        decide(agent, view, generator)
        seconds.append(time.perf_counter() - start)
    taken = statistics.median(seconds)
    detail = f"{1000 * taken:.1f} ms per decision of {SPEED_MARKETS} markets x {num_assets} assets"
    return Finding("speed", "slow" if taken > SLOW_SECONDS else "ok", detail)
