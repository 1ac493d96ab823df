"""Disjoint seeds of synthetic scenarios: what a policy is trained on is never what it is ranked on."""

from typing import Literal

from arena.data.synthetic.noise import MAX_SEED

Role = Literal["train", "validation", "ranking"]

# First seed and size of each range; together they are all seeds there are, none in two ranges.
SEED_RANGES: dict[Role, tuple[int, int]] = {
    "train": (0, 2**31),
    "validation": (2**31, 2**30),
    "ranking": (2**31 + 2**30, MAX_SEED - 2**31 - 2**30),
}


def scenario_seeds(role: Role, count: int, offset: int = 0) -> tuple[int, ...]:
    """`count` consecutive seeds of a role's range, from its `offset`-th on."""
    first, size = SEED_RANGES[role]
    if not 0 <= offset <= offset + count <= size:
        raise ValueError(
            f"seeds {offset} .. {offset + count - 1} leave the {size} of role {role!r}; use a smaller offset"
        )
    return tuple(range(first + offset, first + offset + count))
