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
from typing import NoReturn

import arena
from arena.commands.agents import agents, forecasters
from arena.commands.bench import bench
from arena.commands.check import check
from arena.commands.check_forecaster import check_forecaster
from arena.commands.data import data
from arena.commands.monitor import monitor
from arena.commands.new_agent import new_agent
from arena.commands.report import report
from arena.config.files import load_config, override
from arena.config.names import config_path
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.tournament.setup.configure import ONLY_WHERE, resumed_run, with_options

BAD_INPUT, INTERRUPTED = 2, 130  # exit codes
DESCRIPTION = """\
Lets agents trade one market and ranks them. Besides the fields below:
--config FILE (YAML, only what you change; or the name of a shipped config, such as equities),
--data DIR (your daily OHLCV files; short for --data.source bars --data.dir DIR),
--agent SPEC (one more entrant, such as policy:FILE or my_agent.py:MyAgent; may be repeated),
--forecaster FILE (an artefact of scripts/export_models.py: adds two entrants that follow it; may be repeated),
--control null|positive|costs (the same tournament where nothing can be earned; with a cheat that must win; with
twice the fees and spread),
--resume RUN (finish an interrupted run: its folder, or the URI of its copy; only --ray.* and --mirror may be given
with it, and --out with a URI).
"""
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
    return _refuse(UserError(f"unknown command {name!r}; {hint}"))


def tournament(arguments: Sequence[str]) -> int:
    """Plan, play, rank; returns the exit code."""
    words = _command("tournament", arguments)
    try:
        config, run = _configure(arguments)
        from arena.tournament.run import command

        return command.tournament(config, run, words)
    except UserError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def train(arguments: Sequence[str]) -> int:
    """Train an agent; returns the exit code."""
    from arena.rl.app import command

    try:
        return command.train(arguments, _command("train", arguments))
    except UserError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def export(arguments: Sequence[str]) -> int:
    """Write forecasters as files that need torch alone; returns the exit code."""
    from arena.commands import export as command

    return command.main(arguments)


def _configure(arguments: Sequence[str]) -> tuple[TournamentConfig, Path | None]:
    """The config, and the folder to resume if there is one."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--config", "--data"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--resume")
    for name in ("--agent", "--forecaster"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("--control", choices=("null", "positive", "costs"))
    parser.error = _fail  # type: ignore[method-assign]
    options, flags = parser.parse_known_args(list(arguments))
    if options.resume:
        return _resumed(options, flags)
    if options.data:
        flags += ["--data.source", "bars", "--data.dir", str(options.data)]
    file = None if options.config is None else config_path("tournament", options.config)
    config = load_config(file, flags, DESCRIPTION)
    return with_options(config, agents=options.agent, forecasters=options.forecaster, control=options.control), None


def _resumed(options: argparse.Namespace, flags: Sequence[str]) -> tuple[TournamentConfig, Path]:
    """The config that the run began with, and its folder."""
    others = (options.config, options.data, options.control, *options.agent, *options.forecaster)
    if any(others):
        raise UserError(ONLY_WHERE)
    return resumed_run(options.resume, lambda saved: override(saved, flags, DESCRIPTION) if flags else saved)


def _command(name: str, arguments: Sequence[str]) -> str:
    program = sys.argv[0]
    start = ["python", os.path.relpath(program)] if program.endswith(".py") else ["arena", name]
    return shlex.join([*start, *arguments])


def _fail(message: str) -> NoReturn:
    raise UserError(f"command line: {message}")


def _refuse(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT
