"""A forecaster file that only an isolated entrant brings is refused before it, or its agent, is opened."""

import pytest

from arena.agents.sandbox.isolation import SUPPORTED
from arena.config.files import with_followers
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.tournament.setup.plan import make_plan
from tests.tournament.test_forecasts import write_artifact

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="isolates, for which this system has no means")


def config(*agents):
    return TournamentConfig.model_validate(
        {
            "data": {"num_assets": 2, "scenarios": 2, "episode_length": 5},
            "agents": [{"agent": "cash"}, *agents],
            "ray": {"workers": 0},
        }
    )


@pytest.mark.parametrize("isolate", ["process", "sandbox"])
@pytest.mark.parametrize("file", ["theirs.pt2", "theirs.pt", "drift+theirs.pt2"])
def test_a_forecaster_file_of_an_isolated_entrant_is_refused_unopened(tmp_path, monkeypatch, isolate, file):
    (tmp_path / "theirs.pt2").write_bytes(b"native code")
    (tmp_path / "theirs.pt").write_bytes(b"native code")
    monkeypatch.setattr("arena.tournament.setup.entrants.loaded", lambda spec: pytest.fail("loaded in the driver"))
    monkeypatch.setattr("arena.tournament.setup.entrants.opened", lambda *given: pytest.fail("the agent was opened"))
    path = tmp_path / file.rpartition("+")[2]
    params = {"forecaster": file.replace(path.name, str(path))}
    asked = config({"agent": "mean_variance", "name": "m", "params": params, "isolate": isolate})
    with pytest.raises(UserError) as refusal:
        make_plan(asked)
    assert str(refusal.value) == (
        f"entrant 'm' is isolated ({isolate}) and brings the forecaster file {path}, which would run outside its "
        "isolation, with your rights; let it follow a forecaster of the package, or, if you trust the file, pass it "
        f"yourself with --forecaster {path}"
    )


def test_a_forecaster_file_that_the_organizer_passes_is_trusted(tmp_path):
    path = write_artifact(tmp_path / "ours.pt")
    theirs = {"agent": "mean_variance", "name": "m", "params": {"forecaster": str(path)}, "isolate": "process"}
    asked = config(theirs)
    with pytest.raises(UserError, match=r"brings the forecaster file .*ours\.pt"):
        make_plan(asked)
    assert list(make_plan(with_followers(asked, [str(path)])).job.forecasters) == [str(path)]
