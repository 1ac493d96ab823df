"""What is sent when, and what is waited for: laws of the loop over tasks, with a Ray that is a list and a clock."""

import pytest

from arena.cluster import tasks
from arena.cluster.tasks import ClusterCapacity, FixedCapacity, LostTask, NoCapacity, as_completed
from arena.errors import ResumableError

HANGS = 10**9


class Clock:
    """Time that passes while something is waited for."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class FakeRay:
    """`workers` processes; `seconds(item, attempt)` says how long a task takes once it runs, HANGS for ever."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self, clock, seconds, workers):
        self.clock, self.seconds, self.workers = clock, seconds, workers
        self.sent, self.cancelled, self.ends, self.is_up = [], [], {}, True
        self.resources, self.alive = {"CPU": workers}, [{"Alive": True, "Resources": {"CPU": workers}}]

    def submit(self, item):
        reference = (item, self.sent.count(item))
        self.sent.append(item)
        self._start(reference)
        return reference

    def _start(self, reference):
        busy = sorted(end for end in self.ends.values() if end > self.clock.now)
        free_at = self.clock.now if len(busy) < self.workers else busy[len(busy) - self.workers]
        self.ends[reference] = free_at + self.seconds(*reference)

    def wait(self, references, num_returns, timeout):
        assert num_returns == 1
        first = min(references, key=self.ends.__getitem__)
        if self.ends[first] > self.clock.now + timeout:
            self.clock.now += timeout
            return [], references
        self.clock.now = max(self.clock.now, self.ends[first])
        return [first], []

    def get(self, reference):
        return f"result of {reference[0]}"

    def cancel(self, reference, force):
        assert force
        self.cancelled.append(reference)
        self.ends[reference] = 0.0

    def is_initialized(self):
        return self.is_up

    def cluster_resources(self):
        return self.resources

    def nodes(self):
        return self.alive


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tasks, "time", clock)
    return clock


def test_every_item_comes_once_and_no_more_are_out_than_there_is_room_for(clock):
    ray = FakeRay(clock, lambda item, attempt: 1 + item % 3, workers=2)
    most = 0

    def submit(item):
        nonlocal most
        reference = ray.submit(item)
        most = max(most, sum(end > clock.now for end in ray.ends.values()))
        return reference

    found = dict(as_completed(ray, submit, range(20), FixedCapacity(4)))
    assert found == {item: f"result of {item}" for item in range(20)}
    assert ray.sent == list(range(20))
    assert not ray.cancelled
    assert most <= 4


@pytest.mark.parametrize("stuck", [{3}, {0}, {9}, {2, 7}])
def test_a_task_that_hangs_is_sent_once_more_and_bounds_the_wait(clock, stuck):
    ray = FakeRay(clock, lambda item, attempt: HANGS if item in stuck and attempt == 0 else 4.0, workers=4)
    begun, found, longest = clock.now, {}, 0.0
    last_of_others = 0.0
    for item, result in as_completed(ray, ray.submit, range(10), FixedCapacity(8)):
        assert item not in found
        found[item] = result
        if item not in stuck:
            last_of_others, longest = clock.now, max(longest, clock.now - begun)
    assert set(found) == set(range(10))
    assert {item for item in ray.sent if ray.sent.count(item) > 1} == stuck, "nothing else is sent twice"
    assert set(ray.cancelled) == {(item, 0) for item in stuck}
    # The stated bound, and the time of the second try itself.
    bound = tasks.LATE_FACTOR * longest + tasks.LATE_SECONDS + 2 * tasks.TICK_SECONDS + 4.0 * len(stuck)
    assert clock.now - last_of_others <= bound


def test_hanging_tasks_do_not_keep_the_others_from_being_sent(clock):
    """As when a node goes silent on which all that may be out at a time have landed."""
    stuck = {1, 2, 3, 4}
    ray = FakeRay(clock, lambda item, attempt: HANGS if item in stuck and attempt == 0 else 2.0, workers=6)
    found, outstanding = [], 0
    for item, _ in as_completed(ray, ray.submit, range(30), FixedCapacity(4)):
        found.append(item)
        outstanding = max(outstanding, len(ray.sent) - len(ray.cancelled) - len(found))
    assert sorted(found) == list(range(30))
    assert set(found[-4:]) == stuck, "last, as they are sent again when nothing else is left"
    assert {item for item in ray.sent if ray.sent.count(item) > 1} == stuck
    assert outstanding <= 2 * 4


