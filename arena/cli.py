"""What the scripts and the `arena` command call. Says first what will be done, then does it; one sentence on bad input.

Nothing heavy is imported before the config is known to be good.
"""

import argparse
import difflib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import arena
from arena.commands.agents import agents, forecasters
from arena.commands.bench import bench
from arena.commands.check import check
from arena.commands.check_forecaster import check_forecaster
from arena.commands.data import data
from arena.commands.monitor import monitor
from arena.commands.new_agent import new_agent
from arena.commands.report import report
from arena.config.files import read_config
from arena.config.flags import Changes, FlagParser, changed
from arena.config.names import config_path
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.exit_codes import refuse, with_exit_code
from arena.tournament.setup.configure import ONLY_WHERE, resumed_run, with_options

DESCRIPTION = """\
Lets agents trade one market and ranks them. Every field of a config is a flag; entrants come from --config and --agent.
"""
OPTIONS = {
    "--config": ("FILE", "YAML, only what you change; or the name of a shipped config, such as equities"),
    "--data": ("DIR", "your daily OHLCV files; short for --data.source bars --data.dir DIR"),
    "--resume": (
        "RUN",
        "finish an interrupted run: its folder, or the URI of its copy; only --ray.* and --mirror may be given with "
        "it, and --out with a URI",
    ),
}
REPEATED_OPTIONS = {
    "--agent": ("SPEC", "one more entrant, such as policy:FILE or my_agent.py:MyAgent; may be repeated"),
    "--forecaster": (
        "FILE",
        "an artefact of scripts/export_models.py: adds two entrants that follow it; may be repeated",
    ),
}
CONTROL = "the same tournament where nothing can be earned; with a cheat that must win; with twice the fees and spread"
USAGE = """\
usage: arena tournament [options]
       arena train --config FILE [options]
       arena check AGENT [name=value ...] [options]
       arena check-forecaster SPEC_OR_FILE [--device DEVICE]
       arena new-agent NAME [--batch]
       arena agents [--json]
       arena forecasters [--json]
       arena report RUN [RUN ...]
       arena monitor [--address HOST:PORT]
       arena data check|import PATH [options]
       arena export [options]
       arena bench env|forecaster|cache|training|cluster|memory|ranking [options]
       arena --version
--help after a command tells more"""


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena COMMAND ...`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"tournament": tournament, "train": train, "check": check, "new-agent": new_agent, "report": report}
    commands |= {"data": data, "export": export, "bench": bench, "monitor": monitor}
    commands |= {"agents": agents, "forecasters": forecasters, "check-forecaster": check_forecaster}
    name = given[0] if given else "--help"
    if name in commands:
        return commands[name](given[1:])
    if name in ("-h", "--help", "--version"):
        print(f"arena {arena.__version__}" if name == "--version" else USAGE)
        return 0
    close = difflib.get_close_matches(name, commands, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(commands)}"
    return refuse(f"unknown command {name!r}; {hint}")


@with_exit_code
def tournament(arguments: Sequence[str]) -> int:
    """Plan, play, rank; returns the exit code."""
    words = _command("tournament", arguments)
    config, run = _configure(arguments)
    from arena.tournament.run import command

    return command.tournament(config, run, words)


@with_exit_code
def train(arguments: Sequence[str]) -> int:
    """Train an agent; returns the exit code."""
    from arena.rl.app import command

    return command.train(arguments, _command("train", arguments))


def export(arguments: Sequence[str]) -> int:
    """Write forecasters as files that need torch alone; returns the exit code."""
    from arena.commands import export as command

    return command.main(arguments)


def _configure(arguments: Sequence[str]) -> tuple[TournamentConfig, Path | None]:
    """The config, and the folder to resume if there is one."""
    parser = FlagParser("arena tournament", DESCRIPTION)
    for name, (metavar, text) in OPTIONS.items():
        parser.add_argument(name, default=None, metavar=metavar, help=text)
    for name, (metavar, text) in REPEATED_OPTIONS.items():
        parser.add_argument(name, action="append", default=[], metavar=metavar, help=text)
    parser.add_argument("--control", choices=("null", "positive", "costs"), default=None, help=CONTROL)
    options, changes = parser.parse(arguments)
    if options.resume:
        return _resumed(options, changes)
    if options.data:
        changes = {**changes, "data.source": "bars", "data.dir": options.data}
    config = TournamentConfig() if options.config is None else read_config(config_path("tournament", options.config))
    config = changed(config, changes)
    return with_options(config, agents=options.agent, forecasters=options.forecaster, control=options.control), None


def _resumed(options: argparse.Namespace, changes: Changes) -> tuple[TournamentConfig, Path]:
    """The config that the run began with, and its folder."""
    others = (options.config, options.data, options.control, *options.agent, *options.forecaster)
    if any(others):
        raise UserError(ONLY_WHERE)
    return resumed_run(options.resume, lambda saved: changed(saved, changes))


def _command(name: str, arguments: Sequence[str]) -> str:
    program = sys.argv[0]
    start = ["python", os.path.relpath(program)] if program.endswith(".py") else ["arena", name]
    return shlex.join([*start, *arguments])
