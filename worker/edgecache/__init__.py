"""The edge cache: decisions without I/O (``policy``), a handler that carries them out, adapters to the runtime."""
