"""A program that a test needs may be missing at home, but not where the project is built."""

import pytest
from _pytest.outcomes import Failed, Skipped

from tests import needs


@pytest.mark.parametrize(("ci", "outcome"), [("true", Failed), ("", Skipped)])
def test_a_missing_program_fails_on_a_build_machine_only(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(outcome, match="needs the program bwrap"):
        needs.bubblewrap()
