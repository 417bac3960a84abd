"""The tables that migrations make are those that the code expects."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, MetaData, inspect

from origin_sdk import Purge
from origin_sdk.outbox.alembic import downgrade_from_1, upgrade_to_1
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox, outbox_table, record


def test_alembic_makes_the_table_that_the_metadata_has(engine: Engine) -> None:
    metadata = MetaData()
    assert outbox_table(metadata) is outbox_table(metadata)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            upgrade_to_1()
        assert compare_metadata(context, metadata) == []
        record(connection, Purge.of(groups="a"))
    assert len(SqlAlchemyOutbox(engine).claim(10, 1.0, 2.0).entries) == 1
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        downgrade_from_1()
    assert inspect(engine).get_table_names() == []
