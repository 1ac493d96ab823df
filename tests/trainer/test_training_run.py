"""What a run folder holds, read back; no training is needed for it."""

import json
import signal
import threading

import pytest
from matplotlib.figure import Figure

from arena.errors import UserError
from arena.rl.app.interruption import stop_requests
from arena.rl.app.run import TrainingRun, load_training

FIELD = {"cash": 0.0, "momentum": 0.001}


def evaluation(iteration, growth):
    interval = {"growth_low": growth - 0.01, "growth_high": growth + 0.01, "lead_low": -0.1, "lead_high": 0.1}
    named = {"best_opponent": "momentum", "lead": growth - 0.001, "seconds": 1.0, "field": FIELD}
    return {"iteration": iteration, "env_steps": 10 * iteration, "growth": growth, **interval, **named}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    """A run with three iterations and two evaluations that was killed: its third row is not whole."""
    (tmp_path / "config.yaml").write_text("run: {iterations: 9}\nalgorithm: TensorPPO\n")
    rows = [{"iteration": i, "env_steps": 10 * i, "episode_return": None if i == 1 else 0.1 * i} for i in (1, 2, 3)]
    (tmp_path / "progress.jsonl").write_text(lines(rows) + '{"iteration": 4, "env_')
    evaluations = [{**evaluation(i, growth), "lead_low": None} for i, growth in ((1, 0.002), (3, -0.001))]
    (tmp_path / "evaluations.jsonl").write_text(lines(evaluations))
    return tmp_path


def test_records_are_tables(folder):
    run = load_training(str(folder))
    assert run == TrainingRun(folder)
    assert run.progress["env_steps"].tolist() == [10, 20, 30]
    assert run.progress["episode_return"].isna().tolist() == [True, False, False]
    assert run.evaluations["lead"].tolist() == pytest.approx([0.001, -0.002])
    assert run.evaluations["lead_low"].dtype == float  # unknown intervals are NaN
    assert run.evaluations["field/momentum"].tolist() == [0.001, 0.001]
    assert run.trials is None


def test_a_run_that_was_killed_says_so(folder):
    run = load_training(folder)
    assert run.interrupted
    assert (run.summary, run.policy, run.checkpoint) == ({}, None, None)
    assert "3 iterations, 30 market steps, best growth +20 bps at iteration 1, interrupted" in repr(run)
    with pytest.raises(UserError, match="stopped before its first evaluation"):
        run.spec  # noqa: B018 - the property raises
    for content, expected in (
        ('{"interrupted": true}', True),
        ('{"interrupted": false}', False),
        ('{"iteration": 3}', False),
    ):
        (folder / "summary.json").write_text(content)
        assert run.interrupted == expected


def test_the_spec_is_the_policy_file_or_else_the_checkpoint(folder, monkeypatch):
    (folder / "checkpoints/best").mkdir(parents=True)
    monkeypatch.chdir(folder.parent)
    run = load_training(folder.name)
    assert run.spec == f"rllib:{folder / 'checkpoints/best'}"
    (folder / "policy.pt").write_bytes(b"")
    assert run.spec == f"policy:{folder / 'policy.pt'}"


def test_the_curve_shows_the_records_without_a_window_system(folder):
    figure = load_training(folder).plot()
    assert isinstance(figure, Figure)
    training, validation = figure.axes
    assert training.lines[0].get_xdata().tolist() == [20, 30]
    assert validation.lines[0].get_ydata().tolist() == pytest.approx([20.0, -10.0])


def test_a_run_without_rows_has_empty_tables_and_a_curve(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {iterations: 9}\n")
    run = load_training(tmp_path)
    assert list(run.progress["iteration"]) == list(run.evaluations["iteration"]) == []
    assert len(run.plot().axes) == 2


def test_a_grid_has_trials_best_first(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {}\ntune: {stop: {iterations: 2}}\n")
    rows = [
        {"trial": 1, "state": "done", "parameters": {"training.lr": 0.1}, "metric": 2.0, "checkpoint": "trials/b"},
        {"trial": 0, "state": "failed", "parameters": {"training.lr": 0.2}, "metric": None, "checkpoint": None},
    ]
    (tmp_path / "trials.json").write_text(json.dumps({"trials": rows}))
    run = load_training(tmp_path)
    assert run.trials["training.lr"].tolist() == [0.1, 0.2]
    assert run.spec == f"rllib:{tmp_path / 'trials/b'}"
    assert "2 trials, best {'training.lr': 0.1}" in repr(run)
    with pytest.raises(UserError, match="no learning curve"):
        run.plot()


@pytest.mark.parametrize(("content", "said"), [(None, "no config.yaml there"), ("data: {}\n", "no section `run`")])
def test_another_folder_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=said):
        load_training(tmp_path)


@pytest.fixture
def python_handler():
    """Python's own handler of SIGINT: a process that runs in the background may have none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def test_the_first_ctrl_c_is_a_request_and_the_second_stops(python_handler):
    requests = []
    with pytest.raises(KeyboardInterrupt), stop_requests(lambda: requests.append(1)):  # noqa: PT012 - two signals
        signal.raise_signal(signal.SIGINT)
        assert requests == [1]
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is python_handler
    assert requests == [1]


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with stop_requests(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
