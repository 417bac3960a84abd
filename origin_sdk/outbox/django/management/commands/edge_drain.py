"""`manage.py edge_drain`: `origin-sdk drain` for the outbox in Django's database."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from origin_sdk.outbox.django.management.delegation import delegate

__all__ = ["Command"]

_VALUES = {
    "--poll": "seconds between polls (default: 1)",
    "--lease": "seconds until another drainer takes entries over (default: 120)",
    "--keep-days": "how long done entries stay (default: 7)",
    "--origin": "the origin's own URL, past the edge: where responses to be published come from",
    "--layers": "the Redis of the services' layered cache, redis://host/0?prefix=name",
    "--config": "the Worker's wrangler.toml",
    "--env": "an environment of wrangler.toml",
    "--namespace": "KV namespace id (default: EDGE_CACHE_NAMESPACE_ID)",
    "--base-url": "the KV REST API (default: CLOUDFLARE_API_BASE_URL, then Cloudflare's own)",
}


class Command(BaseCommand):
    """Delivers what the outbox holds until stopped by a signal."""

    help = "Deliver the purges that the outbox holds until stopped by a signal. Several drainers are safe."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the options of `origin-sdk drain`."""
        parser.add_argument("--once", action="store_true", help="end when nothing is due any more")
        parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
        for name, meaning in _VALUES.items():
            parser.add_argument(name, help=meaning)

    def handle(self, *_: Any, **options: Any) -> None:
        """Drain."""
        delegate(self, ["drain"], options, flags=("--once", "--json"), values=tuple(_VALUES))
