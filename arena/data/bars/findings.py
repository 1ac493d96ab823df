"""What was found wrong or odd in bars: a record per finding, a report that prints, an error that carries it."""

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from arena.errors import UserError

Severity = Literal["error", "warning"]
LINES_PER_CHECK = 5  # findings of one check that `Report.text` spells out
NO_TIME = -(2**63)  # stands for a timestamp that could not be read


@dataclass(frozen=True)
class Finding:
    """One thing found, where, and what to do about it."""

    severity: Severity  # an error stops loading unless the fill policy says what to do
    check: str  # short name of the rule
    file: str
    symbol: str
    row: int | None  # 1-based line of the file; None where a finding is about many rows
    timestamp: str | None  # ISO 8601 UTC
    message: str  # what was found and what was expected
    remedy: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" line {self.row}"
        when = "" if self.timestamp is None else f" at {self.timestamp}"
        return f"{self.file}{row}: {self.symbol}{when}: {self.message}; {self.remedy}"


@dataclass(frozen=True)
class Report:
    """All findings of one load, and what came out of it."""

    findings: tuple[Finding, ...]
    policy: str  # the fill policy used
    num_rows: int  # rows read
    symbols: tuple[str, ...] = ()  # kept
    dropped: tuple[str, ...] = ()  # symbols left out by the policy
    num_bars: int = 0
    start: str | None = None
    end: str | None = None
    dt: float | None = None  # bar length [trading days]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that stop loading under the policy "error"."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that never change the bars' prices."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def as_dict(self) -> dict[str, Any]:
        """The report as plain lists, dicts, strings and numbers, ready for JSON."""
        return asdict(self)

    def text(self, lines_per_check: int = LINES_PER_CHECK) -> str:
        """The report for a terminal: a summary, then the findings grouped by check, errors first."""
        dropped = f", dropped {', '.join(self.dropped)}" if self.dropped else ""
        lines = [
            f"{self.num_rows} rows read, {len(self.symbols)} symbols x {self.num_bars} bars from {self.start} to "
            f"{self.end}, dt {self.dt} trading days, policy {self.policy!r}{dropped}: "
            f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        ]
        counts = Counter((finding.severity, finding.check) for finding in self.findings)
        for (severity, check), count in sorted(counts.items()):
            lines.append(f"{severity} {check}: {count}")
            same = [finding for finding in self.findings if (finding.severity, finding.check) == (severity, check)]
            lines += [f"  {finding}" for finding in same[:lines_per_check]]
            if count > lines_per_check:
                lines.append(f"  ... and {count - lines_per_check} more")
        return "\n".join(lines)

    __str__ = text


class BarsError(UserError):
    """Bars that the policy does not allow; `report` holds all findings."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


def iso_time(microseconds: int) -> str | None:
    """ISO 8601 in UTC without offset, only the date at midnight; None for NO_TIME."""
    if microseconds == NO_TIME:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))
    midnight = microseconds % 86_400_000_000 == 0
    return moment.date().isoformat() if midnight else moment.replace(tzinfo=None).isoformat(sep=" ")
