"""Which entrants follow a forecaster, and with whom to compare them to see what the forecast is worth."""

from collections.abc import Mapping

from arena.agents.faults import AgentFault
from arena.agents.sandbox.isolation import opened
from arena.tournament.play.seats import Entrant

BASELINE = "persistence"  # a random walk: what a forecast has to beat


def followed(entrant: Entrant) -> str:
    """Spec of the forecaster that an entrant's agent names, "" for none, or where an isolated agent cannot be asked."""
    try:
        with opened(entrant.agent, entrant.params, entrant.isolation) as agent:
            spec = getattr(agent, "forecaster", "")
    except AgentFault:  # it will forfeit
        return ""
    return spec if isinstance(spec, str) else ""


def forecast_pairs(entrants: Mapping[str, Entrant], specs: Mapping[str, str]) -> list[tuple[str, str]]:
    """(follower of a forecast, entrant of the same rule that follows the baseline), where there is such an entrant.

    specs  entrant name -> what `followed` says of it
    """
    rules = {
        name: (entrant.agent, {key: value for key, value in entrant.params.items() if key != "forecaster"})
        for name, entrant in entrants.items()
    }
    baselines = [name for name, spec in specs.items() if spec == BASELINE]
    return [
        (name, baseline)
        for name, spec in specs.items()
        for baseline in baselines
        if spec not in ("", BASELINE) and rules[name] == rules[baseline]
    ]
