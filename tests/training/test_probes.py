"""The shipped learner solves the smallest environments, each a test of one part of it."""

import pytest
import torch
from probes import Delayed, Endless, TwoStates, ValueOnly
from rllib_setup import learner_network, probe_config

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
ITERATIONS = 30


def train(build, probe):
    """The trained network, and the mean return of an episode in each iteration."""
    training = {"gamma": 0.9, "vf_loss_coeff": 1.0, "num_epochs": 4, "minibatch_size": 256}
    algorithm = build(probe_config(probe, num_steps=16, width=16, iterations=ITERATIONS, **training))
    returns = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(ITERATIONS)]
    return learner_network(algorithm), returns


@pytest.mark.parametrize(("probe", "value"), [(ValueOnly, 1.0), (Endless, 10.0)], ids=["ends", "is cut off"])
def test_it_learns_the_value_of_what(probe, value, build):
    network, _ = train(build, probe())
    assert network.value(torch.zeros(1)).item() == pytest.approx(value, rel=0.03)


@pytest.mark.parametrize("probe", [TwoStates, Delayed])
def test_it_learns_what_to_do_where(probe, build):
    network, returns = train(build, probe())
    for state in (-1.0, 1.0):
        mean, _ = network.distribution(torch.tensor([state]))
        assert mean.item() == pytest.approx(0.5 * state, abs=0.1)
    assert returns[-1] > -0.05 > -0.3 > returns[0]
