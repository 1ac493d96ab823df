"""Forecasters: published models written for inference only, and what reads their checkpoints."""
