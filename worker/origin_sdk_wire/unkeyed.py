"""Names of request fields that clients choose and no key holds.

Each name may end in ``*`` for all that begin so.
"""

from collections.abc import Mapping
from functools import lru_cache

__all__ = [
    "CREDENTIAL_FIELDS",
    "DESCRIPTIVE_FIELDS",
    "NEGOTIATED_FIELDS",
    "SAFE_UNKEYED_FIELDS",
    "is_among",
    "selected",
]

SAFE_UNKEYED_FIELDS = frozenset(
    {
        # With these a client would choose for an origin what only a proxy before it can know, or would have
        # it answer for another host, path or method. From RFC 7239; the fields that Django, Werkzeug's
        # ProxyFix, uvicorn, gunicorn, waitress, mod_wsgi, Rack and Rails, Express, Spring, Symfony, ASP.NET
        # and IIS trust; those that CDNs, clouds and identity-aware proxies add; and Kettle, "Practical Web
        # Cache Poisoning" (2018) and "Web Cache Entanglement" (2020), with Param Miner, the tool of both.
        "forwarded",
        "x-forwarded-*",
        "x-original-*",
        "x-rewrite-*",
        "via",
        # The client
        "client-ip",
        "fastly-*",
        "fly-*",
        "proxy-client-ip",
        "remote-addr",
        "remote-user",
        "true-client-ip",
        "wl-proxy-*",
        "x-akamai-*",
        "x-appengine-*",
        "x-azure-*",
        "x-client-*",
        "x-cluster-client-ip",
        "x-envoy-*",
        "x-originating-ip",
        "x-proxyuser-ip",
        "x-real-*",
        "x-remote-*",
        "x-ssl-*",
        # Who the client is, as proxies before an origin say it
        "x-amzn-*",
        "x-auth-request-*",
        "x-authenticated-*",
        "x-goog-*",
        "x-ms-*",
        # That a CDN was before this one (RFC 8586), and what it adds of the client and the exchange
        "akamai-origin-hop",
        "cdn-loop",
        "incap-client-ip",
        "surrogate-capability",
        "x-amz-cf-id",
        "x-iinfo",
        "x-nf-account-id",
        "x-nf-client-connection-ip",
        "x-nf-geo",
        "x-nf-request-id",
        "x-sucuri-*",
        "x-varnish",
        "x-vercel-forwarded-for",
        "x-vercel-id",
        "x-vercel-ip-*",
        "x-vercel-ja4-digest",
        "x-vercel-proxied-for",
        "x-vercel-sc-*",
        # The host
        "proxy",
        "proxy-host",
        "x-backend-host",
        "x-gateway-host",
        "x-host",
        "x-host-override",
        # Scheme and port
        "cloudfront-*",
        "front-end-https",
        "x-appservice-proto",
        "x-arr-*",
        "x-https",
        "x-port",
        "x-scheme",
        "x-url-scheme",
        # The path
        "base-url",
        "path-info",
        "request-uri",
        "script-name",
        "x-accel-*",
        "x-path-info",
        "x-script-name",
        "x-waws-unencoded-url",
        # The method
        "x-http-*",
        "x-method",
        "x-method-override",
        # Of this one exchange: for tracing, against forgery, for queues
        "available-dictionary",
        "b3",
        "baggage",
        "cache-debug",
        "correlation-id",
        "elastic-apm-traceparent",
        "newrelic",
        "postman-token",
        "request-id",
        "sentry-trace",
        "uber-trace-id",
        "x-b3-*",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-csrf-token",
        "x-csrftoken",
        "x-datadog-*",
        "x-newrelic-*",
        "x-queue-start",
        "x-request-id",
        "x-request-start",
        "x-trace-id",
        "x-xsrf-token",
        # Of content, which a cacheable request has none of
        "content-*",
        "date",
        "dictionary-id",
        "expect",
    }
)
"""What no origin gets to see of a cacheable request in the profile ``safe``, unless a rule keys it."""

DESCRIPTIVE_FIELDS = frozenset(
    {
        "cf-*",
        "device-memory",
        "dnt",
        "downlink",
        "dpr",
        "ect",
        "from",
        "priority",
        "purpose",
        "referer",
        "rtt",
        "save-data",
        "sec-*",
        "upgrade-insecure-requests",
        "user-agent",
        "viewport-*",
        "width",
        "x-moz",
        "x-purpose",
        "x-wap-profile",
    }
)
"""What describes a client in so many ways that no stored response could be met again.

An origin gets to see it where its responses nominate it with Vary.
"""

NEGOTIATED_FIELDS = frozenset({"accept", "accept-charset", "accept-language", "origin", "x-requested-with"})
"""What origins choose a response by: it selects, whether Vary names it or not."""

CREDENTIAL_FIELDS = frozenset(
    {
        "authorization",
        "cookie",
        # Where APIs take keys and tokens: API gateways (Kong, Azure, AWS, Google, Tyk, RapidAPI), frameworks'
        # extensions (Django REST framework, FastAPI, Rails, Laravel), OpenStack, GitLab, Shopify, Vault.
        "access-token",
        "api-key",
        "api-token",
        "apikey",
        "auth-token",
        "authentication",
        "client-secret",
        "dpop",
        "job-token",
        "ocp-apim-subscription-key",
        "private-token",
        "session-token",
        "token",
        "x-access-token",
        "x-api-key",
        "x-api-token",
        "x-apikey",
        "x-app-token",
        "x-auth",
        "x-auth-key",
        "x-auth-token",
        "x-authorization",
        "x-functions-key",
        "x-id-token",
        "x-jwt",
        "x-jwt-assertion",
        "x-rapidapi-key",
        "x-secret",
        "x-session",
        "x-session-id",
        "x-session-token",
        "x-shopify-access-token",
        "x-subject-token",
        "x-token",
        "x-user-token",
        "x-vault-token",
    }
)
"""By which a request proves whose it is. No answer is one identity's where another is proved beside it."""

_MOST_NAMES = 1024
"""Origins choose them."""


class _Selected(dict[str, bool]):
    """Whether names are among some patterns and not among others: by name, once asked for."""

    def __init__(self, patterns: frozenset[str], excepted: frozenset[str]) -> None:
        super().__init__()
        self._patterns = patterns
        self._excepted = excepted

    def __missing__(self, name: str) -> bool:
        if len(self) >= _MOST_NAMES:
            self.clear()
        self[name] = is_among(name, self._patterns) and not is_among(name, self._excepted)
        return self[name]


@lru_cache(maxsize=16)
def selected(patterns: frozenset[str], excepted: frozenset[str]) -> Mapping[str, bool]:
    """Tell of any name whether it is among ``patterns`` and not ``excepted``: the quick way for many."""
    return _Selected(patterns, excepted)


@lru_cache(maxsize=2048)
def is_among(name: str, names: frozenset[str]) -> bool:
    """Whether ``names`` hold ``name``, or the beginning of it with a ``*``."""
    return name in names or any(name.startswith(pattern[:-1]) for pattern in names if pattern.endswith("*"))
