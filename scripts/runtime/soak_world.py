"""The world of the soak: an origin whose bodies tell what they are, and clients that keep connections."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

__all__ = ["Answer", "Client", "ClientError", "Fault", "Origin", "Told", "read_body"]

_LARGE_BYTES = 1_200_000
_SLOW_SECONDS = 1.5
_SILENT_SECONDS = 6.0
_PATIENCE_SECONDS = 30.0
_CHUNK = 65_536


class Fault(StrEnum):
    """How the origin fails for a while."""

    NONE = "none"
    DOWN = "down"
    SLOW = "slow"
    ERROR = "5xx"
    TRUNCATED = "truncated"
    RESET = "reset"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Told:
    """What a body says of itself: which response it is, for whom, and of which version."""

    path: str
    user: str
    language: str
    version: int


@lru_cache(maxsize=64)
def make_body(told: Told, size: int) -> bytes:
    """Return a body that ends with the checksum of the rest."""
    line = f"{told.path}|{told.user}|{told.language}|{told.version}|".encode()
    filler = (line * (size // len(line) + 1))[:size]
    text = line + filler
    return text + hashlib.sha256(text).hexdigest().encode()


def read_body(body: bytes) -> Told | None:
    """Return what a body says of itself, or ``None`` if it isn't whole."""
    text, checksum = body[:-64], body[-64:]
    if hashlib.sha256(text).hexdigest().encode() != checksum:
        return None
    path, user, language, version = text.split(b"|", 4)[:4]
    return Told(path.decode(), user.decode(), language.decode(), int(version))


class Origin:
    """Answers by the first segment of the path; fails as told."""

    def __init__(self) -> None:
        self.fault = Fault.NONE
        self.requests = 0
        self.port = 0
        self._versions: defaultdict[str, int] = defaultdict(lambda: 1)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Accept connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._converse, "127.0.0.1", self.port, backlog=1024)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close all connections, and accept no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._connections):
            writer.transport.abort()

    def change(self, path: str) -> int:
        """Make a new version of a path, and return its number."""
        self._versions[path] += 1
        return self._versions[path]

    def current(self, path: str) -> int:
        """Return the version of a path."""
        return self._versions[path]

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                await reader.readexactly(int(fields.get("content-length", "0")))
                method, path, _ = head[0].split(" ")
                self.requests += 1
                await self._answer(method, path, fields, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _answer(
        self, method: str, path: str, fields: dict[str, str], writer: asyncio.StreamWriter
    ) -> None:
        fault = self.fault
        if method == "POST":
            self.change(path)
            writer.write(b'HTTP/1.1 204 No Content\r\nCache-Group-Invalidation: "none"\r\n\r\n')
            return
        # Rendered when it is asked for, however late it is sent: that is what races with purges.
        body, lines = self._rendered(path, fields)
        if fault is Fault.SLOW:
            await asyncio.sleep(_SLOW_SECONDS)
        if fault is Fault.ERROR:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown")
        elif fault is Fault.RESET:
            writer.transport.abort()
        else:
            await self._send(path, body, lines, writer, fault)

    def _rendered(self, path: str, fields: dict[str, str]) -> tuple[bytes, list[str]]:
        kind = path.split("/")[1]
        user = fields.get("x-user", "") if kind in {"key", "private", "cookie"} else ""
        language = fields.get("x-language", "") if kind == "vary" else ""
        told = Told(path, user, language, self._versions[path])
        lines = {
            "item": ["Cache-Control: max-age=2, stale-while-revalidate=5, stale-if-error=60"],
            "long": ["Cache-Control: max-age=600, stale-if-error=600", f'Cache-Groups: "{path}", "long"'],
            "vary": ["Cache-Control: max-age=600, stale-if-error=600", "Vary: X-Language"],
            "large": ["Cache-Control: max-age=600, stale-if-error=600"],
            "private": ["Cache-Control: private, max-age=600"],
            "cookie": ["Cache-Control: max-age=600", "Set-Cookie: seen=1"],
        }.get(kind, [])
        return make_body(told, _LARGE_BYTES if kind == "large" else 2000), [*lines, f'ETag: "{hash(told)}"']

    async def _send(
        self, path: str, body: bytes, lines: list[str], writer: asyncio.StreamWriter, fault: Fault
    ) -> None:
        is_cut = fault in {Fault.TRUNCATED, Fault.SILENT}
        is_chunked = path.startswith("/large")
        framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}"
        head = "\r\n".join(["HTTP/1.1 200 OK", *lines, framing, "", ""])
        writer.write(head.encode())
        shown = body[: len(body) // 2] if is_cut else body
        for at in range(0, len(shown), _CHUNK):
            part = shown[at : at + _CHUNK]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
            await writer.drain()
        if fault is Fault.SILENT:
            await asyncio.sleep(_SILENT_SECONDS)
        if is_cut:
            writer.close()
        elif is_chunked:
            writer.write(b"0\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as a client got it."""

    status: int
    cache_status: str
    body: bytes
    is_whole: bool
    seconds: float

    @property
    def detail(self) -> str:
        """Why the cache did what it did."""
        return self.cache_status.rpartition("detail=")[2]

    @property
    def is_hit(self) -> bool:
        """Whether it came from what is stored."""
        return "; hit" in self.cache_status


class ClientError(Exception):
    """No answer came: the connection broke, or nothing came for too long."""


class Client:
    """A client that keeps a connection to each Worker."""

    def __init__(self) -> None:
        self._connections: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def ask(self, port: int, method: str, path: str, fields: dict[str, str]) -> Answer:
        """Send a request and return the answer; raises :class:`ClientError`."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                # A server may close a connection that is kept at any time: such a request is sent again.
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    if port in self._connections:
                        return await self._exchange(port, method, path, fields, began)
                self.leave(port)
                return await self._exchange(port, method, path, fields, began)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            self.leave(port)
            raise ClientError(f"{type(error).__name__} after {time.monotonic() - began:.1f} s") from error

    async def begin(self, port: int, path: str) -> None:
        """Send a request, and go away without reading the answer."""
        with contextlib.suppress(ConnectionError):
            _, writer = await self._connected(port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: soak.test\r\n\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.01)
        self.leave(port)

    def leave(self, port: int) -> None:
        """Break the connection."""
        if connection := self._connections.pop(port, None):
            connection[1].transport.abort()

    def close(self) -> None:
        """Break all connections."""
        for port in list(self._connections):
            self.leave(port)

    async def _connected(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port not in self._connections:
            self._connections[port] = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        return self._connections[port]

    async def _exchange(
        self, port: int, method: str, path: str, fields: dict[str, str], began: float
    ) -> Answer:
        reader, writer = await self._connected(port)
        lines = [f"{method} {path} HTTP/1.1", "Host: soak.test", *(f"{n}: {v}" for n, v in fields.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        answered = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:])}
        body, is_whole = await _read(reader, answered, status)
        if not is_whole or answered.get("connection") == "close":
            self.leave(port)
        return Answer(status, answered.get("cache-status", ""), body, is_whole, time.monotonic() - began)


async def _read(reader: asyncio.StreamReader, fields: dict[str, str], status: int) -> tuple[bytes, bool]:
    if status in {204, 304}:
        return b"", True
    parts: list[bytes] = []
    try:
        if "chunked" not in fields.get("transfer-encoding", ""):
            return await reader.readexactly(int(fields.get("content-length", "0"))), True
        while size := int(await reader.readline() or b"x", 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readline()
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        return b"".join(parts), False
    return b"".join(parts), True
