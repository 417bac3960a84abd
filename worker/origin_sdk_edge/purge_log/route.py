"""The route of the purge log, by which those who purge tell of it and ask whether it is seen."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from origin_sdk_edge.ports import Report, StoreError
from origin_sdk_wire.errors import RefusedRequest, UnreadableEntry
from origin_sdk_wire.purge_log.messages import parse_question, parse_sealed_by, parse_told
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.signed_requests import (
    LOG_PATH,
    MAX_BODY_BYTES,
    REQUEST_WINDOW_MS,
    STATE_PATH,
    TELL_PATH,
    VISIBLE_PATH,
    LogKey,
    out_of_scope,
    verify,
)

_UNSEALED = (
    "The Worker has STORE_KEYS, and the marks of this purge in KV aren't sealed by one of them, so that they "
    "don't count: set EDGE_CACHE_STORE_KEYS to the same keys, and purge again.\n"
)
__all__ = ["LogObject", "LogReply", "Route"]


class LogObject(Protocol):
    """The one place that holds the log. Each method raises :class:`StoreError`."""

    async def told(self, nonce: str, until_ms: int, body: str) -> str:
        """Hand on what a client tells of; an empty text if the nonce was used before."""

    async def visible(self, body: str) -> str:
        """Hand on a question."""

    async def state(self) -> str:
        """Ask how the log is."""


@dataclass(frozen=True, slots=True)
class LogReply:
    """An answer of the route; JSON, an error as its text."""

    code: int
    text: str
    has_told: bool = False

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The response fields."""
        is_json = self.code == 200
        media_type = "application/json" if is_json else "text/plain; charset=utf-8"
        allow = (("allow", "POST"),) if self.code == 405 else ()
        retry = (("retry-after", "1"),) if self.code == 503 else ()
        return ("content-type", media_type), ("cache-control", "no-store"), *allow, *retry


class Route:
    """Answers signed requests."""

    def __init__(self, log: LogObject, settings: Settings, now_ms: Callable[[], int], report: Report) -> None:
        self._log = log
        self._keys = settings.purge_log_keys
        self._key_ids = frozenset(key.id for key in settings.store_keys)
        self._now_ms = now_ms
        self._report = report

    def is_for(self, path: str) -> bool:
        """Whether a request is for the route, which there is only where a key opens it."""
        return bool(self._keys) and path.startswith(LOG_PATH)

    def refusal(self, method: str, content_length: str) -> LogReply | None:
        """Refuse what is not to be read: anybody may send it, and memory is small."""
        if method != "POST":
            return LogReply(405, "The purge log takes signed requests by POST: see docs/wire-format.md.\n")
        if not content_length.isdecimal():
            return LogReply(411, "Send Content-Length: the purge log reads no body of unknown size.\n")
        if int(content_length) > MAX_BODY_BYTES:
            return LogReply(413, f"The body has more than {MAX_BODY_BYTES} bytes: send several.\n")
        return None

    async def answer(self, path: str, fields: Mapping[str, str], body: bytes) -> LogReply:
        """Answer a POST; ``fields`` are in lower case."""
        try:
            key, nonce = verify(self._keys, path, fields, body, self._now_ms())
        except RefusedRequest as error:
            return LogReply(401, f"{error}\n")
        try:
            return await self._answered(path, key, nonce, body)
        except UnreadableEntry as error:
            return LogReply(400, f"{error}\n")
        except StoreError as error:
            self._report("log", error)
            return LogReply(503, "The purge log can't be reached; marks hold without it.\n")

    def _may_count(self, sealed_by: str | None) -> bool:
        """Whether what was written to KV counts there: the log alone forgets it after its window."""
        return not self._key_ids or sealed_by is None or sealed_by in self._key_ids

    async def _answered(self, path: str, key: LogKey, nonce: str, body: bytes) -> LogReply:
        if path == TELL_PATH:
            if refused := list(out_of_scope(key, parse_told(body))):
                return LogReply(403, "".join(f"{line}\n" for line in refused))
            if not self._may_count(parse_sealed_by(body)):
                return LogReply(403, _UNSEALED)
            told = await self._log.told(nonce, self._now_ms() + 2 * REQUEST_WINDOW_MS, body.decode())
            return (
                LogReply(200, told, has_told=True) if told else LogReply(409, "The nonce was used before.\n")
            )
        if path == VISIBLE_PATH:
            return LogReply(200, await self._log.visible(json.dumps({"ids": parse_question(body)})))
        if path == STATE_PATH:
            return LogReply(200, await self._log.state())
        return LogReply(404, f"{TELL_PATH}, {VISIBLE_PATH} and {STATE_PATH} are its only routes.\n")
