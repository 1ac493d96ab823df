"""`arena agents` and `arena forecasters`: what can be named in a config or on the command line."""

import argparse
import inspect
import json
from collections.abc import Sequence
from typing import Any

from arena.exit_codes import with_exit_code

FOOTNOTE_AGENTS = 'Your own: "package.module:Class", "my_agent.py:MyAgent", or a trained policy, "policy:FILE".'
FOOTNOTE_FORECASTERS = "context: least bars that it reads; horizon: most bars ahead; -: as the members or the file say."
CHEAT = " (cheat: only with --tournament.allow-cheats)"


@with_exit_code
def agents(arguments: Sequence[str]) -> int:
    """Print the agents that have a name; returns the exit code."""
    as_json = _parser("agents", "Lists the built-in agents and those of installed packages.").parse_args(arguments).json
    from arena.agents.registry import describe_agents

    rows = describe_agents()
    if as_json:
        return _print_json([row._asdict() | _parameters(row.parameters) for row in rows])
    table = [(row.name, row.description + CHEAT * row.is_cheat, _written(row.parameters)) for row in rows]
    return _print_table(("agent", "what it does", "parameters"), table, FOOTNOTE_AGENTS)


@with_exit_code
def forecasters(arguments: Sequence[str]) -> int:
    """Print the forecasters that have a name; returns the exit code."""
    options = _parser("forecasters", "Lists the forecasters. Their specs take no parameters.").parse_args(arguments)
    from arena.forecast.loading import describe_forecasters

    rows = describe_forecasters()
    if options.json:
        return _print_json([row._asdict() for row in rows])
    table = [(row.name, row.description, *_limits(row.min_context, row.max_horizon)) for row in rows]
    return _print_table(("forecaster", "what it forecasts with", "context", "horizon"), table, FOOTNOTE_FORECASTERS)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"arena {name}", description=description)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Defaults by name, and the names of those that have none."""
    required = [name for name, default in parameters.items() if default is inspect.Parameter.empty]
    return {"parameters": {k: v for k, v in parameters.items() if k not in required}, "required": required}


def _written(parameters: dict[str, Any]) -> str:
    told = [(name, "?" if default is inspect.Parameter.empty else default) for name, default in parameters.items()]
    return ", ".join(f"{name}={default}" for name, default in told)


def _limits(min_context: int | None, max_horizon: int | None) -> tuple[str, str]:
    return ("-", "-") if min_context is None else (str(min_context), str(max_horizon or "any"))


def _print_json(rows: list[dict[str, Any]]) -> int:
    print(json.dumps(rows, indent=1, default=str))  # the defaults of installed agents may be anything
    return 0


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]], footnote: str) -> int:
    """In the width of the terminal, or 80 columns where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*names, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.overflow = "fold"  # a long word is broken, not cut
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(footnote)
    return 0
