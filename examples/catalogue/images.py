"""Pictures of products: a small PNG, drawn from the numbers of the product and its category."""

import struct
import zlib

_SIDE = 256
_BARS = 8
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def product_png(product_id: int, category_id: int) -> bytes:
    """Return bars in the category's colour; those are light whose bit in the product's id is set."""
    colour = (64 + category_id * 53 % 160, 64 + category_id * 97 % 160, 64 + category_id * 29 % 160)
    rows = b"".join(b"\0" + _row(y, product_id, colour) for y in range(_SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _row(y: int, product_id: int, colour: tuple[int, int, int]) -> bytes:
    shade = 255 - y * 64 // _SIDE
    dark = bytes(part * shade // 255 for part in colour)
    light = bytes((part + 255) // 2 * shade // 255 for part in colour)
    width = _SIDE // _BARS
    return b"".join((light if product_id >> bar & 1 else dark) * width for bar in range(_BARS))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
