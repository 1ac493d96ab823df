"""Plays a plan: workers, progress, continuation."""
