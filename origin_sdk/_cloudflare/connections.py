"""Whose connections a client uses: each process has its own, and with asyncio each event loop.

A socket that two processes share brings one of them the answer to the other's request; one that belongs to an
event loop that has ended brings no answer at all.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from origin_sdk._process.forks import renew_after_fork
from origin_sdk._values.errors import InvalidSettings

__all__ = ["AsyncConnections", "AsyncTransport", "Connections", "Transport", "tls"]

Transport: TypeAlias = httpx.BaseTransport | Callable[[], httpx.BaseTransport]
"""A transport for the process in which the client was made, or a function that makes one for each process."""
AsyncTransport: TypeAlias = httpx.AsyncBaseTransport | Callable[[], httpx.AsyncBaseTransport]
"""A transport for the first event loop, or a function that makes one for each."""

_MOST_AT_ONCE = 50
"""Requests that httpx has at a time in an event loop: with each event its pool looks at all that wait."""
_WITHOUT_CONNECTIONS = (httpx.MockTransport, httpx.WSGITransport, httpx.ASGITransport)

_Made = TypeVar("_Made")


@cache
def tls() -> ssl.SSLContext:
    """Return what takes longest to make of a client; clients, processes and event loops may share it."""
    return httpx.create_ssl_context()


@dataclass
class _Source(Generic[_Made]):
    """Hands out transports: one that was given, once; or as many as are asked for."""

    given: _Made | Callable[[], _Made] | None
    base: type[_Made]
    _is_taken: bool = field(default=False, init=False)

    def take(self) -> _Made | None:
        if self.given is None:
            return None
        if not isinstance(self.given, self.base):
            made: _Made = self.given()  # type: ignore[operator]  # what isn't a transport makes one
            return made
        if self._is_taken and not isinstance(self.given, _WITHOUT_CONNECTIONS):
            raise InvalidSettings(
                f"transport = {self.given!r}: its connections belong to another process or event loop, or "
                "are closed; pass a function that makes a transport, such as transport=lambda: "
                f"{type(self.given).__name__}(...)"
            )
        self._is_taken = True
        return self.given


class Connections:
    """The connections of a synchronous client, opened when first used. Thread-safe."""

    def __init__(self, transport: Transport | None, **options: Any) -> None:
        self._source = _Source(transport, httpx.BaseTransport)
        self._options = options
        self._client: httpx.Client | None = None
        self._process = os.getpid()
        # Connections of the process that this one was forked from: to close them may need a lock that nobody
        # holds any more, and to forget them would let the garbage collector complain.
        self._others: list[httpx.Client] = []
        self._lock = Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """Free the lock in a forked process: the thread that held it isn't there."""
        self._lock = Lock()

    def client(self) -> httpx.Client:
        """Return the client of this process."""
        if self._client and self._process == os.getpid():
            return self._client
        with self._lock:
            self._leave_others()
            if not self._client:
                self._client = httpx.Client(transport=self._source.take(), verify=tls(), **self._options)
            return self._client

    def close(self) -> None:
        """Close what is open in this process; the next call would open connections again."""
        with self._lock:
            self._leave_others()
            client, self._client = self._client, None
        if client:
            client.close()

    def _leave_others(self) -> None:
        # A process may be forked without Python's hooks, as uWSGI does: so its id is compared.
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        if self._client:
            self._others.append(self._client)
            self._client = None


class _AsyncClient(httpx.AsyncClient):
    """Lets requests wait for their turn before httpx has them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request in its turn, for which it waits as long as it may wait for a connection."""
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._turns.acquire()
        except TimeoutError as error:
            reason = f"{_MOST_AT_ONCE} requests at once, and as many before this one as the time allows"
            raise httpx.PoolTimeout(reason, request=request) from error
        try:
            return await super().send(request, **options)
        finally:
            self._turns.release()


class AsyncConnections:
    """The connections of an asynchronous client, opened when first used in an event loop."""

    def __init__(self, transport: AsyncTransport | None, **options: Any) -> None:
        self._source = _Source(transport, httpx.AsyncBaseTransport)
        self._options = options
        self._process = os.getpid()
        self._open: dict[asyncio.AbstractEventLoop, _OfLoop] = {}
        self._others: list[object] = []
        self._lock = Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """Free the lock in a forked process: the thread that held it isn't there."""
        self._lock = Lock()

    async def client(self) -> httpx.AsyncClient:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._leave_others()
            found = self._open.get(loop)
            if is_new := not found or found.client.is_closed:
                # Loops that ended without closing what was opened in them are forgotten.
                self._open = {loop: of for loop, of in self._open.items() if not loop.is_closed()}
                made = _AsyncClient(transport=self._source.take(), verify=tls(), **self._options)
                found = self._open[loop] = _OfLoop(made, _closed_at_end(made))
        if is_new:
            await anext(found.end)
        return found.client

    async def aclose(self) -> None:
        """Close what is open in the running event loop; what other loops hold is closed as they end."""
        with self._lock:
            self._leave_others()
            found = self._open.pop(asyncio.get_running_loop(), None)
        if found:
            await found.end.aclose()

    def _leave_others(self) -> None:
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        self._others.append(self._open)
        self._open = {}


@dataclass(frozen=True, slots=True)
class _OfLoop:
    client: httpx.AsyncClient
    end: AsyncGenerator[None, None]


async def _closed_at_end(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    # asyncio.run and whatever else ends a loop properly closes the asynchronous generators that run in it.
    try:
        yield
    finally:
        await client.aclose()
