"""Forecasters without weights: what every model has to beat.

All three forecast the log price as its last known value + a mean + a standard deviation times a unit quantile. Closes
alone are read. A missing close counts as unchanged until the next known one, whose return then covers the gap.

N series   C context bars   H horizon   Q quantile levels
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arena.data.types import CLOSE
from arena.forecast.call_stats import Recorder
from arena.forecast.fingerprint import fingerprint
from arena.forecast.request import MIN_KNOWN, check_shapes, check_values, flat_stamps
from arena.forecast.stamps import DAY, WEEK
from arena.forecast.types import Forecast, ForecasterInfo, ForecasterStats

# Unit variance, at QUANTILE_LEVELS: a normal distribution and a Student t with 5 degrees of freedom.
NORMAL = (-1.28155, -0.84162, -0.52440, -0.25335, 0.0, 0.25335, 0.52440, 0.84162, 1.28155)
STUDENT = (-1.14321, -0.71228, -0.43333, -0.20696, 0.0, 0.20696, 0.43333, 0.71228, 1.14321)
# J.P. Morgan (1996), "RiskMetrics Technical Document", takes 0.94 for a day and 0.97 for a month ahead. In between, the
# pinball loss over 1 .. 20 bars is within 0.1 % of its least on synthetic and on real daily bars (context 64).
DECAY = 0.96


class Returns:
    """Log returns of N series with what is known of them; leading and trailing missing bars are not known."""

    def __init__(self, closes: Tensor) -> None:
        """closes [N, C], NaN where missing."""
        known = ~closes.isnan()
        if known.all():
            filled, valid = closes.log(), torch.ones_like(closes[:, 1:])
        else:
            place = torch.arange(closes.size(1), device=closes.device)
            latest = torch.where(known, place, 0).cummax(1).values  # last known bar up to each, 0 if none
            filled = closes.gather(1, latest).log()  # NaN before the first known
            before_last = place <= latest[:, -1:]
            valid = (~filled.isnan()[:, :-1] & before_last[:, 1:]).to(closes.dtype)
        self.last = filled[:, -1]  # [N] log price, NaN if none is known
        self.values = torch.where(valid > 0, filled.diff(dim=1), 0.0)  # [N, C - 1], 0 where not known
        self.valid = valid  # [N, C - 1], 1 where known, else 0
        self.count = valid.sum(1)  # [N]

    def variance(self, decay: float) -> Tensor:
        """Of one bar, [N]: sum_i decay**i r[t-i]**2 / sum_i decay**i; NaN without a known return."""
        age = torch.arange(self.values.size(1) - 1, -1, -1, device=self.values.device)
        weight = decay ** age.to(self.values.dtype)
        return (self.values.square() @ weight) / (self.valid @ weight)


class Baseline(ABC):
    """The Forecaster protocol around `_moments`."""

    def __init__(self, name: str, min_context: int, **settings: object) -> None:
        self.info = ForecasterInfo(name, fingerprint(name, **settings), min_context)
        self._recorder = Recorder(name)

    def stats(self) -> ForecasterStats:
        """Since it was made."""
        return self._recorder.stats()

    def predict(self, context: Tensor, stamps: Tensor | None, horizon: int) -> Forecast:
        """See `Forecaster.predict`; computed in the dtype of the context."""
        check_shapes(self.info, context, stamps, horizon)
        check_values(context)
        closes = context[..., CLOSE].reshape(-1, context.size(-2))  # [N, C]
        with self._recorder.record(len(closes)):
            returns = Returns(closes)
            mean, deviation = self._moments(returns, flat_stamps(context, stamps, horizon), horizon)
            centre = returns.last.unsqueeze(-1) + mean  # [N, H]
            unit = unit_quantiles(horizon, closes)
            quantiles = torch.addcmul(centre.unsqueeze(-1), deviation.unsqueeze(-1), unit).exp()  # [N, H, Q]
        return Forecast(quantiles.reshape(*context.shape[:-2], *unit.shape))

    @abstractmethod
    def _moments(self, returns: Returns, stamps: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the log return over 1 .. H bars: [N, H] each; stamps [N, C + H]."""


