"""Bodies are ArrayBuffers that never enter the Python heap."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress

import js
from pyodide.ffi import JsException, to_js

from origin_sdk_edge.adapters.javascript import from_json
from origin_sdk_edge.adapters.promises import Promised, promised, unawaited, within
from origin_sdk_edge.ports import Body, ContentError, LateContentError, Request, StoreError, Stream

__all__ = ["ArrayBuffers", "JsCounted", "JsPipe", "joined", "read_at_most"]

_SILENCE_SECONDS = 10.0
"""A body of the store of which nothing comes for so long is given up."""
_ROOM_BYTES = 128 * 1024
"""workerd counts room that it makes for Brotli as if it were filled: 40 KB of it, measured."""


class ArrayBuffers:
    """See :class:`origin_sdk_edge.ports.Bodies`."""

    def __init__(self) -> None:
        self._empty = js.ArrayBuffer.new(0)

    def size(self, body: Body) -> int:
        """Return the number of bytes."""
        size: int = body.byteLength
        return size

    def measured(self, stream: Stream, size_bytes: int) -> Stream:
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

    def octets(self, body: Body) -> bytes:
        """Return a body that is small enough to be looked into."""
        octets: bytes = body.to_bytes()
        return octets

    async def received(self, request: Request, timeout_seconds: float | None = None) -> Body:
        """Return the content of a client's request."""
        try:
            return await within(timeout_seconds, promised(request.arrayBuffer, request))
        except JsException as error:
            raise ContentError(str(error)) from error
        except TimeoutError as error:
            raise LateContentError(f"it took longer than {timeout_seconds:g} s") from error

    async def copied(self, request: Request, timeout_seconds: float) -> Body:
        """Return the content of a client's request, which can still be sent on."""
        return await self.received(request.clone(), timeout_seconds)

    def prefixed(self, text: str, body: Body) -> Body:
        """Return ``text`` as UTF-8 with ``body`` after it."""
        return self.joined((js.TextEncoder.new().encode(text), body))

    def joined(self, bodies: Sequence[Body]) -> Body:
        """Return one after the other."""
        return joined(bodies)

    def room(self, size_bytes: int) -> Body:
        """Return so many bytes, to be written into."""
        return js.ArrayBuffer.new(size_bytes)

    def put(self, room: Body, at: int, body: Body) -> None:
        """Write a body into a room."""
        js.Uint8Array.new(room).set(js.Uint8Array.new(body), at)

    def from_octets(self, octets: bytes) -> Body:
        """Return a small body."""
        return to_js(octets).slice().buffer

    def counted(self, stream: Stream) -> "JsCounted":
        """Read a stream by sizes."""
        return JsCounted(stream)

    async def gzip(self, body: Body) -> Body:
        """Compress."""
        return await _through(body, js.CompressionStream.new("gzip"))

    async def expanded(self, body: Body, coding: str, most_bytes: int) -> Body:
        """Take a coding off, and stop where it comes to too much."""
        return _unbrotli(body, most_bytes) if coding == "br" else await self._gunzip(body, most_bytes)

    async def _gunzip(self, body: Body, most_bytes: int) -> Body:
        stream = js.Response.new(body).body.pipeThrough(js.DecompressionStream.new("gzip"))
        try:
            return await read_at_most(most_bytes, stream)
        except JsException as error:
            raise ValueError(str(error)) from error

    def empty(self) -> Body:
        """Return no bytes."""
        return self._empty

    def pipe(self, size_bytes: int | None) -> "JsPipe":
        """Make a body for a client, of this size if it is known."""
        return JsPipe(size_bytes)


