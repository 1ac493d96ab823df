"""The folder of a run: its number, the files that say what ran where, and its log."""

import json
import logging
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arena
from arena.config.files import SAVED, dump_config, read_config, with_saved_agents
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.tournament.types import FORFEIT

if TYPE_CHECKING:
    import pyarrow as pa

    from arena.data.bars.readers import Report

AGENTS = "agents"  # folder of a run with the Python objects that entered it
AGENTS_README = (
    "Agents of this run that were Python objects. These files are code: opening one runs it. `--resume` opens them;\n"
    "`arena report` and `arena.load_run` do not.\n"
)
PACKAGES = ("torch", "numpy", "ray", "pyarrow", "scipy", "pandas")
LOGGER = logging.getLogger("arena.tournament")


def create_run(
    config: TournamentConfig,
    command: str,
    data_digest: str,
    forecasters: Mapping[str, str] | None = None,
    agents: Mapping[str, str] | None = None,
) -> Path:
    """A new folder OUT/0001-name with config.yaml, command.txt and environment.json; numbers only grow.

    Files of agents "pickle:FILE" are copied to RUN/agents.
    With a mirror it is 0001-name-1a2b3c4d, a name that no other run has wherever it began: a number is only free here.
    """
    inputs = {"data_digest": data_digest, "forecasters": dict(forecasters or {}), "agents": dict(agents or {})}
    facts = {**environment(), **inputs}
    portable = with_saved_agents(config, lambda file: f"{AGENTS}/{Path(file).name}")
    run = make_folder(
        config.out,
        f"{config.name}-{secrets.token_hex(4)}" if config.mirror else config.name,
        {
            "config.yaml": dump_config(portable),
            "command.txt": command + "\n",
            "environment.json": json.dumps(facts, indent=1) + "\n",
        },
    )
    kept = kept_agents(config, run)
    if kept:
        (run / AGENTS).mkdir()
        (run / AGENTS / "README.txt").write_text(AGENTS_README)
    for file, place in kept.items():
        shutil.copyfile(file, place)
    return run


def kept_agents(config: TournamentConfig, run: Path) -> dict[str, str]:
    """Where the run keeps the file of each agent "pickle:FILE": old path -> absolute path."""
    files = {agent.agent.removeprefix(SAVED) for agent in config.agents if agent.agent.startswith(SAVED)}
    return {file: str(run.resolve() / AGENTS / Path(file).name) for file in sorted(files)}


def make_folder(out: Path, name: str, files: Mapping[str, str]) -> Path:
    """A new folder OUT/0001-name that holds these files."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        run = _next_folder(out, name)
        for file, text in files.items():
            (run / file).write_text(text)
    except OSError as error:
        raise UserError(f"out: cannot write to {out}: {error.strerror}") from error
    return run


def open_run(run: Path) -> TournamentConfig:
    """The config of an existing run."""
    if not (run / "config.yaml").is_file():
        raise UserError(f"--resume {run}: no config.yaml there; give the folder of a run, such as runs/0001-default")
    return read_config(run / "config.yaml")


def check_same_inputs(
    run: Path, data_digest: str, forecasters: Mapping[str, str], agents: Mapping[str, str] | None = None
) -> None:
    """Refuse to mix results of different data, forecasters (spec -> fingerprint) or agents' files in one run."""
    recorded = json.loads((run / "environment.json").read_text())
    if recorded["data_digest"] != data_digest:
        raise UserError(f"the data of {run} have changed since it began; start a new run")
    for spec, fingerprint in forecasters.items():
        if recorded["forecasters"].get(spec) != fingerprint:
            raise UserError(f"the forecaster {spec} has changed since {run} began; start a new run")
    for spec, file in (agents or {}).items():
        if file != recorded.get("agents", {}).get(spec, file):  # older runs did not record them
            raise UserError(
                f"the file of agent {spec} has changed since {run} began; put back what it was, or start a new run"
            )


def save_data_report(run: Path, report: "Report") -> None:
    """RUN/data_report.json: every finding in the user's bars."""
    (run / "data_report.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n")


def environment() -> dict[str, Any]:
    """What a last bit may depend on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "arena": arena.__version__,
        **{name: _version(name) for name in PACKAGES},
    }


class JsonLines(logging.Formatter):
    """One JSON object per record; `extra={"facts": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = {"time": when, "level": record.levelname, "event": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({**line, **getattr(record, "facts", {})})


class LogFile(logging.FileHandler):
    """Goes without what it cannot write: a full disk is reported once, by the results that it did not take."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: what is told here would be told for every record."""

    def close(self) -> None:
        """Lines that are still in memory may be lost."""
        with suppress(OSError):
            super().close()


def open_log(run: Path) -> logging.Handler:
    """Append the tournament's log records to RUN/log.jsonl until the handler is removed and closed."""
    handler = LogFile(run / "log.jsonl")
    handler.setFormatter(JsonLines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    return handler


def log_unit(name: str, results: "pa.Table", seconds: float) -> None:
    """That a unit is done, `seconds` after the start of the work, and who forfeited in it."""
    LOGGER.info("unit", extra={"facts": {"unit": name, "seconds": round(seconds, 1)}})
    for offence in forfeits(results):
        LOGGER.warning("forfeit", extra={"facts": {"unit": name, **offence}})


def forfeits(results: "pa.Table") -> list[dict[str, str]]:
    """agent, reason and traceback of every forfeit in a unit, once each."""
    offences = zip(*(results[column].to_pylist() for column in ("agent", "status", "reason", "traceback")))
    return [
        {"agent": agent, "reason": reason, "traceback": trace}
        for agent, status, reason, trace in dict.fromkeys(offences)
        if status == FORFEIT
    ]


def _next_folder(parent: Path, name: str) -> Path:
    while True:
        taken = [int(found[1]) for path in parent.iterdir() if (found := re.match(r"(\d{4,})-", path.name))]
        run = parent / f"{max(taken, default=0) + 1:04d}-{name}"
        try:
            run.mkdir()
        except FileExistsError:  # another run has just taken the number
            continue
        return run


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
