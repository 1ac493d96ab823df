"""Episodes within rollouts, against a walk through them market by market."""

import torch

from arena.rl.ppo.episodes import follow, none_running
from arena.rl.types import Rollout

STEPS, MARKETS, AGENTS = 40, 5, 3


def lives(seed=0):
    """Random episodes of every market: agents die, wait for the others, and all are cut off or end with the last."""
    generator = torch.Generator().manual_seed(seed)
    alive = torch.ones(MARKETS, AGENTS, dtype=torch.bool)
    records, expected, resets = [], [], []
    returns, length = torch.zeros(MARKETS, AGENTS), torch.zeros(MARKETS)
    for step in range(STEPS):
        reward = torch.randn(MARKETS, AGENTS, generator=generator)
        dies = torch.rand(MARKETS, AGENTS, generator=generator) < 0.1
        cut = (torch.rand(MARKETS, 1, generator=generator) < 0.1).expand(-1, AGENTS)
        records.append((reward, dies, cut, alive))
        returns, length = returns + torch.where(alive, reward, 0.0), length + 1
        left = alive & ~dies & ~cut
        over = ~left.any(-1)
        if over.any():
            resets.append(step)
        for market in over.nonzero().flatten().tolist():
            expected.append((returns[market].clone(), float(length[market])))
            returns[market], length[market], left[market] = 0.0, 0.0, True
        alive = left
    return [torch.stack(field) for field in zip(*records)], alive, resets, expected, (returns, length)


def part(fields, begin, end, resets):
    """The steps begin .. end as a rollout; only what `follow` reads."""
    reward, terminated, truncated, valid = (field[begin:end] for field in fields)
    nothing = torch.zeros(0)
    steps = tuple(step - begin for step in resets if begin <= step < end)
    return Rollout(
        *[nothing] * 5, reward, terminated, truncated, valid, last_obs=nothing, final_obs=nothing, final_steps=steps
    )


def test_episodes_are_those_of_a_walk_however_the_steps_are_cut_into_rollouts():
    fields, alive, resets, expected, rest = lives()
    running, returns, lengths = none_running(MARKETS, AGENTS), [], []
    for begin, end in ((0, 7), (7, 8), (8, 25), (25, STEPS)):
        after = fields[3][end] if end < STEPS else alive
        finished, running = follow(running, part(fields, begin, end, resets), after)
        returns.append(finished.episode_return)
        lengths.append(finished.length)
    torch.testing.assert_close(torch.cat(returns), torch.stack([episode for episode, _ in expected]))
    assert torch.cat(lengths).tolist() == [length for _, length in expected]
    assert len(expected) > 10
    torch.testing.assert_close(running.episode_return, rest[0])
    assert running.length.tolist() == rest[1].tolist()
