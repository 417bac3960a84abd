"""Workers KV over REST, as flows: bulk write, bulk delete, list, read.

Requests are as few as Cloudflare's limits allow. Single writes are never used: one request carries 10,000
pairs.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

from origin_sdk._cloudflare.effects import Call
from origin_sdk._cloudflare.exchange import Exchange, envelope
from origin_sdk._values.errors import AuthenticationFailed, OriginSdkError, RequestRejected

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_PAIRS",
    "MAX_READ_KEYS",
    "PAGE_KEYS",
    "ListedKey",
    "Namespace",
    "Pair",
    "Unwritten",
    "batches",
]

MAX_BATCH_PAIRS = 10_000
MAX_BATCH_BYTES = 100 * 1000 * 1000
MAX_READ_KEYS = 100
PAGE_KEYS = 1000

_REFUSED_ALONE = 8
"""After this many keys were refused one by one and none was accepted, the request itself is at fault."""

_SECONDS_A_PAIR = 0.012
_KEY_SECONDS = 1.0
"""KV takes one write a second to one key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and what it is to hold.

    ``seconds`` is its time to live, at least 60; ``None`` keeps it for ever.
    """

    key: str
    value: str | bytes
    seconds: int | None = None
    metadata: object = None

    def encoded(self) -> str:
        """Return the pair as a member of a bulk write."""
        fields: dict[str, object] = {"key": self.key}
        if isinstance(self.value, bytes):
            fields |= {"value": base64.b64encode(self.value).decode("ascii"), "base64": True}
        else:
            fields["value"] = self.value
        if self.seconds is not None:
            fields["expiration_ttl"] = self.seconds
        if self.metadata is not None:
            fields["metadata"] = self.metadata
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as a list shows it; ``expiration`` is in seconds since the epoch."""

    name: str
    metadata: object = None
    expiration: int | None = None


class Unwritten(OriginSdkError):
    """Some keys of a bulk request aren't done, after all retries.

    ``keys`` are those; the cause may be ``__cause__``.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"{len(keys)} keys aren't done, beginning with {keys[0]!r}")
        self.keys = keys


@dataclass(frozen=True, slots=True)
class Namespace:
    """The API of one KV namespace. ``url`` is what comes before ``/bulk``."""

    url: str

    async def write(
        self, exchange: Exchange, keys: Sequence[str], pairs: Callable[[Sequence[str]], Iterable[Pair]]
    ) -> None:
        """Write one batch; keys that Cloudflare reports as not written are tried again.

        ``pairs`` is asked for what to write before each try, a pair for each key. It may lie under another
        key, such as one with the moment of the try in it. Raises :class:`Unwritten`.
        """
        places: dict[str, str] = {}

        def call(keys: Sequence[str]) -> Call:
            made = tuple(pairs(keys))
            places.update((key, pair.key) for key, pair in zip(keys, made, strict=True) if key != pair.key)
            body = "[" + ",".join(pair.encoded() for pair in made) + "]"
            return self._call("PUT", "/bulk", body.encode(), len(keys))

        await self._until_done(exchange, keys, call, partial(_unconfirmed, places))

    async def delete(self, exchange: Exchange, keys: Sequence[str]) -> None:
        """Delete one batch of at most 10,000 keys; a key that isn't there counts as deleted.

        Raises :class:`Unwritten`.
        """

        def call(keys: Sequence[str]) -> Call:
            return self._call("POST", "/bulk/delete", json.dumps(keys).encode(), len(keys))

        await self._until_done(exchange, keys, call, partial(_unsuccessful, {}))

    async def page(
        self, exchange: Exchange, prefix: str, cursor: str, limit: int = PAGE_KEYS
    ) -> tuple[list[ListedKey], str]:
        """List one page in the order of the keys' bytes; return it, and the next page's cursor or ``""``."""
        query = [("prefix", prefix), ("limit", str(limit))]
        if cursor:
            query.append(("cursor", cursor))
        reply = await exchange.send(Call("GET", f"{self.url}/keys", tuple(query)))
        decoded = envelope(reply)
        keys = [
            ListedKey(entry["name"], entry.get("metadata"), entry.get("expiration"))
            for entry in decoded.get("result") or ()
        ]
        return keys, (decoded.get("result_info") or {}).get("cursor") or ""

    async def read_texts(self, exchange: Exchange, keys: Sequence[str]) -> dict[str, str]:
        """Read text values, 100 in a request; return those that are there."""
        found: dict[str, str] = {}
        for start in range(0, len(keys), MAX_READ_KEYS):
            body = json.dumps({"keys": keys[start : start + MAX_READ_KEYS]}).encode()
            reply = await exchange.send(self._call("POST", "/bulk/get", body, MAX_READ_KEYS))
            values: Mapping[str, Any] = (envelope(reply).get("result") or {}).get("values") or {}
            found |= {key: value for key, value in values.items() if isinstance(value, str)}
        return found

    async def read(self, exchange: Exchange, key: str) -> bytes | None:
        """Read one value; ``None`` if there is none."""
        reply = await exchange.send(Call("GET", f"{self.url}/values/{quote(key, safe='')}"))
        if reply.status == 200:
            return reply.body
        try:
            envelope(reply)
        except RequestRejected as error:
            if error.status != 404:
                raise
        return None

    def _call(self, method: str, path: str, body: bytes, count: int) -> Call:
        return Call(method, self.url + path, body=body, seconds=30 + count * _SECONDS_A_PAIR)

    async def _until_done(
        self,
        exchange: Exchange,
        keys: Sequence[str],
        call: Callable[[Sequence[str]], Call],
        undone: Callable[[object, Sequence[str]], list[str]],
    ) -> None:
        """Do a batch; one that the API refuses is halved until the keys that it refuses are found."""
        parts, failed = [list(keys)], _Failed()
        while parts:
            part = parts.pop()
            try:
                await self._tried(exchange, part, call, undone)
            except Unwritten as error:
                left, cause = list(error.keys), error.__cause__
            else:
                failed.is_all = False
                continue
            if _may_be_one_keys(cause) and len(left) > 1:
                half = len(left) // 2
                parts += [left[half:], left[:half]]
                continue
            failed.add(left, cause)
            if failed.is_hopeless:
                break
        if failed.keys:
            failed.keys.update(chain.from_iterable(parts))
            raise failed.error(keys)

    async def _tried(
        self,
        exchange: Exchange,
        keys: Sequence[str],
        call: Callable[[Sequence[str]], Call],
        undone: Callable[[object, Sequence[str]], list[str]],
    ) -> None:
        """Do a batch, and again what the API says isn't done."""
        attempt = 0
        while keys:
            left = keys
            try:
                if attempt:
                    await exchange.pause(max(_KEY_SECONDS, exchange.backoff(attempt - 1)))
                reply = await exchange.send(lambda left=left: call(left))  # type: ignore[misc]  # mypy: lambda's default
                keys = undone(envelope(reply).get("result"), left)
            except OriginSdkError as error:
                raise Unwritten(left) from error
            attempt += 1
            if keys and attempt >= exchange.retries.attempts:
                raise Unwritten(keys)


