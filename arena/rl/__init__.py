"""Reinforcement learning in the market."""
