"""Numbers that Worker and SDK must agree on: on most of them a purge's promise rests."""

__all__ = [
    "CLOCK_STEP_MS",
    "CLOCK_TOLERANCE_MS",
    "DEFAULT_MARK_INTERVAL_SECONDS",
    "KV_PROPAGATION_SECONDS",
    "LATEST_MS",
    "MARKS_AHEAD",
    "MARK_SECONDS",
    "MAX_GROUPS",
    "MAX_RECORD_SECONDS",
    "MAX_SEALED_BYTES",
    "purge_bound_seconds",
]

_DAY = 86_400

KV_PROPAGATION_SECONDS = 60
"""Cloudflare's documented time for a write to KV to be seen in every location."""

LATEST_MS = 253_402_300_799_000
"""The last second of the year 9999, after which Python has no dates."""

CLOCK_TOLERANCE_MS = 1000
"""By how much the clocks of two of Cloudflare's machines may differ: a mark's moment lies so far ahead."""

CLOCK_STEP_MS = 60_000
"""A moment further ahead is of a clock that was wrong then, or was set back since: it says nothing."""

DEFAULT_MARK_INTERVAL_SECONDS = 5.0
"""For how long the Worker relies on the marks that it read last, unless ``MARK_INTERVAL`` says otherwise."""

MARKS_AHEAD = 0.7
"""The share of the interval after which the marks of a response in use are read again, in the background."""

MAX_GROUPS = 256
"""A response with more groups isn't stored: a purge of a group that was left out would not reach it.

It is more than RFC 9875 section 2.1 asks a cache to support. Each group costs two reads of KV an interval.
"""

MAX_RECORD_SECONDS = 390 * _DAY
"""KV keeps no stored response for longer: a year of freshness, and some weeks of retention."""

MAX_SEALED_BYTES = (25 << 20) - (64 << 10)
"""The largest body that a value of KV, which has at most 25 MiB, holds together with its seals."""

MARK_SECONDS = 400 * _DAY
"""KV keeps a mark for longer than any response, which would be valid again without it."""


def purge_bound_seconds(mark_interval_seconds: float = DEFAULT_MARK_INTERVAL_SECONDS) -> float:
    """Return the time after which every location honours a mark: KV's own, and that of marks read before."""
    return KV_PROPAGATION_SECONDS + mark_interval_seconds
