"""The ledger's database in CPython."""

from __future__ import annotations

import sqlite3


class Sqlite:
    """See `origin_sdk_edge.purge_log.ledger.Database`."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)

    def run(self, statement: str, *values: str | int) -> list[list[str | int]]:
        return [list(row) for row in self._connection.execute(statement, values).fetchall()]
