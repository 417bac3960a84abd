"""The SQLite database: opening, creating, seeding."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from examples.catalogue.models import Base, Category
from examples.catalogue.seed import seed
from origin_sdk.outbox.sqlalchemy import outbox_table

# Starlette runs at most 40 synchronous endpoints at once, and each holds one connection.
_CONNECTIONS = 40
# SQLite lets one writer in at a time; the others wait for so long before they fail.
_WRITER_PATIENCE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Database:
    """An open database; `sessions()` gives a new session."""

    engine: Engine
    sessions: sessionmaker[Session]

    def close(self) -> None:
        """Close the idle connections."""
        self.engine.dispose()


def open_database(path: Path) -> Database:
    """Open the file; create its tables and seed them if there are no categories yet."""
    engine = create_engine(
        f"sqlite:///{path}", pool_size=_CONNECTIONS, connect_args={"timeout": _WRITER_PATIENCE_SECONDS}
    )
    event.listen(engine, "connect", _configure)
    outbox_table(Base.metadata)
    Base.metadata.create_all(engine)
    database = Database(engine, sessionmaker(engine, expire_on_commit=False))
    with database.sessions() as session:
        if session.scalar(select(Category.id).limit(1)) is None:
            seed(session)
            session.commit()
    return database


def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # Readers don't wait for the writer.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
