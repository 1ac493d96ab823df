"""Replays of known results of the market (closed forms, equilibria, a ledger) and of the statistics that rank."""
