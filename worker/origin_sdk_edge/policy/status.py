"""The Cache-Status field (RFC 9211)."""

from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from origin_sdk_wire.facts import Reason
from origin_sdk_wire.structured import serialise_string

__all__ = ["FwdReason", "Status", "cache_status"]


_UNKEYED_SHOWN = 8
"""Names at most: a client chooses how many it sends."""


class FwdReason(StrEnum):
    """Why a request went to the origin (RFC 9211 section 2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    REQUEST = "request"
    STALE = "stale"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class Status:
    """One member of Cache-Status, but for the name of the cache and the key."""

    detail: Reason | str
    hit: bool = False
    forwarded: FwdReason | None = None
    forwarded_status: int | None = None
    stored: bool = False
    collapsed: bool = False
    hit_for_miss: bool = False
    """Whether the request didn't wait for another one's answer, as these turned out not to be shared."""
    ttl_seconds: int | None = None
    unkeyed: tuple[str, ...] = ()
    """Fields of the request that keep the response from others; said beside the key, to whom that is said."""
    is_without_log: bool = False
    """Whether marks had to say that it wasn't purged, as the purge log couldn't be had."""
    is_without_flight: bool = False
    """Whether others in the world couldn't wait for this answer, as the board of flights couldn't be had."""
    is_without_shield: bool = False
    """Whether the origin itself was asked, as the shield couldn't be had."""


_WORDS = (
    ("stored", attrgetter("stored")),
    ("collapsed", attrgetter("collapsed")),
    ("apart=hit-for-miss", attrgetter("hit_for_miss")),
    ("log=unavailable", attrgetter("is_without_log")),
    ("single-flight=unavailable", attrgetter("is_without_flight")),
    ("shield=unavailable", attrgetter("is_without_shield")),
)


def cache_status(name: str, status: Status, key: str) -> str:
    """Write the member that this cache adds."""
    parts = [name]
    if status.hit:
        parts.append("hit")
    if status.forwarded:
        parts.append(f"fwd={status.forwarded.value}")
    if status.forwarded_status is not None:
        parts.append(f"fwd-status={status.forwarded_status}")
    if status.ttl_seconds is not None:
        parts.append(f"ttl={status.ttl_seconds}")
    parts += [word for word, is_said in _WORDS if is_said(status)]
    if key:
        parts.append(f"key={serialise_string(key)}")
        if status.unkeyed:
            parts.append(f"unkeyed={serialise_string(' '.join(status.unkeyed[:_UNKEYED_SHOWN]))}")
    parts.append(f"detail={status.detail}")
    return "; ".join(parts)
