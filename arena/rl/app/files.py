"""Files and folders that a training names, which every node that runs one of its environments has to have."""

from arena.agents.loading import FILE_PREFIXES
from arena.forecast.loading import ARTIFACT_SUFFIXES
from arena.rl.app.config import TrainConfig


def named_files(config: TrainConfig) -> list[str]:
    """As they are written: of opponents, members of the league, the forecaster and the bars."""
    env = config.sections.get("environment", {}).get("env_config", {})
    agents = [*env.get("opponents", ()), *((config.league and config.league.scripted) or ())]
    found = [_of_agent(spec) for spec in agents]
    forecaster = env.get("forecaster") or ""
    found += [part.strip() for part in forecaster.split("+") if part.strip().endswith(ARTIFACT_SUFFIXES)]
    found.append(str((env.get("bars") or {}).get("dir", "")))
    return sorted({path for path in found if path})


def _of_agent(spec: str) -> str:
    prefix, _, file = spec.partition(":")
    if prefix in FILE_PREFIXES:
        return file.rpartition("@")[0] if prefix == "rllib" and "@" in file else file
    place = spec.rpartition(":")[0]
    return place if place.endswith(".py") else ""
