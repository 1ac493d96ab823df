"""What the benchmark scripts measure; nothing of the library needs it."""