async def read_at_most(
    most_bytes: int, stream: Stream, bounded: Callable[[Promised], Promised] | None = None
) -> Body:
    """Return all of a stream; raises :class:`ValueError` as soon as that is too much.

    ``bounded`` says how long each piece is waited for.
    """
    reader, pieces, size = stream.getReader(), [], 0

    def reading() -> Promised:
        piece = promised(reader.read, reader)
        return bounded(piece) if bounded else piece

    while not (step := await reading()).done:
        size += step.value.byteLength
        if size > most_bytes:
            unawaited(promised(reader.cancel, reader))
            raise ValueError(f"it has more than {most_bytes} bytes")
        pieces.append(step.value)
    return joined(pieces)


def joined(bodies: Sequence[Body]) -> Body:
    """Return the bytes of ArrayBuffers and Uint8Arrays one after the other."""
    whole, at = js.Uint8Array.new(sum(body.byteLength for body in bodies)), 0
    for body in bodies:
        whole.set(body if hasattr(body, "buffer") else js.Uint8Array.new(body), at)
        at += body.byteLength
    return whole.buffer


def _unbrotli(body: Body, most_bytes: int) -> Body:
    # DecompressionStream knows no Brotli; node:zlib is there since compatibility date 2026-08-04. Its Buffer
    # stays in JavaScript: Pyodide knows no such array.
    options = from_json(json.dumps({"maxOutputLength": most_bytes + _ROOM_BYTES}))
    try:
        expand = js.process.getBuiltinModule("node:zlib").brotliDecompressSync
        expanded = js.Array.from_(from_json("[0]"), expand.bind(None, js.Uint8Array.new(body), options))
    except (JsException, AttributeError) as error:
        raise ValueError(str(error)) from error
    plain: Body = js.Reflect.construct(js.Uint8Array, expanded).buffer
    if plain.byteLength > most_bytes:
        raise ValueError(f"it expands to more than {most_bytes} bytes")
    return plain


class JsCounted:
    """See :class:`origin_sdk_edge.ports.Counted`."""

    def __init__(self, stream: Stream) -> None:
        self._reader = stream.getReader(from_json('{"mode": "byob"}'))

    async def next(self, size_bytes: int) -> Body:
        """Return the next bytes, fewer at the end alone."""
        room = js.Uint8Array.new(size_bytes)
        reading = promised(self._reader.readAtLeast, self._reader, size_bytes, room)
        try:
            step = await within(_SILENCE_SECONDS, reading, self.cancel)
        except JsException as error:
            raise StoreError(f"a body broke off: {error}") from error
        except TimeoutError as error:
            raise StoreError(f"no bytes of a body for {_SILENCE_SECONDS:g} s") from error
        piece = step.value
        return piece.slice().buffer if piece else js.ArrayBuffer.new(0)

    def cancel(self) -> None:
        """Read no more of it."""
        unawaited(promised(self._reader.cancel, self._reader))


class JsPipe:
    """See :class:`origin_sdk_edge.ports.Pipe`."""

    def __init__(self, size_bytes: int | None) -> None:
        stream = (
            js.IdentityTransformStream.new() if size_bytes is None else js.FixedLengthStream.new(size_bytes)
        )
        self.readable = stream.readable
        self._writer = stream.writable.getWriter()

    async def write(self, piece: Body, timeout_seconds: float) -> bool:
        """Give a piece to the client; return whether it took it."""
        try:
            writing = promised(self._writer.write, self._writer, piece)
            await within(timeout_seconds, writing, self._abort)
        except (JsException, TimeoutError):
            return False
        return True

    def _abort(self) -> None:
        unawaited(promised(self._writer.abort, self._writer))

    async def close(self) -> None:
        """End the body."""
        with suppress(JsException):
            await promised(self._writer.close, self._writer)

    async def abort(self) -> None:
        """Break the body off, so that the client sees that it isn't whole."""
        with suppress(JsException):
            await promised(self._writer.abort, self._writer)


async def _through(body: Body, transform: object) -> Body:
    whole = js.Response.new(js.Response.new(body).body.pipeThrough(transform))
    return await promised(whole.arrayBuffer, whole)
