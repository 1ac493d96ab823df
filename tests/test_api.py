"""`import arena` as its users do: the same tournament from Python and from the command line."""

import json
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

import arena
from arena.cli import main
from arena.errors import RunInterrupted, UserError

SMALL = {"data": {"num_assets": 3, "episode_length": 12}, "tournament": {"batch_size": 8, "paths_mb": 1.0}}
SOURCE = '''
import numpy as np


class BuyTheDip:
    """Buys what has fallen below its average."""

    def __init__(self, lookback=20):
        self.lookback = lookback

    def act(self, obs):
        average = obs.close[:, -self.lookback :].mean(axis=1)
        score = np.maximum(1 - obs.close[:, -1] / average, 0)
        return score / max(score.sum(), 1)
'''


def notebook_class():
    """A class without a module that anybody could import, as a notebook's cell defines it."""
    names = {"__name__": "__main__"}
    exec(SOURCE, names)
    return names["BuyTheDip"]


def run(agents, tmp_path, scenarios=16, workers=0, **others):
    return arena.run_tournament(
        agents, config=SMALL, scenarios=scenarios, out=tmp_path, workers=workers, quiet=True, **others
    )


@pytest.fixture(scope="module")
def field():
    dip = notebook_class()
    return ["cash", "momentum", dip, dip(lookback=5)]


@pytest.fixture(scope="module")
def played(field, tmp_path_factory):
    return run(field, tmp_path_factory.mktemp("played"))


def test_the_snippet(played):
    assert sorted(played.leaderboard["agent"]) == ["BuyTheDip", "BuyTheDip-2", "cash", "momentum"]
    assert not played.partial
    assert len(played.results) == 16 * 4
    assert len(played.pairs) == 4 * 3 // 2
    assert arena.load_run(played.path).fingerprint == played.fingerprint
    assert (played.path / "report.html").exists()


@pytest.mark.ray
def test_workers_and_the_command_line_give_the_same_fingerprint(played, field, tmp_path):
    assert run(field, tmp_path, workers=2).fingerprint == played.fingerprint
    (tmp_path / "dip.py").write_text(SOURCE)
    config = tmp_path / "field.yaml"
    config.write_text(
        f"agents:\n  - agent: cash\n  - agent: momentum\n  - agent: {tmp_path}/dip.py:BuyTheDip\n"
        f"  - {{agent: {tmp_path}/dip.py:BuyTheDip, name: BuyTheDip-2, params: {{lookback: 5}}}}\n"
        "data: {num_assets: 3, episode_length: 12, scenarios: 16}\ntournament: {batch_size: 8, paths_mb: 1.0}\n"
    )
    assert main(["tournament", "--config", str(config), "--ray.workers", "0", "--out", str(tmp_path / "cli")]) == 0
    board = json.loads((tmp_path / "cli" / "0001-default" / "leaderboard.json").read_text())
    assert board["digest"] == played.fingerprint


@pytest.mark.ray
def test_a_ray_of_the_caller_is_used_and_left_running(played, field, tmp_path, local_ray):
    import ray

    node = ray.get_runtime_context().get_node_id()
    for workers in (None, 1):
        assert run(field, tmp_path, workers=workers).fingerprint == played.fingerprint
    assert ray.get_runtime_context().get_node_id() == node


def test_names_and_mappings(tmp_path):
    dip = notebook_class()
    mapped = run({"five": dip(lookback=5), "ten": {"agent": dip, "params": {"lookback": 10}}, "cash": "cash"}, tmp_path)
    assert sorted(mapped.leaderboard["agent"]) == ["cash", "five", "ten"]
    listed = run([{"agent": dip(lookback=5), "name": "five"}, {"agent": dip, "params": {"lookback": 10}, "name": "ten"},
                  "cash"], tmp_path)  # fmt: skip
    assert listed.fingerprint == mapped.fingerprint


