"""Many clients at once, each on a connection of its own."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import IO, Any
from urllib.parse import urlsplit

from tests.runtime.client import Response
from tests.runtime.edge import HOST

_TIMEOUT_SECONDS = 40.0
_NOTHING = Response(0, "", [], b"", complete=False)
"""What a client has that got no response."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a crowd. With ``leaves_after`` the client hangs up so many seconds later."""

    target: str
    fields: Sequence[tuple[str, str]] = ()
    method: str = "GET"
    leaves_after: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a client of a crowd was told, and how long that took."""

    response: Response
    seconds: float

    @property
    def body(self) -> bytes:
        return self.response.body


def crowd(url: str, requests: Sequence[Asked]) -> list[Told]:
    """Send all requests at once, and return the answers in their order."""
    return asyncio.run(_all(url, requests))


async def _all(url: str, requests: Sequence[Asked]) -> list[Told]:
    return await asyncio.gather(*(_one(url, request) for request in requests))


async def _one(url: str, asked: Asked) -> Told:
    began, received = time.perf_counter(), b""
    limit = _TIMEOUT_SECONDS if asked.leaves_after is None else asked.leaves_after
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        lines = [("Host", HOST), *asked.fields, ("Connection", "close")]
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        writer.write(f"{asked.method} {asked.target} HTTP/1.1\r\n{text}\r\n".encode("latin-1"))
        received = await asyncio.wait_for(reader.read(), limit)
    except (TimeoutError, ConnectionError):
        assert asked.leaves_after is not None or not received, f"{asked.target} hangs"
    finally:
        writer.transport.abort()
    return Told(_parsed(received, asked.method), time.perf_counter() - began)


def _parsed(received: bytes, method: str) -> Response:
    if not received:
        return _NOTHING
    with HTTPResponse(_Received(received), method=method) as response:  # type: ignore[arg-type] # all it uses
        try:
            response.begin()
            body, is_complete = response.read(), True
        except IncompleteRead as error:
            body, is_complete = error.partial, False
        except HTTPException:
            return _NOTHING
        return Response(response.status, response.reason, response.headers.items(), body, is_complete)


class _Received:
    """A socket as far as `http.client` reads from one."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, *_: Any) -> IO[bytes]:
        return io.BytesIO(self._received)
