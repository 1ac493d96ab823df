"""Replays of known results (closed forms, equilibria, a ledger) through the shipped market."""
