"""Entity tags of content, whether or not it was compressed (RFC 9110 section 8.8.3)."""

import hashlib
import re
import zlib
from collections.abc import Iterator

__all__ = ["etag_of", "matches"]

_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')
_GZIP = 16 + zlib.MAX_WBITS
_PART_BYTES = 256 * 1024


def etag_of(body: bytes, coding: str) -> str:
    """Return the tag of a body's content; a weak one for gzip, whose bytes are never the same.

    Gzip carries the time, and Django pads it at random (against BREACH).
    """
    content = hashlib.blake2b(digest_size=12)
    if coding.strip().lower() not in {"gzip", "x-gzip"}:
        content.update(body)
        return f'"{content.hexdigest()}"'
    for part in _gunzipped(body):
        content.update(part)
    return f'W/"{content.hexdigest()}"'


def _gunzipped(body: bytes) -> Iterator[bytes]:
    """Yield the content in parts of bounded size; what isn't gzip after all, as it is."""
    while body:
        member, is_over = zlib.decompressobj(_GZIP), False
        try:
            while body and not is_over:
                yield member.decompress(body, _PART_BYTES)
                is_over = member.eof
                body = member.unused_data if is_over else member.unconsumed_tail
        except zlib.error:
            yield body
            return


def matches(if_none_match: str, etag: str) -> bool:
    """Whether a client that sends If-None-Match has it already."""
    if not if_none_match or not etag:
        return False
    # RFC 9110 section 13.1.2: the comparison is weak.
    return if_none_match.strip() == "*" or etag.removeprefix("W/") in _ENTITY_TAG.findall(if_none_match)
