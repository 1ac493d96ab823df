"""What a cluster shows of a run: metrics, a Grafana dashboard, logs, and who is alive."""
