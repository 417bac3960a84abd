"""What makes sessions, and of that the part whose events SQLAlchemy tells: the synchronous one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy.orm import Session, scoped_session, sessionmaker

from origin_sdk._values.errors import InvalidSettings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker

__all__ = ["Sessions", "synchronous"]

Sessions: TypeAlias = (
    "sessionmaker[Any] | async_sessionmaker[Any] | scoped_session[Any] | async_scoped_session[Any] | "
    "type[Session | AsyncSession] | Session | AsyncSession"
)


class _Of:
    """Mixed into the class that the sessions of one ``async_sessionmaker`` have inside, to know it again."""


def synchronous(sessions: Any) -> Any:
    """Return what to listen to, the same each time. Raises :class:`InvalidSettings` if there is nothing."""
    if isinstance(sessions, scoped_session):
        return sessions.session_factory
    asynchronous: Any = sys.modules.get("sqlalchemy.ext.asyncio")  # imported by whoever made such a session
    if asynchronous and isinstance(sessions, asynchronous.async_scoped_session):
        sessions = sessions.session_factory
    if asynchronous and isinstance(sessions, asynchronous.async_sessionmaker):
        base = sessions.kw.get("sync_session_class", sessions.class_.sync_session_class)
        if issubclass(base, _Of):
            return base
        made = type("EdgeSession", (_Of, base), {})
        sessions.configure(sync_session_class=made)
        return made
    if asynchronous and isinstance(sessions, asynchronous.AsyncSession):
        return sessions.sync_session
    is_class = isinstance(sessions, type)
    if asynchronous and is_class and issubclass(sessions, asynchronous.AsyncSession):
        return sessions.sync_session_class
    if isinstance(sessions, sessionmaker | Session) or (is_class and issubclass(sessions, Session)):
        return sessions
    raise InvalidSettings(
        f"EdgeEvents.listen({sessions!r}): give a sessionmaker, an async_sessionmaker, a scoped session, a "
        "class of sessions such as SQLModel's Session, or a session"
    )
