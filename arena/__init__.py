"""A competition arena: many agents trade one market and move its price."""

__version__ = "0.1.0"
