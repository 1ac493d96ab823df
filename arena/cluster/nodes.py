"""Looks at every node of a cluster before work begins that cannot be sent elsewhere when one lacks something."""

from collections.abc import Sequence
from types import ModuleType

from arena.cluster import entry
from arena.errors import UserError

LOOK_SECONDS = 120.0  # that all nodes may take to answer; one that does not is left to the work itself


def check_nodes(ray: ModuleType, paths: Sequence[str], where: str) -> None:
    """UserError names a node that differs from this process, or on which a file or folder is lacking.

    paths  as the work names them: absolute, or relative to the folder in which workers run
    where  what the user said, to begin the sentence with
    """
    ray.cloudpickle.register_pickle_by_value(entry)
    task = ray.remote(num_cpus=0, max_retries=0)(entry.lacking)
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked = [
        task.options(scheduling_strategy=affinity(node["NodeID"], soft=False)).remote(entry.environment(), list(paths))
        for node in ray.nodes()
        if node["Alive"]
    ]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=LOOK_SECONDS)
    for reference in answered:
        try:
            problem = ray.get(reference)
        except ray.exceptions.RayError:  # the node has gone: no other is any worse for it
            continue
        if problem:
            raise UserError(f"{where}: {problem}")
