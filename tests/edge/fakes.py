"""The handler's ports in CPython: bodies are bytes, a test sets the clock, the origin is a function."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import brotli
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from origin_sdk_edge.counters import Counters
from origin_sdk_edge.fastpath import FastPath
from origin_sdk_edge.global_flights.pilot import FlightPort
from origin_sdk_edge.handler import Handler, Served
from origin_sdk_edge.hooks import Hooks
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.ports import Background, Incoming, OriginResponse, Ports, Read, StoredValue
from origin_sdk_edge.shield import ShieldPort
from origin_sdk_edge.shortpath import ShortPath
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.variants import variant
from origin_sdk_wire.seals import NONCE_BYTES
from origin_sdk_wire.settings import Settings

START_MS = 1_795_744_800_000


@dataclass
class Sent:
    """A response as a client would see it."""

    status: int
    fields: dict[str, str]
    body: bytes

    def set(self, name: str, value: str) -> None:
        self.fields = {**self.fields, name: value}

    def response(self) -> Sent:
        return Sent(self.status, self.fields, self.body)


class FakeOutgoing:
    def stored(
        self, status: int, fields: Sequence[tuple[str, str]], body: bytes | None, *, is_head: bool
    ) -> Sent:
        return Sent(status, dict(fields), b"" if is_head or body is None else body)

    def rendered(self, status: int, fields: list[tuple[str, str]], body: bytes) -> Sent:
        return Sent(status, dict(fields), body)

    def relayed(self, response: OriginResponse, fields: Mapping[str, str | None]) -> Sent:
        changed = {**response.fields, **fields}
        shown = {name: value for name, value in changed.items() if value is not None}
        return Sent(response.status, shown, response.body)

    def plain(self, status: int, fields: Sequence[tuple[str, str]], text: str) -> Sent:
        return Sent(status, dict(fields), text.encode())


class FakeCiphers:
    async def encrypt(self, secret: bytes, plain: bytes, bound: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(secret).encrypt(nonce, plain, bound)

    async def decrypt(self, secret: bytes, sealed: bytes, bound: bytes) -> bytes:
        try:
            return AESGCM(secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except InvalidTag as error:
            raise ValueError("broken") from error

    async def sign(self, secret: bytes, bound: bytes, body: bytes) -> bytes:
        return hmac.digest(secret, bound + body, "sha256")

    def random(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)


@dataclass
class FakeCounted:
    stream: bytes

    async def next(self, size_bytes: int) -> bytes:
        taken, self.stream = self.stream[:size_bytes], self.stream[size_bytes:]
        return taken

    def cancel(self) -> None:
        self.stream = b""


@dataclass(eq=False)
class FakePipe:
    readable: bytearray = field(default_factory=bytearray)
    is_broken: bool = False

    async def write(self, piece: bytes, _timeout_seconds: float) -> bool:
        self.readable += piece
        return True

    async def close(self) -> None:
        pass

    async def abort(self) -> None:
        self.is_broken = True


class FakeBodies:
    def size(self, body: bytes) -> int:
        return len(body)

    def measured(self, stream: bytes, size_bytes: int) -> bytes:
        assert len(stream) == size_bytes
        return stream

    def part(self, body: bytes, start: int, end: int) -> bytes:
        return body[start:end]

    def text(self, body: bytes) -> str:
        return body.decode()

    def octets(self, body: bytes) -> bytes:
        return body

    async def received(self, request: bytes, _timeout_seconds: float | None = None) -> bytes:
        return request

    async def copied(self, request: bytes, _timeout_seconds: float) -> bytes:
        return request

    def prefixed(self, text: str, body: bytes) -> bytes:
        return text.encode() + body

    def joined(self, bodies: Sequence[bytes]) -> bytes:
        return b"".join(bodies)

    def room(self, size_bytes: int) -> bytearray:
        return bytearray(size_bytes)

    def put(self, room: bytearray, at: int, body: bytes) -> None:
        room[at : at + len(body)] = body

    def from_octets(self, octets: bytes) -> bytes:
        return octets

    def counted(self, stream: bytes) -> FakeCounted:
        return FakeCounted(bytes(stream))

    async def gzip(self, body: bytes) -> bytes:
        return gzip.compress(body, mtime=0)

    async def expanded(self, body: bytes, coding: str, most_bytes: int) -> bytes:
        expanded = brotli.decompress(body) if coding == "br" else gzip.decompress(body)
        if len(expanded) > most_bytes:
            raise ValueError("too much")
        return expanded

    def empty(self) -> bytes:
        return b""

    def pipe(self, _size_bytes: int | None) -> FakePipe:
        return FakePipe()


@dataclass
class FakeSignal:
    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, timeout_seconds: float | None) -> bool:
        async with asyncio.timeout(timeout_seconds):
            return await self.event.wait()

    def set(self) -> None:
        self.event.set()


@dataclass
class FakeTiming:
    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def signal(self) -> FakeSignal:
        return FakeSignal()

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)

    async def together(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        return await asyncio.gather(*work)


class FakeStore:
    def __init__(self) -> None:
        self.values: dict[str, StoredValue] = {}

    async def read(self, key: str) -> StoredValue | None:
        return self.values.get(key)

    async def read_stream(self, key: str) -> bytes | None:
        value = self.values.get(key)
        return value.body if value else None

    async def read_texts(self, keys: Sequence[str]) -> Mapping[str, str]:
        return {key: value.body for key in keys if (value := self.values.get(key))}

    async def write(self, key: str, value: Any, metadata: str | None, ttl_seconds: int) -> None:
        assert ttl_seconds >= 60
        self.values[key] = StoredValue(json.loads(metadata) if metadata else None, value)


@dataclass
class FakePieces:
    coming: list[bytes]

    async def is_near(self, _seconds: float) -> bool:
        return True

    async def next(self) -> bytes | None:
        return self.coming.pop(0) if self.coming else None

    def cancel(self) -> None:
        self.coming.clear()


@dataclass
class FakeResponse:
    status: int
    fields: Mapping[str, str]
    body: bytes = b""
    set_cookies: tuple[str, ...] = ()
    raw: Any = None

    heard_ms: int = START_MS

    async def read(self) -> bytes:
        return self.body

    async def copied(self, most_bytes: int) -> bytes | None:
        return self.body if len(self.body) <= most_bytes else None

    def discard(self) -> None:
        self.body = b""

    def pieces(self) -> FakePieces:
        return FakePieces([self.body])


@dataclass
class FakeOrigin:
    answer: Callable[[RequestFacts], FakeResponse]
    requests: list[RequestFacts] = field(default_factory=list)

    async def fetch(
        self,
        request: RequestFacts,
        conditional: Mapping[str, str],
        _body: Any,
        _timeout_seconds: float,
        _base: str,
    ) -> FakeResponse:
        sent = RequestFacts(request.method, request.target, {**request.fields, **conditional})
        self.requests.append(sent)
        return self.answer(sent)


class FakeBackground:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[object]] = []

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def done(self) -> None:
        while self.tasks:
            await self.tasks.pop()


class LateBackground:
    """Starts nothing before it is told to."""

    def __init__(self) -> None:
        self.work: list[Coroutine[Any, Any, object]] = []

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        self.work.append(work)

    async def done(self) -> None:
        while self.work:
            await self.work.pop()


class FakeEdge:
    """A whole Worker, but for the runtime."""

    def __init__(
        self,
        settings: Settings,
        answer: Callable[[RequestFacts], FakeResponse],
        *,
        timing: Any = None,
        store: Any = None,
        origin: Any = None,
        flights: FlightPort | None = None,
        shield: ShieldPort | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        hooks = hooks or Hooks()
        self.faults: list[tuple[str, Exception]] = []
        self.timing, self.store, self.origin = (
            timing or FakeTiming(),
            store or FakeStore(),
            origin or FakeOrigin(answer),
        )
        outgoing, bodies = FakeOutgoing(), FakeBodies()

        def report(where: str, error: Exception) -> None:
            self.faults.append((where, error))

        self.counters = counters = Counters(settings)
        ciphers = FakeCiphers() if settings.store_keys else None
        self.storage = Storage(self.store, bodies, self.timing, settings, report, ciphers)
        self.storage.on_broken_seal = counters.broken_seal
        ports = Ports(self.origin, bodies, outgoing, self.timing, report)
        self.handler = Handler(settings, hooks, self.storage, ports, counters, flights, shield)
        table, memory = self.storage.marks.table, self.storage.memory
        self.fast_path = FastPath(settings, hooks, table, memory, outgoing, counters)
        self.short_path = ShortPath(
            settings,
            hooks,
            self.storage,
            self.handler.sender,
            self.handler.switches,
            self.timing,
            counters,
        )

    async def full(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str],
        read: Read | None = None,
        *,
        is_from_edge: bool = False,
    ) -> Served:
        """Answer by the full path, background work included."""
        background = FakeBackground()
        incoming = Incoming(method, url, fields, is_from_edge=is_from_edge)
        served = await self.handler.handle(incoming, background, read)
        await background.done()
        return served

    async def read(self, url: str, fields: Mapping[str, str]) -> Read | None:
        """Read what the short path wants of KV."""
        lookup = self.short_path.lookup(url, as_json(fields), self.timing.ms)
        return await self.storage.records.read(variant(lookup, ()), lookup.rule) if lookup else None

    def short(self, url: str, fields: Mapping[str, str], read: Read, background: Background) -> Served | None:
        """Answer by the short path, if it may."""
        now_ms = self.timing.ms
        lookup = self.short_path.lookup(url, as_json(fields), now_ms)
        if lookup is None:
            return None
        return self.short_path.answer(lookup, read, as_json(fields), background, now_ms)

    def repeated(self, url: str, fields: Mapping[str, str]) -> Sent | None:
        """Answer by the fast path, if it may."""
        if not self.fast_path.knows(url):
            return None
        sent: Sent | None = self.fast_path.repeat(url, as_json(fields), self.timing.ms)
        return sent

    def remember(self, url: str, fields: Mapping[str, str], served: Served) -> None:
        """Let the fast path take note of what the full path did."""
        self.fast_path.remember(url, as_json(fields), served, self.timing.ms)


def as_json(fields: Mapping[str, str]) -> str:
    """Return a request's fields as the runtime's JSON.stringify does."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


@dataclass
class FakeShield:
    """The binding, which leads to another Worker."""

    worker: FakeEdge

    async def fetch(
        self, request: RequestFacts, fields: Mapping[str, str], _timeout_seconds: float
    ) -> FakeResponse:
        url = str(request.asked or request.target)
        served = await self.worker.full(request.method, url, fields, is_from_edge=True)
        sent: Sent = served.response
        return FakeResponse(sent.status, sent.fields, sent.body)
