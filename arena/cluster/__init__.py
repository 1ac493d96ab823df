"""Ray as it is: joining a cluster, what a node must have, files that travel by content, tasks as they finish."""
