"""What is decided, free of redis, threads and clocks: each flow yields a step and is sent what came of it.

:mod:`origin_sdk.layers.cache` carries the steps out in threads, :mod:`origin_sdk.layers.async_cache` in an
event loop.
"""
