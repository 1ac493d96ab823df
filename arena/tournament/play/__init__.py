"""A unit of matches, from its scenarios to its rows."""
