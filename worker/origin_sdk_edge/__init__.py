"""The edge cache.

Decisions without I/O (``policy``), a handler that carries them out, adapters to the runtime.
"""
