"""Values to bytes and back: JSON or MessagePack with types, compressed where that pays. Never pickle."""

import gzip
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple

import msgspec

from origin_sdk.layers.errors import InvalidFamily

__all__ = ["CODINGS", "FORMATS", "Coding", "Format", "Typed", "coding_named", "typed"]


class Typed(NamedTuple):
    """Encodes and decodes values of one type."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


Format = Literal["json", "msgpack"]
FORMATS: Mapping[Format, int] = {"json": 1, "msgpack": 2}
"""Their numbers in an envelope."""

_JSON = msgspec.json.Encoder(order="deterministic")
_MSGPACK = msgspec.msgpack.Encoder(order="deterministic")


@cache
def typed(number: int, kind: Any) -> Typed:
    """Return what encodes and decodes ``kind`` in the format of this number."""
    encode = _JSON.encode if number == FORMATS["json"] else _MSGPACK.encode
    try:
        if number == FORMATS["json"]:
            return Typed(_checked(kind, encode), msgspec.json.Decoder(kind).decode)
        return Typed(_checked(kind, encode), msgspec.msgpack.Decoder(kind).decode)
    except TypeError as error:
        raise InvalidFamily(f"values of type {kind!r} can't be stored: {error}") from error


_PLAIN = (type(None), bool, int, float, str, bytes, list, dict)


def _checked(kind: Any, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Refuse, where no type is declared, a value that wouldn't come back as itself."""
    if kind is not Any:
        return encode

    def encode_plain(value: Any) -> bytes:
        if type(value) not in _PLAIN:
            name = type(value).__name__
            raise InvalidFamily(
                f"a {name} comes back as itself only if the family says so: Family(..., type={name})"
            )
        return encode(value)

    return encode_plain


class Coding(NamedTuple):
    """A content coding, as in ``Content-Encoding``."""

    number: int
    compress: Callable[[bytes], bytes]
    expand: Callable[[bytes], bytes]


def _brotli() -> Coding:
    module = import_module("brotli")
    return Coding(2, lambda data: bytes(module.compress(data, quality=4)), module.decompress)


def _zstd() -> Coding:
    module = import_module("zstandard")
    return Coding(3, lambda data: bytes(module.compress(data, 3)), module.decompress)


CODINGS: Mapping[str, Callable[[], Coding]] = {
    "gzip": lambda: Coding(1, lambda data: gzip.compress(data, 5, mtime=0), gzip.decompress),
    "br": _brotli,
    "zstd": _zstd,
}


@cache
def coding_named(name: str) -> Coding:
    """Return a coding by its name. Raises InvalidFamily where its package isn't installed."""
    if name not in CODINGS:
        raise InvalidFamily(f"compression {name!r}: one of {', '.join(CODINGS)} is needed")
    try:
        return CODINGS[name]()
    except ModuleNotFoundError as error:
        raise InvalidFamily(
            f"compression {name!r} needs a package: pip install 'origin-sdk[compression]'"
        ) from error


@cache
def coding_numbered(number: int) -> Coding | None:
    """Return a coding by its number in an envelope; None where it is unknown or not installed."""
    for name in CODINGS:
        try:
            coding = coding_named(name)
        except InvalidFamily:
            continue
        if coding.number == number:
            return coding
    return None
