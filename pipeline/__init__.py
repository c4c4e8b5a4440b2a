"""Estimate how long the dispatch of an order of spare parts will take."""
