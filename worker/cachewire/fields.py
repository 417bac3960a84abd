"""Names of header fields, in the lower case in which both sides compare them."""

__all__ = [
    "CACHE_GROUPS",
    "CACHE_GROUP_INVALIDATION",
    "CACHE_STATUS",
    "CACHE_TAG",
    "CDN_CACHE_CONTROL",
    "GROUP_FIELDS",
    "HOP_BY_HOP",
    "PRIVATE_GROUP_FIELDS",
    "SURROGATE_KEY",
]

CACHE_GROUPS = "cache-groups"
CACHE_GROUP_INVALIDATION = "cache-group-invalidation"
CACHE_STATUS = "cache-status"
CACHE_TAG = "cache-tag"
CDN_CACHE_CONTROL = "cdn-cache-control"
SURROGATE_KEY = "surrogate-key"

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
