"""What lies in KV under record keys, as lists show it, and which of it a purge covers."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from origin_sdk._cloudflare.exchange import Exchange
from origin_sdk._cloudflare.kv import PAGE_KEYS, ListedKey, Namespace
from origin_sdk._edge.seals import UNSEALED, ClientSeals
from origin_sdk._values.targets import Purge, parse_url, stored_targets
from origin_sdk_wire.errors import BrokenSeal, UnreadableRecord
from origin_sdk_wire.key import BODY_PREFIXES, MAX_KEY_BYTES, RECORD_PREFIX, Target, record_key
from origin_sdk_wire.marks import path_prefix
from origin_sdk_wire.record import Index, Record, parse_head, read_metadata
from origin_sdk_wire.rules import KeyRule
from origin_sdk_wire.seals import Seal, note_of

__all__ = [
    "Coverage",
    "Listing",
    "Scan",
    "StoredResponse",
    "base_of",
    "both_schemes",
    "read_listed",
    "scans_for",
]

_log = logging.getLogger("origin_sdk")
_CUT = "#~"
_CUT_AT = MAX_KEY_BYTES - 80
"""No key is cut before this, so that lists by a prefix up to here miss nothing."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A key of KV, taken apart.

    ``record`` and ``index`` are ``None`` for a body, and for what can't be read.
    """

    key: str
    scheme: str
    host: str
    path: str
    record: Record | None = None
    index: Index | None = None
    expires_at: datetime | None = None
    seal: Seal = Seal.NONE
    """How it is sealed. What is encrypted can't be read without the keys."""
    is_broken: bool = False
    """Whether its seal isn't that of anybody who has the keys."""

    @property
    def url(self) -> str:
        """The URL as far as the key shows it: a long one is cut."""
        return f"{self.scheme}://{base_of(self.key).partition('#')[0].removeprefix(f'{RECORD_PREFIX}{self.scheme}/')}"

    @property
    def is_variant(self) -> bool:
        """Whether the response is one of several under its URL."""
        return base_of(self.key) != self.key

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that hold it: its own and that of a body stored apart."""
        return (self.key, self.record.body_key) if self.record and self.record.body_key else (self.key,)

    @property
    def body_bytes(self) -> int:
        """The length of the response's body as clients receive it."""
        return self.record.body_bytes if self.record else 0


def base_of(key: str) -> str:
    """Return a record key without the digest of its variant."""
    head, cut, rest = key.partition(_CUT)
    return f"{head}{cut}{rest.partition('#')[0]}" if cut else head.partition("#")[0]


def read_listed(listed: ListedKey, head: str | None = None) -> StoredResponse:
    """Take a listed key apart; ``head`` is given where it lies in front of the body."""
    scheme, _, location = listed.name.removeprefix(RECORD_PREFIX).partition("/")
    host, _, rest = location.partition("/")
    path = "/" + rest.partition("#")[0].partition("?")[0]
    expires_at = None if listed.expiration is None else datetime.fromtimestamp(listed.expiration, UTC)
    record, index = _contents(listed.metadata, head)
    return StoredResponse(
        listed.name, scheme, host, path, record, index, expires_at, *_sealed_as(listed.metadata)
    )


def _sealed_as(metadata: object) -> tuple[Seal, bool]:
    try:
        note = note_of(metadata)
    except BrokenSeal:
        return Seal.NONE, True
    return (note.seal if note else Seal.NONE), False


