"""What a step is worth to a seat."""

from torch import Tensor

from arena.metrics import utility


def growth_reward(nav: Tensor, new_nav: Tensor, initial_nav: Tensor) -> Tensor:
    """u(nav'/nav_0) - u(nav/nav_0) [B, N]: telescopes to the score of the episode.

    nav, new_nav [B, N], initial_nav [B, 1]; u is arena.metrics.utility (log growth, straight below a quarter of the
    initial wealth so that ruin stays finite and costly). A telescoping reward leaves optimal policies unchanged
    (Ng, Harada, Russell 1999, ICML).
    """
    return utility(new_nav / initial_nav) - utility(nav / initial_nav)
