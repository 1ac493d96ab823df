"""Who does well when many use the same rule: every entrant of a population alone, and among copies of itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arena.tournament.leaderboard import CrowdEffect
from arena.tournament.stats.growth import Floats, ScenarioKind, mean_interval, score_table
from arena.tournament.stats.paired_tests import holm, paired_p_value
from arena.tournament.wording import bps, half_width

if TYPE_CHECKING:
    import pyarrow as pa


def crowding(
    results: "pa.Table", agents: Sequence[str], num_copies: int, column: str, kind: ScenarioKind, cash: str = "cash"
) -> list[CrowdEffect]:
    """One entry per entrant, from rows of formats.population; the largest fall first. Scenarios count that both
    lineups of an entrant have played; who has none is left out.

    Each is the mean growth above cash: in the lineup with one of it, in the lineup with all its copies (their mean),
    and the paired difference.
    """
    lineups = results["lineup"].to_numpy()
    samples = {}
    for place, agent in enumerate(agents):
        together = results.filter(lineups == place + 1)
        both = np.isin(results["scenario"].to_numpy(), together["scenario"].to_numpy())
        single = results.filter(both & (lineups == 0))
        together = together.filter(np.isin(together["scenario"].to_numpy(), single["scenario"].to_numpy()))
        if together.num_rows == 0:  # of an unfinished run
            continue
        crowd = [agent, *(f"{agent}~{copy}" for copy in range(2, num_copies + 1))]
        one, many = _growth(single, [agent], column, cash), _growth(together, crowd, column, cash)
        samples[agent] = (one, many, many - one)
    p_values = holm([paired_p_value(change[~np.isnan(change)], kind) for _, _, change in samples.values()])
    found = []
    for agent, sample, p_value in zip(samples, samples.values(), p_values):
        alone, crowded, change = (mean_interval(values, kind) for values in sample)
        found.append(
            CrowdEffect(
                agent=agent,
                copies=num_copies,
                alone=alone.value,
                alone_low=alone.low,
                alone_high=alone.high,
                crowded=crowded.value,
                crowded_low=crowded.low,
                crowded_high=crowded.high,
                change=change.value,
                change_low=change.low,
                change_high=change.high,
                p_value=p_value,
            )
        )
    return sorted(found, key=lambda entry: (entry["change"], entry["agent"]))


def sentences(found: Sequence[CrowdEffect]) -> list[str]:
    """For the notes of a leaderboard: what a crowd costs each rule."""
    if not found:
        return []
    parts = []
    for entry in found:
        margin = half_width(entry["change_low"], entry["change_high"], bps)
        change = bps(entry["change"]) + (f" ± {margin}" if margin else "")
        parts.append(f"{entry['agent']} {bps(entry['alone'])} to {bps(entry['crowded'])} ({change})")
    return [
        f"Growth in bps a game with one and with {found[0]['copies']} of a kind in the market, and the change: "
        f"{'; '.join(parts)}."
    ]


def _growth(results: "pa.Table", names: Sequence[str], column: str, cash: str) -> Floats:
    """[S] mean growth of the named entrants above cash in each scenario of one lineup."""
    scores = score_table(results, column)
    mine = scores.values[:, [scores.agents.index(name) for name in names]].mean(1)
    return mine - scores.values[:, scores.agents.index(cash)] if cash in scores.agents else mine
