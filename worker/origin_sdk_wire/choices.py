"""Settings that are one of a few words, and what each word stands for."""

from enum import StrEnum

__all__ = [
    "DataClass",
    "Forwarded",
    "Jurisdiction",
    "MetricsUrls",
    "Profile",
    "PublishCoding",
    "PurgeMode",
    "ServerTiming",
    "SingleFlight",
    "StoreOn",
]


class Forwarded(StrEnum):
    """How origins are told of the host and the scheme that a client asked for."""

    X_FORWARDED = "x-forwarded"
    """X-Forwarded-Host and X-Forwarded-Proto."""
    FORWARDED = "forwarded"
    """Forwarded (RFC 7239)."""
    BOTH = "both"
    NONE = "none"


class Profile(StrEnum):
    """How careful the cache is beyond the RFCs."""

    SAFE = "safe"
    RFC9111 = "rfc9111"


class PublishCoding(StrEnum):
    """With which coding the SDK's ``publish`` compresses; both are served to who accepts them."""

    GZIP = "gzip"
    BR = "br"


class ServerTiming(StrEnum):
    """What responses tell of the time that they took, in Server-Timing."""

    NONE = "none"
    SHORT = "short"
    """The tier, and the time in all."""
    FULL = "full"
    """Each step, for clients that prove by Cache-Debug that they may see it; for others ``short``."""


class MetricsUrls(StrEnum):
    """How much of a URL is kept in metrics and told in the log: it can be personal."""

    NONE = "none"
    PATH = "path"
    """Without the query."""
    FULL = "full"


class StoreOn(StrEnum):
    """When a response is written to KV."""

    FIRST_MISS = "first-miss"
    SECOND_MISS = "second-miss"
    """Not what is asked for once: it stays in the memory of its isolate alone."""
    NEVER = "never"
    """Responses lie in the memory of isolates alone, and are never looked for in KV."""


class PurgeMode(StrEnum):
    """What an isolate does that hasn't asked the purge log lately."""

    FAST = "fast"
    """It serves for ``mark_interval`` by what it knows."""
    STRICT = "strict"
    """It asks before it serves."""


class Jurisdiction(StrEnum):
    """Within which Cloudflare keeps and runs a Durable Object."""

    NONE = "none"
    EU = "eu"
    FEDRAMP = "fedramp"
    US = "us"


class SingleFlight(StrEnum):
    """Among whom one request to the origin is enough, for a response that many want at once."""

    ISOLATE = "isolate"
    GLOBAL = "global"
    """All isolates in the world."""


class DataClass(StrEnum):
    """Who may see a response."""

    PUBLIC = "public"
    PRIVATE = "private"
    """Stored for a declared identity only: the rule must put one into the key."""
    NEVER = "never"
    """Never stored at the edge."""
