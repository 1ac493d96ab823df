"""Checkpoints to files that need torch alone, and how close they are to their model."""
