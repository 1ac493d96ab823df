"""The last line of a verification: how many checks passed, failed and were skipped."""

from collections.abc import Sequence
from typing import Literal, Protocol


class Judged(Protocol):
    """Anything that passed, failed or was skipped."""

    @property
    def status(self) -> Literal["PASS", "FAIL", "SKIP"]: ...


def summary(checks: Sequence[Judged]) -> str:
    """`N passed, M failed, K skipped`."""
    count = {status: sum(check.status == status for check in checks) for status in ("PASS", "FAIL", "SKIP")}
    return f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped"
