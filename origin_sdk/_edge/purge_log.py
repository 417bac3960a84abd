"""The purge log from the origin's side: entries for KV, telling the Worker of them, asking what is seen.

The entries go into KV with the marks, so that the log learns of every purge; the Worker is told of them to
save the time that KV takes. What can't be told costs that time, and never the purge.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from origin_sdk._cloudflare.effects import EdgeCall, Reply
from origin_sdk._cloudflare.exchange import Exchange
from origin_sdk._cloudflare.kv import Pair
from origin_sdk._edge.seals import ClientSeals
from origin_sdk._values.errors import OutOfScope
from origin_sdk_wire.errors import UnreadableEntry
from origin_sdk_wire.marks import PURGE_LOG_PREFIX
from origin_sdk_wire.purge_log.entries import ENTRY_SECONDS, LogEntry, entry_key
from origin_sdk_wire.purge_log.messages import LogState, Visibility, parse_state, parse_visibility
from origin_sdk_wire.purge_log.metadata import MAX_ENTRIES_PAGE, sealed_metadata, told_of
from origin_sdk_wire.signed_requests import (
    MAX_BODY_BYTES,
    NONCE_BYTES,
    STATE_PATH,
    TELL_PATH,
    VISIBLE_PATH,
    LogKey,
    Permission,
    out_of_scope,
    sign,
)

__all__ = [
    "MAX_TELLS",
    "LogClient",
    "Untold",
    "ask_state",
    "ask_visible",
    "pair_of",
    "placeholder_of",
    "tell",
]

_log = logging.getLogger("origin_sdk")

MAX_TELLS = 4
"""Into so many requests goes what is told of one purge: the rest of a longer list the Worker finds in KV."""
_TELL_SECONDS = 2.0
"""A purge waits no longer for the log."""
_QUESTION_SECONDS = 10.0
_NONCE_DIGITS = 2 * NONCE_BYTES
_SHOWN = 3
_TOLD_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class LogClient:
    """Where to tell of purges, and by which key; without, entries are written and nobody is told."""

    url: str = ""
    key: LogKey | None = None
    sealed_by: str = ""
    """The id of the store's key that seals what is written to KV; none if it isn't sealed."""

    @property
    def can_tell(self) -> bool:
        """Whether there is a Worker to ask and a key to sign with."""
        return bool(self.url and self.key)

    def check(self, entries: Sequence[LogEntry]) -> None:
        """Raise :class:`OutOfScope` for what the key isn't for."""
        if self.key and (problems := list(out_of_scope(self.key, list(entries)))):
            more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise OutOfScope(
                f"nothing is written: {'; '.join(problems[:_SHOWN])}{more}; purge within the scope, or widen "
                "it in PURGE_LOG_KEYS and EDGE_CACHE_LOG_KEY"
            )

    def check_publication(self, name: str) -> None:
        """Raise :class:`OutOfScope` where the key isn't for publishing under the mark of this name."""
        if not self.key:
            return
        if Permission.PUBLISH not in self.key.may:
            raise OutOfScope(f"the key {self.key.id} may not publish: add it to `may`, or use another key")
        if not self.key.covers(name):
            raise OutOfScope(f"nothing is published: {name} is outside the scope of the key {self.key.id}")


class Untold(Exception):
    """The Worker didn't answer as it does to what it took; the message says why."""


# Keys


def placeholder_of(entry: LogEntry) -> str:
    """Return what an entry is asked for by, before the moment is known that is part of its key."""
    return f"{PURGE_LOG_PREFIX}{entry.id}"


def pair_of(entry: LogEntry, moment_ms: int, seals: ClientSeals) -> Pair:
    """Return what to write at a moment."""
    now = replace(entry, moment_ms=moment_ms)
    return Pair(entry_key(now), "", ENTRY_SECONDS, sealed_metadata(now, seals.keys))


# Requests


async def tell(exchange: Exchange, log: LogClient | None, entries: Sequence[LogEntry]) -> bool | None:
    """Tell the Worker of entries, once and in bounded time.

    Return whether it took all of them; ``None`` where nobody is to be told, or there is nothing to tell.
    """
    if not (log and log.can_tell and entries):
        return None
    *told, rest = *_bodies(entries, log.sealed_by), None
    if len(told) > MAX_TELLS:
        told, rest = told[:MAX_TELLS], told[MAX_TELLS]
    try:
        for body in told:
            await _ask(exchange, log, TELL_PATH, body, _TELL_SECONDS)
    except Untold as reason:
        _log.warning(
            "the purge log couldn't be told of %s, and will find it in KV: %s", entries[0].id, reason
        )
        return False
    return rest is None


async def ask_visible(exchange: Exchange, log: LogClient, ids: Sequence[str]) -> Visibility:
    """Ask whether all locations honour entries; raises :class:`Untold` where that can't be had."""
    found = Visibility()
    for start in range(0, len(ids), MAX_ENTRIES_PAGE):
        body = json.dumps({"ids": list(ids[start : start + MAX_ENTRIES_PAGE])}).encode()
        reply = await _ask(exchange, log, VISIBLE_PATH, body)
        try:
            found = parse_visibility(reply.body.decode("utf-8", "replace"))
        except UnreadableEntry as error:
            raise Untold(f"the answer can't be read: {error}") from error
        if not found.is_visible:
            break
    return found


async def ask_state(exchange: Exchange, log: LogClient) -> LogState:
    """Ask how the log is; raises :class:`Untold` where that can't be had."""
    reply = await _ask(exchange, log, STATE_PATH, b"{}")
    try:
        return parse_state(reply.body.decode("utf-8", "replace"))
    except UnreadableEntry as error:
        raise Untold(f"its answer can't be read: {error}") from error


async def _ask(
    exchange: Exchange, log: LogClient, path: str, body: bytes, seconds: float = _QUESTION_SECONDS
) -> Reply:
    assert log.key  # noqa: S101 - whoever asks has looked
    time_ms = round((exchange.clock.now() + exchange.skew.seconds) * 1000)
    nonce = "".join(exchange.clock.token() for _ in range(_NONCE_DIGITS // 10 + 1))[:_NONCE_DIGITS]
    fields = sign(log.key, path, body, time_ms, nonce)
    url = f"{log.url.rstrip('/')}{path}"
    call = EdgeCall("POST", url, body=body, seconds=seconds, fields=tuple(fields.items()))
    answer = await exchange.in_time(call)
    if not isinstance(answer, Reply):
        raise Untold(f"{url} can't be reached: {answer.reason}")
    if not 200 <= answer.status < 300:
        said = answer.body.decode("utf-8", "replace").strip()[:_TOLD_CHARACTERS]
        raise Untold(f"{url} answered {answer.status}: {said}")
    return answer


def _bodies(entries: Iterable[LogEntry], sealed_by: str) -> Iterator[bytes]:
    """Lay entries out in as few bodies as the Worker takes."""
    parts: list[str] = []
    size = 0
    for entry in entries:
        part = json.dumps(told_of(entry))
        if parts and (len(parts) == MAX_ENTRIES_PAGE or size + len(part) > MAX_BODY_BYTES - 1024):
            yield _body(parts, sealed_by)
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 2
    if parts:
        yield _body(parts, sealed_by)


def _body(parts: Iterable[str], sealed_by: str) -> bytes:
    return f'{{"sealed_by": {json.dumps(sealed_by)}, "entries": [{", ".join(parts)}]}}'.encode()
