"""The application."""

from django.apps import AppConfig


class EdgeOutboxConfig(AppConfig):
    """Its label names the migrations; the table is that of every outbox."""

    name = "origin_sdk.outbox.django"
    label = "edge_outbox"
    verbose_name = "Edge cache"
    default_auto_field = "django.db.models.BigAutoField"