def _may_be_one_keys(cause: BaseException | None) -> bool:
    """Return whether the rest of a batch may be taken where all of it was refused."""
    # What guards the API answers 403 without a code to what looks like an attack, such as a script in a URL.
    is_guard = isinstance(cause, AuthenticationFailed) and cause.status == 403 and not cause.code
    return is_guard or isinstance(cause, RequestRejected)


@dataclass
class _Failed:
    """The keys of a batch that aren't done, and why."""

    keys: set[str] = field(default_factory=set)
    cause: BaseException | None = None
    is_all: bool = True
    """Whether nothing was done so far."""

    def add(self, keys: Iterable[str], cause: BaseException | None) -> None:
        self.keys.update(keys)
        if not self.cause or (cause and not _may_be_one_keys(cause)):
            self.cause = cause

    @property
    def is_hopeless(self) -> bool:
        """Whether the rest would fail too: the API is away, or refuses one key as well as the other."""
        if _may_be_one_keys(self.cause):
            return self.is_all and len(self.keys) >= _REFUSED_ALONE
        return self.cause is not None

    def error(self, keys: Sequence[str]) -> BaseException:
        """Return what to raise: the cause itself, if no key is done."""
        left = [key for key in keys if key in self.keys]
        if self.cause and len(left) == len(keys):
            return self.cause
        error = Unwritten(left)
        error.__cause__ = self.cause
        return error


def _unsuccessful(places: Mapping[str, str], result: object, keys: Sequence[str]) -> list[str]:
    """Return the keys that the API says aren't done; all of them where it answered something else.

    ``places`` tells under which other key the API had some of them.
    """
    if result is None:
        return []
    named = result.get("unsuccessful_keys") or () if isinstance(result, dict) else None
    if not isinstance(named, list | tuple):
        return list(keys)
    # In the order given, and only what was asked for: the API's list is not to be trusted with more.
    failed = {key for key in named if isinstance(key, str)}
    return [key for key in keys if places.get(key, key) in failed]


def _unconfirmed(places: Mapping[str, str], result: object, keys: Sequence[str]) -> list[str]:
    """Return the keys that the API doesn't say it wrote: all of them where its count is another one.

    Such an answer belongs to another request.
    """
    failed = _unsuccessful(places, result, keys)
    if not isinstance(result, dict) or not result:
        return failed
    count = result.get(
        "successful_key_count", len(keys) - len(failed) if "unsuccessful_keys" in result else None
    )
    return failed if count == len(keys) - len(failed) else list(keys)


def batches(items: Iterable[tuple[str, int]]) -> Iterator[list[str]]:
    """Split keys with the size of what is written under them into batches that one bulk write takes."""
    batch: list[str] = []
    batch_bytes = 0
    for key, size in items:
        if batch and (len(batch) == MAX_BATCH_PAIRS or batch_bytes + size > MAX_BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(key)
        batch_bytes += size
    if batch:
        yield batch
