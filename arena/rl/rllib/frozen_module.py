"""Makes the weights of RLlib's env runners those of its learners.

RLlib 2.60's own recipe for a frozen copy of a policy (add_module, then set_state of the learners) leaves random weights
in all env runners: what add_module hands out and what is handed out next carry the same sequence number, and of two
with one number the second is dropped. States without a number are always taken.
"""

from collections.abc import Collection

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner import EnvRunner

from arena.rl.rllib.compat import COMPONENT_LEARNER, COMPONENT_RL_MODULE


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
