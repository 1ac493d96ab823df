"""Starts the process of an agent, from the worker's forkserver or under a sandbox; both leave three connections."""

import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from arena.agents.sandbox.bubblewrap import IsolationUnavailable, agent_paths, import_paths, sandboxed

REAPER = Path(__file__).with_name("reaper.py")
PACKAGE_ROOT = Path(__file__).parents[3]
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


class Launched(NamedTuple):
    """The worker's ends."""

    channel: socket.socket  # to the host, see wire
    output: int  # what the agent prints
    lifeline: socket.socket  # to the reaper
    starter: "subprocess.Popen[bytes] | None"  # to be waited for at the end; None: the forkserver waits


def launch(spec: str, params: Mapping[str, Any], sandbox: bool) -> Launched:
    """Returns at once; IsolationUnavailable where no process can be started."""
    channel, theirs = socket.socketpair()
    lifeline, stay = socket.socketpair()
    output, printed = os.pipe()
    starter = None
    try:
        if sandbox:
            starter = _start_alone(spec, params, theirs.fileno(), printed, stay.fileno())
        else:
            _forkserver_of_this_process().fork(theirs.fileno(), printed, stay.fileno())
    except BaseException as error:
        channel.close()
        lifeline.close()
        os.close(output)
        if isinstance(error, OSError):
            raise IsolationUnavailable(f"no process can be started for an agent: {error}") from error
        raise
    finally:
        theirs.close()
        stay.close()
        os.close(printed)
    return Launched(channel, output, lifeline, starter)


def _start_alone(
    spec: str, params: Mapping[str, Any], channel: int, printed: int, lifeline: int
) -> "subprocess.Popen[bytes]":
    host = [sys.executable, "-P", "-m", "arena.agents.sandbox.host", str(channel)]
    shown = agent_paths(spec, params)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(REAPER), str(lifeline), *sandboxed(host, shown)],
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=subprocess.STDOUT,
        env=_environment(import_paths(shown)),
        pass_fds=(channel, lifeline),
        start_new_session=True,  # Ctrl-C is for the tournament, which ends its agents itself
    )


class _Forkserver:
    """One per worker, started when the first agent needs it; it ends with the worker, however that ends."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "arena.agents.sandbox.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment([os.path.abspath(entry) for entry in sys.path]),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        weakref.finalize(self, _end_forkserver, self._process, self._channel, self.owner)

    @property
    def alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def fork(self, *descriptors: int) -> None:
        socket.send_fds(self._channel, [b"f"], descriptors)


_forkservers: list[_Forkserver] = []


def _forkserver_of_this_process() -> _Forkserver:
    if not (_forkservers and _forkservers[0].alive):
        _forkservers[:] = [_Forkserver()]
    return _forkservers[0]


def _end_forkserver(process: "subprocess.Popen[bytes]", channel: socket.socket, owner: int) -> None:
    channel.close()
    if owner == os.getpid():
        process.kill()
        process.wait()


def _environment(path: list[str]) -> dict[str, str]:
    """None of our variables: they may hold keys, and the address of a cluster.

    path  where modules are looked for, after this package
    """
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    joined = os.pathsep.join([str(PACKAGE_ROOT), *path])
    return kept | threads | {"PYTHONPATH": joined, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
