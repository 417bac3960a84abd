"""A client that sends exactly the bytes that a test gives it, and returns exactly what came back."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPResponse, IncompleteRead
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Response:
    """A response: its field lines in their order, and whether its body is as long as it said."""

    status: int
    reason: str
    fields: Sequence[tuple[str, str]]
    body: bytes
    complete: bool

    def values(self, name: str) -> list[str]:
        """Return the value of each field line of that name."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def value(self, name: str) -> str | None:
        """Return the field's value, the lines joined as RFC 9110 section 5.3 says, or None."""
        return ", ".join(values) if (values := self.values(name)) else None


def exchange(url: str, request: bytes) -> Response:
    """Send the bytes of a request to the server at `url`, read one response, interpret its framing alone."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=_TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        return read_response(connection, request.split(b" ", 1)[0].decode())


def read_response(connection: socket.socket, method: str) -> Response:
    """Read one response, interpret its framing alone."""
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        body, complete = _read(response)
        return Response(response.status, response.reason, response.headers.items(), body, complete)


def ask(
    url: str,
    target: str = "/",
    *,
    method: str = "GET",
    fields: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> Response:
    """Send a request with these field lines and, beside them, Host, Content-Length and Connection alone."""
    framing = [("Content-Length", str(len(body)))] if body else []
    all_fields = [("Host", urlsplit(url).netloc), *fields, *framing, ("Connection", "close")]
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in all_fields)]
    return exchange(url, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def _read(response: HTTPResponse) -> tuple[bytes, bool]:
    try:
        return response.read(), True
    except IncompleteRead as error:
        return error.partial, False