def test_an_instance_starts_anew_in_each_batch(tmp_path):
    class Impatient:
        """Would raise at its 13th decision: an episode has 12."""

        def __init__(self):
            self.num_decisions = 0

        def act(self, obs):
            self.num_decisions += 1
            assert self.num_decisions <= 12
            return obs.weight

    given = Impatient()
    found = run(["cash", given], tmp_path)
    assert found.leaderboard["forfeits"].sum() == 0
    assert given.num_decisions == 0


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ("cash", r"agents: found 'cash', expected a list.*Put it into a list\."),
        ([3], r"agents: found int 3, expected a name, a class or instance with a method act, or a function"),
        ([{"name": "x"}], "has no field 'agent'"),
        ({"a/b": lambda obs: obs.weight}, "name: String should match pattern"),
        (["cash", "momentun"], "did you mean 'momentum'"),
        (["cash", "cash"], "entrants share a name"),
    ],
)
def test_bad_entrants_are_refused_in_a_sentence_and_leave_no_run(tmp_path, agents, said):
    with pytest.raises(UserError, match=said):
        run(agents, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_bad_input(tmp_path):
    for options, said in [
        ({"scenarios": 0}, r"run_tournament: data\.scenarios: Input should be greater than or equal to 1 \(got 0\)"),
        ({"seed": -1}, "run_tournament: seed"),
        ({"data": tmp_path / "nowhere"}, "no such file or folder"),
        ({"config": {"market": {"fee": 1}}}, "config: market.fee: unknown key 'fee'"),
        ({"config": "nothing.yaml"}, "nothing.yaml: cannot be read"),
    ]:
        with pytest.raises(UserError, match=said):
            arena.run_tournament(["cash"], out=tmp_path / "runs", workers=0, quiet=True, **options)
    assert not (tmp_path / "runs").exists()


class Interrupts:
    """Ctrl-C in the second batch that it plays; the count is in a file, as each batch has a new copy."""

    history_length = 0

    def __init__(self, count):
        self.count = Path(count)

    def reset(self):
        number = int(self.count.read_text()) + 1
        self.count.write_text(str(number))
        if number == 2:
            signal.raise_signal(signal.SIGINT)

    def act(self, observation, generator):
        return observation.weight


def test_an_interrupted_run_is_partial_and_can_be_continued(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")
    with pytest.raises(RunInterrupted, match="stopped after 1 of 3 batches") as stop:
        run(["cash", Interrupts(count)], tmp_path / "runs", scenarios=24)
    partial = arena.load_run(stop.value.run)
    assert partial.partial
    assert (partial.num_finished, partial.num_planned) == (1, 3)
    assert len(partial.leaderboard) == 2
    moved = tmp_path / "elsewhere" / stop.value.run.name
    moved.parent.mkdir()
    shutil.move(stop.value.run, moved)
    whole = arena.resume_tournament(moved, quiet=True)
    assert not whole.partial
    assert whole.fingerprint == run(["cash", Interrupts(count)], tmp_path, scenarios=24).fingerprint


def test_a_run_without_its_agents_is_not_continued(tmp_path):
    given = run(["cash", lambda obs: obs.weight], tmp_path)
    (given.path / "agents" / "lambda.pkl").unlink()
    with pytest.raises(
        UserError, match=r"agents/lambda\.pkl cannot be read: No such file or directory\. Start a new run"
    ):
        arena.resume_tournament(given.path, quiet=True)

    lock = threading.Lock()

    def guarded(obs):
        with lock:
            return np.zeros_like(obs.weight)

    kept = run(["cash", guarded], tmp_path)
    assert kept.leaderboard["forfeits"].sum() == 0
    with pytest.raises(UserError, match=r"agent guarded cannot be sent to worker processes: .*workers=0"):
        run(["cash", guarded], tmp_path, workers=2)
    from arena.agents.policies import saved_object

    saved_object._in_memory.clear()
    with pytest.raises(UserError, match=r"'guarded' was an object in the memory of another process.*Start a new run\."):
        arena.resume_tournament(kept.path, quiet=True)


def test_a_copy_of_a_run_has_its_agents(field, played, tmp_path):
    """The copy alone is enough: to open the results, and to continue on another machine."""
    mirror = (tmp_path / "mirror").as_uri()
    local = run(field, tmp_path / "here", mirror=mirror).path
    shutil.rmtree(tmp_path / "here")
    for name in ("leaderboard.json", "results.parquet"):
        (tmp_path / "mirror" / local.name / name).unlink()
    next((tmp_path / "mirror" / local.name / "units").iterdir()).unlink()
    whole = arena.resume_tournament(f"{mirror}/{local.name}", out=tmp_path / "there", workers=0, quiet=True)
    assert whole.path.parent == tmp_path / "there"
    assert whole.fingerprint == played.fingerprint
    assert arena.load_run(whole.path).fingerprint == played.fingerprint
