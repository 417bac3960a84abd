"""An outbox in a SQLite file: for services without a database, and for several processes of one machine."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import RLock

from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._process.forks import suspend_at_fork
from origin_sdk._process.spans import span
from origin_sdk.outbox._stores.entries import Intent
from origin_sdk.outbox._stores.failures import store_errors
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

_log = logging.getLogger("origin_sdk.outbox")
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

    If it is removed or replaced, it is opened, or made, again. Thread-safe. A forked process opens the file
    itself. ``clock`` stands in for the machine's, in tests. A file that can't be used raises
    :class:`.OutboxUnavailable`, which names it, and what to do.
    """

    statements = Statements(_DIALECT)

    def __init__(self, path: Path | str, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._path = Path(path).absolute()  # a daemon may go to another folder before it opens the file again
        # One connection for all threads, one of them at a time.
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._process = os.getpid()
        self._others: list[sqlite3.Connection] = []
        self._lock = RLock()
        with self._lock, store_errors(str(self._path)):
            self._opened()
        suspend_at_fork(self)

    def suspend(self) -> None:
        """Close the file before a fork.

        SQLite notes for a process which locks it holds. A child would have the notes without the locks, for
        connections of its own too, and might not see that the parent takes the write-ahead log away.
        """
        self._lock.acquire()
        if not (
            self._connection and self._connection.in_transaction
        ):  # of this thread, which forks within it
            self._close()

    def resume(self) -> None:
        """Go on in the parent."""
        self._lock.release()

    def renew(self) -> None:
        """Free the lock in a forked process: the thread that held it isn't there."""
        self._lock = RLock()

    def record(self, *intents: Intent) -> None:
        """Record purges and republications; they are kept for certain when this returns."""
        with span("outbox record", outbox_entries=len(intents)), self.transaction() as run:
            run(_DIALECT.insert, recorded_rows(intents))

    def record_in(self, connection: sqlite3.Connection, *intents: Intent) -> None:
        """Record in the transaction that ``connection``, one to the same file, has open."""
        self._run(connection, _DIALECT.insert, recorded_rows(intents))

    def due_in(self) -> float | None:
        """Return in how many seconds the next entry is due, without waiting for writers."""
        with self._lock, store_errors(str(self._path)):
            return self.statements.due_in(partial(self._run, self._opened()))

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Open a transaction that may write."""
        with self._lock, store_errors(str(self._path)):
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield partial(self._run, connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:  # some that fail SQLite ends itself
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._close()

    def _opened(self) -> sqlite3.Connection:
        """Return the connection of this process; the lock is held."""
        self._leave_others()
        if self._connection and self._file != _identity(self._path) and not self._connection.in_transaction:
            # What went into a file that no path leads to would be recorded for nobody.
            _log.warning(
                "%s was removed or replaced: what waited in the file before went with it", self._path
            )
            self._close()
        if self._connection is None:
            self._connection = _connection_to(self._path)
            self._file = _identity(self._path)
        return self._connection

    def _close(self) -> None:
        self._leave_others()
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _leave_others(self) -> None:
        # A process may be forked without Python's hooks, as uWSGI does. To close what its parent has open, as
        # the garbage collector would, would meddle with it.
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        if self._connection:
            self._others.append(self._connection)
            self._connection = None

    def _run(self, connection: sqlite3.Connection, statement: str, parameters: Parameters = {}) -> Rows:  # noqa: B006 - read only
        now = {"now": self._clock.now()}
        if isinstance(parameters, Sequence):
            connection.executemany(statement, [{**row, **now} for row in parameters])
            return ()
        with closing(connection.execute(statement, {**parameters, **now})) as cursor:
            return cursor.fetchall()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connection_to(path: Path) -> sqlite3.Connection:
    """Open the file, with its table."""
    made = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)
    # What was committed must survive a loss of power, not just of the process.
    made.execute("PRAGMA synchronous = FULL")
    if not made.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchall():
        # A file of its own; one that a service has made keeps the mode that the service chose.
        made.execute("PRAGMA journal_mode = WAL")
        made.executescript(_SCHEMA)
    return made
