"""Clearing: internal crossing, the cap on outside liquidity, the uniform rule per owner."""

from collections import defaultdict
from itertools import pairwise
from math import inf
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from water_filling import cross_and_fill, water_fill

from arena.market import clearing
from arena.market.clearing import clear, uniform_rule

EXACT = 1e-12  # of the largest order: float64 sums of up to 40 claims in another order
LAW = settings(max_examples=200, deadline=None, derandomize=True)

# Round numbers tie often, the rest never do.
SHARES = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 5.0]), st.floats(1e-3, 1e3))
ORDERS = st.lists(
    st.tuples(st.sampled_from([-1.0, 1.0]), SHARES).map(lambda pair: pair[0] * pair[1]), min_size=1, max_size=8
)
CAPACITY = st.one_of(st.sampled_from([0.0, 1.0, inf]), st.floats(1e-3, 1e3))


def fills(orders: list[float], capacity: float, owners: tuple[int, ...] | None = None) -> list[float]:
    """The shipped rule on one market with one asset."""
    shares = torch.tensor(orders, dtype=torch.float64).reshape(1, -1, 1)
    return clear(shares, torch.tensor([[capacity]], dtype=torch.float64), owners).flatten().tolist()


def tolerance(orders: list[float]) -> float:
    return EXACT * max(1.0, *map(abs, orders))


@LAW
@given(ORDERS, CAPACITY)
def test_equals_water_filling(orders: list[float], capacity: float) -> None:
    assert fills(orders, capacity) == pytest.approx(cross_and_fill(orders, capacity), abs=tolerance(orders), rel=0)


@LAW
@given(st.lists(SHARES, min_size=17, max_size=40).filter(any), st.floats(0, 0.999))
def test_many_seats_equal_water_filling(claims: list[float], share: float) -> None:
    amount = share * sum(claims)
    glasses = torch.tensor(claims, dtype=torch.float64).unsqueeze(-1)
    granted = uniform_rule(glasses, torch.tensor([amount], dtype=torch.float64))
    assert granted.flatten().tolist() == pytest.approx(water_fill(claims, amount), abs=tolerance(claims), rel=0)


@pytest.mark.parametrize("num_agents", [1, 2, 3, 16, 17, 40])
def test_pairwise_level_equals_sorted_level(num_agents: int) -> None:
    generator = torch.Generator().manual_seed(num_agents)
    claims = torch.rand(50, num_agents, 3, generator=generator, dtype=torch.float64)
    claims = torch.where(claims < 0.3, claims.round(decimals=1), claims)  # ties, zeros included
    amount = claims.sum(-2) * torch.rand(50, 3, generator=generator, dtype=torch.float64)
    by_pairs, by_sorting = clearing._level_pairwise(claims, amount), clearing._level_sorted(claims, amount)
    torch.testing.assert_close(by_pairs, by_sorting, rtol=EXACT, atol=EXACT)


@LAW
@given(ORDERS, CAPACITY)
def test_lighter_side_is_filled_and_heavier_side_takes_all_there_is(orders: list[float], capacity: float) -> None:
    got = fills(orders, capacity)
    net = sum(orders)
    lighter = [(f, o) for f, o in zip(got, orders) if o * net < 0]
    assert all(f == o for f, o in lighter)
    expected_net = max(-capacity, min(net, capacity))
    assert sum(got) == pytest.approx(expected_net, abs=len(orders) * tolerance(orders), rel=0)
    assert all(f * o >= 0 and abs(f) <= abs(o) + tolerance(orders) for f, o in zip(got, orders))


@LAW
@given(ORDERS, CAPACITY, st.data())
def test_no_lie_brings_a_seat_closer_to_its_want(orders: list[float], capacity: float, data: st.DataObject) -> None:
    """Strategy-proof: |fill - want| is smallest when the order is the want, whatever the others order."""
    seat = data.draw(st.integers(0, len(orders) - 1))
    lie = data.draw(
        st.one_of(st.floats(-3e3, 3e3), st.sampled_from([0.5, 2.0, 4.0, 8.0]).map(lambda k: k * orders[seat]))
    )
    told = [*orders[:seat], lie, *orders[seat + 1 :]]
    want = orders[seat]
    honest, lying = abs(fills(orders, capacity)[seat] - want), abs(fills(told, capacity)[seat] - want)
    assert lying >= honest - 10 * tolerance([*orders, lie])


