"""Emendo: support bots from product manuals that learn from being corrected."""

__version__ = "0.1.0"
