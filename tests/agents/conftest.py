"""What the tests of entrants from files share."""

import numpy as np
import pytest
import torch

from arena.data.synthetic.market import SyntheticParams, generate
from arena.envs.parallel import ArenaParallelEnv
from arena.market.observation import seat_view
from arena.market.presets import preset
from arena.tournament.play.match import Entrant, MatchRules, play_match
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import Lineup, Unit

WARMUP, STEPS, SEEDS = 60, 5, (101, 102)


@pytest.fixture(scope="session", name="play_match")
def play_match_of_mine():
    """Result rows, by agent, of a short match of `mine` against cash."""

    def rows(spec, num_assets, **params):
        scenarios = generate(SyntheticParams(num_assets=num_assets, num_bars=WARMUP + STEPS), SEEDS, warmup=WARMUP)
        entrants = {"mine": Entrant(spec, params), "cash": Entrant("cash")}
        unit = Unit("unit", Lineup(0, tuple(entrants)), SEEDS)
        frame = table_from_columns(play_match(MatchRules(preset("sqrt"), seed=5), entrants, unit, scenarios).results)
        return frame.to_pandas().set_index("agent")

    return rows


@pytest.fixture(scope="session")
def compare_in_market():
    """Every step of an episode: the weights of an agent beside those of a function of what a learner is shown."""

    def compare(agent, weights_from, num_assets, tolerance):
        env = ArenaParallelEnv(2, synthetic=SyntheticParams(num_assets=num_assets, num_bars=WARMUP + STEPS))
        shown, _ = env.reset(seed=3)
        traded = 0.0
        while env.agents:
            seen = env.observe()
            actions = {
                name: agent.act(seat_view(seen, seat), torch.Generator())[0].numpy()
                for seat, name in enumerate(env.agents)
            }
            for seat, name in enumerate(env.agents):
                expected = weights_from(shown[name], seen.weight[0, seat].numpy())
                np.testing.assert_allclose(actions[name], expected, rtol=tolerance, atol=tolerance)
                traded += np.abs(actions[name]).sum()
            shown = env.step(actions)[0]
        assert traded > 0.01  # something was there to compare

    return compare