def test_over_ordering_gains_nothing_where_pro_rata_would_pay() -> None:
    """Two seats want 1 each of a capacity of 1; the first orders 1, 2, 4, 8 times its want."""
    uniform = [fills([k, 1.0], 1.0)[0] for k in (1.0, 2.0, 4.0, 8.0)]
    pro_rata = [k / (k + 1.0) for k in (1.0, 2.0, 4.0, 8.0)]
    assert uniform == pytest.approx([0.5] * 4, abs=EXACT)
    assert pro_rata[-1] > 0.88


@LAW
@given(ORDERS, CAPACITY, st.data())
def test_splitting_over_seats_of_one_owner_gains_nothing(
    orders: list[float], capacity: float, data: st.DataObject
) -> None:
    """Sybil-proof: an owner's total fill does not come closer to its want by splitting, over-ordering or washing."""
    want = orders[0]
    num_seats = data.draw(st.integers(2, 4))
    others = tuple(range(1, len(orders)))
    honest = fills(orders, capacity, (0, *others))[0]
    same_total = [want / num_seats] * num_seats
    split = fills([*same_total, *orders[1:]], capacity, (0,) * num_seats + others)[:num_seats]
    assert sum(split) == pytest.approx(honest, abs=10 * tolerance(orders), rel=0)
    anything = data.draw(st.lists(st.floats(-2e3, 2e3), min_size=num_seats, max_size=num_seats))
    lying = sum(fills([*anything, *orders[1:]], capacity, (0,) * num_seats + others)[:num_seats])
    assert abs(lying - want) >= abs(honest - want) - 10 * tolerance([*orders, *anything])


def test_splitting_pays_without_owners() -> None:
    """The control: the same split by seats that count as strangers takes more, so the law above can fail."""
    assert fills([1.0, 1.0], 1.0)[0] == pytest.approx(0.5)
    assert sum(fills([0.5, 0.5, 1.0], 1.0)[:2]) == pytest.approx(2 / 3)
    assert sum(fills([0.5, 0.5, 1.0], 1.0, (0, 0, 1))[:2]) == pytest.approx(0.5)


@LAW
@given(ORDERS, CAPACITY, st.data())
def test_owners_are_rationed_as_if_each_were_one_seat(
    orders: list[float], capacity: float, data: st.DataObject
) -> None:
    """Against plain Python: ration claims summed by owner, then each owner's grant among its own seats."""
    owners = tuple(data.draw(st.lists(st.integers(0, 3), min_size=len(orders), max_size=len(orders))))
    side = 1.0 if sum(orders) > 0 else -1.0
    claims = [max(side * o, 0.0) for o in orders]
    amount = sum(max(-side * o, 0.0) for o in orders) + capacity
    expected = list(orders)
    if sum(claims) > amount:
        by_owner: dict[int, float] = defaultdict(float)
        for owner, claim in zip(owners, claims):
            by_owner[owner] += claim
        grants = dict(zip(by_owner, water_fill(list(by_owner.values()), amount)))
        for owner, grant in grants.items():
            seats = [i for i, name in enumerate(owners) if name == owner and claims[i] > 0]
            for i, got in zip(seats, water_fill([claims[i] for i in seats], grant)):
                expected[i] = side * got
    assert fills(orders, capacity, owners) == pytest.approx(expected, abs=10 * tolerance(orders), rel=0)


@LAW
@given(ORDERS, CAPACITY, st.randoms(use_true_random=False))
def test_anonymous(orders: list[float], capacity: float, random: Random) -> None:
    """Seats have no names: exchanging the orders exchanges the fills, and equal orders get equal fills."""
    order = list(range(len(orders)))
    random.shuffle(order)
    got, shuffled = fills(orders, capacity), fills([orders[i] for i in order], capacity)
    assert shuffled == pytest.approx([got[i] for i in order], abs=tolerance(orders), rel=0)
    for i, j in pairwise(order):
        assert orders[i] != orders[j] or got[i] == got[j]


