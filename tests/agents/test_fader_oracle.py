"""The fader computed in shares, and what the oracle makes of its signal."""

import pytest
import torch

from arena.agents.fake_observation import fake_observation
from arena.agents.registry import make_agent
from arena.agents.rules.shrinkage import shrunk_covariance
from arena.data.types import CLOSE

PRICE, NAV, ADV, SIGMA = 50.0, 2e6, 4e5, 0.02  # currency/share, currency, shares/day, 1/sqrt(day)


def displaced(fast, slow, permanent, position, dt=1.0):
    """A market with the given displacements (fractions of the price) and own position (shares)."""
    unit = SIGMA * dt**0.5

    def number(value):
        return torch.tensor([[value]], dtype=torch.float64)

    return fake_observation(1, 1, 0)._replace(
        displacement=number((fast + slow + permanent) / unit),
        mode_displacement=torch.tensor([[[fast / unit, slow / unit]]], dtype=torch.float64),
        weight=number(position * PRICE / NAV),
        volatility=number(SIGMA),
        adv_weight=number(ADV * PRICE / NAV),
        dt=dt,
    )


@pytest.mark.parametrize("dt", [1.0, 1 / 13])
@pytest.mark.parametrize(
    ("fast", "slow", "permanent", "position"),
    [(0.0, 0.003, 0.0005, 0.0), (0.01, -0.002, -0.001, 0.0), (0.0, 0.002, 0.001, -900.0), (-0.02, 0.0008, 0.0001, 300)],
)
def test_fader_trades_a_share_of_the_gap_to_its_position_in_shares(fast, slow, permanent, position, dt):
    lasting = slow + permanent
    sign = 1 if lasting > 0 else -1
    aim = -sign * ADV * max(abs(lasting) - 10e-4, 0) ** 2 / SIGMA**2
    expected = position + 0.3 * (aim - position)
    observation = displaced(fast, slow, permanent, position, dt)
    found = float(make_agent("fader").act(observation, torch.Generator())) * NAV / PRICE
    assert found == pytest.approx(expected, rel=1e-12)
    if position == 0:
        assert found * lasting < 0


def test_fader_never_aims_beyond_its_gross():
    observation = displaced(0.0, 0.5, 0.0, 0.0)
    assert float(make_agent("fader", {"speed": 1.0}).act(observation, torch.Generator())) == pytest.approx(-1.0)


def signalled(signal, moves, weight=None):
    """A market with a hidden signal [A] and displayed log returns `moves` [A, C - 1]."""
    signal = torch.tensor([signal], dtype=torch.float64)
    held = torch.zeros_like(signal) if weight is None else torch.tensor([weight], dtype=torch.float64)
    observation = fake_observation(1, signal.shape[1], moves.shape[1] + 1)
    history = observation.history.clone()
    history[0, ..., CLOSE] = 100 * torch.cat([torch.zeros_like(moves[:, :1]), moves.cumsum(-1)], -1).exp()
    return observation._replace(signal=signal, weight=held, history=history)


def together(bars=59):
    """Two assets that move as one, but for a little noise."""
    noise = torch.randn((3, bars), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return SIGMA * (noise[:1] + 0.3 * noise[1:])


def test_oracle_moves_a_fifth_of_the_way_to_the_hedged_signal():
    observation = signalled([0.002, 0.001], together(), weight=[0.1, 0.2])
    aim = torch.linalg.inv(shrunk_covariance(observation.history[0, ..., CLOSE])) @ observation.signal[0]
    aim = aim / aim.abs().sum()
    assert aim[0] > 0 > aim[1]  # the weaker of two look-alikes hedges the stronger
    found = make_agent("oracle").act(observation, torch.Generator())[0]
    assert found.tolist() == pytest.approx((0.8 * observation.weight[0] + 0.2 * aim).tolist())


def test_oracle_without_a_signal_leaves_and_without_a_signal_field_refuses():
    agent = make_agent("oracle")
    assert agent.is_cheat
    observation = signalled([0.0, 0.0], together(), weight=[0.5, -0.5])
    assert agent.act(observation, torch.Generator()).tolist() == [pytest.approx([0.4, -0.4])]
    with pytest.raises(ValueError, match=r"observation.signal is None.*signal mode"):
        agent.act(observation._replace(signal=None), torch.Generator())
