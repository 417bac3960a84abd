"""An origin that does exactly what a test says, and remembers exactly what it was asked.

    with ScriptedOrigin() as origin:
        origin.on("/a", reply(200, [("Cache-Control", "max-age=60")], b"one"), reply(503))

The first request for /a gets the first reply, every later one the last.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypeAlias
from urllib.parse import urlsplit

from tests.runtime.replies import Close, Fields, Hold, Pause, Reply, Reset, Step, reply

_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.005
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: the fields in their order, with their case and their duplicates."""

    method: str
    target: str
    version: str
    fields: Fields
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def values(self, name: str) -> list[str]:
        """Return the value of each field line of that name."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def value(self, name: str) -> str | None:
        """Return the field's value, the lines joined as RFC 9110 section 5.3 says, or None."""
        return ", ".join(values) if (values := self.values(name)) else None


Answer: TypeAlias = Callable[[Request], Reply]


@dataclass(slots=True)
class _Script:
    """Replies in their order; the last one repeats."""

    replies: Sequence[Reply]
    given: int = field(default=0, init=False)

    def __call__(self, _: Request) -> Reply:
        turn = min(self.given, len(self.replies) - 1)
        self.given += 1
        return self.replies[turn]


class ScriptedOrigin:
    """The origin, on a port and in a thread of its own."""

    def __init__(self) -> None:
        self.port = 0
        self._answers: dict[str, Answer] = {}
        self._fallback: Answer = _nothing_scripted
        self._requests: list[Request] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-origin", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def on(self, path: str, *replies: Reply) -> None:
        """Say what a path answers: the replies in their order, then the last one for ever."""
        self._answers[path] = _Script(replies)

    def decide(self, path: str, answer: Answer) -> None:
        """Say what a path answers by a function of the request, which runs in the origin's thread."""
        self._answers[path] = answer

    def otherwise(self, answer: Answer) -> None:
        """Say what every other path answers."""
        self._fallback = answer

    def requests(self, path: str | None = None) -> list[Request]:
        """Return the requests so far, those for one path or all."""
        return [request for request in list(self._requests) if path in {None, request.path}]

    def wait_for_requests(self, count: int, path: str | None = None) -> list[Request]:
        """Return the requests as soon as there are `count`. Raises AssertionError where they don't come."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(requests := self.requests(path)) < count:
            assert time.monotonic() < deadline, f"{len(requests)} requests came, not {count}: {requests}"
            time.sleep(_POLL_SECONDS)
        return requests

    def forget(self) -> None:
        """Forget the requests and what the paths answer."""
        self._requests.clear()
        self._answers.clear()
        self._fallback = _nothing_scripted

    def listen(self) -> None:
        """Accept connections, after `refuse` on the same port as before."""
        self._run(self._listen())

    def refuse(self) -> None:
        """Close every connection and accept no more: the origin is down."""
        self._run(self._refuse())

    def _run(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        connections = [*self._connections]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test closed the origin: either is part of a test
        finally:
            self._connections.discard(task)
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            request = await _read_request(reader)
            self._requests.append(request)
            for step in self._answer(request).steps:
                await _perform(_without_content(step) if request.method == "HEAD" else step, writer)

    def _answer(self, request: Request) -> Reply:
        return self._answers.get(request.path, self._fallback)(request)


def _nothing_scripted(request: Request) -> Reply:
    return reply(501, body=f"nothing is scripted for {request.path}".encode())


async def _perform(step: Step, writer: asyncio.StreamWriter) -> None:
    match step:
        case bytes():
            writer.write(step)
            await writer.drain()
        case Pause(seconds):
            await asyncio.sleep(seconds)
        case Hold():
            await step.wait()
        case Reset():
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()
        case Close():
            writer.close()


def _without_content(step: Step) -> Step:
    """Leave of a step what may answer a HEAD: content would count as the next response on the connection."""
    if not isinstance(step, bytes):
        return step
    start, end, _ = step.partition(b"\r\n\r\n")
    return start + end if step.startswith(b"HTTP/") else b""


async def _read_request(reader: asyncio.StreamReader) -> Request:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    method, target, version = lines[0].split(" ")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    request = Request(method, target, version, fields)
    if request.value("Transfer-Encoding") is not None:
        return replace(request, body=await _read_chunks(reader))
    return replace(request, body=await reader.readexactly(int(request.value("Content-Length") or 0)))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
