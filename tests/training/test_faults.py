"""Machines that are lost while the tensor path trains: nodes of a cluster and learners. Real processes are killed."""

from itertools import pairwise

import pytest
import ray
from ray.cluster_utils import Cluster
from rllib_setup import MARKETS, STEPS, assert_same, tensor_config

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

RUNNERS = 2
PATIENCE = 200  # iterations; each takes a second or so while a runner is missing
SIZES = {"num_envs_per_env_runner": MARKETS, "rollout_fragment_length": STEPS}


@pytest.fixture
def cluster():
    """A head that has no processors, hence only the driver, and two nodes with room for a runner each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(RUNNERS):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def nodes_of_runners(algorithm):
    """By number of the healthy runner, the id of its node."""
    numbers = algorithm.env_runner_group.healthy_worker_ids()
    where = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: ray.get_runtime_context().get_node_id(), local_env_runner=False
    )
    return dict(zip(numbers, where))


def test_training_goes_on_without_a_killed_node_and_uses_a_new_one(cluster):
    tolerance = {"restart_failed_env_runners": True, "env_runner_health_probe_timeout_s": 1.0}
    config = tensor_config(env_runners=SIZES | {"num_env_runners": RUNNERS}, fault_tolerance=tolerance)
    algorithm = config.build_algo()
    group = algorithm.env_runner_group
    try:
        steps = [0]

        def iterate():
            steps.append(algorithm.train()["num_env_steps_sampled_lifetime"])

        iterate()
        before = nodes_of_runners(algorithm)
        assert len(set(before.values())) == RUNNERS, "a node each"
        lost = next(node for node in cluster.worker_nodes if node.node_id in before.values())
        cluster.remove_node(lost, allow_graceful=False)
        while group.num_healthy_remote_workers() == RUNNERS and len(steps) < PATIENCE:
            iterate()
        assert group.num_healthy_remote_workers() == RUNNERS - 1, "the loss was noticed"
        for _ in range(3):
            iterate()
        added = cluster.add_node(num_cpus=1)
        while group.num_healthy_remote_workers() < RUNNERS and len(steps) < PATIENCE:
            iterate()
        after = nodes_of_runners(algorithm)
        assert set(after.values()) == set(before.values()) - {lost.node_id} | {added.node_id}
        iterate()
        # Every iteration, whoever was there, has sampled its whole batch; a runner that comes back may add its part.
        per_iteration = RUNNERS * MARKETS * STEPS
        assert all(per_iteration <= later - earlier < 2 * per_iteration for earlier, later in pairwise(steps))
        trained = algorithm.learner_group.get_weights()["shared"]
        for acting in group.foreach_env_runner(lambda runner: runner.module["shared"].get_state()):
            assert_same(acting, {name: trained[name] for name in acting})
    finally:
        algorithm.stop()


def train_on(algorithm):
    """A process dies some time after it was told to."""
    for _ in range(100):
        algorithm.train()


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("learners", [1, 2])
def test_a_lost_learner_is_said_in_one_sentence(learners, resident):
    """In the iteration that loses it and in every later one, so that Tune or a person begins again."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    algorithm = tensor_config(
        learners={"num_learners": learners, "num_cpus_per_learner": 1},
        training={"minibatch_size": 32, "resident": resident},
    ).build_algo()
    try:
        algorithm.train()
        ray.kill(algorithm.learner_group._worker_manager.actors()[0], no_restart=False)
        for message in ("a learner has failed", rf"only \d of {learners} learners are left"):
            with pytest.raises(RuntimeError, match=f"{message}.*go on from the last checkpoint") as error:
                train_on(algorithm)
            assert "\n" not in str(error.value)
    finally:
        algorithm.stop()
        ray.shutdown()
