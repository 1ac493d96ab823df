"""Stylised facts of daily bars: what real large caps show and a random walk does not.

Each fact is one number per asset (or per panel) of bars [T, A, 6]; a panel's value is the median over its assets, and
`judge` takes the median over panels and compares it with the band that real markets fall into.

Letters: T bars, A assets, r close-to-close log return, V volume.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from arena.data.types import CLOSE, HIGH, LOW, OPEN, VOLUME

# Bands: Cont (2001), "Empirical properties of asset returns", Quantitative Finance 1:223, widened by what 100 US large
# caps of 2013-18 show; daily bars, T >= 1250.
BANDS: dict[str, tuple[float, float]] = {
    "hill_index": (2.5, 4.5),  # tail exponent of |r|, largest 5 %
    "excess_kurtosis": (2.0, 20.0),
    "kurtosis_ratio_20_days": (-1.0, 0.7),  # 20-day over daily: sums drift towards the normal law
    "skew": (-0.8, 0.4),
    "acf_return_1": (-0.04, 0.04),
    "acf_return_size": (0.5, 1.4),  # mean |ACF| of r at lags 1-10 times sqrt(T)
    "acf_abs_1": (0.08, 0.30),
    "acf_abs_5": (0.04, 0.22),
    "acf_abs_20": (0.01, 0.15),
    "acf_abs_decay": (0.2, 0.9),  # exponent of the pooled ACF of |r|, lags 1-40
    "leverage_stock": (-0.12, -0.01),  # corr(r[t], |r[t+k]|), mean of k = 1-5
    "leverage_index": (-0.32, -0.05),
    "volume_abs_return": (0.3, 0.6),  # corr(log V, |r|)
    "volume_sd": (0.3, 0.6),  # of log V
    "acf_volume_1": (0.5, 0.8),
    "acf_volume_20": (0.08, 0.45),
    "volume_return": (-0.12, 0.06),  # corr(log V, r)
    "pair_correlation": (0.12, 0.5),
    "first_mode_share": (0.18, 0.5),  # largest eigenvalue of the correlation matrix over A
    "modes_above_noise": (2.0, float("inf")),  # eigenvalues above the Marchenko-Pastur edge
    "abs_correlation": (0.05, 0.45),  # median pair correlation of |r|
    "overnight_share": (0.2, 0.45),  # variance of close-to-open over the whole
    "parkinson_ratio": (0.9, 1.25),  # range-based over open-to-close variance
    "range_ratio": (1.85, 2.25),  # mean log range over mean |open-to-close log return|
    "range_abs_return": (0.5, 0.75),  # corr(log range, |r|)
}


class Verdict(NamedTuple):
    """One fact of a set of panels against its band."""

    fact: str
    value: float  # median over panels
    low: float
    high: float
    passed: bool


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation along the first axis, [T, ...] -> [...]."""
    x, y = x - x.mean(0), y - y.mean(0)
    return (x * y).mean(0) / (x.square().mean(0) * y.square().mean(0)).sqrt()


def autocorrelation(x: Tensor, lag: int) -> Tensor:
    """Autocorrelation at one lag along the first axis, [T, ...] -> [...]; both ends share the overall mean."""
    x = x - x.mean(0)
    return (x[lag:] * x[:-lag]).sum(0) / x.square().sum(0)


def hill_index(x: Tensor, share: float = 0.05) -> Tensor:
    """Tail exponent of |x| from its largest `share` values, [T, A] -> [A].

    1 / mean(log(x_(i) / x_(k+1)), i = 1..k), order statistics descending. Hill (1975), Annals of Statistics 3:1163.
    """
    count = max(2, int(share * len(x)))
    top = x.abs().topk(count + 1, dim=0).values.clamp_min(1e-12).log()  # [k+1, A]
    return 1.0 / (top[:-1] - top[-1]).mean(0)


def excess_kurtosis(x: Tensor) -> Tensor:
    """Fourth standardised moment minus 3, [T, ...] -> [...]."""
    x = x - x.mean(0)
    return x.pow(4).mean(0) / x.square().mean(0).square() - 3.0


def stylized_facts(bars: Tensor) -> dict[str, float]:
    """All facts of BANDS for one panel of daily bars [T, A, 6] with at least two assets; the medians over assets."""
    if bars.dim() != 3 or bars.shape[0] < 100 or bars.shape[1] < 2:
        raise ValueError(
            f"stylised facts need bars [T >= 100, A >= 2, 6], found {tuple(bars.shape)}; give a longer panel"
        )
    r = bars[..., CLOSE].log().diff(dim=0)  # [T-1, A]
    log_volume = bars[1:, :, VOLUME].clamp_min(1e-9).log()
    log_range = (bars[1:, :, HIGH] / bars[1:, :, LOW]).log()
    return {
        **_tail_facts(r),
        **_memory_facts(r),
        **_volume_facts(r, log_volume),
        **_panel_facts(r),
        "overnight_share": _median(_overnight_share(bars)),
        **_range_facts(bars[1:], r, log_range),
    }


