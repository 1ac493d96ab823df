"""The byte budget holds, and what was used last is forgotten last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.forecast.serving.lru import ENTRY_BYTES, ByteLRU


def test_the_least_recently_used_goes_first():
    memory = ByteLRU(3 * (ENTRY_BYTES + 10))
    for key in "abc":
        memory.put(key, bytes(10))
    assert memory.get("a") is not None  # now b is the oldest
    memory.put("d", bytes(10))
    assert [key for key in "abcd" if memory.get(key) is not None] == ["a", "c", "d"]
    assert memory.evictions == 1


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2000), st.booleans())), st.integers(0, 6000))
def test_it_is_a_dict_with_a_budget(operations, max_bytes):
    """Against a list of (key, size), last used last."""
    memory = ByteLRU(max_bytes)
    held: list[tuple[str, int]] = []
    for key, size, is_put in operations:
        if is_put:
            memory.put(key, bytes(size))
            held = [entry for entry in held if entry[0] != key]
            cost = size + ENTRY_BYTES
            while cost <= max_bytes < cost + sum(s + ENTRY_BYTES for _, s in held):
                held.pop(0)
            if cost <= max_bytes:
                held.append((key, size))
        else:
            found = memory.get(key)
            own = [entry for entry in held if entry[0] == key]
            assert (found is None) == (not own)
            if own:
                assert found == bytes(own[0][1])
                held = [entry for entry in held if entry[0] != key] + own
        assert memory.bytes_used == sum(s + ENTRY_BYTES for _, s in held) <= max_bytes
        assert len(memory) == len(held)


def test_what_exceeds_the_whole_budget_costs_nobody_his_place():
    memory = ByteLRU(2000)
    memory.put("a", bytes(10))
    memory.put("b", bytes(3000))
    assert memory.get("a") == bytes(10)
    assert memory.get("b") is None


def test_a_negative_budget_is_refused():
    with pytest.raises(ValueError, match="max_bytes is -1"):
        ByteLRU(-1)
