"""A Redis stream of another service's events as a source, at least once each.

A message is acknowledged after it was recorded; what a consumer that died had in hand comes again, to it or
to another one. What can't be read is put aside, into the stream ``…:aside``.
"""

import logging
from functools import partial
from threading import Event
from typing import Any

import redis

from origin_sdk.events.calls import Recorder
from origin_sdk.events.messages import Reads, intents_of, read_message

__all__ = ["StreamConsumer"]

_log = logging.getLogger("origin_sdk.events")
_AT_ONCE = 100
_MOST_ASIDE = 1000


class StreamConsumer:
    """Records what comes over a stream. Consumers of one ``group`` share its messages."""

    def __init__(
        self,
        client: "redis.Redis",
        stream: str,
        record: Recorder,
        *,
        group: str = "edge-cache",
        consumer: str = "1",
        field: str = "message",
        read: Reads = read_message,
    ) -> None:
        self._client: Any = client
        self._stream, self._group, self._consumer = stream, group, consumer
        self._record, self._field, self._read = record, field, read
        self._stopping = Event()
        try:
            self._client.xgroup_create(stream, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def stop(self) -> None:
        """End :meth:`run` within its ``poll_seconds``."""
        self._stopping.set()

    def run(self, poll_seconds: float = 1.0, retry_seconds: float = 5.0) -> None:
        """Take messages until stopped, first those that this consumer had in hand when it died."""
        while not self._stopping.is_set():
            try:
                while self.take(after="0"):
                    pass
                while not self._stopping.is_set():
                    if not self.take(poll_seconds):
                        self.take_over()
            except Exception:  # noqa: BLE001 - whatever failed, what is in hand comes again
                _log.exception("the stream %s can't be read; it will be retried", self._stream)
                self._stopping.wait(retry_seconds)

    def take(self, wait_seconds: float = 0.0, after: str = ">") -> int:
        """Record what is there, or comes in ``wait_seconds``; return how many messages that were."""
        block = max(1, round(wait_seconds * 1000))
        found = self._client.xreadgroup(
            self._group, self._consumer, {self._stream: after}, count=_AT_ONCE, block=block
        )
        return self._handle([message for _, messages in _pairs(found) for message in messages])

    def take_over(self, idle_seconds: float = 60.0) -> int:
        """Record what another consumer of the group has had in hand for so long, and so has died with."""
        _, messages, *_ = self._client.xautoclaim(
            self._stream, self._group, self._consumer, round(idle_seconds * 1000), count=_AT_ONCE
        )
        return self._handle(messages)

    def _handle(self, messages: list[Any]) -> int:
        if not messages:
            return 0
        intents = [
            intent
            for _, fields in messages
            for intent in intents_of(
                self._read, _field(fields, self._field), self._stream, partial(self._put_aside, fields)
            )
        ]
        if intents:
            self._record(*intents)
        self._client.xack(self._stream, self._group, *[id_ for id_, _ in messages])
        return len(messages)

    def _put_aside(self, fields: Any, why: str) -> None:
        """Keep what can't be read in a stream beside, for someone to look."""
        self._client.xadd(f"{self._stream}:aside", {**(fields or {}), "why": why}, maxlen=_MOST_ASIDE)


def _pairs(found: Any) -> list[tuple[Any, Any]]:
    if not isinstance(found, dict):
        return list(found or ())
    # RESP3: the messages lie in a list of one list.
    return [(stream, [message for part in parts for message in part]) for stream, parts in found.items()]


def _field(fields: Any, name: str) -> str:
    value = (fields or {}).get(name.encode(), (fields or {}).get(name, b""))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