@LAW
@given(ORDERS, CAPACITY)
def test_buying_mirrors_selling(orders: list[float], capacity: float) -> None:
    assert fills([-o for o in orders], capacity) == [-f for f in fills(orders, capacity)]


def test_no_capacity_leaves_internal_crossing() -> None:
    assert fills([5.0, 1.0, -4.0], 0.0) == pytest.approx([3.0, 1.0, -4.0], abs=EXACT)
    assert fills([5.0, 1.0], 0.0) == [0.0, 0.0]


def test_infinite_capacity_fills_every_order_to_the_last_bit() -> None:
    orders = [0.1, 1 / 3, -7e7, 1e-9]
    assert fills(orders, inf) == orders


def test_uncapped_rows_do_not_depend_on_capped_ones() -> None:
    """An order that fits is filled exactly, whatever happens in the other markets and assets of the batch."""
    orders = torch.tensor([[[0.1, 9.0], [0.2, 9.0]], [[9.0, 0.1], [9.0, -0.3]]], dtype=torch.float64)
    got = clear(orders, torch.ones(2, 2, dtype=torch.float64))
    assert torch.equal(got[0, :, 0], orders[0, :, 0])
    assert torch.equal(got[1, :, 1], orders[1, :, 1])
    torch.testing.assert_close(got[0, :, 1], torch.tensor([0.5, 0.5], dtype=torch.float64), rtol=0, atol=EXACT)


@pytest.mark.parametrize("owners", [None, (0, 0, 1, 1, 2)])
@pytest.mark.parametrize("capacity", [0.0, 1.0, inf])
def test_gradients_are_finite(owners: tuple[int, ...] | None, capacity: float) -> None:
    """With ties, zeros and both sides in one batch; rationed orders have no gradient where all of a side is capped."""
    orders = torch.tensor([[0.0] * 5, [1.0] * 5, [3.0, 1.0, -2.0, 0.0, 0.5], [-1.0, -1.0, -9.0, 0.0, 2.0]])
    orders = orders.double().unsqueeze(-1).requires_grad_()
    got = clear(orders, torch.full((4, 1), capacity, dtype=torch.float64), owners)
    (gradient,) = torch.autograd.grad((got * torch.arange(1.0, 6.0).unsqueeze(-1)).sum(), orders)
    assert torch.isfinite(gradient).all()
    if capacity == 1.0 and owners is None:
        assert (gradient[1] == 0).all()  # five equal buyers, each gets 1/5 whatever it orders


def test_gradient_matches_finite_differences_inside_a_regime() -> None:
    """Two rationed buyers, one small buyer, one seller: the seller's shares and the small buyer's move the level."""
    orders = torch.tensor([[[5.0], [4.0], [0.5], [-2.0]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda o: clear(o, torch.ones(1, 1, dtype=torch.float64)), (orders,))


class LargestTensor(TorchDispatchMode):
    """Records the size of the largest tensor any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.num_entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, Tensor):
                self.num_entries = max(self.num_entries, part.numel())
        return result


@pytest.mark.parametrize("owners", [None, tuple(seat // 5 for seat in range(100))], ids=["seats", "owners of five"])
def test_memory_is_linear_in_seats(owners: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 seats x 100 assets x 8 markets: no [B, N, N, A] tensor. The pairwise level makes one, so this can fail."""
    orders = torch.randn(8, 100, 100, generator=torch.Generator().manual_seed(0))
    capacity = torch.full((8, 100), 2.0)
    linear = 8 * (100 + 1) * 100  # [B, N, A] and the padding row
    with LargestTensor() as shipped:
        got = clear(orders, capacity, owners)
    torch.testing.assert_close(got.sum(-2), orders.sum(-2).clamp(-2, 2), rtol=0, atol=1e-4)  # float32 sum of 100 claims
    within_owner = 5 if owners else 1  # seats of one owner are compared pairwise, which is 5 per seat
    assert shipped.num_entries <= within_owner * linear
    monkeypatch.setattr(clearing, "MAX_PAIRWISE", 1000)
    if owners is None:
        with LargestTensor() as all_pairs:
            clear(orders, capacity, owners)
        assert all_pairs.num_entries >= 100 * 8 * 100 * 100
