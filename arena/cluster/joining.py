"""Starts a Ray of our own or joins a cluster; what can go wrong on the way is said in one sentence."""

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import arena
from arena.errors import UserError
from arena.monitor.dashboard import provision
from arena.monitor.logs import json_workers

LOCAL, AUTO, CLIENT = "local", "auto", "ray://"  # addresses; any other is host:port of a head node
CONNECT_SECONDS = 5.0  # that a head node may take to answer at all
OF_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it where the entrypoint of a job runs
TOKEN = "RAY_AUTH_TOKEN, or a file that RAY_AUTH_TOKEN_PATH names, else ~/.ray/auth_token"


def join(address: str, own: Mapping[str, Any], *, flag: str = "--ray.address", ship_arena: bool = False) -> ModuleType:
    """The module `ray`, connected; UserError says what is in the way.

    address     local, auto, host:port or ray://host:port
    own         further arguments of ray.init for a Ray of our own; a cluster has its own mind about them
    flag        that the address was given with, for the sentence
    ship_arena  send this package to the nodes of a cluster, for those that lack it
    """
    quiet_ray(is_local=address == LOCAL)
    if own.get("include_dashboard"):
        provision()
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address.startswith(CLIENT):  # which makes the job's configuration itself
        settings["job_config"] = json_workers()
    if address == LOCAL:
        ray.init(address=LOCAL, **settings, **own)
        return ray
    where = f"{flag} {address}"
    check_answers(address, where)
    if ship_arena:
        settings["runtime_env"] = {"py_modules": [str(Path(arena.__file__).parent)]}
    try:
        with _quiet_stderr():
            ray.init(address=address, **settings)
    except ray.exceptions.AuthenticationError as error:
        raise UserError(f"{where}: the cluster asks for a token and there is none; give {TOKEN}") from error
    except ConnectionError as error:
        raise UserError(_not_joined(where, address)) from error
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{where}: {_reason(str(error))}") from error
    return ray


def quiet_ray(*, is_local: bool) -> None:
    """Settings of Ray that must stand before it is imported, where the environment does not say otherwise."""
    if "ray" not in sys.modules and is_local:
        # A Ray of our own asks for a token anyway, and unsaid it warns of it in each run. A cluster is as it was begun.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_GRAFANA_HOST", "DISABLED")


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Without what Ray's C++ writes there, a line a second while it is not let in."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def check_answers(address: str, where: str) -> None:
    """UserError unless somebody listens there: Ray itself would try for a minute, and then end the process."""
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS", AUTO)
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if address in (LOCAL, AUTO) or not port.isdigit() or "/" in host:  # the last two are Ray's to judge
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"{where}: nobody answers at {host}:{port} ({error}); a head node's ports are 6379, and 10001 for ray://, "
            "unless `ray start` was told others"
        ) from error


def job_note(address: str, flag: str = "--ray.address") -> str | None:
    """What the entrypoint of a job should hear that is about to start a Ray of its own inside it."""
    if address == LOCAL and OF_A_JOB in os.environ:
        return (
            f"this runs in a job of a Ray cluster, but with a Ray of its own on this node; {flag} auto is the cluster"
        )
    return None


def _not_joined(where: str, address: str) -> str:
    if address == AUTO and "RAY_ADDRESS" not in os.environ:
        return f"{where}: no Ray runs on this machine; run `ray start --head`, or give the host:port of a cluster"
    mode = os.environ.get("RAY_AUTH_MODE", "unset")
    return (
        f"{where}: Ray answers but does not let us in; if it asks for a token, give the same here ({TOKEN}), and "
        f"RAY_AUTH_MODE=token, which is {mode}"
    )


def _reason(message: str) -> str:
    """Ray's account of different versions in one line; of anything else its first line."""
    found = re.findall(r"(Ray|Python): (\S+)", message)
    if message.startswith("Version mismatch") and len(found) == 4:
        theirs, ours = (" and ".join(" ".join(pair) for pair in pairs) for pairs in (found[:2], found[2:]))
        return f"the cluster runs {theirs}, this process {ours}; all machines need the same"
    return message.strip().splitlines()[0]
