"""Header fields: their names, in the lower case in which both sides compare them."""

import re
from collections.abc import Iterable

__all__ = [
    "CACHE_GROUPS",
    "CACHE_GROUP_INVALIDATION",
    "CACHE_STATUS",
    "CACHE_TAG",
    "CDN_CACHE_CONTROL",
    "CLOUDFLARE_CDN_CACHE_CONTROL",
    "EXCHANGE_FIELDS",
    "GROUP_FIELDS",
    "HOP_BY_HOP",
    "INTERNAL_FIELDS",
    "PRIVATE_GROUP_FIELDS",
    "SURROGATE_CONTROL",
    "SURROGATE_KEY",
    "TARGETED_FIELDS",
    "TOKEN",
    "combined",
]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What names fields, directives and cookies (RFC 9110 section 5.6.2)."""

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

INTERNAL_FIELDS = frozenset(
    {
        CACHE_GROUPS,
        CACHE_GROUP_INVALIDATION,
        CACHE_TAG,
        CDN_CACHE_CONTROL,
        CLOUDFLARE_CDN_CACHE_CONTROL,
        SURROGATE_CONTROL,
        SURROGATE_KEY,
    }
)
"""Fields that are between origin and caches, and not shown to clients in the safe profile."""

EXCHANGE_FIELDS = frozenset(
    {
        # For tracing, timing and support
        "b3",
        "baggage",
        "cf-ray",
        "correlation-id",
        "fly-request-id",
        "request-id",
        "sentry-trace",
        "server-timing",
        "traceparent",
        "traceresponse",
        "tracestate",
        "x-amz-cf-id",
        "x-amz-id-2",
        "x-amz-request-id",
        "x-amz-apigw-id",
        "x-amzn-requestid",
        "x-amzn-trace-id",
        "x-azure-ref",
        "x-b3-*",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-datadog-*",
        "x-envoy-upstream-service-time",
        "x-github-request-id",
        "x-kong-*",
        "x-ms-correlation-request-id",
        "x-ms-request-id",
        "x-nf-request-id",
        "x-process-time",
        "x-request-id",
        "x-request-start",
        "x-response-time",
        "x-runtime",
        "x-timer",
        "x-trace-id",
        "x-vercel-id",
        # What is left to one client
        "ratelimit",
        "ratelimit-*",
        "x-rate-limit-*",
        "x-ratelimit-*",
        # Credentials, and what is done to those of one client
        "authentication-info",
        "authorization",
        "clear-site-data",
        "refresh-token",
        "set-cookie2",
        "x-access-token",
        "x-auth-token",
        "x-csrf-token",
        "x-csrftoken",
        "x-refresh-token",
        "x-session-id",
        "x-set-cookie",
        "x-xsrf-token",
    }
)
"""Response fields that belong to one exchange; the safe profile doesn't store them."""

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
    fields = tuple(fields)
    by_name = dict(fields)
    if len(by_name) == len(fields):
        return by_name
    by_name.clear()
    for name, value in fields:
        by_name[name] = f"{by_name[name]}, {value}" if name in by_name else value
    return by_name
