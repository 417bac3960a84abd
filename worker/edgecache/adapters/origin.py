"""The origin, through the runtime's fetch."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import js
from pyodide.ffi import JsException

from cachewire.settings import Settings
from edgecache.adapters.javascript import fields_of, from_json, within
from edgecache.policy.facts import OriginFailure, RequestFacts
from edgecache.policy.relay import origin_url, outbound_fields
from edgecache.ports import Body, OriginError

__all__ = ["FetchOrigin", "FetchedResponse"]

# Cloudflare's own cache stays out of it; bytes come and go as they are coded.
_INIT = {"redirect": "manual", "encodeResponseBody": "manual", "cf": {"cacheTtlByStatus": {"200-599": -1}}}
_PIECE_BYTES = 256 * 1024


class FetchedResponse:
    """See :class:`edgecache.ports.OriginResponse`."""

    def __init__(self, raw: Any, timeout_seconds: float, abort: Any) -> None:
        self.raw = raw
        self._abort = abort
        self.body = raw.body
        self.status: int = raw.status
        fields = fields_of(raw.headers)
        self.set_cookies: tuple[str, ...] = (
            tuple(raw.headers.getSetCookie()) if fields.pop("set-cookie", None) is not None else ()
        )
        self.fields: Mapping[str, str] = fields
        self._timeout_seconds = timeout_seconds

    async def read(self) -> Body:
        """Return the whole body."""
        try:
            return await within(self._timeout_seconds, self.raw.arrayBuffer(), self._abort)
        except JsException as error:
            raise OriginError(OriginFailure.TRUNCATED, str(error)) from error
        except TimeoutError as error:
            raise OriginError(
                OriginFailure.TIMEOUT, f"the body took longer than {self._timeout_seconds:g} s"
            ) from error

    def discard(self) -> None:
        """Give up the body."""
        if self.raw.body:
            self.raw.body.cancel()

    def fork(self) -> Callable[[int], Awaitable[Body | None]]:
        """Split the body between the client and a collector."""
        self.body, copy = (self.raw.body or js.Response.new("").body).tee()
        reader = copy.getReader(from_json('{"mode": "byob"}'))

        async def collect(max_bytes: int) -> Body | None:
            chunks, size = js.Array.new(), 0
            try:
                while True:
                    # Room for much at once: each piece costs a way through Python, and is small by default.
                    piece = reader.read(js.Uint8Array.new(_PIECE_BYTES))
                    step = await within(self._timeout_seconds, piece, reader.cancel)
                    if step.done:
                        break
                    size += step.value.byteLength
                    if size > max_bytes:
                        reader.cancel()
                        return None
                    chunks.push(step.value)
            except JsException as error:
                raise OriginError(OriginFailure.TRUNCATED, str(error)) from error
            except TimeoutError as error:
                reader.cancel()
                raise OriginError(
                    OriginFailure.TIMEOUT, "the rest of the body was too long in coming"
                ) from error
            return await js.Blob.new(chunks).arrayBuffer()

        return collect


class FetchOrigin:
    """See :class:`edgecache.ports.Origin`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def fetch(
        self, request: RequestFacts, conditional: Mapping[str, str], body: Any, timeout_seconds: float
    ) -> FetchedResponse:
        """Send a request."""
        fields = {**outbound_fields(request, self._settings), **conditional}
        init = from_json(json.dumps({"method": request.method, "headers": list(fields.items()), **_INIT}))
        if body is not None:
            init.body = body
        controller = js.AbortController.new()
        init.signal = controller.signal
        try:
            fetched = js.fetch(origin_url(request.target, self._settings), init)
            raw = await within(timeout_seconds, fetched, controller.abort)
        except JsException as error:
            raise OriginError(OriginFailure.UNREACHABLE, str(error)) from error
        except TimeoutError as error:
            raise OriginError(OriginFailure.TIMEOUT, f"no response within {timeout_seconds:g} s") from error
        return FetchedResponse(raw, timeout_seconds, controller.abort)
