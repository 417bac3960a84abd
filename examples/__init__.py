"""Runnable examples: origins to put the edge cache in front of."""
