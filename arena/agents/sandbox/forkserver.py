"""A process that has loaded Python and torch and no agent: agents at level process are forked from it.

    python -m arena.agents.sandbox.forkserver CHANNEL

Loading takes more than a second and a hundred megabytes, a fork milliseconds and a few. Each request is one byte with
three descriptors: the agent's channel, where it prints, and the lifeline of its reaper. Ends when CHANNEL closes.
"""

import gc
import os
import signal
import socket
import sys

from arena.agents.sandbox import host, reaper

NUM_DESCRIPTORS = 3


def main(channel: int) -> None:
    """Fork until the worker has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes reapers that have ended
    worker = socket.socket(fileno=channel)
    gc.collect()
    gc.freeze()  # a collection in a child would copy all pages that it looks at
    while True:
        request, descriptors, _, _ = socket.recv_fds(worker, 1, NUM_DESCRIPTORS)
        if not request:
            return
        if os.fork() == 0:
            worker.close()
            _become_agent(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _become_agent(channel: int, printed: int, lifeline: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        reaper.keep(lifeline)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for standard in (1, 2):
            os.dup2(printed, standard)
        os.close(printed)
        host.main(channel)
        code = 0
    finally:
        os._exit(code)  # never back into the loop that forks


if __name__ == "__main__":
    main(int(sys.argv[1]))
