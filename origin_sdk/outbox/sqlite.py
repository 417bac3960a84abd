"""An outbox in a SQLite file: for services without a database, and for several processes of one machine."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Lock

from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._process.spans import span
from origin_sdk.outbox._stores.entries import Intent
from origin_sdk.outbox._stores.sql import (
    SQLITE,
    TABLE,
    Dialect,
    Parameters,
    Rows,
    Run,
    SqlOutbox,
    Statements,
    recorded_rows,
)

__all__ = ["SqliteOutbox"]

_PATIENCE_SECONDS = 30.0

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    payload TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    recorded_at REAL NOT NULL,
    due_at REAL NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    claim TEXT NOT NULL,
    result TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS {TABLE}_due ON {TABLE} (state, due_at);
"""


# A file has no clock of its own; who uses it is on one machine, whose clock is told with each statement.
_DIALECT = Dialect(":now", SQLITE.picked)


class SqliteOutbox(SqlOutbox):
    """Keeps entries in ``path``, which is made with its table if it isn't there.

    ``clock`` stands in for the machine's, in tests.
    """

    statements = Statements(_DIALECT)

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        # One connection for all threads, one of them at a time.
        self._connection = sqlite3.connect(
            path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._lock = Lock()
        # What was committed must survive a loss of power, not just of the process.
        self._connection.execute("PRAGMA synchronous = FULL")
        if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchall():
            # A file of its own; one that a service has made keeps the mode that the service chose.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(_SCHEMA)

    def record(self, *intents: Intent) -> None:
        """Record purges and republications; they are kept for certain when this returns."""
        with span("outbox record", outbox_entries=len(intents)), self.transaction() as run:
            run(_DIALECT.insert, recorded_rows(intents))

    def record_in(self, connection: sqlite3.Connection, *intents: Intent) -> None:
        """Record in the transaction that ``connection``, one to the same file, has open."""
        self._run(connection, _DIALECT.insert, recorded_rows(intents))

    def due_in(self) -> float | None:
        """Return in how many seconds the next entry is due, without waiting for writers."""
        with self._lock:
            return self.statements.due_in(partial(self._run, self._connection))

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Open a transaction that may write."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield partial(self._run, self._connection)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _run(self, connection: sqlite3.Connection, statement: str, parameters: Parameters = {}) -> Rows:  # noqa: B006 - read only
        now = {"now": self._clock.now()}
        if isinstance(parameters, Sequence):
            connection.executemany(statement, [{**row, **now} for row in parameters])
            return ()
        with closing(connection.execute(statement, {**parameters, **now})) as cursor:
            return cursor.fetchall()
