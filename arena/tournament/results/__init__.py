"""From finished units to a leaderboard and the object `arena.load_run` returns."""
