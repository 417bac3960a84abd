"""A Django service in a process of its own: runs every scenario, and prints what each recorded, as JSON.

Django has one configuration a process, so the tests can't share theirs.

usage: python -m tests.events.django_world ENGINE NAME [PORT]
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import django
from django.conf import settings

ENGINE, NAME, PORT = [*sys.argv[1:], ""][:3]
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "origin_sdk.outbox.django",
        "tests.events.django_shop",
    ],
    DATABASES={
        "default": {
            "ENGINE": f"django.db.backends.{ENGINE}",
            "NAME": NAME,
            "USER": "test",
            "HOST": "127.0.0.1",
            "PORT": PORT,
        }
    },
    USE_TZ=True,
)
django.setup()

from django.contrib import admin  # noqa: E402 - Django imports models once it is set up
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from origin_sdk import Purge  # noqa: E402
from origin_sdk.events.django import NotAtomicWarning  # noqa: E402
from origin_sdk.layers import Family, LayeredCache  # noqa: E402
from origin_sdk.outbox import Republish, State, acting  # noqa: E402
from origin_sdk.outbox.django.models import OutboxEntry  # noqa: E402
from origin_sdk.outbox.django.store import DjangoOutbox, record  # noqa: E402
from origin_sdk.outbox.entries import End, Settlement, read_payload  # noqa: E402
from tests.events.django_shop.models import Product, Review, Tag, edge, woken  # noqa: E402


class ProductAdmin(admin.ModelAdmin):
    actions: ClassVar = ["discontinue"]

    @admin.action
    def discontinue(self, _request: Any, queryset: Any) -> None:
        with edge.bulk(queryset):
            queryset.update(category=0)


def _create() -> None:
    Product.objects.create(name="cup", category=2)


def _save() -> None:
    pan = Product.objects.get(name="pan")
    pan.category = 2
    pan.save()


def _save_some_fields() -> None:
    pan = Product.objects.get(name="pan")
    pan.category, pan.views = 2, 5
    pan.save(update_fields=["views"])


def _save_unwatched() -> None:
    pan = Product.objects.get(name="pan")
    pan.views += 1
    pan.save()


def _save_by_key() -> None:
    Product(pk=1, name="pan", category=3).save()


def _delete() -> None:
    Product.objects.get(name="pan").delete()


def _delete_queryset() -> None:
    Product.objects.filter(name="pot").delete()


def _tag() -> None:
    Product.objects.get(name="pan").tags.add(Tag.objects.get(name="blue"))


def _untag() -> None:
    Product.objects.get(name="pan").tags.remove(Tag.objects.get(name="red"))


def _clear_tags() -> None:
    Product.objects.get(name="pan").tags.clear()


def _tag_from_the_other_side() -> None:
    Tag.objects.get(name="blue").products.add(Product.objects.get(name="pot"))


def _rollback() -> None:
    try:
        with transaction.atomic():
            _save()
            raise RuntimeError  # noqa: TRY301
    except RuntimeError:
        pass


def _savepoint_lost() -> None:
    Product.objects.filter(name="pot").get().delete()
    _rollback()


def _update() -> None:
    with edge.bulk(Product.objects.filter(category=1)):
        Product.objects.filter(category=1).update(category=2)


def _bulk_update() -> None:
    products = list(Product.objects.filter(name="pot"))
    with edge.bulk(Product.objects.filter(name="pot")):
        products[0].category = 7
        Product.objects.bulk_update(products, ["category"])


def _bulk_create() -> None:
    edge.changed(Product.objects.bulk_create([Product(name="a", category=5)]))


def _admin_action() -> None:
    ProductAdmin(Product, admin.site).discontinue(None, Product.objects.filter(name="pot"))


def _strange_name() -> None:
    tag = Tag.objects.get(name="blue")
    tag.name = "b" * 300
    tag.save()


def _publish() -> None:
    Product.objects.create(name="offer", category=9)


def _explicit() -> None:
    with acting("alice"):
        record(Purge.of(groups="by-hand"))


SCENARIOS: dict[str, Callable[[], None]] = {
    name.removeprefix("_"): scenario
    for name, scenario in list(globals().items())
    if name.startswith("_") and getattr(scenario, "__module__", "") == __name__ and callable(scenario)
}


def fill() -> None:
    for model in (Review, Product.tags.through, Product, Tag, OutboxEntry):
        model._base_manager.all()._raw_delete("default")
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_by_name_sql(
            django.core.management.color.no_style(),
            [{"table": model._meta.db_table, "column": "id"} for model in (Product, Tag)],
        ):
            cursor.execute(statement)
    red, _ = Tag.objects.create(name="red"), Tag.objects.create(name="blue")
    pan, _ = Product.objects.create(name="pan"), Product.objects.create(name="pot")
    pan.tags.add(red)
    Review.objects.create(text="good", product=pan)
    OutboxEntry.objects.all()._raw_delete("default")


def recorded() -> list[str]:
    found: set[str] = set()
    for entry in DjangoOutbox().list([State.WAITING], 100):
        intent = read_payload(entry.payload)
        found |= (
            {f"publish {intent.url}"} if isinstance(intent, Republish) else {*intent.groups, *intent.urls}
        )
    return sorted(found)


def contract() -> list[object]:
    """Go through claim, failure, replay, drop and prune once; tests/outbox holds SQL to the rest."""
    fill()
    outbox = DjangoOutbox()
    with transaction.atomic():
        record(Purge.of(groups="a", reason="50 % off: now"), Purge.of(groups="b"))
    seen: list[object] = [outbox.next_due()]
    claim = outbox.claim(10, 100.0, 160.0)
    first, second = claim.entries
    seen += [first.payload, first.reason, outbox.claim(10, 100.0, 160.0).entries]
    ends = {first.id: End(State.DONE, "purge 1"), second.id: End(State.WAITING, "no", 5.0)}
    outbox.settle(claim, Settlement.of(ends, 100.0))
    seen += [outbox.next_due(), outbox.drop([second.id], 101.0, "dropped"), outbox.replay([second.id])]
    seen += [outbox.prune(1000.0), {state.value: count for state, count in outbox.status().counts.items()}]
    return seen


def _seen_in_layers() -> list[str | None]:
    """Return what a cache answers before the commit of a change, after a rollback, and after a commit."""
    key = Family("category", "{id}", str, groups=("category-2",)).key(id=2)
    with LayeredCache() as cache:
        cache.set(key, "before")
        edge.layers = [cache]
        with transaction.atomic():
            _create()
            seen = [cache.get(key)]
            transaction.set_rollback(True)
        seen.append(cache.get(key))
        with transaction.atomic():
            _create()
        seen.append(cache.get(key))
        edge.layers = ()
    return seen


def main() -> None:
    call_command("migrate", verbosity=0)
    call_command("makemigrations", "edge_outbox", check=True, dry_run=True, verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Tag, Product, Review):
            editor.create_model(model)
    warnings.simplefilter("error")
    results: dict[str, object] = {}
    for name, scenario in SCENARIOS.items():
        warnings.simplefilter("ignore", NotAtomicWarning)
        fill()
        warnings.simplefilter("error", NotAtomicWarning)
        with transaction.atomic():
            scenario()
        results[name] = recorded()
    woken.clear()
    fill_woken = len(woken)
    with transaction.atomic():
        _create()
        within = len(woken)
    results["woken"] = [fill_woken, within, len(woken)]
    results["layers"] = _seen_in_layers()
    try:
        _create()
    except NotAtomicWarning as warning:
        results["autocommit"] = str(warning)
    warnings.simplefilter("ignore", NotAtomicWarning)
    results["contract"] = contract()
    json.dump(results, sys.stdout, default=str)


if __name__ == "__main__":
    main()
