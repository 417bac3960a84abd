"""The table, for migrations and the admin. Drainers use :mod:`origin_sdk.outbox._stores.sql`."""

from typing import ClassVar

from django.db import models

from origin_sdk.outbox._stores.sql import TABLE

__all__ = ["OutboxEntry"]


class OutboxEntry(models.Model):
    """A purge or a publication, waiting or done."""

    id = models.BigAutoField(primary_key=True)
    payload = models.TextField()
    actor = models.TextField()
    reason = models.TextField()
    recorded_at = models.FloatField()
    due_at = models.FloatField()
    state = models.CharField(max_length=16)
    attempts = models.IntegerField()
    claim = models.CharField(max_length=32)
    result = models.TextField()

    class Meta:
        """Its name, its index, its order."""

        db_table = TABLE
        verbose_name_plural = "outbox entries"
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [
            ("replay_outboxentry", "Can deliver outbox entries again"),
            ("drop_outboxentry", "Can drop outbox entries, so that their purges are never done"),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "due_at"], name=f"{TABLE}_due")]

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.state}: {self.payload}"
