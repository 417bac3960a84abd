"""What the handler needs of the outside, as protocols.

Bodies are opaque to it: on the edge they are JavaScript objects.

The adapters under ``origin_sdk_edge.adapters`` meet them in workerd; the fakes under ``tests`` meet them in
CPython.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_wire.errors import UnreadableRecord

__all__ = [
    "Background",
    "Bodies",
    "Body",
    "Ciphers",
    "ContentError",
    "Counted",
    "Incoming",
    "Keys",
    "KeysError",
    "LateContentError",
    "LateError",
    "Origin",
    "OriginError",
    "OriginResponse",
    "Outgoing",
    "Pieces",
    "Pipe",
    "Ports",
    "Read",
    "Report",
    "Request",
    "Response",
    "Signal",
    "Store",
    "StoreError",
    "StoredValue",
    "Stream",
    "Timing",
    "Work",
]

Body: TypeAlias = Any
"""The bytes of a body; on the edge an ArrayBuffer."""
Stream: TypeAlias = Any
"""A body that is yet to come; on the edge a ReadableStream."""
Request: TypeAlias = Any
"""The runtime's own request, by which a client's content is read or sent on."""
Response: TypeAlias = Any
"""A response as the runtime sends it to a client."""
Work: TypeAlias = Coroutine[Any, Any, object]
"""What is to be run, whatever it returns."""


class StoreError(Exception):
    """The store failed, or took too long. Costs a hit, never a response."""


class ContentError(Exception):
    """The content of a client's request broke off."""


class LateContentError(ContentError):
    """The content of a client's request took too long to come."""


class LateError(Exception):
    """Code that isn't the cache's took too long, or what it is to see did."""


class KeysError(Exception):
    """The keys of an issuer can't be had. Costs a hit, never a response."""


class OriginError(Exception):
    """The origin gave no whole response."""

    def __init__(self, failure: OriginFailure, explanation: str) -> None:
        super().__init__(explanation)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A KV value with its metadata, decoded from JSON."""

    metadata: object
    body: Body


@dataclass(slots=True)
class Read:
    """What a store answered for a key: a value, ``None`` if there is none, or a fault."""

    key: str
    value: StoredValue | None = None
    fault: StoreError | UnreadableRecord | None = None
    item: Any = None
    """What the value was decoded to: two ways may look at it, the short one and then the full one."""


class Store(Protocol):
    """Workers KV. Every method raises :class:`StoreError`."""

    async def read(self, key: str) -> StoredValue | None:
        """Return value and metadata, or ``None``."""

    async def read_stream(self, key: str) -> Stream | None:
        """Return the value as a stream for the client, or ``None``."""

    async def read_texts(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return the values that are there, by key, read as freshly as KV allows."""

    async def write(self, key: str, value: Body | str, metadata: str | None, ttl_seconds: int) -> None:
        """Write value and metadata (JSON), to be dropped by KV after ``ttl_seconds``."""


class Ciphers(Protocol):
    """What seals bytes without looking at them. Secrets have 32 bytes."""

    async def encrypt(self, secret: bytes, plain: Body, bound: bytes) -> Body:
        """Return a nonce, the ciphertext and its tag, with ``bound`` bound in."""

    async def decrypt(self, secret: bytes, sealed: Body, bound: bytes) -> Body:
        """Return what was encrypted; raises :class:`ValueError` if that or ``bound`` is another."""

    async def sign(self, secret: bytes, bound: bytes, body: Body) -> bytes:
        """Return the MAC of ``bound`` and ``body``, one after the other."""

    def random(self, size_bytes: int) -> bytes:
        """Return random bytes."""


class Bodies(Protocol):
    """What is done with bytes without looking at them."""

    def size(self, body: Body) -> int:
        """Return the number of bytes."""

    def measured(self, stream: Stream, size_bytes: int) -> Stream:
        """Return a stream that fails, and the response with it, unless it has this size."""

    def part(self, body: Body, start: int, end: int) -> Body:
        """Return a half-open range."""

    def text(self, body: Body) -> str:
        """Decode UTF-8; raises :class:`ValueError`."""

    def octets(self, body: Body) -> bytes:
        """Return a body that is small enough to be looked into."""

    async def received(self, request: Request, timeout_seconds: float | None = None) -> Body:
        """Return the content of a client's request; raises :class:`ContentError`.

        It is waited for no longer than ``timeout_seconds`` in all.
        """

    async def copied(self, request: Request, timeout_seconds: float) -> Body:
        """Return the content of a client's request, which can still be sent on, also where this raises.

        Raises :class:`ContentError`.
        """

    def prefixed(self, text: str, body: Body) -> Body:
        """Return ``text`` as UTF-8 with ``body`` after it."""

    def room(self, size_bytes: int) -> Body:
        """Return so many bytes, to be written into."""

    def put(self, room: Body, at: int, body: Body) -> None:
        """Write a body into a room, from a place on."""

    def from_octets(self, octets: bytes) -> Body:
        """Return a small body."""

    def counted(self, stream: Stream) -> "Counted":
        """Read a stream by sizes."""

    def joined(self, bodies: Sequence[Body]) -> Body:
        """Return one after the other."""

    async def gzip(self, body: Body) -> Body:
        """Compress."""

    async def expanded(self, body: Body, coding: str, most_bytes: int) -> Body:
        """Take a coding of :data:`origin_sdk_wire.record.STORED_CODINGS` off.

        Raises :class:`ValueError`, also as soon as it comes to more than ``most_bytes``.
        """

    def empty(self) -> Body:
        """Return no bytes."""

    def pipe(self, size_bytes: int | None) -> "Pipe":
        """Make a body for a client, of this size if it is known."""


