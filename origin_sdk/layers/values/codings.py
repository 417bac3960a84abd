"""Content codings: bytes made smaller where that pays, and expanded to no more than a bound."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import NamedTuple

from origin_sdk._values.brotli import brotli_module
from origin_sdk._values.errors import InvalidSettings

__all__ = ["CODINGS", "Coding", "coding_named", "coding_numbered"]


class Coding(NamedTuple):
    """A content coding, as in ``Content-Encoding``."""

    number: int
    compress: Callable[[bytes], bytes]
    expand: Callable[[bytes, int], bytes]
    """Expand to ``most`` bytes at most. Raises ValueError for more, and for what isn't whole."""


_GZIP_FORMAT = 16 + zlib.MAX_WBITS


def _gzip() -> Coding:
    def expand(data: bytes, most: int) -> bytes:
        decompressor = zlib.decompressobj(_GZIP_FORMAT)
        expanded = decompressor.decompress(data, most + 1)
        return _within(expanded, most, is_whole=decompressor.eof and not decompressor.unused_data)

    return Coding(1, lambda data: gzip.compress(data, 5, mtime=0), expand)


def _brotli() -> Coding:
    module = brotli_module()
    if module is None:
        raise ModuleNotFoundError("brotli")

    def expand(data: bytes, most: int) -> bytes:
        decompressor = module.Decompressor()
        expanded = bytearray(decompressor.process(data, output_buffer_limit=most + 1))
        while len(expanded) <= most and not decompressor.can_accept_more_data():
            expanded += decompressor.process(b"", output_buffer_limit=most + 1 - len(expanded))
        return _within(bytes(expanded), most, is_whole=decompressor.is_finished())

    return Coding(2, lambda data: bytes(module.compress(data, quality=4)), expand)


def _zstd() -> Coding:
    module = import_module("zstandard")

    def expand(data: bytes, most: int) -> bytes:
        with module.ZstdDecompressor().stream_reader(data) as reader:
            expanded = reader.read(most + 1)
        declared = module.frame_content_size(data)
        return _within(expanded, most, is_whole=declared in {-1, len(expanded)} or len(expanded) > most)

    return Coding(3, lambda data: bytes(module.compress(data, 3)), expand)


def _within(expanded: bytes, most: int, *, is_whole: bool) -> bytes:
    if len(expanded) > most:
        raise ValueError(f"expands to more than {most} bytes")
    if not is_whole:
        raise ValueError("isn't whole")
    return expanded


CODINGS: Mapping[str, Callable[[], Coding]] = {"gzip": _gzip, "br": _brotli, "zstd": _zstd}


@cache
def coding_named(name: str) -> Coding:
    """Return a coding by its name. Raises InvalidSettings where its package isn't installed."""
    if name not in CODINGS:
        raise InvalidSettings(f"compression {name!r}: one of {', '.join(CODINGS)} is needed")
    try:
        return CODINGS[name]()
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"compression {name!r} needs a package: pip install 'origin-sdk[compression]'"
        ) from error


@cache
def coding_numbered(number: int) -> Coding | None:
    """Return a coding by its number in an envelope; None where it is unknown or not installed."""
    for name in CODINGS:
        try:
            coding = coding_named(name)
        except InvalidSettings:
            continue
        if coding.number == number:
            return coding
    return None
