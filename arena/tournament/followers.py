"""Which entrants follow a forecaster, and with whom to compare them to see what the forecast is worth."""

from collections.abc import Mapping

from arena.agents.registry import make_agent
from arena.tournament.match import Entrant

BASELINE = "persistence"  # a random walk: what a forecast has to beat


def followed(entrant: Entrant) -> str:
    """Spec of the forecaster that an entrant's agent names, "" for none."""
    spec = getattr(make_agent(entrant.agent, entrant.params), "forecaster", "")
    return spec if isinstance(spec, str) else ""


def forecast_pairs(entrants: Mapping[str, Entrant]) -> list[tuple[str, str]]:
    """(follower of a forecast, entrant of the same rule that follows the baseline), where there is such an entrant."""
    specs = {name: followed(entrant) for name, entrant in entrants.items()}
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
