"""Bodies are ArrayBuffers that never enter the Python heap."""

from collections.abc import Sequence
from typing import Any

import js
from pyodide.ffi import JsException

from edgecache.ports import Body

__all__ = ["ArrayBuffers"]


class ArrayBuffers:
    """See :class:`edgecache.ports.Bodies`."""

    def __init__(self) -> None:
        self._empty = js.ArrayBuffer.new(0)

    def size(self, body: Body) -> int:
        """Return the number of bytes."""
        size: int = body.byteLength
        return size

    def measured(self, stream: Any, size_bytes: int) -> Any:
        """Return a stream that fails, and the response with it, unless it has this size."""
        return stream.pipeThrough(js.FixedLengthStream.new(size_bytes))

    def part(self, body: Body, start: int, end: int) -> Body:
        """Return a half-open range."""
        return body.slice(start, end)

    def text(self, body: Body) -> str:
        """Decode UTF-8."""
        try:
            text: str = js.TextDecoder.new("utf-8", js.JSON.parse('{"fatal": true}')).decode(body)
        except JsException as error:
            raise ValueError(str(error)) from error
        return text

    def prefixed(self, text: str, body: Body) -> Body:
        """Return ``text`` as UTF-8 with ``body`` after it."""
        return self.joined((js.TextEncoder.new().encode(text), body))

    def joined(self, bodies: Sequence[Body]) -> Body:
        """Return one after the other."""
        joined, at = js.Uint8Array.new(sum(body.byteLength for body in bodies)), 0
        for body in bodies:
            joined.set(js.Uint8Array.new(body), at)
            at += body.byteLength
        return joined.buffer

    async def gzip(self, body: Body) -> Body:
        """Compress."""
        return await _through(body, js.CompressionStream.new("gzip"))

    async def gunzip(self, body: Body) -> Body:
        """Decompress."""
        try:
            return await _through(body, js.DecompressionStream.new("gzip"))
        except JsException as error:
            raise ValueError(str(error)) from error

    def empty(self) -> Body:
        """Return no bytes."""
        return self._empty


async def _through(body: Body, transform: object) -> Body:
    return await js.Response.new(js.Response.new(body).body.pipeThrough(transform)).arrayBuffer()
