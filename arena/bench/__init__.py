"""What the benchmark scripts measure."""
