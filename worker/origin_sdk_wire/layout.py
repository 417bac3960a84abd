"""How a stored response is laid out in KV: for how long, whether compressed, and where its body lies.

The Worker and the SDK's ``publish`` both write what this module says, and so either reads the other's.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from origin_sdk_wire.bounds import MAX_RECORD_SECONDS
from origin_sdk_wire.directives import response_directives, split_list
from origin_sdk_wire.fields import CACHE_GROUPS, CACHE_STATUS, CACHE_TAG, PRIVATE_GROUP_FIELDS, SURROGATE_KEY
from origin_sdk_wire.freshness import Freshness
from origin_sdk_wire.key import body_key, digest
from origin_sdk_wire.record import Record
from origin_sdk_wire.search_variance import SEARCH_VARIANCE
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import SHIELD_FIELD
from origin_sdk_wire.structured import parse_strings

__all__ = [
    "COMPRESSION_LEVEL",
    "MIN_TTL_SECONDS",
    "NEVER_STORED_FIELDS",
    "apart_key",
    "apart_seconds",
    "group_names",
    "index_seconds",
    "is_apart",
    "is_compressible",
    "is_smaller",
    "record_seconds",
]

COMPRESSION_LEVEL = 6

NEVER_STORED_FIELDS = frozenset({CACHE_STATUS, SEARCH_VARIANCE, SHIELD_FIELD, "age", *PRIVATE_GROUP_FIELDS})
"""Fields of a response that a record doesn't keep, beside those of one connection: they are about one hop."""

MIN_TTL_SECONDS = 60
"""Cloudflare's least: https://developers.cloudflare.com/kv/api/write-key-value-pairs/."""

_TEXT_TYPES = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-ndjson",
    "image/svg+xml",
)
_TEXT_SUFFIXES = ("+json", "+xml")


def record_seconds(freshness: Freshness, settings: Settings) -> int:
    """Return for how long KV keeps a record: as long as it may be used, and ``RETENTION`` beyond."""
    seconds = freshness.longest_use_ms // 1000 + settings.retention
    return max(MIN_TTL_SECONDS, min(seconds, MAX_RECORD_SECONDS))


def index_seconds(ttl_seconds: int) -> int:
    """Return for how long KV keeps an index that leads to a record of ``ttl_seconds``.

    It must not go before the record, and is not to be written for each.
    """
    return min(2 * ttl_seconds, MAX_RECORD_SECONDS)


def is_apart(size_bytes: int, settings: Settings) -> bool:
    """Whether a body, as it is stored, lies under a key of its own."""
    return size_bytes > settings.memory_item_bytes


def apart_key(key: str, record: Record, *, is_sealed: bool = False) -> str:
    """Name the key of a body that lies apart: no other response of ``key`` has the same.

    So a record never meets the body of a later one.
    """
    return body_key(digest("body", key, record.birth_ms), is_sealed=is_sealed)


def apart_seconds(ttl_seconds: int) -> int:
    """Return for how long KV keeps a body that lies apart: longer than its record."""
    return min(ttl_seconds + MIN_TTL_SECONDS, MAX_RECORD_SECONDS)


def is_compressible(status: int, fields: Mapping[str, str], size_bytes: int, settings: Settings) -> bool:
    """Whether to try to compress a body: a text, large enough, and nothing forbids it."""
    least = settings.compress_min_bytes
    if not least or size_bytes < least or status != 200 or "content-encoding" in fields:
        return False
    if "no-transform" in response_directives(fields):  # RFC 9111 section 5.2.2.6
        return False
    media_type = fields.get("content-type", "").partition(";")[0].strip().lower()
    return media_type.startswith(_TEXT_TYPES) or media_type.endswith(_TEXT_SUFFIXES)


def is_smaller(compressed_bytes: int, size_bytes: int) -> bool:
    """Whether compressing was worth it: a tenth saved at least."""
    return compressed_bytes * 10 <= size_bytes * 9


def group_names(fields: Mapping[str, str], given: Iterable[str]) -> Iterator[str]:
    """Yield the groups that a response belongs to: ``given``, then those of its fields, valid or not."""
    yield from given
    if value := fields.get(CACHE_GROUPS):
        # RFC 9651 section 4.2: a field that doesn't parse is ignored.
        with suppress(ValueError):
            yield from parse_strings(value)
    if value := fields.get(CACHE_TAG):
        yield from split_list(value)
    if value := fields.get(SURROGATE_KEY):
        yield from value.split()
