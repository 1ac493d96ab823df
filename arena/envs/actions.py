"""What agents of a single environment hand in, checked and put into one array."""

from collections.abc import Mapping, Sequence

import numpy as np

from arena.market.step import HUGE_WEIGHT


def stack_actions(
    actions: Mapping[str, object], agents: Sequence[str], seats: Mapping[str, int], out: np.ndarray
) -> None:
    """Write the target weights of `agents` into their rows of `out` [N, A].

    seats  row of every agent there ever was. Actions of those that have left are ignored, as PettingZoo's wrappers send
           them; a missing agent or an unknown name is an error.
    """
    if not agents:
        raise ValueError("no agent is left: the episode has ended or not begun; call reset() first")
    if len(actions) != len(agents) or any(agent not in actions for agent in agents):
        _check_names(actions, agents, seats)
    shape = out.shape[1:]
    for agent in agents:
        action = actions[agent]
        ready = isinstance(action, np.ndarray) and action.shape == shape and action.dtype == np.float32
        out[seats[agent]] = action if ready else _checked(agent, action, shape)


def _check_names(actions: Mapping[str, object], agents: Sequence[str], seats: Mapping[str, int]) -> None:
    missing = [agent for agent in agents if agent not in actions]
    unknown = [str(agent) for agent in actions if agent not in seats]
    if missing or unknown:
        raise ValueError(
            f"actions lack {', '.join(missing) or 'nobody'} and name {', '.join(unknown) or 'nobody'} that is no "
            f"agent, expected one action for each of {', '.join(agents)}"
        )


def _checked(agent: str, action: object, shape: tuple[int, ...]) -> np.ndarray:
    """An array-like of numbers as an array of `shape` whose finite entries stay finite in float32."""
    try:
        array = np.asarray(action)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise ValueError(
            f"action of {agent} has shape {array.shape} and type {array.dtype}, expected numbers of shape "
            f"(num_assets,) = {shape}: one target weight per asset"
        )
    # The market cuts there anyway; uncut, a huge float64 would become infinity, which means "keep the position".
    return np.where(np.isfinite(array), np.clip(array, -HUGE_WEIGHT, HUGE_WEIGHT), np.nan)
