"""PostgreSQL's LISTEN/NOTIFY as a source: triggers and other services say what changed.

A notification reaches those who listen, and nobody later: what was sent while this was away is lost. So it is
told on each connection, the first included, what to purge for that (``missed``).

Any role that may connect to the database may send: so everything, whole hosts and deletions are refused
unless ``read`` is :func:`origin_sdk.events.messages.read_message`.
"""

import logging
from collections.abc import Iterable
from threading import Event

import psycopg
from psycopg import sql

from origin_sdk._values.errors import InvalidRequest
from origin_sdk.events.calls import Recorder
from origin_sdk.events.messages import Reads, intents_of, read_narrowly
from origin_sdk.outbox._stores.entries import Intent, payload_of

__all__ = ["PostgresListener", "notify"]

_log = logging.getLogger("origin_sdk.events")
_MAX_BYTES = 7999
"""PostgreSQL's limit on a notification."""


def notify(connection: "psycopg.Connection[tuple[object, ...]]", channel: str, *intents: Intent) -> None:
    """Send intents when the connection's transaction commits.

    Raises :class:`InvalidRequest` for one that is too long.
    """
    for intent in intents:
        payload = payload_of(intent)
        if len(payload.encode()) > _MAX_BYTES:
            raise InvalidRequest(f"{intent} is too long for NOTIFY ({_MAX_BYTES} bytes): send it in parts")
        connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))


class PostgresListener:
    """Records what comes over a channel, until it is stopped."""

    def __init__(
        self,
        conninfo: str,
        channel: str,
        record: Recorder,
        *,
        read: Reads = read_narrowly,
        missed: Iterable[Intent] = (),
    ) -> None:
        self._conninfo = conninfo
        self._channel = channel
        self._record = record
        self._read = read
        self._missed = tuple(missed)
        self._stopping = Event()
        self.is_listening = Event()

    def stop(self) -> None:
        """End :meth:`run` within ``poll_seconds``."""
        self._stopping.set()

    def run(self, poll_seconds: float = 1.0, retry_seconds: float = 5.0) -> None:
        """Listen; a connection that is lost is made again after ``retry_seconds``."""
        while not self._stopping.is_set():
            try:
                self._listen(poll_seconds)
            except Exception:  # noqa: BLE001 - whatever failed, what is missed is recorded on the next connection
                _log.exception("listening on %s failed; it will be retried", self._channel)
                self.is_listening.clear()
                self._stopping.wait(retry_seconds)

    def _listen(self, poll_seconds: float) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            if self._missed:
                self._record(*self._missed)
            self.is_listening.set()
            while not self._stopping.is_set():
                notifications = connection.notifies(timeout=poll_seconds, stop_after=1)
                intents = [
                    intent
                    for notification in notifications
                    for intent in intents_of(self._read, notification.payload, self._channel)
                ]
                if intents:
                    self._record(*intents)
