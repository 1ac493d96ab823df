"""A discrete-event model of a tournament on a cluster: when it is done, and who waited for whom.

It plays the loop of `arena.cluster.tasks`: the driver, one thread, submits units while fewer than
QUEUED_PER_WORKER per worker are on their way, and otherwise collects one that is done. Every worker plays one unit at a
time, first come, first served. Nodes come after a delay, may be slow, and may be lost with all that plays on them; Ray
then plays those units again on other workers.

    submit, collect  the driver's time for one unit [s]: sending it; taking, storing, logging and counting its tables
    look             the driver's time for each unit on its way when it collects one: Ray looks at all of them [s]
    dispatch         from sent to begun on a free worker [s]; costs nobody's time
    play             a worker's time for one unit [s], drawn from measured ones
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from arena.cluster.tasks import QUEUED_PER_WORKER
from arena.tournament.run.workers import NUM_RETRIES


@dataclass(frozen=True)
class Costs:
    """Seconds that one unit takes, and where."""

    play: tuple[float, ...]  # measured; drawn from with repetition, or taken in this order if `in_order`
    submit: float
    collect: float
    dispatch: float
    look: float = 0.0
    in_order: bool = False


@dataclass(frozen=True)
class Cluster:
    """Nodes and what happens to them."""

    nodes: int
    workers_per_node: int
    nodes_at_start: int | None = None  # None: all; the others are asked for as work waits, and come after boot_seconds
    boot_seconds: float = 0.0  # until a node that was asked for plays its first unit
    node_hours_between_failures: float = float("inf")  # mean, of one node; exponential
    detect_seconds: float = 10.0  # until the units of a lost node are sent out again
    slow_share: float = 0.0  # of the nodes
    slow_factor: float = 1.0  # times as long for a unit there


class Simulated(NamedTuple):
    """What came of it."""

    seconds: float  # until the last unit is stored
    lost: int  # plays that were cut off by the loss of a node
    finished: bool  # False: a unit was lost more often than it is retried, and the run stopped there
    driver_share: float  # of the time in which the driver was busy
    worker_share: float  # of the time in which workers played units that counted, of all workers of all nodes


@dataclass
class _Unit:
    play: float
    losses: int = 0


@dataclass
class _Node:
    slowness: float
    up: bool = False
    playing: dict[int, tuple[_Unit, int]] = field(default_factory=dict)  # worker -> its unit and that play's ticket


def simulate(costs: Costs, cluster: Cluster, units: int, seed: int = 0) -> Simulated:
    """Play so many units of one stage on the cluster."""
    if units < 1 or cluster.nodes < 1 or cluster.workers_per_node < 1 or not costs.play:
        raise ValueError("the model needs a unit, a node, a worker on it and a measured play")
    return _Model(costs, cluster, units, np.random.default_rng(seed)).run()


class _Model:
    def __init__(self, costs: Costs, cluster: Cluster, units: int, generator: np.random.Generator):
        self.costs, self.cluster, self.generator = costs, cluster, generator
        play = costs.play[:units] if costs.in_order else generator.choice(costs.play, units).tolist()
        if len(play) < units:
            raise ValueError(f"{len(play)} measured plays cannot stand for {units} units in order")
        self.waiting = deque(_Unit(seconds) for seconds in play)  # at the driver
        self.num_units, self.most = units, QUEUED_PER_WORKER * cluster.nodes * cluster.workers_per_node
        self.queued: deque[_Unit] = deque()  # sent, for the next free worker
        self.done: deque[_Unit] = deque()  # played, for the driver
        self.free: deque[tuple[int, int]] = deque()  # (node, worker)
        num_slow = round(cluster.slow_share * cluster.nodes)
        self.nodes = [_Node(cluster.slow_factor if node < num_slow else 1.0) for node in range(cluster.nodes)]
        self.events: list[tuple[float, int, str, object]] = []
        self.ticket = 0
        self.now = self.driver_busy = self.useful = 0.0
        self.on_way = self.stored = self.lost = 0
        self.driver_free, self.failed = True, False

    def run(self) -> Simulated:
        at_start = self.cluster.nodes if self.cluster.nodes_at_start is None else self.cluster.nodes_at_start
        for place, node in enumerate(self.generator.permutation(self.cluster.nodes).tolist()):
            # The first burst of units asks for all nodes at once.
            self._at(0.0 if place < at_start else self.cluster.boot_seconds, "up", node)
        self._drive()
        while self.stored < self.num_units and not self.failed and self.events:
            self.now, _, kind, what = heapq.heappop(self.events)
            getattr(self, f"_on_{kind}")(what)
            self._drive()
        whole = self.now * self.cluster.nodes * self.cluster.workers_per_node
        return Simulated(
            self.now, self.lost, not self.failed, self.driver_busy / self.now, self.useful / whole if whole else 0.0
        )

    def _at(self, delay: float, kind: str, what: object) -> None:
        self.ticket += 1  # first scheduled, first served among equals
        heapq.heappush(self.events, (self.now + delay, self.ticket, kind, what))

    def _drive(self) -> None:
        """The driver takes its next step, if it is free and there is one."""
        if not self.driver_free:
            return
        if self.waiting and self.on_way < self.most:
            self.on_way += 1
            self._busy(self.costs.submit, "sent", self.waiting.popleft())
        elif self.done:
            self._busy(self.costs.collect + self.costs.look * self.on_way, "stored", self.done.popleft())

    def _busy(self, seconds: float, kind: str, unit: _Unit) -> None:
        self.driver_free = False
        self.driver_busy += seconds
        self._at(seconds, kind, unit)

    def _on_sent(self, unit: _Unit) -> None:
        self.driver_free = True
        self._at(self.costs.dispatch, "queued", unit)

    def _on_stored(self, unit: _Unit) -> None:
        self.driver_free = True
        self.on_way -= 1
        self.stored += 1
        self.useful += unit.play

    def _on_queued(self, unit: _Unit) -> None:
        self.queued.append(unit)
        self._assign()

    def _assign(self) -> None:
        while self.queued and self.free:
            node, worker = self.free.popleft()
            if not self.nodes[node].up or worker in self.nodes[node].playing:
                continue  # lost since it became free
            unit = self.queued.popleft()
            self._at(unit.play * self.nodes[node].slowness, "played", (node, worker, self.ticket + 1))
            self.nodes[node].playing[worker] = (unit, self.ticket)

    def _on_played(self, what: tuple[int, int, int]) -> None:
        node, worker, ticket = what
        unit, current = self.nodes[node].playing.get(worker, (None, -1))
        if unit is None or current != ticket:
            return  # its node was lost meanwhile
        del self.nodes[node].playing[worker]
        self.done.append(unit)
        self.free.append((node, worker))
        self._assign()

    def _on_up(self, node: int) -> None:
        self.nodes[node].up = True
        self.free.extend((node, worker) for worker in range(self.cluster.workers_per_node))
        mean = 3600.0 * self.cluster.node_hours_between_failures
        if np.isfinite(mean):
            self._at(float(self.generator.exponential(mean)), "failure", node)
        self._assign()

    def _on_failure(self, node: int) -> None:
        state = self.nodes[node]
        state.up = False
        for unit, _ in state.playing.values():
            self.lost += 1
            unit.losses += 1
            if unit.losses > NUM_RETRIES:
                self.failed = True
            self._at(self.cluster.detect_seconds, "queued", unit)
        state.playing.clear()
        self.free = deque(place for place in self.free if place[0] != node)
        self._at(self.cluster.boot_seconds, "up", node)
