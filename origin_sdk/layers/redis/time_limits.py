"""Connections of a cluster's client that share the time of a call.

redis-py bounds each step, and asks one node after the other for the way: a call could take as many timeouts
as there are nodes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

import redis
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["BoundedConnection", "BoundedSSLConnection", "within"]


_LEAST_SECONDS = 0.001


class _Call(local):
    """The call of this thread."""

    until: float | None = None


_call = _Call()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let all that this thread asks for in a ``with`` block take so long at most; the outermost counts."""
    before = _call.until
    if before is None:
        _call.until = time.monotonic() + seconds
    try:
        yield
    finally:
        _call.until = before


def _left(most: float | None) -> float | None:
    """Return the seconds that a step may take. Raises TimeoutError if none are left."""
    if _call.until is None:
        return most
    left = _call.until - time.monotonic()
    if left <= 0:
        raise RedisTimeoutError("the time of the call is over")
    return left if most is None else min(left, most)


class _Bounded:
    """Makes each step of a connection as short as what is left of the call."""

    socket_timeout: float | None
    socket_connect_timeout: float | None
    _sock: Any

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._most = self.socket_timeout

    def _connect(self) -> object:
        self.socket_timeout = self.socket_connect_timeout = _left(self._most)
        return super()._connect()  # type: ignore[misc]  # of the connection that this is mixed into

    def send_packed_command(self, command: object, check_health: object = True) -> object:  # noqa: FBT002 - redis-py's
        if self._sock:
            self._sock.settimeout(_left(self._most))
        return super().send_packed_command(command, check_health)  # type: ignore[misc]  # see above

    def read_response(self, *args: object, **kwargs: object) -> object:
        if self._sock and _call.until is not None:
            # What has come in meanwhile is read, though the time be over.
            self._sock.settimeout(max(_call.until - time.monotonic(), _LEAST_SECONDS))
        return super().read_response(*args, **kwargs)  # type: ignore[misc]  # see above


class BoundedConnection(_Bounded, redis.Connection):
    """A connection without TLS."""


class BoundedSSLConnection(_Bounded, redis.SSLConnection):
    """A connection with TLS."""
