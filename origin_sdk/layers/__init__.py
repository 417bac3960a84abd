"""The layered cache of an origin: this process's memory, Redis, and the edge, as one.

::

    from origin_sdk.layers import LayeredCache

    cache = LayeredCache("redis://localhost:6379/0")

    @cache.cached("{product_id}", groups=("product-{product_id}",))
    def product(product_id: int) -> Product: ...

    cache.invalidate(groups=["product-17"])

Needs ``pip install origin-sdk[layers]``. Memory alone does without Redis's package.
"""

from origin_sdk._values.errors import DataClassViolation, InvalidSettings
from origin_sdk.layers import extras as _extras  # noqa: F401 - see there
from origin_sdk.layers.async_cache import AsyncCached, AsyncLayeredCache
from origin_sdk.layers.base_cache import Invalidation
from origin_sdk.layers.cache import Cached, LayeredCache
from origin_sdk.layers.edge import AsyncPurger, Purger
from origin_sdk.layers.errors import InvalidFamily, LoadCycle, LoadTimeout, UnreadableRecord, UnstableKey
from origin_sdk.layers.process.stats import Detected
from origin_sdk.layers.redis.options import RedisOptions
from origin_sdk.layers.rules.load_context import LoadContext
from origin_sdk.layers.structures.async_handles import AsyncFields, AsyncMembers, AsyncPages, AsyncRanking
from origin_sdk.layers.structures.handles import Fields, Members, Pages, Ranking
from origin_sdk.layers.values.envelope import Wrapping
from origin_sdk.layers.values.families import DataClass, Family, Key
from origin_sdk.layers.values.policy import Freshness, Policy, Windows
from origin_sdk.layers.values.seals import Encryption, Seal, Signature

__all__ = [
    "AsyncCached",
    "AsyncFields",
    "AsyncLayeredCache",
    "AsyncMembers",
    "AsyncPages",
    "AsyncPurger",
    "AsyncRanking",
    "Cached",
    "DataClass",
    "DataClassViolation",
    "Detected",
    "Encryption",
    "Family",
    "Fields",
    "Freshness",
    "InvalidFamily",
    "InvalidSettings",
    "Invalidation",
    "Key",
    "LayeredCache",
    "LoadContext",
    "LoadCycle",
    "LoadTimeout",
    "Members",
    "Pages",
    "Policy",
    "Purger",
    "Ranking",
    "RedisOptions",
    "Seal",
    "Signature",
    "UnreadableRecord",
    "UnstableKey",
    "Windows",
    "Wrapping",
]
