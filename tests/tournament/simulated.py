"""Result tables with a known truth, for the tests of everything that follows a match."""

import numpy as np
import pyarrow as pa
import torch

from arena.metrics import descending_rank, utility
from arena.tournament.schedule.lineups import build_lineups
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import FORFEIT, OK, SCHEMA

NUM_STEPS = 120


def simulated_results(
    edge: dict[str, float],
    num_scenarios: int,
    seed: int,
    noise: float = 0.05,
    num_seats: int | None = None,
    control_variate: bool = True,
    forfeits: tuple[str, ...] = (),
) -> pa.Table:
    """A field of entrants with a known mean log return per episode; t5 noise, part of it common to a scenario.

    "cash" earns exactly 0. The control variate removes four fifths of the noise.
    """
    generator = np.random.default_rng(seed)
    agents = tuple(edge)
    lineups = build_lineups(agents, num_seats or len(agents), seed)
    tables = []
    for lineup in lineups:
        size = (num_scenarios, len(lineup.agents))
        luck = noise * generator.standard_t(5, size) / np.sqrt(5 / 3)
        luck *= np.array([agent != "cash" for agent in lineup.agents])
        forfeited = np.array([agent in forfeits for agent in lineup.agents])
        skill = np.array([edge[agent] for agent in lineup.agents])
        final_nav = np.where(forfeited, 0.0, np.exp(skill + luck))
        growth = utility(torch.from_numpy(final_nav)).numpy()
        growth_cv = np.where(forfeited, growth, growth - 0.8 * luck) if control_variate else np.full(size, np.nan)
        moving = ~forfeited * np.array([agent != "cash" for agent in lineup.agents])
        columns = {name: np.zeros(size, dtype=np.int64) for name in SCHEMA}
        columns |= {
            "scenario": np.repeat(np.arange(num_scenarios)[:, None], size[1], 1),
            "lineup": np.full(size, lineup.lineup),
            "seat": np.repeat(np.arange(size[1])[None], size[0], 0),
            "final_nav": final_nav,
            "growth_raw": growth,
            "growth_cv": growth_cv,
            "rank": descending_rank(torch.from_numpy(final_nav)).numpy(),
            "return_sum": moving * (skill + luck),
            "return_square_sum": moving * (noise**2 + np.square(skill + luck) / NUM_STEPS),
            "downside_square_sum": moving * (noise**2 + np.square(np.minimum(skill + luck, 0)) / NUM_STEPS) / 2,
            "num_steps": np.where(forfeited, 0, NUM_STEPS) * np.ones(size),
            "max_drawdown": np.where(forfeited, 1.0, moving * np.abs(luck)),
            "turnover": moving * (3.0 + np.abs(luck)),
            "cost": (cost := moving * 0.004 * generator.random(size)),
            "fee": cost / 4,
            "impact_cost": moving * 0.006 * generator.random(size),
            "seconds": generator.random(size),
        }
        flat = {name: values.reshape(-1) for name, values in columns.items()}
        flat["agent"] = list(lineup.agents) * num_scenarios
        flat["status"] = [FORFEIT if agent in forfeits else OK for agent in flat["agent"]]
        flat["reason"] = ["exception in act: ValueError" if agent in forfeits else "" for agent in flat["agent"]]
        flat["traceback"] = [""] * len(flat["agent"])
        tables.append(table_from_columns(flat))
    return pa.concat_tables(tables)
