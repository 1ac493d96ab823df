"""Comparisons of the shipped forecasters with what their upstreams computed, from golden folders."""
