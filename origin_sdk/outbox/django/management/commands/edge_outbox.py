"""`manage.py edge_outbox`: `origin-sdk outbox` for the outbox in Django's database."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from origin_sdk.outbox.django.management.delegation import delegate

__all__ = ["Command"]


class Command(BaseCommand):
    """Looks into the outbox, replays and drops."""

    help = "Look into the outbox of purges: list, replay, drop."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the options of `origin-sdk outbox`."""
        parser.add_argument("action", choices=["list", "replay", "drop"])
        parser.add_argument("ids", nargs="*", help="ids, as `list` shows them")
        parser.add_argument("--state", help="list: waiting, dead, open (both), or all")
        parser.add_argument("--limit", help="list: how many, the latest first")
        parser.add_argument("--all", action="store_true", help="replay: all entries that are waiting or dead")
        parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the action."""
        command = ["outbox", options["action"], *options["ids"]]
        delegate(self, command, options, flags=("--all", "--json"), values=("--state", "--limit"))
