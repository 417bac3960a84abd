"""Responses as the runtime sends them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import js

from origin_sdk_edge.adapters.javascript import from_json
from origin_sdk_edge.policy.facts import WITHOUT_CONTENT
from origin_sdk_edge.ports import Body, OriginResponse, Response

__all__ = ["JsResponses", "PreparedResponse"]

_new_response = js.Response.new


class PreparedResponse:
    """See :class:`origin_sdk_edge.fastpath.Rendered`."""

    def __init__(self, body: Body, init: Any) -> None:
        self._body = body
        self._init = init
        self._headers = init.headers = js.Headers.new(init.headers)

    def set(self, name: str, value: str) -> None:
        """Set a field of the responses to come."""
        self._headers.set(name, value)

    def response(self) -> Response:
        """Make one response."""
        return _new_response(self._body, self._init)


class JsResponses:
    """See :class:`origin_sdk_edge.ports.Outgoing` and :class:`origin_sdk_edge.fastpath.Rendering`."""

    def rendered(self, status: int, fields: list[tuple[str, str]], body: Body) -> PreparedResponse:
        """Prepare a response."""
        return PreparedResponse(body, _init(status, fields))

    def stored(
        self, status: int, fields: Sequence[tuple[str, str]], body: Body | None, *, is_head: bool
    ) -> Response:
        """Make a response from stored parts."""
        return _new_response(None if is_head else body, _init(status, fields))

    def relayed(self, response: OriginResponse, fields: Mapping[str, str | None]) -> Response:
        """Hand on the origin's response."""
        if response.status == 101:
            return response.raw  # the runtime can't create such a response
        headers = js.Headers.new(response.raw.headers)
        for name, value in fields.items():
            if value is None:
                headers.delete(name)
            else:
                headers.set(name, value)
        init = from_json(
            json.dumps(
                {"status": response.status, "statusText": response.raw.statusText, "encodeBody": "manual"}
            )
        )
        init.headers = headers
        return _new_response(None if response.status in WITHOUT_CONTENT else response.body, init)

    def plain(self, status: int, fields: Sequence[tuple[str, str]], text: str) -> Response:
        """Make a plain-text response."""
        return _new_response(None if status in WITHOUT_CONTENT else text, _init(status, fields))


def _init(status: int, fields: Sequence[tuple[str, str]]) -> Response:
    return from_json(json.dumps({"status": status, "headers": fields, "encodeBody": "manual"}))
