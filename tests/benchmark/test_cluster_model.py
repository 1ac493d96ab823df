"""The model of a cluster: laws of scheduling, and what faults do to it."""

import heapq
import math
from dataclasses import replace

import numpy as np
import pytest

from arena.bench.cluster_model import Cluster, Costs, simulate

FREE = Costs(play=(8.0,), submit=0.0, collect=0.0, dispatch=0.0)


@pytest.mark.parametrize(("nodes", "workers", "units"), [(1, 1, 5), (2, 4, 20), (3, 5, 15), (7, 3, 100)])
def test_without_overhead_equal_units_go_in_waves(nodes, workers, units):
    found = simulate(FREE, Cluster(nodes, workers), units)
    assert found.seconds == pytest.approx(8.0 * math.ceil(units / (nodes * workers)))
    assert found.worker_share == pytest.approx(8.0 * units / (found.seconds * nodes * workers))
    assert found.finished


def test_unequal_units_go_to_whoever_is_free_first():
    plays = tuple(np.random.default_rng(0).gamma(2.0, size=60).tolist())
    free = [0.0] * 6
    for play in plays:  # list scheduling
        heapq.heapreplace(free, free[0] + play)
    found = simulate(replace(FREE, play=plays, in_order=True), Cluster(2, 3), 60)
    assert found.seconds == pytest.approx(max(free))


def test_one_worker_waits_for_nothing_but_the_ends():
    """While the worker plays, the next unit is sent and the last one stored."""
    costs = Costs(play=(8.0,), submit=0.5, collect=1.0, dispatch=0.25)
    assert simulate(costs, Cluster(1, 1), 10).seconds == pytest.approx(0.5 + 0.25 + 80.0 + 1.0)


@pytest.mark.parametrize("workers", [1, 10, 100, 1000])
def test_the_driver_bounds_throughput(workers):
    costs = Costs(play=(8.0,), submit=0.02, collect=0.03, dispatch=0.01)
    units = 20 * workers
    found = simulate(costs, Cluster(workers, 1), units)
    bound = max(units * 0.05, 20 * 8.0)
    assert bound * (1 - 1e-9) <= found.seconds <= 1.15 * bound
    assert found.driver_share == pytest.approx(units * 0.05 / found.seconds)


def test_looking_at_what_is_on_its_way_bounds_the_workers():
    """2 * 400 on their way at 0.1 ms each are 80 ms a unit, so 400 workers get no more than 12.5 units a second."""
    found = simulate(replace(FREE, look=1e-4), Cluster(400, 1), 8000)
    assert found.seconds == pytest.approx(8000 * 0.08, rel=0.15)


def test_time_has_no_unit():
    costs = Costs(play=(3.0, 5.0, 9.0), submit=0.1, collect=0.2, dispatch=0.05)
    twice = Costs(play=(6.0, 10.0, 18.0), submit=0.2, collect=0.4, dispatch=0.1)
    assert simulate(twice, Cluster(3, 2), 50).seconds == pytest.approx(2 * simulate(costs, Cluster(3, 2), 50).seconds)


def test_the_same_seed_is_the_same_run():
    cluster = Cluster(20, 4, node_hours_between_failures=0.05, boot_seconds=30.0)
    costs = Costs(play=(3.0, 5.0, 9.0), submit=0.01, collect=0.02, dispatch=0.01)
    assert simulate(costs, cluster, 2000, 1) == simulate(costs, cluster, 2000, 1)
    assert simulate(costs, cluster, 2000, 1) != simulate(costs, cluster, 2000, 2)


def test_lost_nodes_cost_what_played_on_them_and_no_more():
    calm = simulate(FREE, Cluster(50, 2), 5000)
    found = simulate(FREE, Cluster(50, 2, node_hours_between_failures=0.5, boot_seconds=60.0, detect_seconds=5.0), 5000)
    assert found.finished
    # 50 nodes for about 400 s with one failure in 1,800 s each: some 11, each with two units half done.
    assert 5 <= found.lost / 2 <= 25
    assert calm.seconds < found.seconds < 1.25 * calm.seconds


def test_units_that_are_lost_again_and_again_end_the_run():
    found = simulate(FREE, Cluster(2, 2, node_hours_between_failures=1 / 3600, boot_seconds=1.0), 20)
    assert not found.finished
    assert found.lost >= 4


def test_slow_nodes_take_fewer_units():
    """One node of ten at a third of the speed loses two thirds of a tenth, and some of the last wave."""
    calm = simulate(FREE, Cluster(10, 1), 1000)
    found = simulate(FREE, Cluster(10, 1, slow_share=0.1, slow_factor=3.0), 1000)
    assert 1.0 / (0.9 + 0.1 / 3) <= found.seconds / calm.seconds < 1.1


def test_nodes_that_come_later_are_waited_for_once():
    late = simulate(FREE, Cluster(10, 4, nodes_at_start=0, boot_seconds=90.0), 400)
    assert late.seconds == pytest.approx(90.0 + simulate(FREE, Cluster(10, 4), 400).seconds)
    half = simulate(FREE, Cluster(10, 4, nodes_at_start=5, boot_seconds=40.0), 400)
    assert half.seconds == pytest.approx(simulate(FREE, Cluster(10, 4), 400).seconds + 20.0, abs=8.0)


def test_nothing_to_simulate_is_refused():
    with pytest.raises(ValueError, match="needs a unit"):
        simulate(FREE, Cluster(1, 1), 0)
    with pytest.raises(ValueError, match="2 measured plays cannot stand for 3"):
        simulate(Costs((1.0, 2.0), 0.0, 0.0, 0.0, in_order=True), Cluster(1, 1), 3)
