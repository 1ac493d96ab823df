"""Trained policies, and Python objects, as agents."""