def test_a_cluster_that_has_shrunk_while_all_hangs_goes_on(clock):
    """The tasks of the node that is gone are more than the rest has room for."""

    class Shrinking:
        in_flight = 6

        def shortage(self):
            return ""

    capacity, stuck = Shrinking(), set(range(1, 7))
    ray = FakeRay(clock, lambda item, attempt: HANGS if item in stuck and attempt == 0 else 2.0, workers=7)
    found = []
    for item, _ in as_completed(ray, ray.submit, range(20), capacity):
        found.append(item)
        capacity.in_flight = 2
    assert sorted(found) == list(range(20))


def test_a_second_try_that_hangs_too_is_not_sent_again(clock):
    ray = FakeRay(clock, lambda item, attempt: (500.0 if attempt == 0 else HANGS) if item == 1 else 2.0, workers=3)
    assert dict(as_completed(ray, ray.submit, range(3), FixedCapacity(6)))[1] == "result of 1"
    assert ray.sent.count(1) == 2
    assert ray.cancelled == [(1, 1)], "the first was the first to finish"


def test_nothing_is_sent_twice_while_something_else_waits_or_without_a_yardstick(clock):
    """Slow is what is slow beside others: of a run of one unit nobody knows how long it takes."""
    ray = FakeRay(clock, lambda item, attempt: 400.0, workers=1)
    assert len(dict(as_completed(ray, ray.submit, range(1), FixedCapacity(2)))) == 1
    assert ray.sent == [0]


def test_leaving_cancels_what_runs(clock):
    ray = FakeRay(clock, lambda item, attempt: 1.0 + item, workers=4)
    results = as_completed(ray, ray.submit, range(10), FixedCapacity(4))
    assert next(results)[0] == 0
    results.close()
    assert {item for item, _ in ray.cancelled} == {1, 2, 3}


def test_leaving_after_ray_has_ended_starts_no_other(clock):
    """ray.cancel would: and at the end of a process that hangs."""
    ray = FakeRay(clock, lambda item, attempt: 1.0 + item, workers=4)
    results = as_completed(ray, ray.submit, range(10), FixedCapacity(4))
    next(results)
    ray.is_up = False
    results.close()
    assert ray.cancelled == []


def test_what_ray_gives_up_is_named(clock):
    ray = FakeRay(clock, lambda item, attempt: 1.0, workers=1)

    def get(reference):
        raise ray.exceptions.RayError("no more")

    ray.get = get
    with pytest.raises(LostTask) as error:
        list(as_completed(ray, ray.submit, ["a unit"], FixedCapacity(2)))
    assert (error.value.item, error.value.kind) == ("a unit", "RayError")


def test_a_cluster_that_grows_is_used_and_one_that_shrinks_is_not_flooded(clock):
    ray = FakeRay(clock, lambda item, attempt: 1.0, workers=1)
    capacity = ClusterCapacity(ray, cpus=2.0, memory_mb=100)
    for resources, tasks_at_once in (({"CPU": 5.0, "memory": 1e12}, 2), ({"CPU": 64.0, "memory": 5e8}, 4), ({}, 1)):
        ray.resources = resources
        clock.now += tasks.LOOK_SECONDS
        assert capacity.in_flight == tasks.QUEUED_PER_WORKER * tasks_at_once
    assert ClusterCapacity(ray, cpus=1.0, most=7).in_flight == 7


def test_a_cluster_without_room_is_said_once_and_waited_for_until_a_node_comes(clock):
    ray = FakeRay(clock, lambda item, attempt: HANGS, workers=1)
    ray.alive, said = [{"Alive": True, "Resources": {"CPU": 1.0}}, {"Alive": False, "Resources": {"CPU": 8.0}}], []
    with pytest.raises(
        NoCapacity, match=r"none of the 1 nodes of the cluster has 2 CPUs for a task; the largest has 1 CPUs"
    ):
        list(as_completed(ray, ray.submit, range(3), ClusterCapacity(ray, cpus=2.0, wait_seconds=30.0), said.append))
    assert 30 < clock.now < 40
    assert len(said) == 1
    assert "waiting at most 30 s" in said[0]
    assert issubclass(NoCapacity, ResumableError)

    ray = FakeRay(clock, lambda item, attempt: 25.0, workers=1)
    ray.alive = []
    begun = clock.now

    def nodes():
        return ray.alive if clock.now < begun + 20 else [{"Alive": True, "Resources": {"CPU": 4.0}}]

    ray.nodes = nodes
    assert len(list(as_completed(ray, ray.submit, range(1), ClusterCapacity(ray, cpus=2.0, wait_seconds=30.0)))) == 1
