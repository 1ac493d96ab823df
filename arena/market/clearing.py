"""Who gets how much in one bar: internal crossing, a cap on outside liquidity, the uniform rule per owner."""

import torch
from torch import Tensor

from arena.market.storage import reduce, total

# Up to this many claimants the level is found by comparing all pairs, which a compiler fuses into one pass over
# memory; beyond, by sorting, whose memory does not grow with the square of the number of claimants.
MAX_PAIRWISE = 16


def clear(orders: Tensor, capacity: Tensor, owners: tuple[int, ...] | None = None) -> Tensor:
    """Fills [B, N, A] of simultaneous signed orders [B, N, A], all in shares.

    Buys and sells cross internally first and are always filled. Outsiders take at most `capacity` [B, A] of the rest.
    The lighter side is filled whole; the heavier one gets crossed + min(|net|, capacity), rationed by the uniform rule
    x_i = min(o_i, L): the only anonymous, efficient and strategy-proof rule for single-peaked wants (Sprumont 1991,
    Econometrica 59; Ching 1994, Soc. Choice Welf. 11). Claims are rationed per owner, so extra seats gain nothing.
    """
    buys, sells = orders.clamp(min=0.0), (-orders).clamp(min=0.0)
    total_buys, total_sells = total(buys, -2), total(sells, -2)
    net = total_buys - total_sells
    binding = net.abs() > capacity  # [B, A]
    buying = net > 0
    claims = torch.where(buying.unsqueeze(-2), buys, sells)  # of the heavier side
    amount = torch.minimum(total_buys, total_sells) + capacity  # what the heavier side gets where the cap binds
    granted = uniform_rule(claims, amount) if owners is None else _per_owner(claims, amount, owners)
    rationed = torch.where(buying.unsqueeze(-2), granted - sells, buys - granted)
    return torch.where(binding.unsqueeze(-2), rationed, orders)  # unrationed orders stay exact to the last bit


def uniform_rule(claims: Tensor, amount: Tensor) -> Tensor:
    """min(claim_i, L) with L such that the sum is `amount`; claims [..., N, A] >= 0, amount [..., A] < their sum.

    Where amount >= sum of claims the result means nothing but stays finite.
    """
    with torch.no_grad():
        find_level = _level_pairwise if claims.shape[-2] <= MAX_PAIRWISE else _level_sorted
        level = find_level(claims, amount)  # [..., A]
        rationed = claims >= level.unsqueeze(-2)
    # Same level once more, now with a gradient: who is rationed is locally constant, how much is not.
    unrationed_sum = total(torch.where(rationed, 0.0, claims), -2)
    level = (amount - unrationed_sum) / total(rationed.to(claims.dtype), -2).clamp(min=1.0)
    return torch.where(rationed, level.unsqueeze(-2), claims)


def _level_pairwise(claims: Tensor, amount: Tensor) -> Tensor:
    """L = max_i (amount - sum of claims below claim_i) / number of claims not below claim_i."""
    below = claims.unsqueeze(-3) < claims.unsqueeze(-2)  # [..., i, j, A] claim_j < claim_i
    sum_below = total(torch.where(below, claims.unsqueeze(-3), 0.0), -2)
    count = claims.shape[-2] - total(below.to(claims.dtype), -2)
    return reduce(torch.amax, (amount.unsqueeze(-2) - sum_below) / count, -2)


def _level_sorted(claims: Tensor, amount: Tensor) -> Tensor:
    """The same level from sorted claims: O(N log N) time, O(N) memory."""
    ascending = claims.sort(-2).values
    sum_below = ascending.cumsum(-2) - ascending
    count = torch.arange(claims.shape[-2], 0, -1, device=claims.device).unsqueeze(-1)
    return ((amount.unsqueeze(-2) - sum_below) / count).amax(-2)


def _per_owner(claims: Tensor, amount: Tensor, owners: tuple[int, ...]) -> Tensor:
    """Ration among owners first, then each owner's grant among its seats."""
    seats_of = [[seat for seat, owner in enumerate(owners) if owner == name] for name in dict.fromkeys(owners)]
    width = max(map(len, seats_of))
    nobody = len(owners)  # pads short rows; points at a claim of 0
    table = torch.tensor([seats + [nobody] * (width - len(seats)) for seats in seats_of], device=claims.device)
    padded = torch.cat([claims, torch.zeros_like(claims[..., :1, :])], -2)[..., table, :]  # [..., O, K, A]
    owner_claims = padded.sum(-2)
    owner_grants = uniform_rule(owner_claims, amount)  # [..., O, A]
    within = uniform_rule(padded, owner_grants)
    granted = torch.where((owner_grants < owner_claims).unsqueeze(-2), within, padded)
    place = torch.empty(nobody + 1, dtype=torch.long, device=claims.device)
    place[table.flatten()] = torch.arange(table.numel(), device=claims.device)
    return granted.flatten(-3, -2)[..., place[:nobody], :]
