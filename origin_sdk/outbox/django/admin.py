"""The outbox in Django's admin: to look at, replay and drop. Loaded if the admin is installed."""

from typing import Any, ClassVar

from django.contrib import admin, messages

from origin_sdk.outbox.django.models import OutboxEntry
from origin_sdk.outbox.django.store import DjangoOutbox

__all__ = ["OutboxEntryAdmin"]


@admin.register(OutboxEntry)
class OutboxEntryAdmin(admin.ModelAdmin):
    """Read only, but for two actions, each with a permission of its own: to view an entry isn't enough."""

    list_display = ("id", "state", "payload", "actor", "reason", "attempts", "result")
    list_filter = ("state",)
    actions: ClassVar = ["replay", "drop"]

    def has_add_permission(self, _request: Any) -> bool:
        """Entries come from changes alone."""
        return False

    def has_change_permission(self, _request: Any, _obj: Any = None) -> bool:
        """A record isn't edited."""
        return False

    def has_delete_permission(self, _request: Any, _obj: Any = None) -> bool:
        """A record isn't deleted: dropping leaves a trace."""
        return False

    def has_replay_permission(self, request: Any) -> bool:
        """Whether the user may deliver entries again."""
        return bool(request.user.has_perm("edge_outbox.replay_outboxentry"))

    def has_drop_permission(self, request: Any) -> bool:
        """Whether the user may give entries up."""
        return bool(request.user.has_perm("edge_outbox.drop_outboxentry"))

    @admin.action(description="Deliver again", permissions=["replay"])
    def replay(self, request: Any, queryset: Any) -> None:
        """Make entries due now."""
        count = DjangoOutbox(queryset.db).replay([str(id_) for id_ in queryset.values_list("pk", flat=True)])
        messages.info(request, f"{count} entries are delivered again.")

    @admin.action(description="Drop", permissions=["drop"])
    def drop(self, request: Any, queryset: Any) -> None:
        """Give entries up."""
        ids = [str(id_) for id_ in queryset.values_list("pk", flat=True)]
        why = f"dropped by {request.user} in the admin"
        count = DjangoOutbox(queryset.db).drop(ids, why)
        messages.info(request, f"{count} entries are dropped.")
