"""What a step is worth to a seat, and how much of that was luck."""

from torch import Tensor

from arena.market.types import MarketState, Quotes
from arena.metrics import utility


def growth_reward(nav: Tensor, new_nav: Tensor, initial_nav: Tensor) -> Tensor:
    """u(nav'/nav_0) - u(nav/nav_0) [B, N]: telescopes to the score of the episode.

    nav, new_nav [B, N], initial_nav [B, 1]; u is arena.metrics.utility (log growth, straight below a quarter of the
    initial wealth so that ruin stays finite and costly). A telescoping reward leaves optimal policies unchanged
    (Ng, Harada, Russell 1999, ICML).
    """
    return utility(new_nav / initial_nav) - utility(nav / initial_nav)


def surprise(
    before: MarketState, quotes: Quotes, after: MarketState, expected_open: Tensor, expected_close: Tensor
) -> Tensor:
    """What unforeseeable price moves gave each seat in a step [B, N], currency; its mean given the past is 0.

        sum over assets of  h_t (S_open - E S_open) + h_{t+1} (S_close - E[S_close | S_open])

    h_t, h_{t+1}  positions before and after the fills [shares]: both are known before the move they are paid for
    """
    overnight = before.position * (quotes.fill_price - expected_open).unsqueeze(-2)
    intraday = after.position * (quotes.next_ref_price - expected_close).unsqueeze(-2)
    return (overnight + intraday).sum(-1)
