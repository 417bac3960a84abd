"""The layered cache of an origin: this process's memory, Redis, and the edge, as one.

::

    from origin_sdk.layers import LayeredCache

    cache = LayeredCache("redis://localhost:6379/0")

    @cache.cached("{product_id}", groups=("product-{product_id}",))
    def product(product_id: int) -> Product: ...

    cache.invalidate(groups=["product-17"])

Needs ``pip install origin-sdk[layers]``. Memory alone does without Redis's package.
"""

from origin_sdk.layers import extra as _extra  # noqa: F401 - see there
from origin_sdk.layers.async_cache import AsyncCached, AsyncLayeredCache
from origin_sdk.layers.base import AsyncPurger, Invalidation, Purger
from origin_sdk.layers.cache import Cached, LayeredCache
from origin_sdk.layers.connecting import RedisOptions
from origin_sdk.layers.envelope import Wrapping
from origin_sdk.layers.errors import (
    DataClassViolation,
    InvalidFamily,
    LoadCycle,
    LoadTimeout,
    UnreadableRecord,
    UnstableKey,
)
from origin_sdk.layers.families import DataClass, Family, Key
from origin_sdk.layers.loading import LoadContext
from origin_sdk.layers.policy import Policy
from origin_sdk.layers.sealing import Encryption, Signature

__all__ = [
    "AsyncCached",
    "AsyncLayeredCache",
    "AsyncPurger",
    "Cached",
    "DataClass",
    "DataClassViolation",
    "Encryption",
    "Family",
    "InvalidFamily",
    "Invalidation",
    "Key",
    "LayeredCache",
    "LoadContext",
    "LoadCycle",
    "LoadTimeout",
    "Policy",
    "Purger",
    "RedisOptions",
    "Signature",
    "UnreadableRecord",
    "UnstableKey",
    "Wrapping",
]