def _contents(metadata: object, head: str | None) -> tuple[Record | None, Index | None]:
    try:
        found = read_metadata(metadata)
        if isinstance(found, Index):
            return None, found
        head = found if isinstance(found, str) else head
        return (parse_head(head) if head is not None else None), None
    except UnreadableRecord:
        return None, None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Tells which stored responses a purge covers."""

    purge: Purge
    rules: Sequence[KeyRule] = ()
    _bases: Mapping[str, str] = field(init=False, repr=False)
    _prefixes: Mapping[tuple[str, str], str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepare what is compared."""
        bases = {
            record_key(target): url for url in self.purge.urls for target in both_schemes((url,), self.rules)
        }
        prefixes = {
            (each.host, path_prefix(each.path)): str(each) for each in map(parse_url, self.purge.prefixes)
        }
        object.__setattr__(self, "_bases", bases)
        object.__setattr__(self, "_prefixes", prefixes)

    def by_place(self, stored: StoredResponse) -> bool:
        """Whether the response is covered whatever its groups are."""
        return (
            self.purge.everything
            or stored.host in self.purge.hosts
            or base_of(stored.key) in self._bases
            or any(stored.host == host and is_below(stored.path, prefix) for host, prefix in self._prefixes)
        )

    def by_group(self, stored: StoredResponse) -> bool:
        """Whether one of the response's groups is covered."""
        return stored.record is not None and not set(self.purge.groups).isdisjoint(stored.record.groups)

    def targets(self) -> Iterator[str]:
        """Name the targets, as :meth:`covering` does."""
        yield from (f"group {group}" for group in self.purge.groups)
        yield from (f"host {host}" for host in self.purge.hosts)
        yield from (f"URL {url}" for url in self.purge.urls)
        yield from (f"prefix {prefix}" for prefix in self._prefixes.values())

    def covering(self, stored: StoredResponse) -> Iterator[str]:
        """Name the targets that cover a response."""
        if stored.record:
            yield from (f"group {group}" for group in stored.record.groups)
        yield f"host {stored.host}"
        if url := self._bases.get(base_of(stored.key)):
            yield f"URL {url}"
        for (host, prefix), written in self._prefixes.items():
            if stored.host == host and is_below(stored.path, prefix):
                yield f"prefix {written}"


def both_schemes(urls: Iterable[str], rules: Sequence[KeyRule]) -> Iterator[Target]:
    """Yield the targets, as keys have them, of URLs under http and under https."""
    for url in urls:
        target = parse_url(url)
        for scheme in ("https", "http"):
            yield from stored_targets(replace(target, scheme=scheme), rules)


