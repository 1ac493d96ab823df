import torch

from arena.rl.ppo import gaussian
from arena.rl.ppo.rollout import allocate, begin, collect
from arena.rl.types import EnvStep

STEPS = 7


class Counter:
    """obs counts what a stream has seen and done; agents die at their own time; all start anew every 5 steps."""

    num_markets, num_agents, num_assets, obs_dim = 3, 2, 2, 4

    def reset(self):
        self.age, self.total = 0, torch.zeros(3, 2, 2)
        return self._see()

    def step(self, action):
        self.age += 1
        self.total = self.total + action
        terminated = self._dead()
        final_obs = obs = self._see()
        reward = action.sum(-1) + self.age
        truncated = torch.full((3, 2), self.age == 5)
        if self.age == 5:
            obs = self.reset()
        return EnvStep(obs, reward, terminated, truncated, final_obs, ~self._dead())

    def _dead(self):
        return (torch.arange(6).view(3, 2) == 0) & (self.age >= 2)

    def _see(self):
        return torch.cat([self.total, torch.full((3, 2, 1), float(self.age)), torch.arange(6.0).view(3, 2, 1)], -1)


class Linear:
    def distribution(self, obs):
        return obs[..., :2] * 0.5 + 0.1 * obs[..., 2:], (0.1 * obs[..., 2:]).sin()


def test_a_rollout_is_the_loop_of_single_steps():
    env, policy = Counter(), Linear()
    stream = begin(env)
    out = allocate(env, stream, STEPS)
    generator = torch.Generator().manual_seed(3)
    kept = []
    for _ in range(2):
        rollout, stream = collect(env, policy, stream, out, generator)
        kept.append([field.clone() for field in rollout[:-1]] + [rollout.final_steps])

    env, generator = Counter(), torch.Generator().manual_seed(3)
    obs, alive = env.reset(), torch.ones(3, 2, dtype=torch.bool)
    for part in kept:
        rollout = rollout._make(part)
        finals = []
        for t in range(STEPS):
            mean, log_std = policy.distribution(obs)
            action = gaussian.sample(mean, log_std, generator)
            step = env.step(action)
            log_prob = gaussian.log_prob(mean, log_std, action)
            expected = (obs, action, mean, log_std, log_prob, step.reward, step.terminated, step.truncated, alive)
            for name, found, wanted in zip(rollout._fields, rollout, expected):
                assert torch.equal(found[t], wanted), f"{name} at step {t}"
            if step.truncated.any():
                finals.append((t, step.final_obs))
            obs, alive = step.obs, step.alive
        assert torch.equal(rollout.last_obs, obs)
        assert rollout.final_steps == tuple(t for t, _ in finals)
        for found, (_, wanted) in zip(rollout.final_obs, finals):
            assert torch.equal(found, wanted)
    assert not kept[0][8].all()  # somebody was dead for a while


def test_a_rollout_without_an_end_has_no_final_observations():
    env = Counter()
    stream = begin(env)
    rollout, _ = collect(env, Linear(), stream, allocate(env, stream, 3), torch.Generator())
    assert rollout.final_obs.shape == (0, 3, 2, 4)
    assert rollout.final_steps == ()
