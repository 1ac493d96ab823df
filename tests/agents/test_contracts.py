"""Every agent keeps the contract; agents bad in each way are caught by the clause they break."""

import random

import numpy as np
import pytest
import torch

from arena.agents.contracts import ContractViolation, check_agent
from arena.agents.fake_observation import SCENES, fake_observation
from arena.agents.numpy_agent import NumpyAgent
from arena.agents.registry import BUILT_IN, make_agent


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_agents_keep_the_contract(name):
    check_agent(make_agent(name), name)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_agents_take_a_single_mode_and_many_assets(name):
    check_agent(make_agent(name), name, num_markets=(1,), num_assets=(200,), num_modes=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BUILT_IN)
def test_gross_of_a_purchase_is_at_most_one(name, dtype):
    for scene in SCENES:
        for assets in (1, 8, 200):
            observation = fake_observation(3, assets, 61, dtype, scene, step=0)
            flat = torch.zeros_like(observation.weight)
            observation = observation._replace(
                weight=flat, cash_weight=flat[:, 0] + 1, step=torch.zeros_like(observation.step)
            )
            gross = make_agent(name).act(observation, torch.Generator().manual_seed(0)).abs().sum(-1)
            rounding = 1e-9 if dtype == torch.float64 else 1e-5
            assert (gross <= 1 + rounding).all()


class Good:
    history_length = 0

    def reset(self):
        pass

    def act(self, observation, generator):
        return 0.5 * observation.weight


class Fractional(Good):
    history_length = 2.5


class Follows(Good):
    forecaster = 7


class Crashes(Good):
    def act(self, observation, generator):
        raise RuntimeError("out of ideas")


class Transposed(Good):
    def act(self, observation, generator):
        return observation.weight.T


class Listed(Good):
    def act(self, observation, generator):
        return observation.weight.tolist()


class Doubled(Good):
    def act(self, observation, generator):
        return observation.weight.double()


class Divides(Good):
    def act(self, observation, generator):
        return observation.weight / observation.displacement


class Writes(Good):
    def act(self, observation, generator):
        observation.weight.mul_(0.5)
        return observation.weight.clone()


class TorchGlobal(Good):
    def act(self, observation, generator):
        return torch.rand_like(observation.weight)


class NumpyGlobal(Good):
    def act(self, observation, generator):
        return observation.weight * np.random.rand()  # noqa: NPY002 - the fault to be caught


class StdlibGlobal(Good):
    def act(self, observation, generator):
        return observation.weight * random.random()


class Remembers(Good):
    calls = 0

    def act(self, observation, generator):
        self.calls += 1
        return observation.weight * self.calls


class MixesMarkets(Good):
    def act(self, observation, generator):
        return observation.weight - observation.weight.mean(0)


BAD = {
    Fractional: "history_length",
    Follows: "forecaster",
    Crashes: "runs",
    Transposed: "shape",
    Listed: "shape",
    Doubled: "dtype",
    Divides: "finite",
    Writes: "no mutation",
    TorchGlobal: "randomness",
    NumpyGlobal: "randomness",
    StdlibGlobal: "randomness",
    Remembers: "reset",
    MixesMarkets: "batch",
}


def test_a_good_agent_passes():
    check_agent(Good())


@pytest.mark.parametrize("kind", BAD)
def test_bad_agents_are_caught_by_the_right_clause(kind):
    with pytest.raises(ContractViolation, match=f"agent '{kind.__name__}' breaks the clause '{BAD[kind]}'"):
        check_agent(kind())


def test_numpy_agents_keep_the_contract_too():
    check_agent(NumpyAgent(lambda: lambda obs: np.full(obs.num_assets, 1 / obs.num_assets), "thirds"))
    check_agent(NumpyAgent(lambda: lambda obs: obs.rng.dirichlet(np.ones(obs.num_assets)), "dice"))


def test_unknown_scene_is_refused():
    with pytest.raises(ValueError, match="scene is 'calm', expected one of ordinary, flat, extreme"):
        fake_observation(scene="calm")
