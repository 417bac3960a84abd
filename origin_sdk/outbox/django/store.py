"""Recording in Django's transactions, and draining what they recorded."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from django.db import DEFAULT_DB_ALIAS, OperationalError, ProgrammingError, connections, transaction

from origin_sdk._process.spans import span
from origin_sdk._values.errors import InvalidSettings
from origin_sdk.outbox._stores.entries import Intent
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

__all__ = ["DjangoOutbox", "record"]

_PARAMETER = re.compile(r":(\w+)")


def record(*intents: Intent, using: str = DEFAULT_DB_ALIAS) -> None:
    """Record purges and republications in the open transaction, ``atomic`` blocks inside it included.

    Outside any transaction it is stored immediately, as Django's autocommit does.
    """
    if not intents:
        return
    try:
        connection = connections[using]
        with span("outbox record", outbox_entries=len(intents)):
            _run(connection, dialect_of(connection.vendor).insert, recorded_rows(intents))
    except (OperationalError, ProgrammingError) as error:
        if TABLE not in str(error):
            raise
        raise InvalidSettings(
            f"the change can't be recorded, and isn't made: {error}. The database {using!r} needs a table "
            f"{TABLE} of its own, as a purge is recorded in the transaction of its change: let the router "
            f"allow edge_outbox there, run `manage.py migrate --database={using}`, and drain "
            f"DjangoOutbox({using!r}) too"
        ) from error


class DjangoOutbox(SqlOutbox):
    """The outbox in one of Django's databases, for a drainer."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self.statements = Statements(dialect_of(connections[using].vendor))
        self._using = using

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Open a transaction on the thread's own connection."""
        connection = connections[self._using]
        if not connection.in_atomic_block:
            # As Django does at the ends of requests: one that was lost, or is too old, is reopened.
            connection.close_if_unusable_or_obsolete()
        with transaction.atomic(using=self._using):
            yield partial(_run, connection)

    def close(self) -> None:
        """Close the thread's own connection."""
        connections[self._using].close()


def _run(connection: Any, statement: str, parameters: Parameters = {}) -> Rows:  # noqa: B006 - read only
    translated = _translated(statement)
    with connection.cursor() as cursor:
        if isinstance(parameters, Sequence):
            cursor.executemany(translated, _positional(statement, parameters))
            return ()
        cursor.execute(translated, _positional(statement, [parameters])[0])
        return cursor.fetchall() if cursor.description else ()


@cache
def _translated(statement: str) -> str:
    """Return a statement with Django's parameters, which are by position alone in all of its databases."""
    return _PARAMETER.sub("%s", statement)


def _positional(statement: str, rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    names = _PARAMETER.findall(statement)
    return [[row[name] for name in names] for row in rows]
