"""The origin, through the runtime's fetch, and the shield, through a service binding."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import js
from pyodide.ffi import JsException

from origin_sdk_edge.adapters.bodies import joined
from origin_sdk_edge.adapters.clock import epoch_ms
from origin_sdk_edge.adapters.javascript import fields_of, from_json
from origin_sdk_edge.adapters.promises import Promised, promised, unawaited, within
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.relay import origin_url, outbound_fields, signature_field
from origin_sdk_edge.ports import Body, LateError, OriginError, Request, Response, Stream
from origin_sdk_wire.fields import HOP_BY_HOP
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.storability import content_length

__all__ = ["FetchOrigin", "FetchedResponse", "JsPieces", "ServiceShield"]

# Cloudflare's own cache stays out of it; bytes come and go as they are coded.
_INIT = {"redirect": "manual", "encodeResponseBody": "manual", "cf": {"cacheTtlByStatus": {"200-599": -1}}}
_SERVICE_INIT = {"redirect": "manual", "encodeResponseBody": "manual"}
_ONE_HOP = frozenset(
    {"host", "content-length", "cf-connecting-ip", "cf-worker", "cf-ew-via", "cdn-loop", *HOP_BY_HOP}
)
_PIECE_BYTES = 256 * 1024

_fetch = js.fetch
_new_controller = js.AbortController.new
_new_octets = js.Uint8Array.new


class JsPieces:
    """See :class:`origin_sdk_edge.ports.Pieces`."""

    def __init__(
        self, stream: Stream, silence_seconds: float, first_bytes: int, heard: Callable[[], None]
    ) -> None:
        self._heard = heard
        self._reader = stream.getReader(from_json('{"mode": "byob"}'))
        self._silence_seconds = silence_seconds
        self._room: Any = _new_octets(first_bytes)
        self._coming: Promised | None = None

    async def is_near(self, seconds: float) -> bool:
        """Whether the next piece, or the end, is there within ``seconds``."""
        coming = self._begun()
        try:
            await within(seconds, coming)
        except TimeoutError:
            return False
        except JsException:
            return True  # whoever takes it hears why
        return True

    def _begun(self) -> Promised:
        if self._coming is None:
            room = _new_octets(_PIECE_BYTES) if self._room is None else self._room
            self._coming = promised(self._reader.read, self._reader, room, None)
        return self._coming

    async def next(self) -> Body | None:
        """Return the next piece, ``None`` at the end."""
        coming, self._coming = self._begun(), None
        try:
            step = await within(self._silence_seconds, coming, self.cancel)
        except JsException as error:
            raise OriginError(OriginFailure.TRUNCATED, str(error)) from error
        except TimeoutError as error:
            explanation = f"no bytes of the body for {self._silence_seconds:g} s"
            raise OriginError(OriginFailure.TIMEOUT, explanation) from error
        self._heard()
        if step.done:
            return None
        piece, room = step.value, step.value.buffer
        if piece.byteLength == room.byteLength:
            self._room = None  # mostly that was all
            return piece
        # Each piece costs a way through Python, so that there is room for much at once. What comes is mostly
        # less, and what is held would take many times its size.
        self._room = _new_octets(room)
        return piece.slice()

    def cancel(self) -> None:
        """Read no more of it."""
        unawaited(promised(self._reader.cancel, self._reader))


class FetchedResponse:
    """See :class:`origin_sdk_edge.ports.OriginResponse`."""

    def __init__(self, raw: Response, silence_seconds: float) -> None:
        self.raw = raw
        self.body = self._stream = raw.body
        self.status: int = raw.status
        fields = fields_of(raw.headers)
        self.set_cookies: tuple[str, ...] = (
            tuple(raw.headers.getSetCookie()) if fields.pop("set-cookie", None) is not None else ()
        )
        self.fields: Mapping[str, str] = fields
        self._silence_seconds = silence_seconds
        self._hear()

    def _hear(self) -> None:
        self.heard_ms = epoch_ms()

    async def read(self) -> Body:
        """Return the whole body."""
        if not self._stream:
            return joined([])  # of a status without content, whatever Content-Length says: nothing is missing
        pieces, read, rest_bytes = self.pieces(), [], content_length(self.fields)
        while (rest_bytes is None or rest_bytes > 0) and (piece := await pieces.next()) is not None:
            read.append(piece)
            rest_bytes = None if rest_bytes is None else rest_bytes - piece.byteLength
        if rest_bytes:
            raise OriginError(OriginFailure.TRUNCATED, f"{rest_bytes} bytes of the body are missing")
        return read[0].buffer if len(read) == 1 else joined(read)

    async def copied(self, most_bytes: int) -> Body | None:
        """Return the body if it has no more bytes than that; it can still be read, or handed on."""
        length_bytes = content_length(self.fields)
        if length_bytes is not None and length_bytes > most_bytes:
            return None
        if not self._stream:
            return joined([])
        own, other = self._stream.tee()
        self.body = self._stream = other
        room_bytes = min(most_bytes, _PIECE_BYTES if length_bytes is None else length_bytes) + 1
        pieces, read, size_bytes = JsPieces(own, self._silence_seconds, room_bytes, self._hear), [], 0
        latest_ms = epoch_ms() + self._silence_seconds * 1000
        while (piece := await pieces.next()) is not None:
            size_bytes += piece.byteLength
            if size_bytes > most_bytes:
                pieces.cancel()
                return None
            if self.heard_ms > latest_ms:
                pieces.cancel()
                raise LateError(
                    f"the body took longer than BETWEEN_BYTES_TIMEOUT = {self._silence_seconds:g}"
                )
            read.append(piece)
        if length_bytes is not None and size_bytes < length_bytes:
            raise OriginError(
                OriginFailure.TRUNCATED, f"{length_bytes - size_bytes} bytes of the body are missing"
            )
        return joined(read)

    def discard(self) -> None:
        """Give up the body."""
        if self._stream:
            unawaited(promised(self._stream.cancel, self._stream))

    def pieces(self) -> JsPieces:
        """Return the body piece by piece."""
        # A body of a known length mostly comes in one piece, which then takes just the room that there is.
        first_bytes = min(content_length(self.fields) or _PIECE_BYTES, _PIECE_BYTES)
        stream = self._stream or js.Response.new("").body
        return JsPieces(stream, self._silence_seconds, first_bytes, self._hear)


class FetchOrigin:
    """See :class:`origin_sdk_edge.ports.Origin`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def fetch(
        self,
        request: RequestFacts,
        conditional: Mapping[str, str],
        body: Request,
        timeout_seconds: float,
        base: str,
    ) -> FetchedResponse:
        """Send a request."""
        fields = {**outbound_fields(request, self._settings, base), **conditional}
        secret = self._settings.origin_secret
        fields |= signature_field(request, fields, base, secret, epoch_ms() // 1000)
        target = origin_url(request.asked or request.target, base)
        described = {"headers": list(fields.items()), **_INIT}
        way = _Way(_fetch, None, timeout_seconds, self._settings.between_bytes_timeout)
        return await _sent(way, target, request, described, body)


class ServiceShield:
    """See :class:`origin_sdk_edge.shield.ShieldPort`."""

    def __init__(self, binding: Any, settings: Settings) -> None:
        self._binding = binding
        self._settings = settings

    async def fetch(
        self, request: RequestFacts, fields: Mapping[str, str], timeout_seconds: float
    ) -> FetchedResponse:
        """Send a request."""
        target, binding = str(request.asked or request.target), self._binding
        kept = {name: value for name, value in fields.items() if name not in _ONE_HOP}
        return await _sent(
            _Way(binding.fetch, binding, timeout_seconds, self._settings.between_bytes_timeout),
            target,
            request,
            {"headers": list(kept.items()), **_SERVICE_INIT},
        )


@dataclass(frozen=True, slots=True)
class _Way:
    """A function of the runtime that sends requests, and how long to wait for its response and in it."""

    fetch: Any
    receiver: Any
    timeout_seconds: float
    silence_seconds: float


async def _sent(
    way: _Way, url: str, request: RequestFacts, described: Mapping[str, Any], body: Request = None
) -> FetchedResponse:
    target: Any = url
    content = request.content
    if content is None and body is not None and request.method in {"GET", "HEAD"}:
        # The runtime makes no such request with a body, but by one that has it.
        init = from_json(json.dumps(described))
        target = js.Request.new(target, body)
    else:
        init = from_json(json.dumps({"method": request.method, **described}))
        if content:
            init.body = content.body
        elif body is not None:
            init.body = body.body
    controller = _new_controller()
    init.signal = controller.signal
    seconds = way.timeout_seconds
    try:
        raw = await within(seconds, promised(way.fetch, way.receiver, target, init), controller.abort)
    except JsException as error:
        raise OriginError(OriginFailure.UNREACHABLE, str(error)) from error
    except TimeoutError as error:
        raise OriginError(OriginFailure.TIMEOUT, f"no response within {seconds:g} s") from error
    return FetchedResponse(raw, way.silence_seconds)
