"""The command as a user meets it: what is said first, what is left behind, and one sentence on bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arena.cli import check, main, tournament
from tests.script import run_script

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "tournament.py"
TINY = ["--ray.workers", "0", "--data.scenarios", "4", "--data.num-assets", "2", "--data.episode-length", "5"]

SLOW_AGENT = """
import time
import torch

class Slow:
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator):
        time.sleep(0.05)
        return torch.zeros_like(observation.weight)
"""


def run(*arguments):
    return run_script(SCRIPT, *arguments, cwd=ROOT)


def refusal(capsys, *arguments):
    """What is said about bad arguments: on stderr, in one line, with an exit code that is not 0."""
    code = tournament([str(argument) for argument in arguments])
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said.removeprefix("error: ").rstrip("\n")


def write_bars(folder, num_bars=200, symbols=("ABC", "DEF", "GHI")):
    """Daily OHLCV files of a deterministic zigzag."""
    folder.mkdir()
    days = [f"{2020 + day // 336}-{day % 336 // 28 + 1:02d}-{day % 28 + 1:02d}" for day in range(num_bars)]
    for place, symbol in enumerate(symbols):
        lines = ["date,open,high,low,close,volume"]
        for day, date in enumerate(days):
            price = 50 + 10 * place + (day * (place + 3)) % 7
            lines.append(f"{date},{price},{price + 1},{price - 1},{price + 0.5},{1_000_000 + 1000 * (day % 11)}")
        (folder / f"{symbol}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_tiny_tournament_from_start_to_table(tmp_path):
    command = [sys.executable, str(SCRIPT), *TINY, "--out", str(tmp_path / "runs"), "--seed", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "seed 9" in done.stdout.splitlines()[0]
    assert "4 synthetic (signal mode), 2 assets" in done.stdout
    folder = tmp_path / "runs" / "0001-default"
    board = json.loads((folder / "leaderboard.json").read_text())
    assert board["digest"] in done.stdout
    assert board["seed"] == 9
    assert str(folder / "report.html") in done.stdout
    assert (folder / "command.txt").read_text().startswith("python scripts/tournament.py --ray.workers 0")
    assert done.stderr == ""

    again = run("--config", folder / "config.yaml")
    assert board["digest"] in again.stdout, "the saved config repeats the run"
    assert (tmp_path / "runs" / "0002-default").is_dir()
    resumed = run("--resume", folder)
    assert resumed.returncode == 0
    assert board["digest"] in resumed.stdout


def test_a_folder_of_daily_files(tmp_path, capsys):
    bars = write_bars(tmp_path / "bars")
    config = ROOT / "configs" / "tournament" / "equities.yaml"
    options = ["--data.episode-length", "30", "--ray.workers", "0", "--out", str(tmp_path / "runs")]
    assert tournament(["--config", str(config), "--data", str(bars), *options]) == 0
    said = capsys.readouterr().out
    assert "600 rows read, 3 symbols x 200 bars" in said
    folder = tmp_path / "runs" / "0001-equities"
    board = json.loads((folder / "leaderboard.json").read_text())
    assert board["scenario_kind"] == "window"
    assert board["scenarios"] == 3  # (200 - 64 + 20) // (30 + 20)
    assert board["headline"] == "growth_raw"
    assert json.loads((folder / "data_report.json").read_text())["num_rows"] == 600
    bars.joinpath("ABC.csv").write_text(bars.joinpath("DEF.csv").read_text())
    assert "have changed since it began" in refusal(capsys, "--resume", folder)


def test_broken_bars_are_refused_with_file_and_line(tmp_path, capsys):
    bars = write_bars(tmp_path / "bars")
    lines = (bars / "DEF.csv").read_text().splitlines()
    lines[100] = lines[100].rsplit(",", 4)[0] + ",1,99,50,1000"  # high below low
    (bars / "DEF.csv").write_text("\n".join(lines) + "\n")
    said = refusal(capsys, "--data", bars)
    assert "DEF.csv line 101" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "nothing.yaml"], "nothing.yaml: cannot be read: No such file or directory"),
        (["--data", "nowhere"], "--data nowhere: no such file or folder"),
        (["--data.source", "bars"], "the config asks for bars: say where they are with --data DIR"),
        (["--tournament.seats", "17"], "command line: tournament.seats: larger than the field of 16 agents (got 17)"),
        (["--agents.0.agent", "momentun"], "unknown agent 'momentun'; did you mean 'momentum'?"),
        (
            ["--data.num-asets", "3"],
            "command line: data.num_asets: unknown key 'num_asets'; did you mean 'num_assets'?",
        ),
        (["--resume", "nowhere"], "--resume nowhere: no config.yaml there"),
        (
            ["--market.preset", "sqr"],
            "unknown market preset 'sqr', expected one of sqrt, linear_ow, athl, frictionless",
        ),
        (["--config"], "command line: argument --config: expected one argument"),
    ],
)
def test_bad_input_is_one_sentence(capsys, tmp_path, arguments, said):
    assert said in refusal(capsys, "--out", tmp_path, *arguments)


def test_a_resumed_run_keeps_its_config(tmp_path, capsys):
    assert tournament([*TINY, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    said = refusal(capsys, "--resume", tmp_path / "0001-default", "--seed", "5")
    assert said.startswith("--resume: a run is finished with the config it began with")


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_AGENT)
    config = tmp_path / "slow.yaml"
    config.write_text(
        f"agents:\n  - agent: cash\n  - agent: {tmp_path}/slow.py:Slow\n"
        "data: {num_assets: 2, scenarios: 200, episode_length: 5}\n"
        "tournament: {batch_size: 1}\nray: {workers: 0}\n"
    )
    command = [sys.executable, str(SCRIPT), "--config", str(config), "--out", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    units = tmp_path / "runs" / "0001-default" / "units"
    deadline = time.monotonic() + 100
    while len(list(units.glob("*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    said, trouble = process.communicate(timeout=60)
    assert process.returncode == 130, trouble
    assert "of 200 batches; go on with" in said
    assert f"--resume {tmp_path}/runs/0001-default" in said
    assert "Traceback" not in said + trouble
    assert len(list(units.glob("*.parquet"))) >= 2


def test_help_tells_of_fields_and_options():
    done = run("--help")
    assert done.returncode == 0
    for word in ("--config FILE", "--resume RUN", "--market.fee-bps", "bps of notional"):
        assert word in done.stdout
    assert "--agents." not in done.stdout


@pytest.mark.parametrize("arguments", [[], ["tournament", "--help"], ["agents"]])
def test_a_pipe_that_ends_early_gives_no_traceback(arguments):
    program = "import sys; from arena.cli import main; sys.exit(main(sys.argv[1:]))"
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as output:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == ""


def test_check_accepts_good_agents_and_names_what_bad_ones_break(tmp_path, capsys):
    assert check(["momentum", "lookback=10"]) == 0
    assert "momentum keeps the contract" in capsys.readouterr().out
    (tmp_path / "bad.py").write_text(SLOW_AGENT.replace("torch.zeros_like(observation.weight)", "None"))
    assert main(["check", f"{tmp_path}/bad.py:Slow"]) == 1
    assert "breaks the contract: shape" in capsys.readouterr().out
    assert main(["nonsense"]) == 2