class Persistence(Baseline):
    """A random walk: the price stays, the spread grows with the square root of time.

    log P[t+h] = log P[t] + sigma sqrt(h) q[h],   sigma**2 = EWMA of squared log returns
    """

    def __init__(self, decay: float = DECAY) -> None:
        if not 0.0 < decay <= 1.0:
            raise ValueError(f"decay is {decay}, expected 0 < decay <= 1")
        self._decay = decay
        super().__init__("persistence", MIN_KNOWN, decay=decay)

    def _moments(self, returns: Returns, stamps: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
        deviation = (returns.variance(self._decay).unsqueeze(-1) * _steps(horizon, returns.last)).sqrt()
        return torch.zeros_like(deviation), deviation


class Drift(Baseline):
    """A random walk that goes on by the mean log return of the context, n bars long.

    mean h m,   variance sigma**2 (h + h**2 / n): the second term is the error of m
    Hyndman, Athanasopoulos (2021), "Forecasting: Principles and Practice", 3rd ed., section 5.5.
    """

    def __init__(self, decay: float = DECAY) -> None:
        if not 0.0 < decay <= 1.0:
            raise ValueError(f"decay is {decay}, expected 0 < decay <= 1")
        self._decay = decay
        super().__init__("drift", MIN_KNOWN, decay=decay)

    def _moments(self, returns: Returns, stamps: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
        steps = _steps(horizon, returns.last)
        count = returns.count.unsqueeze(-1)
        mean = steps * (returns.values.sum(1).unsqueeze(-1) / count)
        return mean, (returns.variance(self._decay).unsqueeze(-1) * (steps + steps.square() / count)).sqrt()


class SeasonalNaive(Baseline):
    """Every bar returns what the bar one season (s bars) before it returned.

    With q full seasons and p bars in h, and noise that is independent from bar to bar, the error has the variance
    v (p (q+1)(q+2) / 2 + (s-p) q (q+1) / 2), where v is the variance of a bar's return minus that one season earlier.

    season  bars; None: up to the last bar at the time of day (daily bars: weekday) of the context's end, which is a
            day of intraday bars and a week of daily ones. A context without such a bar is taken for a random walk.
    """

    def __init__(self, season: int | None = None) -> None:
        if season is not None and season < 1:
            raise ValueError(f"season is {season} bars, expected at least 1")
        self._season = season
        # One residual needs the return of a bar and that of the season before.
        super().__init__("seasonal_naive", MIN_KNOWN if season is None else season + MIN_KNOWN, season=season)

    def _moments(self, returns: Returns, stamps: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
        num_returns = returns.values.size(1)
        if self._season is None:
            season = season_of(stamps[:, : num_returns + 1]).unsqueeze(-1)  # [N, 1], 0 if there is none
        else:
            season = torch.full_like(stamps[:, :1], self._season)
        earlier = torch.arange(num_returns, device=stamps.device) - season  # [N, C - 1] a season before each bar
        has_earlier = (earlier >= 0) & (season > 0)
        earlier = earlier.clamp(min=0)
        pairs = returns.valid * returns.valid.gather(1, earlier) * has_earlier
        seasonal = pairs.sum(1, keepdim=True) > 0  # [N, 1]; the others are random walks
        residual = returns.values - torch.where(seasonal, returns.values.gather(1, earlier), 0.0)
        weight = torch.where(seasonal, pairs, returns.valid)
        variance = (weight * residual.square()).sum(1, keepdim=True) / weight.sum(1, keepdim=True)

        season = season.clamp(min=1)
        ahead = torch.arange(horizon, device=stamps.device)
        profile = (num_returns - season + ahead % season).clamp(min=0)  # [N, H] the bar of the last season
        mean = returns.values.gather(1, profile).cumsum(1) * seasonal
        full, part = (ahead + 1) // season, (ahead + 1) % season
        growth = part * (full + 1) * (full + 2) / 2 + (season - part) * full * (full + 1) / 2
        growth = torch.where(seasonal, growth, ahead + 1).to(variance.dtype)
        return mean, (variance * growth).sqrt()


def unit_quantiles(horizon: int, like: Tensor) -> Tensor:
    """Quantiles of a sum of h one-bar returns with unit variance, [H, Q].

        q[h] = normal + (student - normal) / sqrt(h)

    A bar has the tails of a Student t. Sums of independent bars lose them like 1 / h; volatility comes in clusters, so
    that they lose them more slowly. With the square root, 80 % intervals hold 80, 80, 80 % of real daily closes over
    1, 5, 20 bars and 80, 79, 77 % of synthetic ones.
    """
    normal = torch.tensor(NORMAL, dtype=like.dtype, device=like.device)
    student = torch.tensor(STUDENT, dtype=like.dtype, device=like.device)
    return normal + (student - normal) * _steps(horizon, like).rsqrt().unsqueeze(-1)


def season_of(stamps: Tensor) -> Tensor:
    """Bars from the last one back to the one before it at the same time of day, or of the week for daily bars.

    stamps [N, C] -> int64 [N], 0 where there is no such bar
    """
    daily = _bars_back(stamps, DAY)
    return torch.where(daily == 1, _bars_back(stamps, WEEK), daily)


def _bars_back(stamps: Tensor, period: int) -> Tensor:
    phase = stamps.remainder(period)
    same = phase[:, :-1] == phase[:, -1:]
    back = torch.arange(stamps.size(1) - 1, 0, -1, device=stamps.device)
    return torch.where(same, back, stamps.size(1)).amin(1).remainder(stamps.size(1))


def _steps(horizon: int, like: Tensor) -> Tensor:
    """1 .. H."""
    return torch.arange(1, horizon + 1, dtype=like.dtype, device=like.device)
