"""Permissions for the admin's two actions."""

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    """Names them; the table stays as it is."""

    dependencies: ClassVar = [("edge_outbox", "0001_initial")]
    operations: ClassVar = [
        migrations.AlterModelOptions(
            "outboxentry",
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("replay_outboxentry", "Can deliver outbox entries again"),
                    ("drop_outboxentry", "Can drop outbox entries, so that their purges are never done"),
                ],
                "verbose_name_plural": "outbox entries",
            },
        ),
    ]
