"""The outbox in the service's own database, through SQLAlchemy 2: in the transaction of the change itself.

::

    outbox_table(Base.metadata)                                  # for create_all and Alembic
    record(session, Purge.of(groups="product-17"))               # commit with the change, or vanish with it
    Drainer(SqlAlchemyOutbox(engine), client)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BLANK_SCHEMA,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    text,
)
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from origin_sdk._process.spans import span
from origin_sdk._values.errors import InvalidSettings
from origin_sdk.outbox._stores.entries import Claim, Intent, Settlement
from origin_sdk.outbox._stores.sql import (
    TABLE,
    Parameters,
    Rows,
    Run,
    SqlOutbox,
    Statements,
    dialect_of,
    recorded_rows,
)

if TYPE_CHECKING:  # SQLAlchemy 2.1 imports it only where greenlet is installed
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

__all__ = ["AsyncSqlAlchemyOutbox", "SqlAlchemyOutbox", "outbox_table", "record", "record_async"]

_Result = TypeVar("_Result")


def outbox_table(metadata: MetaData) -> Table:
    """Return the outbox's table in ``metadata``, so that ``create_all`` and Alembic know it."""
    if TABLE in metadata.tables:
        return metadata.tables[TABLE]
    # Found by the search path, as the statements find it, wherever the service's own tables lie.
    due = Index(f"{TABLE}_due", "state", "due_at")
    return Table(TABLE, metadata, *columns(), due, schema=BLANK_SCHEMA)


def columns() -> list[Column[Any]]:
    """Return new columns of the outbox's table."""
    return [
        # SQLite counts up by itself only what is called INTEGER.
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("payload", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("recorded_at", Double, nullable=False),
        Column("due_at", Double, nullable=False),
        Column("state", String(16), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("claim", String(32), nullable=False),
        Column("result", Text, nullable=False),
    ]


def record(session: Session | AsyncSession | Connection, *intents: Intent) -> None:
    """Record purges and republications in the session's open transaction, savepoints included.

    Of an asynchronous session, pass its ``sync_session`` inside ``run_sync``, or use :func:`record_async`.
    """
    if not isinstance(session, Connection) and hasattr(session, "sync_session"):
        raise InvalidSettings("record() can't await: use `await record_async(session, ...)`")
    connection = session if isinstance(session, Connection) else session.connection()
    if rows := recorded_rows(intents):
        statement, names = _insert(connection.dialect)
        parameters: list[Any] = [tuple(map(row.__getitem__, names)) for row in rows] if names else rows
        try:
            # One row is the rule, and drivers take more time for a list of one.
            with span("outbox record", outbox_entries=len(rows)):
                connection.exec_driver_sql(statement, parameters[0] if len(parameters) == 1 else parameters)
        except (OperationalError, ProgrammingError) as error:
            if TABLE not in str(error.orig):
                raise
            raise InvalidSettings(
                f"the change can't be recorded, and isn't made: {error.orig}. Is the table {TABLE} missing? "
                "See outbox_table() for create_all, and origin_sdk.outbox.alembic for a migration"
            ) from error


async def record_async(session: AsyncSession, *intents: Intent) -> None:
    """Do what :func:`record` does, for an asynchronous session."""
    await session.run_sync(record, *intents)


class SqlAlchemyOutbox(SqlOutbox):
    """The outbox behind an engine, for a drainer."""

    def __init__(self, engine: Engine, *, is_own: bool = False) -> None:
        """Use ``engine``; where it is the outbox's own, :meth:`close` disposes of it."""
        self.statements = Statements(dialect_of(engine.dialect.name))
        self._engine = engine
        self._is_own = is_own

    def close(self) -> None:
        """Close the connections, if the engine is its own."""
        if self._is_own:
            self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Open a transaction on a connection of the pool."""
        with self._engine.begin() as connection:
            yield partial(_run, connection)


class AsyncSqlAlchemyOutbox:
    """The outbox behind an asynchronous engine: implements :class:`origin_sdk.outbox.AsyncOutbox`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._statements = Statements(dialect_of(engine.dialect.name))
        self._engine = engine

    async def claim(self, limit: int, lease_seconds: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await self._do(lambda run: self._statements.claim(run, limit, lease_seconds))

    async def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        await self._do(lambda run: self._statements.settle(run, claim, settlement))

    async def due_in(self) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await self._do(self._statements.due_in)

    async def prune(self, keep_seconds: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        return await self._do(lambda run: self._statements.prune(run, keep_seconds))

    async def _do(self, verb: Callable[[Run], _Result]) -> _Result:
        async with self._engine.begin() as connection:
            return await connection.run_sync(lambda sync: verb(partial(_run, sync)))


def _run(connection: Connection, statement: str, parameters: Parameters = {}) -> Rows:  # noqa: B006 - read only
    if isinstance(parameters, Sequence):
        connection.execute(_text(statement), parameters)
        return ()
    result = connection.execute(_text(statement), parameters)
    return [tuple(row) for row in result] if result.returns_rows else ()


@cache
def _text(statement: str) -> TextClause:
    return text(statement)


_inserts: WeakKeyDictionary[Dialect, tuple[str, tuple[str, ...]]] = WeakKeyDictionary()


def _insert(dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """Return the statement that records as the driver takes it, and its parameters' order if unnamed.

    Compiled once: with SQLAlchemy's way through a statement, recording takes three times as long.
    """
    if dialect not in _inserts:
        compiled = _text(dialect_of(dialect.name).insert).compile(dialect=dialect)
        _inserts[dialect] = (compiled.string, tuple(getattr(compiled, "positiontup", None) or ()))
    return _inserts[dialect]
