"""Frozen copies of a policy as modules of RLlib: the stock path's way to let a learner meet its former selves.

RLlib 2.60's own recipe (add_module, then set_state of the learners) leaves random weights in all env runners: what
add_module hands out and what is handed out next carry the same sequence number, and of two with one number the second
is dropped. States without a number are always taken.
"""

from collections.abc import Callable, Collection

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_runner import EnvRunner

from arena.rl.rllib.compat import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from arena.rl.rllib.tensor_runner import is_trained

Mapping = Callable[..., str]  # (agent id, episode, ...) -> module id


def add_snapshot_module(
    algorithm: Algorithm, source_module_id: str, name: str, policy_mapping_fn: Mapping | None = None
) -> None:
    """Add the module `name`: the present weights of another, frozen, on all learners and env runners at once.

    policy_mapping_fn  who plays what from the next episode on; None: as before
    """
    trained = [module_id for module_id in algorithm.config.policies if is_trained(algorithm.config, module_id)]
    source = algorithm.get_module(source_module_id)
    if source is None or name in algorithm.config.policies:
        raise ValueError(
            f"module {name!r} cannot be made of {source_module_id!r}: expected a new name and one of "
            f"{', '.join(algorithm.config.policies)}"
        )
    weights = algorithm.learner_group.get_weights(module_ids=[source_module_id])[source_module_id]
    algorithm.add_module(
        name,
        RLModuleSpec.from_module(source),
        new_agent_to_module_mapping_fn=policy_mapping_fn,
        new_should_module_be_updated=trained,
    )
    algorithm.learner_group.set_weights({name: weights})
    force_weights(algorithm, [name])


def force_weights(algorithm: Algorithm, module_ids: Collection[str]) -> None:
    """Give the learners' weights of these modules to all env runners, whatever they have, and wait until they do.

    After a restore too: RLlib 2.60 sends weights without waiting, and not at all to a runner that has not yet answered
    the last time, so that remote runners begin with the random weights they were built with.
    """
    state = algorithm.learner_group.get_state(
        components=[f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}/{module_id}" for module_id in module_ids],
        inference_only=True,
    )
    weights = ray.put({COMPONENT_RL_MODULE: state[COMPONENT_LEARNER][COMPONENT_RL_MODULE]})

    def take(runner: EnvRunner) -> None:
        runner.set_state(ray.get(weights))

    for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
        if group is not None:
            group.foreach_env_runner(take)
