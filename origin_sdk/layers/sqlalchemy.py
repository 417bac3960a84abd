"""Invalidate what a session changes, once it is committed: memory, Redis and the edge.

::

    with Session(engine) as session:
        session.get_one(Product, 17).price = 5
        invalidate_with(session, cache, groups=["product-17"])
        session.commit()

The purge is recorded in the outbox in the same transaction, and delivered by
``Drainer(SqlAlchemyOutbox(engine), client, layers=[cache])`` whatever dies meanwhile. In this process the
layers forget with the commit already. Before it nothing is forgotten: the old row would be read and kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from origin_sdk._values.targets import Purge
from origin_sdk._values.texts import texts
from origin_sdk.layers.async_cache import AsyncLayeredCache
from origin_sdk.layers.cache import LayeredCache
from origin_sdk.layers.commits import invalidate_committed
from origin_sdk.outbox.sqlalchemy import record

if TYPE_CHECKING:  # SQLAlchemy 2.1 imports it only where greenlet is installed
    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["invalidate_with", "invalidate_with_async"]

_PENDING = "origin_sdk.layers.pending"
_IS_HEARD = "origin_sdk.layers.is_heard"


def invalidate_with(
    session: Session, cache: LayeredCache, *, groups: Iterable[str], urls: Iterable[str] = ()
) -> None:
    """Invalidate groups in all layers once the session's transaction is committed; ``urls`` at the edge.

    Raises InvalidRequest for what can't be purged.
    """
    _begin(session, cache, texts(groups), texts(urls))


async def invalidate_with_async(
    session: AsyncSession, cache: AsyncLayeredCache, *, groups: Iterable[str], urls: Iterable[str] = ()
) -> None:
    """Do what :func:`invalidate_with` does, for an asynchronous session."""
    await session.run_sync(_begin, cache, texts(groups), texts(urls))


def _begin(
    session: Session,
    cache: LayeredCache | AsyncLayeredCache,
    groups: tuple[str, ...],
    urls: tuple[str, ...],
) -> None:
    record(session, Purge.of(groups=groups, urls=urls))
    pending: dict[object, dict[str, None]] = session.info.setdefault(_PENDING, {})
    pending.setdefault(cache, {}).update(dict.fromkeys(groups))
    if not session.info.get(_IS_HEARD):
        session.info[_IS_HEARD] = True
        event.listen(session, "after_commit", _after_commit)
        event.listen(session, "after_soft_rollback", _after_rollback)


def _after_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        for cache, groups in session.info.pop(_PENDING, {}).items():
            invalidate_committed(cache, groups)


def _after_rollback(session: Session, ended: SessionTransaction) -> None:
    # What a savepoint undoes is forgotten in vain, which costs a load.
    if ended.parent is None:
        session.info.pop(_PENDING, None)
