"""Scripted agents and what they are made of."""
