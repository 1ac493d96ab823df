"""Frozen copies of a policy, and other opponents, by how each meeting went."""
