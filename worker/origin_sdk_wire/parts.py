"""Parts of a representation (RFC 9110 section 14)."""

import re
from dataclasses import dataclass

from origin_sdk_wire.facts import Fields

__all__ = ["Part", "content_part", "number"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:(\d+)|\*)", re.IGNORECASE | re.ASCII)
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes ``start`` up to, not including, ``end``; ``length`` is that of the whole, ``None`` if unknown."""

    start: int
    end: int
    length: int | None

    def __str__(self) -> str:
        """Write it as Content-Range."""
        return f"bytes {self.start}-{self.end - 1}/{'*' if self.length is None else self.length}"

    @property
    def size_bytes(self) -> int:
        """The number of bytes in it."""
        return self.end - self.start

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole representation after all."""
        return self.start == 0 and self.end == self.length


def content_part(fields: Fields) -> Part | None:
    """Read Content-Range (RFC 9110 section 14.4); ``None`` if it isn't that of one range of bytes."""
    found = _CONTENT_RANGE.fullmatch(fields.get("content-range", "").strip())
    if not found:
        return None
    start, end = number(found[1]), number(found[2]) + 1
    length = None if found[3] is None else number(found[3])
    is_valid = start < end and (length is None or end <= length)
    return Part(start, end, length) if is_valid else None


def number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or 0) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
