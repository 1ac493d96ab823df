"""Who meets whom, in which units."""
