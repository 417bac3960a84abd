"""The layered cache in three frameworks: the same function, cached once."""
