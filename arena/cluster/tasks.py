"""Results of tasks as they finish: so many on their way as the cluster has room for, and no wait without an end.

A task that is out far longer than all others is late: its worker may hang, which Ray takes for alive, or its node may
have gone silent with the task. It takes up no room any more, so that others go on, and once nothing else is left to
send it is sent a second time. The same task gives the same result, so the first to finish is taken, and the other is
cancelled. Work is never sent a third time.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from arena.errors import ResumableError

LATE_FACTOR, LATE_SECONDS = 3.0, 10.0  # a task is late after this many times the longest so far, and some seconds
TICK_SECONDS = 1.0  # between two looks at what is late and what capacity there is
LOOK_SECONDS = 5.0  # for which the size of a cluster is believed
QUEUED_PER_WORKER = 2  # one plays, one waits beside it: no worker is idle while the driver writes
MIB = 1024**2

Item = TypeVar("Item")
Finished = Generator[tuple[Item, Any], None, None]


class NoCapacity(ResumableError):
    """No node of the cluster can hold a task, and none came."""


class LostTask(RuntimeError):
    """Ray gave a task up: `item` is what it was to do."""

    def __init__(self, item: Any, error: Exception):
        super().__init__(f"{type(error).__name__}: {error}")
        self.item, self.kind = item, type(error).__name__


class FixedCapacity(NamedTuple):
    """A Ray of our own, which has as many processors as it was given."""

    in_flight: int

    def shortage(self) -> str:
        return ""


class ClusterCapacity:
    """What a cluster has room for now: it may grow and shrink, and others may use it too."""

    def __init__(
        self, ray: ModuleType, cpus: float, memory_mb: int = 0, most: int | None = None, wait_seconds: float = 300.0
    ) -> None:
        """
        cpus, memory_mb  that a task asks for
        most             tasks at a time; None: as many as there is room for
        wait_seconds     for which there may be no node with room for a task, such as while one is being started
        """
        self._ray, self._cpus, self._memory, self._most = ray, cpus, memory_mb * MIB, most
        self._wait_seconds = wait_seconds
        self._looked_at, self._in_flight = -LOOK_SECONDS, 1
        self._lacking_since: float | None = None

    @property
    def in_flight(self) -> int:
        """Tasks to have under way: those that run, and as many that wait, which tells an autoscaler to add nodes."""
        if self._most is not None:
            return self._most
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            has = self._ray.cluster_resources()
            at_once = int(has.get("CPU", 0) // self._cpus)
            if self._memory:
                at_once = min(at_once, int(has.get("memory", 0) // self._memory))
            self._in_flight = QUEUED_PER_WORKER * max(1, at_once)
        return self._in_flight

    def shortage(self) -> str:
        """Why nothing can run for the moment, "" if something can; NoCapacity when that has lasted too long."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if any(has.get("CPU", 0) >= self._cpus and has.get("memory", 0) >= self._memory for has in nodes):
            self._lacking_since = None
            return ""
        now = time.monotonic()
        if self._lacking_since is None:
            self._lacking_since = now
        asked = f"{self._cpus:g} CPUs" + (f" and {self._memory // MIB} MB" if self._memory else "")
        largest = max((has.get("CPU", 0) for has in nodes), default=0)
        sentence = (
            f"none of the {len(nodes)} nodes of the cluster has {asked} for a task; the largest has {largest:g} CPUs"
        )
        if now - self._lacking_since > self._wait_seconds:
            raise NoCapacity(
                f"{sentence}; waited {self._wait_seconds:g} s for another: add nodes, or set ray.cpus_per_task or "
                "ray.memory_mb_per_task lower"
            )
        return f"{sentence}; waiting at most {self._wait_seconds:g} s for another"


class _Try(NamedTuple):
    number: int  # of the item
    begun: float


def as_completed(
    ray: ModuleType,
    submit: Callable[[Item], Any],
    items: Iterable[Item],
    capacity: FixedCapacity | ClusterCapacity,
    on_message: Callable[[str], None] = lambda sentence: None,
) -> Finished[Item]:
    """(item, result) in the order in which they finish. Leaving cancels what still runs.

    submit  sends an item and gives the reference of its result
    say     takes a sentence, at most one a spell, if the cluster has room for none
    """
    known = list(items)
    waiting, running = deque(range(len(known))), {}  # type: ignore[var-annotated]
    twice: set[int] = set()
    longest: float | None = None
    said = ""
    try:
        while waiting or running:
            late = _late(running, longest)
            most = capacity.in_flight + len(late)
            while waiting and len(running) < most:
                number = waiting.popleft()
                running[submit(known[number])] = _Try(number, time.monotonic())
            done, _ = ray.wait(list(running), num_returns=1, timeout=TICK_SECONDS)
            if not done:
                lack = capacity.shortage()
                if lack and not said:
                    on_message(lack)
                said = lack
                again = [] if waiting else [number for number in late if number not in twice]
                for number in again[: max(0, most - len(running))]:
                    twice.add(number)
                    running[submit(known[number])] = _Try(number, time.monotonic())
                continue
            for reference in done:
                finished = running.pop(reference)
                item = known[finished.number]
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError:
                    raise
                except ray.exceptions.RayError as error:
                    raise LostTask(item, error) from error
                longest = max(longest or 0.0, time.monotonic() - finished.begun)
                for other in [key for key, value in running.items() if value.number == finished.number]:
                    del running[other]
                    _cancel(ray, other)
                yield item, result
    finally:
        for reference in running:
            _cancel(ray, reference)


def _late(running: dict[Any, _Try], longest: float | None) -> list[int]:
    """Numbers of items that are out too long, the longest out first; none before one has shown how long that is."""
    if longest is None:
        return []
    limit = time.monotonic() - LATE_FACTOR * longest - LATE_SECONDS
    return [
        number for _, number in sorted((each.begun, each.number) for each in running.values() if each.begun < limit)
    ]


def _cancel(ray: ModuleType, reference: Any) -> None:
    """End the task, its process included; Ray does not send it again."""
    if not ray.is_initialized():  # who left late has nothing to end, and ray.cancel would start another Ray
        return
    with suppress(Exception):  # it may be done, or its node gone
        ray.cancel(reference, force=True)
