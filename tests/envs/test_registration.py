"""`arena/Market-v0`: the environment that `gymnasium.make` knows, its checkers, and a spec that makes it again."""

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from arena.envs.registration import MARKET, make_env
from arena.envs.single import ArenaEnv

ROOT = Path(__file__).parent.parent.parent
SMALL = {"opponents": ["cash", "momentum"], "num_assets": 3, "episode_length": 8}
NOT_NORMALIZED = ".*symmetric and normalized.*"  # weights reach beyond 1: that is leverage


def play(env, seed=5):
    """The observation of every step, and the number of steps, with constant actions."""
    obs, _ = env.reset(seed=seed)
    seen, over = [obs], False
    while not over:
        obs, _, terminated, truncated, _ = env.step(np.full(env.action_space.shape, 0.2, np.float32))
        seen.append(obs)
        over = terminated or truncated
    return np.stack(seen)


def test_its_defaults_are_those_of_arena_env():
    np.testing.assert_array_equal(play(gymnasium.make(MARKET)), play(ArenaEnv()))


@pytest.mark.parametrize("name", ["arena:arena/Market-v0", "arena/Market-v0"])
def test_a_fresh_process_makes_it(name):
    """With `module:` Gymnasium imports arena itself."""
    before = "" if ":" in name else "import arena\n"
    program = f"{before}import gymnasium\nprint(gymnasium.make({name!r}).reset(seed=0))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "'window'" in done.stdout


def test_a_spec_makes_it_again():
    env = gymnasium.make(MARKET, seat=1, preset="linear_ow", **SMALL)
    played = play(env)
    assert len(played) == 1 + SMALL["episode_length"]
    np.testing.assert_array_equal(play(gymnasium.make(env.spec)), played)
    np.testing.assert_array_equal(play(gymnasium.make(EnvSpec.from_json(env.spec.to_json()))), played)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasium_makes_many(mode):
    envs = gymnasium.make_vec(MARKET, 2, mode, **SMALL)
    try:
        obs, _ = envs.reset(seed=3)
        first, second = (gymnasium.make(MARKET, **SMALL).reset(seed=3 + place)[0] for place in range(2))
        np.testing.assert_array_equal(obs, np.stack([first, second]))
        assert envs.step(envs.action_space.sample())[0].shape == obs.shape
    finally:
        envs.close()


def test_the_checkers_accept_it():
    """Gymnasium's and Stable-Baselines3's, with nothing to say but that weights may exceed 1."""
    checked = pytest.importorskip("stable_baselines3.common.env_checker").check_env
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", NOT_NORMALIZED, UserWarning)
        check_env(gymnasium.make(MARKET, render_mode="rgb_array", **SMALL).unwrapped)
        checked(gymnasium.make(MARKET, **SMALL))


def test_what_the_arguments_change():
    fair, signal = (make_env(mode=mode, **SMALL) for mode in ("fair", "signal"))
    none = make_env(signal_ic=0.0, **SMALL)
    assert not np.array_equal(play(fair), play(signal)), "the signal moves prices"
    assert not np.array_equal(play(none), play(signal))
    plain, told = make_env(**SMALL), make_env(forecaster="drift", **SMALL)
    assert len(play(told)) == len(play(plain)) == 1 + SMALL["episode_length"]
    assert not np.array_equal(play(told), play(plain)), "the forecast is in the observation"
    assert make_env(initial_wealth=0.04, **SMALL).reset(seed=1)[1]["nav"] == pytest.approx(
        2 * make_env(**SMALL).reset(seed=1)[1]["nav"]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "unfair"}, "mode is 'unfair', expected 'signal' or 'fair'"),
        ({"opponents": ["momentun"]}, "unknown agent 'momentun'; did you mean 'momentum'?"),
        ({"preset": "sqr"}, "unknown market preset 'sqr'"),
        ({"forecaster": "embeded"}, "did you mean embedded?"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, said):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        gymnasium.make(MARKET, **SMALL | arguments)
    assert said in str(caught.value)
