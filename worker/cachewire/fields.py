"""Header fields: their names, in the lower case in which both sides compare them."""

from collections.abc import Iterable

__all__ = [
    "CACHE_GROUPS",
    "CACHE_GROUP_INVALIDATION",
    "CACHE_STATUS",
    "CACHE_TAG",
    "CDN_CACHE_CONTROL",
    "CLOUDFLARE_CDN_CACHE_CONTROL",
    "GROUP_FIELDS",
    "HOP_BY_HOP",
    "PRIVATE_GROUP_FIELDS",
    "SURROGATE_CONTROL",
    "SURROGATE_KEY",
    "TARGETED_FIELDS",
    "combined",
]

CACHE_GROUPS = "cache-groups"
CACHE_GROUP_INVALIDATION = "cache-group-invalidation"
CACHE_STATUS = "cache-status"
CACHE_TAG = "cache-tag"
CDN_CACHE_CONTROL = "cdn-cache-control"
CLOUDFLARE_CDN_CACHE_CONTROL = "cloudflare-cdn-cache-control"
SURROGATE_CONTROL = "surrogate-control"
SURROGATE_KEY = "surrogate-key"

TARGETED_FIELDS = (CLOUDFLARE_CDN_CACHE_CONTROL, CDN_CACHE_CONTROL, SURROGATE_CONTROL)
"""The fields with which a response speaks to this cache alone, in Cloudflare's order."""

GROUP_FIELDS = (CACHE_GROUPS, CACHE_TAG, SURROGATE_KEY)
"""The response fields that name groups."""

PRIVATE_GROUP_FIELDS = (CACHE_TAG, SURROGATE_KEY)
"""Group fields that are between origin and cache, and not shown to clients."""

HOP_BY_HOP = frozenset(
    {
        # RFC 9110 section 7.6.1
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        # RFC 9111 section 3.1: meant for one proxy, not to be stored
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
    }
)


def combined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return fields by name, repeated ones combined (RFC 9110 section 5.3)."""
    by_name: dict[str, str] = {}
    for name, value in fields:
        by_name[name] = f"{by_name[name]}, {value}" if name in by_name else value
    return by_name
