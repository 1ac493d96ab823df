import pytest
import torch

from arena.rl.ppo.gae import gae, next_values

STEPS, MARKETS, AGENTS = 9, 4, 3
SHAPE = (STEPS, MARKETS, AGENTS)


def random_case(seed=0, ends=0.3):
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    def coin(chance):
        return torch.rand(SHAPE, generator=generator) < chance

    return normal(*SHAPE), normal(*SHAPE), normal(*SHAPE), coin(ends), coin(ends), ~coin(0.2)


def by_double_loop(reward, value, next_value, terminated, truncated, valid, discount, gae_lambda):
    """A_t = sum_k (discount lambda)**k delta_{t+k} up to the first end, one stream at a time."""
    advantage = torch.zeros_like(reward)
    for b in range(reward.shape[1]):
        for n in range(reward.shape[2]):
            for t in range(len(reward)):
                weight = 1.0
                for k in range(t, len(reward)):
                    if not valid[k, b, n]:
                        break
                    beyond = 0.0 if terminated[k, b, n] else next_value[k, b, n]
                    advantage[t, b, n] += weight * (reward[k, b, n] + discount * beyond - value[k, b, n])
                    if terminated[k, b, n] or truncated[k, b, n]:
                        break
                    weight *= discount * gae_lambda
    return advantage


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_double_sum_stream_by_stream(seed):
    case = random_case(seed)
    advantage, target = gae(*case, 0.9, 0.8)
    torch.testing.assert_close(advantage, by_double_loop(*case, 0.9, 0.8))
    torch.testing.assert_close(target, advantage + case[1])


def test_lambda_0_is_the_one_step_error_and_lambda_1_the_return_minus_the_value():
    reward, value, next_value, terminated, _, _ = random_case(ends=0.0)
    all_valid = torch.ones(SHAPE, dtype=torch.bool)
    next_value = torch.cat([value[1:], next_value[-1:]])
    flags = (terminated, terminated, all_valid)
    one_step, _ = gae(reward, value, next_value, *flags, 0.9, 0.0)
    torch.testing.assert_close(one_step, reward + 0.9 * next_value - value)
    _, target = gae(reward, value, next_value, *flags, 0.9, 1.0)
    powers = 0.9 ** torch.arange(STEPS + 1, dtype=torch.float64)
    expected = (powers[:-1, None, None] * reward).sum(0) + powers[-1] * next_value[-1]
    torch.testing.assert_close(target[0], expected)


def test_a_right_value_function_leaves_no_advantage():
    """Reward 1 a step for ever, V = 1 / (1 - discount), cut off at random: bootstrapping must make it exact."""
    _, _, _, _, truncated, valid = random_case()
    value = torch.full(SHAPE, 10.0, dtype=torch.float64)
    advantage, target = gae(torch.ones_like(value), value, value, truncated & False, truncated, valid, 0.9, 0.95)
    torch.testing.assert_close(advantage, torch.zeros_like(value))
    torch.testing.assert_close(target, value)


def test_nothing_flows_over_an_end_nor_into_or_out_of_dead_rows():
    reward, value, next_value, terminated, truncated, valid = random_case()
    advantage, target = gae(reward, value, next_value, terminated, truncated, valid, 0.9, 0.95)
    assert (advantage[~valid] == 0).all()
    torch.testing.assert_close(target[~valid], value[~valid])
    wild = torch.where(valid, reward, 1e6)
    assert torch.equal(gae(wild, value, next_value, terminated, truncated, valid, 0.9, 0.95)[0], advantage)
    # What comes after an end in the stream's row of time cannot change what came before it.
    terminated[4] = True
    before, _ = gae(reward, value, next_value, terminated, truncated, valid, 0.9, 0.95)
    reward[5:] += 100.0
    after, _ = gae(reward, value, next_value, terminated, truncated, valid, 0.9, 0.95)
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5:], after[5:])


def test_next_values_look_at_the_final_observation_only_where_one_was_cut_off():
    _, value, _, _, truncated, _ = random_case()
    last, final = torch.full(SHAPE[1:], 7.0).double(), torch.full((2, *SHAPE[1:]), 9.0).double()
    truncated[:] = False
    truncated[2, 0], truncated[8, 1], truncated[3] = True, True, False
    following = next_values(value, last, final, (2, 8), truncated)
    for t in range(STEPS):
        expected = last if t == STEPS - 1 else value[t + 1]
        torch.testing.assert_close(following[t], torch.where(truncated[t], 9.0, expected))
