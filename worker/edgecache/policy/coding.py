"""Which responses the cache stores in a coding of its own."""

from cachewire.directives import response_directives
from cachewire.record import Record
from cachewire.settings import Settings
from edgecache.policy.facts import Fields

__all__ = ["is_worth_compressing", "is_worth_keeping_compressed"]

_TEXT_TYPES = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-ndjson",
    "image/svg+xml",
)
_TEXT_SUFFIXES = ("+json", "+xml")


def is_worth_compressing(record: Record, fields: Fields, size_bytes: int, settings: Settings) -> bool:
    """Whether a body of ``size_bytes`` is text that may be stored compressed."""
    least = settings.compress_min_bytes
    if not least or size_bytes < least or record.coding or record.status != 200:
        return False
    # RFC 9111 section 5.2.2.6
    if "content-encoding" in fields or "no-transform" in response_directives(fields):
        return False
    media_type = fields.get("content-type", "").partition(";")[0].strip().lower()
    return media_type.startswith(_TEXT_TYPES) or media_type.endswith(_TEXT_SUFFIXES)


def is_worth_keeping_compressed(size_bytes: int, compressed_bytes: int) -> bool:
    """Whether compression has saved a tenth."""
    return compressed_bytes * 10 <= size_bytes * 9
