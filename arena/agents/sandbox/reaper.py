"""The process between a match and an agent's: when either is gone it kills everything that the agent left behind.

An agent may fork, and its children may leave its process group; but whoever loses his parent becomes a child of the
reaper, who so finds them all. An agent that kills "its parent" kills the reaper, never the worker, and dies with it.

    python reaper.py LIFELINE COMMAND...

Only the standard library is imported here: it starts in milliseconds.
"""

import ctypes
import os
import select
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of linux/prctl.h
DEAFENED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)


def keep(lifeline: int) -> None:
    """Split into reaper and agent: returns in the agent's process, the reaper ends here.

    lifeline  socket whose other end the worker holds, so that it closes with the worker, however that ends. It is told
              the reaper's process id, and at the end the agent's exit code, or 128 + the signal that ended it.
    """
    os.write(lifeline, struct.pack("<i", os.getpid()))
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        os.close(lifeline)
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    for number in DEAFENED:
        signal.signal(number, signal.SIG_IGN)
    _let_go_of_all_but(lifeline)
    ended = os.pidfd_open(child)
    select.select([lifeline, ended], [], [])
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):  # the worker has gone
        os.write(lifeline, struct.pack("<i", code if code >= 0 else 128 - code))
    os._exit(0)


def kill_descendants() -> None:
    """Kill this process's children, and theirs as they are passed on to it, until there is none."""
    with suppress(ChildProcessError):  # there is none any more
        while True:
            os.waitpid(-1, os.WNOHANG)
            for child in children_of(os.getpid()):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)


def children_of(parent: int) -> list[int]:
    """Process ids, ended ones that nobody has waited for left out."""
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        with suppress(OSError):
            state, owner = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(owner) == parent and state != "Z":
                found.append(int(path.name))
    return found


def _let_go_of_all_but(kept: int) -> None:
    """Whoever waits for the end of the agent's output must not wait for the reaper's."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (0, 1, 2, kept):
            with suppress(OSError):
                os.close(int(name))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        sys.exit("this kernel does not let a process be kept")


if __name__ == "__main__":
    keep(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
