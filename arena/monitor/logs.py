"""What workers write: JSON, a record a line, with the ids of Ray beside those of the tournament."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_config import JobConfig


def json_workers() -> "JobConfig":
    """Of a job whose workers log JSON, which the dashboard's Logs page unfolds: job, node, task, `facts` of a record.

    `ray.init(logging_config=...)` would make this process, which has a progress bar to show, do the same.
    """
    import ray
    from ray.job_config import JobConfig

    config = JobConfig()
    config.set_py_logging_config(ray.LoggingConfig(encoding="JSON", log_level="INFO"))
    return config
