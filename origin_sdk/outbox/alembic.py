"""The outbox's table for Alembic: a revision of the service's own calls these.

::

    from origin_sdk.outbox.alembic import downgrade_from_1 as downgrade
    from origin_sdk.outbox.alembic import upgrade_to_1 as upgrade

    revision, down_revision = "a1b2c3", "the one before"

With ``outbox_table(Base.metadata)`` in the models, ``alembic revision --autogenerate`` finds nothing to add.
"""

from alembic import op

from origin_sdk.outbox._stores.sql import TABLE
from origin_sdk.outbox.sqlalchemy import columns

__all__ = ["downgrade_from_1", "upgrade_to_1"]


def upgrade_to_1() -> None:
    """Create the table."""
    op.create_table(TABLE, *columns())
    op.create_index(f"{TABLE}_due", TABLE, ["state", "due_at"])


def downgrade_from_1() -> None:
    """Drop the table, and with it whatever isn't delivered."""
    op.drop_index(f"{TABLE}_due", TABLE)
    op.drop_table(TABLE)
