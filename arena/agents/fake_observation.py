"""Valid observations of no market at all, to try agents on."""

import torch
from torch import Tensor

from arena.market.types import Observation

SCENES = ("ordinary", "flat", "extreme")


def fake_observation(
    num_markets: int = 2,
    num_assets: int = 4,
    history_length: int = 60,
    dtype: torch.dtype = torch.float64,
    scene: str = "ordinary",
    num_modes: int = 3,
    step: int | None = None,
    seed: int = 0,
) -> Observation:
    """What one seat might see in B markets: [B, A] fields of a random walk, random positions and a signal.

    scene  ordinary  daily bars, a seat with modest leverage
           flat      every price constant, no position, no displacement, no signal
           extreme   prices from 1e-4 to 1e6 with wild moves, weights of +-10, thin and vast markets, dead seats
    step   of market 0; market b is b bars ahead, as after auto-resets. None: random steps
    seed   of the numbers; the result depends on the arguments only
    """
    if scene not in SCENES:
        raise ValueError(f"scene is {scene!r}, expected one of {', '.join(SCENES)}")
    generator = torch.Generator().manual_seed(1000 * seed + (step or 0))
    wild, flat = scene == "extreme", scene == "flat"
    shape = (num_markets, num_assets)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator, dtype=torch.float64)

    volatility = 10 ** (-3 + 2.5 * uniform(*shape)) if wild else 0.01 + 0.03 * uniform(*shape)
    length = max(history_length, 21)  # the longest window of the returns
    moves = 0.0 * normal(*shape, length) if flat else normal(*shape, length) * volatility.unsqueeze(-1)
    start = 10 ** (-4 + 10 * uniform(*shape, 1)) if wild else 20 + 80 * uniform(*shape, 1)
    closes = start * torch.exp(moves.cumsum(-1).clamp(-30, 30))  # [B, A, C]
    opens = torch.cat([closes[..., :1], closes[..., :-1]], -1)
    volume = 1e5 * torch.exp(normal(*shape, length))
    highest, lowest = torch.maximum(opens, closes), torch.minimum(opens, closes)
    history = torch.stack([opens, highest, lowest, closes, volume, volume * closes], -1)

    log_closes = closes.log()
    windows = [(log_closes[..., -1] - log_closes[..., -1 - w]) / (volatility * w**0.5) for w in (1, 5, 20)]
    reach = 0.0 if flat else 20.0 if wild else 0.1
    modes = reach * normal(*shape, num_modes)
    weight = (0.0 if flat else 10.0 if wild else 0.5 / num_assets) * normal(*shape)
    age = torch.arange(num_markets)
    steps = torch.randint(0, 100, (num_markets,), generator=generator) if step is None else step + age
    alive = age % 3 != 2 if wild else torch.ones(num_markets, dtype=torch.bool)
    once = torch.ones(num_markets, dtype=torch.float64)
    observation = Observation(
        returns=torch.stack(windows, -1),
        volume=normal(*shape),
        displacement=modes.sum(-1),
        mode_displacement=modes[..., :-1],
        net_flow=reach * normal(*shape),
        weight=weight,
        forecast_return=0.1 * normal(*shape, 3),
        forecast_spread=uniform(*shape),
        cash_weight=1 - weight.sum(-1),
        gross_leverage=weight.abs().sum(-1),
        net_leverage=weight.sum(-1),
        drawdown=0.2 * uniform(num_markets),
        growth=0.1 * normal(num_markets),
        time_left=uniform(num_markets),
        reduce_only=torch.where(alive, 0.0, 1.0) * once,
        forecast_present=once,
        step=steps,
        alive=alive,
        volatility=volatility,
        adv_weight=10 ** (6 * normal(*shape).clamp(-1, 1)) if wild else 5 + 20 * uniform(*shape),
        dt=1.0,
        history=history[:, :, length - history_length :] if history_length else None,
        signal=0.0 * normal(*shape) if flat else 0.08 * volatility * normal(*shape),
    )
    return Observation._make(_as(value, dtype) for value in observation)


def one_market(observation: Observation, market: int) -> Observation:
    """The same observation with only one of its markets, B = 1."""
    return Observation._make(
        value[market : market + 1] if isinstance(value, Tensor) else value for value in observation
    )


def _as(value: Tensor | float | None, dtype: torch.dtype) -> Tensor | float | None:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
