"""What a synthetic market is like: plain numbers, tuned to the stylised facts of `arena.data.synthetic.stylized`."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SyntheticParams:
    """What a synthetic market is like. Defaults: daily bars with a weak signal (signal mode); `fair` removes it."""

    num_assets: int = 8
    num_bars: int = 180  # warm-up and episode together
    bars_per_day: int = 1
    drift_per_year: float = 0.06  # mean simple return of every asset
    signal_ic: float = 0.08  # correlation of the predictable part with the open-to-close return
    signal_half_life: float = 20.0  # [trading days]
    killed_per_year: float = 0.0  # hazard of a delisting per asset
    killed_return: float = -0.3  # its overnight return, paid for by the survivors' mean
    initial_price: float = 100.0  # close before bar 0
    price_spread: float = 0.0  # standard deviation of log initial prices across assets
    daily_volatility: float = 0.016  # median over assets [1/sqrt(day)]
    volatility_spread: float = 0.25  # standard deviation of its logarithm
    adv: float = 2.0e6  # median over assets [shares/day]
    adv_spread: float = 0.7  # standard deviation of its logarithm
    num_sectors: int = 4
    market_share: float = 0.30  # of an asset's variance, on average
    sector_share: float = 0.12
    overnight_share: float = 0.33  # of a day's variance
    # Three numbers: market, sectors, idiosyncratic.
    dof: tuple[float, float, float] = (8.0, 6.0, 4.0)  # of the t tails, even or inf
    log_volatility_sd: tuple[float, float, float] = (0.65, 0.60, 0.60)
    leverage: tuple[float, float, float] = (-0.70, -0.15, -0.15)
    log_volatility_mix: tuple[float, float, float] = (0.45, 0.30, 0.25)  # variance shares of the three half-lives
    # Logarithm of volume.
    volume_variance_slope: float = 0.40  # on the log of the bar's realised variance ratio
    volume_return_slope: float = -0.02  # on the standardised return
    volume_sd: tuple[float, float, float, float] = (0.18, 0.20, 0.10, 0.05)  # AR 2.5 d, AR 60 d, market AR 10 d, noise

    def __post_init__(self) -> None:
        for name in ("num_assets", "num_bars", "bars_per_day", "num_sectors"):
            if getattr(self, name) < 1:
                raise ValueError(f"SyntheticParams.{name} is {getattr(self, name)}, expected at least 1")
        if any(math.isfinite(nu) and (nu < 4 or nu % 2) for nu in self.dof):
            raise ValueError(f"SyntheticParams.dof is {self.dof}, expected even numbers from 4 on or inf")
        if not 0.0 <= self.market_share + self.sector_share <= 0.49:
            raise ValueError(  # an asset's shares vary up to twice their average
                f"SyntheticParams has market_share + sector_share = {self.market_share + self.sector_share}, "
                "expected at most 0.49 so that every asset keeps variance of its own"
            )
        if not 0.0 <= self.signal_ic < 0.5 or not -0.9 < self.killed_return < 0.0:
            raise ValueError(
                f"SyntheticParams has signal_ic {self.signal_ic} and killed_return {self.killed_return}, "
                "expected 0 <= signal_ic < 0.5 and -0.9 < killed_return < 0"
            )

    @property
    def dt(self) -> float:
        """Bar length [trading days]."""
        return 1.0 / self.bars_per_day


def fair(params: SyntheticParams) -> SyntheticParams:
    """The same market without drift and signal: every price is a martingale, and nothing can be earned on average."""
    return replace(params, drift_per_year=0.0, signal_ic=0.0)
