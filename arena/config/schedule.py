"""The section `tournament`: who meets whom, in what units of work, and when it is enough."""

from typing import Literal, Self

from pydantic import Field, model_validator

from arena.config.fields import Count, IsolationLevel, Name, Number, Section, cross_field_error

# The format that each field belongs to; in another format it would be ignored in silence.
ONLY_IN = {"newcomer": "gauntlet", "rounds": "swiss", "finalists": "swiss", "copies": "population"}


class StopConfig(Section):
    """When the tournament may end before all its scenarios are played."""

    when: Literal["never", "leader", "newcomer"] = Field(
        "never", description="or as soon as it is decided against every other entrant, by always-valid bets"
    )
    margin_bps: Number = Field(
        0.0, ge=0, description="entrants whose growth differs by less count as equal [bps per game]; 0: never"
    )


class ScheduleConfig(Section):
    """Who meets whom."""

    format: Literal["all", "pairs", "gauntlet", "swiss", "population"] = Field(
        "all",
        description="balanced lineups of the field; every pair alone; lineups that all hold the newcomer; rounds and a "
        "final, for large fields; the field once more for each entrant, with many copies of it",
    )
    seats: Count | None = Field(
        None, ge=1, description="agents per market; the whole field if left out, 8 in swiss, 2 in pairs"
    )
    lineups: Count | None = Field(None, ge=1, description="different lineups; balanced and few if left out")
    newcomer: Name | None = Field(None, description="gauntlet: who meets the field; the last entrant if left out")
    rounds: Count | None = Field(None, ge=2, description="swiss: before the final, 10 if left out")
    finalists: Count | None = Field(None, ge=2, description="swiss: best of the rounds in the final, 16 if left out")
    copies: Count | None = Field(None, ge=2, description="population: of one entrant in one market, 4 if left out")
    batch_size: Count = Field(128, ge=1, description="scenarios in one unit of work; part of the result's identity")
    allow_cheats: bool = Field(False, description="admit agents that see what no trader can know")
    paths_mb: Number = Field(10.0, ge=0, description="most that the stored per-step paths may take [MB]")
    isolate: IsolationLevel = Field(
        "none",
        description="where entrants play whose code is not the package's: in the worker, in a process of their own "
        "with limits, or in one without network and disk; see docs/isolation.md",
    )
    decision_seconds: Number = Field(10.0, gt=0, description="isolated: wall clock of a decision for a batch [s]")
    startup_seconds: Number = Field(60.0, gt=0, description="isolated: wall clock of making the agent [s]")
    memory_mb: Count = Field(2048, ge=256, description="isolated: data of the process [MB]")
    stop: StopConfig = StopConfig()

    @model_validator(mode="after")
    def _fields_fit_the_format(self) -> Self:
        for field, owner in ONLY_IN.items():
            value = getattr(self, field)
            if value is not None and self.format != owner:
                raise cross_field_error(
                    f"tournament.{field}", f"belongs to the format {owner}, not to {self.format}", value
                )
        if self.lineups is not None and self.format not in ("all", "gauntlet"):
            raise cross_field_error(
                "tournament.lineups", f"follows from the field in the format {self.format}", self.lineups
            )
        if self.format == "pairs" and self.seats not in (None, 2):
            raise cross_field_error("tournament.seats", "a pair takes two seats", self.seats)
        if self.format == "population" and self.seats is not None:
            raise cross_field_error("tournament.seats", "a population holds the whole field and the copies", self.seats)
        if self.format == "gauntlet" and self.seats == 1:
            raise cross_field_error("tournament.seats", "the newcomer needs somebody to meet", self.seats)
        if self.stop.when == "newcomer" and self.format != "gauntlet":
            raise cross_field_error(
                "tournament.stop.when", "there is a newcomer in the format gauntlet only", self.stop.when
            )
        if self.stop.when != "never" and self.format == "swiss":
            raise cross_field_error(
                "tournament.stop.when", "who meets whom in swiss depends on results already", self.stop.when
            )
        return self