class Pieces(Protocol):
    """The body of a response of the origin, piece by piece."""

    async def is_near(self, seconds: float) -> bool:
        """Whether the next piece, or the end, is there within ``seconds``."""

    async def next(self) -> Body | None:
        """Return the next piece, ``None`` at the end.

        Raises :class:`OriginError` if the body breaks off, or if nothing comes for too long.
        """

    def cancel(self) -> None:
        """Read no more of it."""


class Counted(Protocol):
    """A stream that is read by sizes."""

    async def next(self, size_bytes: int) -> Body:
        """Return the next bytes, fewer at the end alone; raises :class:`StoreError`."""

    def cancel(self) -> None:
        """Read no more of it."""


class Pipe(Protocol):
    """A body for a client, given to it piece by piece."""

    readable: Stream
    """The runtime's stream, for a response."""

    async def write(self, piece: Body, timeout_seconds: float) -> bool:
        """Give a piece to the client; return whether it took it."""

    async def close(self) -> None:
        """End the body."""

    async def abort(self) -> None:
        """Break the body off, so that the client sees that it isn't whole."""


class OriginResponse(Protocol):
    """A response, its body unread: ``raw`` is the runtime's own, ``body`` its stream for the client."""

    raw: Response
    body: Stream
    status: int
    fields: Mapping[str, str]
    set_cookies: tuple[str, ...]
    heard_ms: int
    """When the last part of it came."""

    async def read(self) -> Body:
        """Return the whole body; raises :class:`OriginError` if it is cut short or silent for too long."""

    async def copied(self, most_bytes: int) -> Body | None:
        """Return the body if it has no more bytes than that; it can still be read, or handed on.

        Raises :class:`OriginError` as ``read`` does, and :class:`LateError` if it keeps coming for too long.
        """

    def pieces(self) -> Pieces:
        """Return the body piece by piece; from then on it can't be handed on by itself."""

    def discard(self) -> None:
        """Give up the body, so that it takes up no connection."""


class Origin(Protocol):
    """The service behind the cache."""

    async def fetch(
        self,
        request: RequestFacts,
        conditional: Mapping[str, str],
        body: Request,
        timeout_seconds: float,
        base: str,
    ) -> OriginResponse:
        """Send ``request`` with ``conditional`` fields added, not following redirects.

        Its own content goes along, where that was read, and else ``body``. ``base`` is the origin's URL,
        empty for that of the Worker's zone.

        Raises :class:`OriginError`.
        """


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came. ``body`` is the runtime's own request, by which its body is sent on."""

    method: str
    url: str
    fields: Mapping[str, str]
    body: Request = None
    is_from_edge: bool = False
    """Whether the runtime says that an edge asks this Worker as its shield."""


class Outgoing(Protocol):
    """Makes the responses that the runtime sends."""

    def stored(
        self, status: int, fields: Sequence[tuple[str, str]], body: Body | None, *, is_head: bool
    ) -> Response:
        """Make a response from stored parts."""

    def relayed(self, response: OriginResponse, fields: Mapping[str, str | None]) -> Response:
        """Hand on the origin's response with ``fields`` set, or removed where ``None``."""

    def plain(self, status: int, fields: Sequence[tuple[str, str]], text: str) -> Response:
        """Make a plain-text response."""


class Keys(Protocol):
    """The public keys of issuers, and what they verify."""

    async def fetch(self, url: str, timeout_seconds: float) -> str:
        """Return the JWK Set at a URL, not following redirects; raises :class:`KeysError`."""

    async def verify(self, algorithm: str, key: Mapping[str, str], signature: bytes, message: bytes) -> bool:
        """Whether a signature of ``message`` is right by a key, given as the members of its JWK."""


class Signal(Protocol):
    """An event that requests can wait for although another request sets it."""

    async def wait(self, timeout_seconds: float | None) -> bool:
        """Wait until it is set, for so long or with ``None`` for ever; return whether it was."""

    def set(self) -> None:
        """Let all that wait go on."""


class Timing(Protocol):
    """The clock, and what waits by it."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def signal(self) -> Signal:
        """Make a signal."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def together(self, *work: Work) -> list[Any]:
        """Run all at once, and return what each returned; raises what the first that failed did."""


class Background(Protocol):
    """Work that may outlive the response, and does not end with a client that goes away."""

    def run(self, work: Work) -> None:
        """Start ``work`` and keep it alive."""


Report: TypeAlias = Callable[[str, Exception], None]
"""Takes where a fault was, and what was raised."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world of an isolate."""

    origin: Origin
    bodies: Bodies
    outgoing: Outgoing
    timing: Timing
    report: Report
    keys: Keys | None = None
    """Needed where there are issuers of tokens."""
