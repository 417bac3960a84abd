"""A Django service in a process of its own: what its cache holds in a transaction and after, as JSON.

usage: python -m tests.layers.django_commits DATABASE REDIS_URL
"""

import json
import sys

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["origin_sdk.outbox.django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402 - Django imports models once it is set up
from django.db import transaction  # noqa: E402

from origin_sdk.layers import Family, Key, LayeredCache, RedisOptions  # noqa: E402
from origin_sdk.layers.django.commits import invalidate_with  # noqa: E402
from origin_sdk.outbox import State  # noqa: E402
from origin_sdk.outbox.django.store import DjangoOutbox  # noqa: E402
from tests.layers.servers import PATIENT_SECONDS  # noqa: E402

KEY: Key[object] = Family("product", "{id}", groups=("product-{id}",)).key(id=17)


def main() -> None:
    """Commit once, roll back once."""
    call_command("migrate", verbosity=0)
    seen: dict[str, object] = {}
    with LayeredCache(
        RedisOptions(url=sys.argv[2], prefix="django-commits", timeout=PATIENT_SECONDS)
    ) as cache:
        cache.set(KEY, "old")
        try:
            with transaction.atomic():
                invalidate_with(cache, groups=["product-17"])
                raise LookupError  # noqa: TRY301 - a handler that fails
        except LookupError:
            seen["rolled back"] = cache.get(KEY)
        with transaction.atomic():
            invalidate_with(cache, groups=["product-17"])
            seen["in the transaction"] = cache.get(KEY)
        seen["committed"] = cache.get(KEY)
    seen["waiting"] = DjangoOutbox().status().counts[State.WAITING]
    print(json.dumps(seen))  # noqa: T201 - what it is for


main()
