"""Flights that all isolates in the world share: the board of the one place, and the pilot of each isolate."""
