"""Responses byte by byte: what a scripted origin does with a request is a list of steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

Fields: TypeAlias = Sequence[tuple[str, str]]

_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next step."""

    seconds: float


class Hold:
    """Wait before the next step until the test calls `release`."""

    def __init__(self) -> None:
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    async def wait(self) -> None:
        await asyncio.to_thread(self._released.wait, _PATIENCE_SECONDS)


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""


Step: TypeAlias = "bytes | Pause | Hold | Reset | Close"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the origin does with a request."""

    steps: Iterable[Step]

    def after(self, *steps: Step) -> Reply:
        """Return this reply with other steps before it: a pause, a hold, an informational response."""
        return Reply((*steps, *self.steps))


def head(status: int, fields: Fields = (), *, version: str = "HTTP/1.1", reason: str | None = None) -> bytes:
    """Return a status line and header fields as they go over the wire, nothing added."""
    phrase = _phrase(status) if reason is None else reason
    lines = [f"{version} {status} {phrase}", *(f"{name}: {value}" for name, value in fields)]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def reply(
    status: int = 200,
    fields: Fields = (),
    body: bytes = b"",
    *,
    version: str = "HTTP/1.1",
    reason: str | None = None,
) -> Reply:
    """Return a whole response with a Content-Length, where the status has a body."""
    length = [] if status in {204, 304} else [("Content-Length", str(len(body)))]
    return Reply((head(status, [*fields, *length], version=version, reason=reason), body))


def chunked(status: int = 200, fields: Fields = (), body: Iterable[bytes | Pause | Hold] = ()) -> Reply:
    """Return a chunked response. Each item of the body is a chunk, or a wait between chunks."""
    return Reply(_Chunked(head(status, [*fields, ("Transfer-Encoding", "chunked")]), body))


def until_close(
    status: int = 200, fields: Fields = (), body: bytes = b"", *, version: str = "HTTP/1.0"
) -> Reply:
    """Return a response whose end is the end of the connection."""
    return Reply((head(status, fields, version=version), body, Close()))


def truncated(body: bytes, *, missing: int, status: int = 200, fields: Fields = ()) -> Reply:
    """Return a response that ends `missing` bytes before its Content-Length."""
    length = ("Content-Length", str(len(body) + missing))
    return Reply((head(status, [*fields, length]), body, Close()))


class _Chunked:
    """The steps of a chunked response, made one by one, so that a body may be longer than memory."""

    def __init__(self, start: bytes, body: Iterable[bytes | Pause | Hold]) -> None:
        self._start = start
        self._body = body

    def __iter__(self) -> Iterator[Step]:
        yield self._start
        for item in self._body:
            yield b"%x\r\n%b\r\n" % (len(item), item) if isinstance(item, bytes) else item
        yield b"0\r\n\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
