"""Every setting of a tournament: sections of validated fields, YAML files, command-line overrides, shipped files."""

from arena.config.tournament import AgentConfig as AgentConfig
from arena.config.tournament import DataConfig as DataConfig
from arena.config.tournament import TournamentConfig as TournamentConfig
