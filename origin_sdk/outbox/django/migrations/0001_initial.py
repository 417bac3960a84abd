"""Create the outbox."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Its first form."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar = [
        migrations.CreateModel(
            name="OutboxEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("payload", models.TextField()),
                ("actor", models.TextField()),
                ("reason", models.TextField()),
                ("recorded_at", models.FloatField()),
                ("due_at", models.FloatField()),
                ("state", models.CharField(max_length=16)),
                ("attempts", models.IntegerField()),
                ("claim", models.CharField(max_length=32)),
                ("result", models.TextField()),
            ],
            options={
                "verbose_name_plural": "outbox entries",
                "db_table": "edge_outbox",
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["state", "due_at"], name="edge_outbox_due")],
            },
        ),
    ]