def is_below(path: str, prefix: str) -> bool:
    """Whether ``path`` is ``prefix``, which has no trailing slash, or lies below it."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}


@dataclass(frozen=True, slots=True)
class Scan:
    """A part of the namespace to list.

    Keys that begin with ``prefix``, up to ``stop`` if that isn't empty.
    """

    prefix: str
    stop: str = ""


def scans_for(purge: Purge, rules: Sequence[KeyRule]) -> Iterator[Scan]:
    """Yield the least parts of the namespace in which everything lies that ``purge`` covers.

    Keys don't show groups, so that groups take a look at every stored response.
    """
    if purge.everything or purge.groups:
        yield Scan(RECORD_PREFIX)
        return
    hosts = set(purge.hosts)
    yield from (
        Scan(f"{RECORD_PREFIX}{scheme}/{host}/") for host in purge.hosts for scheme in ("https", "http")
    )
    targets = [target for target in map(parse_url, purge.prefixes) if target.host not in hosts]
    prefixes = {(target.host, path_prefix(target.path)) for target in targets}
    widest = [
        (host, prefix)
        for host, prefix in prefixes
        if not _is_covered(host, prefix, prefixes - {(host, prefix)})
    ]
    for host, prefix in sorted(widest):
        yield from (
            _shortened(f"{RECORD_PREFIX}{scheme}/{host}{prefix or '/'}") for scheme in ("https", "http")
        )
    for target in both_schemes(purge.urls, rules):
        if target.host not in hosts and not _is_covered(target.host, target.path, widest):
            base = record_key(target)
            yield Scan(base, stop=base + "$")  # "$" follows "#", which begins the digest of a variant


def _is_covered(host: str, path: str, prefixes: Iterable[tuple[str, str]]) -> bool:
    return any(host == other and is_below(path, prefix) for other, prefix in prefixes)


def _shortened(prefix: str) -> Scan:
    return Scan(prefix.encode()[:_CUT_AT].decode("utf-8", "ignore"))


@dataclass
class Listing:
    """Goes through what is stored, page by page, and keeps what is covered. Holds one page in memory."""

    exchange: Exchange
    namespace: Namespace
    coverage: Coverage
    seals: ClientSeals = UNSEALED
    scanned_keys: int = field(default=0, init=False)
    hidden: int = field(default=0, init=False)
    """How many responses may be covered by a group, and can't be looked into."""
    _scans: deque[Scan] = field(init=False)
    _cursor: str = field(default="", init=False)

    def __post_init__(self) -> None:
        """Begin at the first part."""
        self._scans = deque(scans_for(self.coverage.purge, self.coverage.rules))

    @property
    def is_done(self) -> bool:
        """Whether everything was seen."""
        return not self._scans

    async def next_page(self, limit: int = PAGE_KEYS) -> list[StoredResponse]:
        """Return what is covered on the next page, perhaps nothing.

        Heads that lists don't show cost a request each.
        """
        scan = self._scans[0]
        listed, self._cursor = await self.namespace.page(self.exchange, scan.prefix, self._cursor, limit)
        inside = [key for key in listed if not scan.stop or key.name < scan.stop]
        if not self._cursor or len(inside) < len(listed):
            self._scans.popleft()
            self._cursor = ""
        self.scanned_keys += len(inside)
        covered: list[StoredResponse] = []
        for key in inside:
            stored = await self._read(key)
            if self.coverage.by_place(stored) or self.coverage.by_group(stored):
                covered.append(stored)
            elif self.coverage.purge.groups and stored.record is None and stored.seal is Seal.ENCRYPT:
                self.hidden += 1
        if self.is_done and self.hidden:
            _log.warning(
                "%d encrypted responses can't be looked into, and may belong to these groups: set "
                "EDGE_CACHE_STORE_KEYS to all keys of the Worker's STORE_KEYS",
                self.hidden,
            )
        return covered

    async def _read(self, key: ListedKey) -> StoredResponse:
        stored = read_listed(key)
        if not (self.coverage.purge.groups or self.coverage.by_place(stored)):
            return stored
        return await with_head(self.exchange, self.namespace, key, self.seals)


async def with_head(
    exchange: Exchange, namespace: Namespace, key: ListedKey, seals: ClientSeals, *, verify: bool = False
) -> StoredResponse:
    """Take a listed key apart, and read its value if its head lies there, or to ``verify`` its seal."""
    listed = read_listed(key)
    can_open = bool(seals.keys) and not listed.is_broken and (verify or listed.seal is Seal.ENCRYPT)
    is_opened = can_open and listed.seal is not Seal.NONE
    if not (is_opened or _head_bytes(key.metadata)):
        return listed
    value = await namespace.read(exchange, key.name) or b""
    opened = key
    if is_opened:
        try:
            metadata, value = seals.opened(key.name, key.metadata, value)
        except BrokenSeal:
            return replace(listed, record=None, index=None, is_broken=True)
        opened = replace(key, metadata=metadata)
    size = _head_bytes(opened.metadata)
    read = read_listed(opened, value[:size].decode("utf-8", "replace") if size else None)
    return replace(read, seal=listed.seal)


def _head_bytes(metadata: object) -> int:
    """Return how many bytes of the value are the head; 0 where it isn't there."""
    match metadata:
        case {"o": int(size)} if size > 0:
            return size
    return 0


async def bodies(exchange: Exchange, namespace: Namespace, cursor: str) -> tuple[list[str], str]:
    """List one page of the bodies that are stored apart; a cursor is the prefix, and that of KV."""
    prefix, _, place = cursor.partition(" ")
    prefix = prefix or BODY_PREFIXES[0]
    listed, place = await namespace.page(exchange, prefix, place)
    following = BODY_PREFIXES[BODY_PREFIXES.index(prefix) + 1 :]
    cursor = f"{prefix} {place}" if place else following[0] if following else ""
    return [key.name for key in listed], cursor
