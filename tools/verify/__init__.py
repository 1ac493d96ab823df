"""Replays of known results (closed forms, equilibria, a ledger, statistics) through the shipped functions."""
