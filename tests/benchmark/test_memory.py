"""Bytes of a market, by part."""

import pytest

from arena.bench.memory import Size, _bytes, kept, measure


def test_parts_are_what_their_shapes_say():
    found = kept(Size(num_agents=3, num_assets=2, history_length=40))
    assert found["observation_bytes"] == 3 * found["obs_dim"] * 4
    assert found["displayed_history_bytes"] == 2 * 40 * 6 * 2 * 4  # twice the length, six channels, float32
    assert found["state_bytes"] >= 3 * 2 * 4 + 3 * 3 * 4
    assert found["window_bytes"] > (64 + 120) * 8 * 2 * 4  # eight rows of the tape


@pytest.mark.slow
def test_a_step_needs_more_than_what_is_kept():
    found = measure(Size(num_agents=3, num_assets=2))
    least = found["state_bytes"] + found["displayed_history_bytes"] + found["observation_bytes"]
    assert least < found["peak_bytes"] < 20 * least


def test_a_storage_counts_once():
    import torch

    tensor = torch.zeros(10)
    assert _bytes((tensor, tensor[:5], [tensor.view(2, 5)], 7)) == 40
