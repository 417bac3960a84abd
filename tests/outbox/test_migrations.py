"""The tables that migrations make are those that the code expects."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, MetaData, inspect

from origin_sdk import InvalidSettings, Purge
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
    assert len(SqlAlchemyOutbox(engine).claim(10, 60.0).entries) == 1
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        downgrade_from_1()
    assert inspect(engine).get_table_names() == []


def test_the_table_lies_on_the_search_path_whatever_schema_the_service_has() -> None:
    assert outbox_table(MetaData(schema="shop")).schema is None


def test_without_the_table_the_change_is_refused_with_the_remedy(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(InvalidSettings, match="for a migration"):
        record(connection, Purge.of(groups="a"))