def judge(panels: Sequence[dict[str, float]]) -> list[Verdict]:
    """Median of every fact over panels (`stylized_facts` of each) against its band."""
    verdicts = []
    for fact, (low, high) in BANDS.items():
        value = torch.tensor([panel[fact] for panel in panels], dtype=torch.float64).median().item()
        verdicts.append(Verdict(fact, value, low, high, low <= value <= high))
    return verdicts


def _median(x: Tensor) -> float:
    return x.quantile(0.5).item()


def _tail_facts(r: Tensor) -> dict[str, float]:
    daily = excess_kurtosis(r)  # [A]
    months = r[: len(r) // 20 * 20].unflatten(0, (-1, 20)).sum(1)  # [T/20, A]
    centred = r - r.mean(0)
    return {
        "hill_index": _median(hill_index(r)),
        "excess_kurtosis": _median(daily),
        # A panel without fat tails has nothing to converge from: it fails by an infinite ratio.
        "kurtosis_ratio_20_days": _median(excess_kurtosis(months)) / _median(daily)
        if _median(daily) > 0.2
        else float("inf"),
        "skew": _median(centred.pow(3).mean(0) / centred.square().mean(0).pow(1.5)),
    }


def _memory_facts(r: Tensor) -> dict[str, float]:
    size, index = r.abs(), r.mean(1)
    lags = torch.arange(1, 41, dtype=r.dtype, device=r.device)
    pooled = torch.stack([autocorrelation(size, int(k)).mean() for k in lags]).clamp_min(1e-3)  # [40]
    x, y = lags.log() - lags.log().mean(), pooled.log() - pooled.log().mean()
    return {
        "acf_return_1": _median(autocorrelation(r, 1)),
        "acf_return_size": _median(torch.stack([autocorrelation(r, k).abs() for k in range(1, 11)]).mean(0))
        * len(r) ** 0.5,
        **{f"acf_abs_{k}": _median(autocorrelation(size, k)) for k in (1, 5, 20)},
        "acf_abs_decay": -((x * y).sum() / x.square().sum()).item(),
        "leverage_stock": _median(_leverage(r)),
        "leverage_index": _leverage(index[:, None]).item(),
    }


def _leverage(r: Tensor) -> Tensor:
    """Mean over k = 1..5 of corr(r[t], |r[t+k]|), [T, A] -> [A]: negative where falls foretell volatility."""
    return torch.stack([correlation(r[:-k], r[k:].abs()) for k in range(1, 6)]).mean(0)


def _volume_facts(r: Tensor, log_volume: Tensor) -> dict[str, float]:
    return {
        "volume_abs_return": _median(correlation(log_volume, r.abs())),
        "volume_sd": _median(log_volume.std(0)),
        "acf_volume_1": _median(autocorrelation(log_volume, 1)),
        "acf_volume_20": _median(autocorrelation(log_volume, 20)),
        "volume_return": _median(correlation(log_volume, r)),
    }


def _panel_facts(r: Tensor) -> dict[str, float]:
    num_bars, num_assets = r.shape
    matrix = torch.corrcoef(r.T)
    modes = torch.linalg.eigvalsh(matrix)  # [A] ascending
    edge = (1.0 + (num_assets / num_bars) ** 0.5) ** 2  # Marchenko & Pastur (1967): largest eigenvalue of pure noise
    above = torch.triu_indices(num_assets, num_assets, 1)
    return {
        "pair_correlation": _median(matrix[above[0], above[1]]),
        "first_mode_share": modes[-1].item() / num_assets,
        "modes_above_noise": float((modes > edge).sum()),
        "abs_correlation": _median(torch.corrcoef(r.abs().T)[above[0], above[1]]),
    }


def _overnight_share(bars: Tensor) -> Tensor:
    night = (bars[1:, :, OPEN] / bars[:-1, :, CLOSE]).log().var(0)
    day = (bars[1:, :, CLOSE] / bars[1:, :, OPEN]).log().var(0)
    return night / (night + day)


def _range_facts(bars: Tensor, r: Tensor, log_range: Tensor) -> dict[str, float]:
    day = (bars[..., CLOSE] / bars[..., OPEN]).log()
    # Parkinson (1980), Journal of Business 53:61: the variance of a driftless path from its range alone.
    parkinson = log_range.square().mean(0) / (4.0 * torch.log(torch.tensor(2.0, dtype=r.dtype)))
    return {
        "parkinson_ratio": _median(parkinson / day.square().mean(0)),
        "range_ratio": _median(log_range.mean(0) / day.abs().mean(0)),
        "range_abs_return": _median(correlation(log_range, r.abs())),
    }
