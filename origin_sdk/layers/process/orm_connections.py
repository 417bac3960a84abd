"""Databases in the cache's own threads: what a load leaves open there is closed, as after a request.

Django's connections and SQLAlchemy's sessions may belong to a thread, and ours live as long as the cache.
Neither is imported by this module: who uses them has.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import local
from typing import Any, Protocol
from weakref import WeakSet

__all__ = ["like_a_request"]


class _Session(Protocol):
    def close(self) -> object:
        """Give its connection back."""
        ...


class _Begun(local):
    """The sessions that began a transaction in this thread, while a load of ours ran in it."""

    sessions: WeakSet[_Session] | None = None


_begun = _Begun()


@contextmanager
def like_a_request() -> Iterator[None]:
    """Let a load find usable connections of its thread, and give back what it didn't."""
    _listen()
    _begun.sessions = WeakSet()
    _close_old_connections()
    try:
        yield
    finally:
        sessions, _begun.sessions = list(_begun.sessions or ()), None
        for session in sessions:
            with suppress(Exception):  # its connection is broken, and gone with it
                session.close()
        _close_old_connections()


def _close_old_connections() -> None:
    """Close what is unusable or older than CONN_MAX_AGE."""
    django: Any = sys.modules.get("django.db")
    if django is not None:
        with suppress(Exception):  # no settings, or a connection that can't be closed any more
            django.close_old_connections()


def _listen() -> None:
    """Hear of each session that begins a transaction, from the first load on that may."""
    orm: Any = sys.modules.get("sqlalchemy.orm")
    event: Any = sys.modules.get("sqlalchemy.event")
    if orm is not None and event is not None and not event.contains(orm.Session, "after_begin", _note):
        event.listen(orm.Session, "after_begin", _note)


def _note(session: _Session, *_: object) -> None:
    if _begun.sessions is not None:
        _begun.sessions.add(session)
