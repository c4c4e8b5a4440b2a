"""Measurements; each prints a ratio against a named baseline."""
