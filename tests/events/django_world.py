"""A Django service in a process of its own: runs every scenario, and prints what each recorded, as JSON.

Django has one configuration a process, so the tests can't share theirs.

usage: python -m tests.events.django_world ENGINE NAME [PORT]
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
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
        },
        "second": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    },
    USE_TZ=True,
)
django.setup()

from django.contrib import admin  # noqa: E402 - Django imports models once it is set up
from django.contrib.auth.models import Permission, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import Case, F, Value, When, signals  # noqa: E402
from django.db.models.functions import Concat  # noqa: E402
from django.test import RequestFactory  # noqa: E402

from origin_sdk import InvalidSettings, Purge  # noqa: E402
from origin_sdk.events.django import NotAtomicWarning, UnseenChangeWarning  # noqa: E402
from origin_sdk.layers import Family, LayeredCache  # noqa: E402
from origin_sdk.outbox import Republish, State, acting  # noqa: E402
from origin_sdk.outbox._stores.entries import End, Settlement, read_payload  # noqa: E402
from origin_sdk.outbox.django.models import OutboxEntry  # noqa: E402
from origin_sdk.outbox.django.store import DjangoOutbox, record  # noqa: E402
from tests.events.django_shop.models import (  # noqa: E402
    HAS_GENERATED_FIELDS,
    Book,
    Cafe,
    Item,
    Label,
    Membership,
    Note,
    Novel,
    Person,
    Place,
    Product,
    Review,
    Shelf,
    Square,
    Tag,
    Team,
    edge,
    woken,
)


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


def _set_null() -> None:
    Shelf.objects.get(pk=1).delete()


def _set_null_of_a_queryset() -> None:
    Shelf.objects.filter(pk=1).delete()


def _set_default() -> None:
    Shelf.objects.get(pk=3).delete()


def _delete_a_tag() -> None:
    Tag.objects.get(name="red").delete()


def _delete_tags() -> None:
    Tag.objects.all().delete()


def _related_add() -> None:
    Shelf.objects.get(pk=2).items.add(Item.objects.get(pk=1))


def _related_remove() -> None:
    Shelf.objects.get(pk=1).items.remove(Item.objects.get(pk=1))


def _related_clear() -> None:
    Shelf.objects.get(pk=1).items.clear()


def _related_set() -> None:
    Shelf.objects.get(pk=2).items.set(Item.objects.all())


def _related_create() -> None:
    Shelf.objects.get(pk=2).items.create()


def _generic_add() -> None:
    Shelf.objects.get(pk=2).notes.add(Note.objects.get(pk=1))


def _generic_remove() -> None:
    Shelf.objects.get(pk=1).notes.remove(Note.objects.get(pk=1))


def _generic_set() -> None:
    Shelf.objects.get(pk=2).notes.set([Note.objects.get(pk=1)])


def _generic_key() -> None:
    label = Label.objects.get(pk=1)
    label.about = Shelf.objects.get(pk=2)
    label.save()


def _generic_key_unwatched() -> None:
    label = Label.objects.get(pk=1)
    label.text = "new"
    label.save()


def _generated() -> None:
    if HAS_GENERATED_FIELDS:
        square = Square.objects.get(pk=1)
        square.side = 3
        square.save(update_fields=["side"])


def _generic_clear() -> None:
    Shelf.objects.get(pk=1).notes.clear()


def _generic_cascade() -> None:
    Shelf.objects.get(pk=1).delete()


def _child_as_its_parent() -> None:
    place = Place.objects.get(pk=1)
    place.name = "new"
    place.save()


def _child() -> None:
    cafe = Cafe.objects.get(pk=1)
    cafe.name = "new"
    cafe.save()


def _child_unwatched() -> None:
    Cafe.objects.update(seats=9)


def _children_updated() -> None:
    Cafe.objects.filter(seats=1).update(name="new")


def _parents_updated() -> None:
    Place.objects.filter(name="old").update(name="new")


def _parent_deleted() -> None:
    Place.objects.get(pk=1).delete()


def _concrete_of_a_proxy() -> None:
    book = Book.objects.get(pk=1)
    book.title = "emma"
    book.save()


def _concrete_of_a_proxy_deleted() -> None:
    Book.objects.get(pk=1).delete()


def _proxy() -> None:
    novel = Novel.objects.get(pk=1)
    novel.title = "emma"
    novel.save()


def _rows_updated() -> None:
    Book.objects.filter(title="ulysses").update(title="emma")


def _rows_updated_to_an_expression() -> None:
    Book.objects.filter(pk__in=Book.objects.filter(title="ulysses")).update(
        title=Concat(Value("a, (WHERE) "), F("title"))
    )


def _rows_updated_in_bulk() -> None:
    books = list(Book.objects.all())
    books[0].title = "emma"
    Book.objects.bulk_update(books, ["title"])


def _rows_updated_in_sql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("update django_shop_book set title = 'a, b = c' where title = %s", ["ulysses"])
        cursor.executemany("UPDATE django_shop_book SET title = %s WHERE id = %s", [("emma", 1), ("x", 99)])


def _rows_deleted_without_a_signal() -> None:
    Book.objects.filter(pk=1)._raw_delete("default")


def _rows_created() -> None:
    Book.objects.get_or_create(title="emma")
    Book.objects.update_or_create(title="ulysses", defaults={"title": "dune"})


def _groups_for_bulk_create() -> None:
    Team.objects.bulk_create([Team(name="x")])


def _groups_for_an_upsert() -> None:
    Team.objects.bulk_create(
        [Team(pk=1, name="x")], update_conflicts=True, unique_fields=["id"], update_fields=["name"]
    )


def _groups_for_an_association_in_bulk() -> None:
    Membership.objects.bulk_create([Membership(team_id=1, person_id=2)])


def _groups_for_raw() -> None:
    list(Team.objects.raw("UPDATE django_shop_team SET name = 'x' RETURNING *"))


def _through() -> None:
    Membership.objects.create(team_id=1, person_id=2)


def _through_deleted() -> None:
    Membership.objects.get(person_id=1).delete()


def _through_managed() -> None:
    Team.objects.get(pk=1).members.add(Person.objects.get(pk=2))


def _through_removed() -> None:
    Team.objects.get(pk=1).members.remove(Person.objects.get(pk=1))


def _through_set() -> None:
    Team.objects.get(pk=1).members.set([Person.objects.get(pk=2)])


def _through_cleared_from_the_other_side() -> None:
    Person.objects.get(pk=1).team_set.clear()


def _through_of_a_deleted_one() -> None:
    Person.objects.get(pk=1).delete()


def _unwatched_updated() -> None:
    Product.objects.update(views=F("views") + 1)


def _other_tables() -> None:
    Person.objects.bulk_create([Person(name="x")])
    Shelf.objects.update(name="y")


def _expression() -> None:
    pan = Product.objects.get(name="pan")
    pan.category = F("category") + 1
    pan.save()


def _warned() -> dict[str, list[str]]:
    """Return what each statement is warned of that nobody sees, and whether it is told where."""
    said: dict[str, list[str]] = {}
    for name, scenario in UNSEEN.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            fill()
            warnings.simplefilter("always", UnseenChangeWarning)
            with transaction.atomic():
                scenario()
        said[name] = [f"{warning.filename.rpartition('/')[2]}: {warning.message}" for warning in caught]
    return said


def _execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _executemany(rows: Iterator[tuple[str, int]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE django_shop_book SET title = %s WHERE id = %s", rows)
    assert Book.objects.get(pk=1).title == "x"


def _in_a_receiver() -> None:
    def receive(**_: Any) -> None:
        Item.objects.update(shelf=None)

    signals.post_save.connect(receive, sender=Person)
    try:
        Person.objects.create(name="x")
    finally:
        signals.post_save.disconnect(receive, sender=Person)


UNSEEN: dict[str, Callable[[], object]] = {
    "update": lambda: Item.objects.update(shelf=None),
    "update, in a receiver of a signal": _in_a_receiver,
    "update, locked": lambda: Item.objects.select_for_update().update(shelf=None),
    "update to a case": lambda: Item.objects.update(shelf=Case(When(pk=1, then=Value(2)))),
    "update of a generic key's part": lambda: Label.objects.update(object_id=2),
    "bulk_update": lambda: Item.objects.bulk_update([Item(pk=1, shelf_id=2)], ["shelf"]),
    "bulk_create": lambda: Item.objects.bulk_create([Item()]),
    "bulk_create, conflicts ignored": lambda: Item.objects.bulk_create([Item(pk=1)], ignore_conflicts=True),
    "rows that are created can't be looked up": lambda: Book.objects.bulk_create([Book()]),
    "_raw_delete": lambda: Item.objects.all()._raw_delete("default"),
    "raw": lambda: list(Item.objects.raw("DELETE FROM django_shop_item RETURNING *")),
    "cursor": lambda: _execute("UPDATE django_shop_item SET shelf_id = NULL"),
    "cursor, behind a comment": lambda: _execute(
        "UPDATE /* a */ django_shop_item -- b\n SET shelf_id = NULL"
    ),
    "cursor, insert": lambda: _execute("INSERT INTO django_shop_item (shelf_id) SELECT NULL"),
    "cursor, in a CTE": lambda: _execute(
        'WITH a AS (SELECT 1) UPDATE "django_shop_item" SET shelf_id = NULL WHERE id IN (SELECT * FROM a)'
    ),
    "rows that a join decides on can't be looked up": lambda: _execute(
        "UPDATE django_shop_book SET title = 'x' FROM django_shop_team AS t WHERE t.id = django_shop_book.id"
    ),
    "an iterator isn't used up": lambda: _executemany(iter([("x", 1)])),
    "the association table": lambda: Product.tags.through.objects.filter(product_id=1).update(tag_id=2),
    "the association table, create": lambda: Product.tags.through.objects.create(product_id=2, tag_id=2),
    "the association table, delete": lambda: Product.tags.through.objects.all().delete(),
    "the association table, save": lambda: Product.tags.through(product_id=1, tag_id=2).save(),
    "the association table, bulk_create": lambda: Product.tags.through.objects.bulk_create(
        [Product.tags.through(product_id=1, tag_id=2)]
    ),
}
if HAS_GENERATED_FIELDS:
    UNSEEN["update of what a generated field is made of"] = lambda: Square.objects.update(side=3)
if connection.vendor == "sqlite":
    UNSEEN["cursor, or else nothing"] = lambda: _execute("UPDATE OR IGNORE django_shop_item SET shelf_id = 2")
else:
    UNSEEN["cursor, behind a select"] = lambda: _execute("SELECT 1; UPDATE django_shop_item SET shelf_id = 2")
UNSEEN |= {"bulk, update": _update, "changed, bulk_create": _bulk_create}  # which are seen


HELPERS = {"_admin", "_second_database", "_warned", "_execute", "_executemany", "_in_a_receiver"}
SCENARIOS: dict[str, Callable[[], None]] = {
    name.removeprefix("_"): scenario
    for name, scenario in list(globals().items())
    if name.startswith("_")
    and name not in HELPERS
    and getattr(scenario, "__module__", "") == __name__
    and callable(scenario)
}


MODELS = [Review, Product.tags.through, Product, Tag, Item, Note, Label, Shelf, Square, Cafe, Place, Book]
MODELS += [Membership, Team, Person, OutboxEntry]
COUNTED = (Product, Tag, Item, Note, Label, Shelf, Square, Place, Book, Team, Person)


@transaction.atomic
def fill() -> None:
    for model in MODELS:
        model._base_manager.all()._raw_delete("default")
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_by_name_sql(
            django.core.management.color.no_style(),
            [{"table": model._meta.db_table, "column": "id"} for model in COUNTED],
        ):
            cursor.execute(statement)
    red, _ = Tag.objects.create(name="red"), Tag.objects.create(name="blue")
    pan, _ = Product.objects.create(name="pan"), Product.objects.create(name="pot")
    pan.tags.add(red)
    Review.objects.create(text="good", product=pan)
    shelves = [Shelf.objects.create(name=name) for name in ("a", "b", "c")]
    Item.objects.create(shelf=shelves[0], spare=shelves[2])
    Note.objects.create(about=shelves[0])
    Label.objects.create(about=shelves[0])
    Square.objects.create()
    Cafe.objects.create(name="old")
    Book.objects.create(title="ulysses")
    team, first, _ = Team.objects.create(name="red"), Person.objects.create(), Person.objects.create()
    Membership.objects.create(team=team, person=first)
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
    seen: list[object] = [outbox.due_in()]
    claim = outbox.claim(10, 60.0)
    first, second = claim.entries
    seen += [first.payload, first.reason, outbox.claim(10, 60.0).entries]
    ends = {first.id: End(State.DONE, "purge 1"), second.id: End(State.WAITING, "no", 500.0)}
    outbox.settle(claim, Settlement.of(ends))
    due_in = outbox.due_in()
    seen += [due_in is not None and 400 < due_in <= 500, outbox.drop([second.id], "dropped")]
    seen += [
        outbox.replay([second.id]),
        outbox.prune(-1.0),
        {state.value: count for state, count in outbox.status().counts.items()},
    ]
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


def _second_database() -> str:
    """Return what is said where a second database has no table for the outbox."""
    try:
        with transaction.atomic(using="second"):
            record(Purge.of(groups="a"), using="second")
    except InvalidSettings as error:
        return str(error)
    return ""


def _admin() -> dict[str, object]:
    """Return the actions that the outbox's admin offers, by the user's permissions, and who replays."""
    model_admin = admin.site._registry[OutboxEntry]
    found: dict[str, object] = {}
    for number, names in enumerate(((), ("replay",), ("drop",), ("replay", "drop"))):
        user = User.objects.create(username=f"user-{number}", is_staff=True)
        wanted = ("view_outboxentry", *(f"{name}_outboxentry" for name in names))
        user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
        request = RequestFactory().get("/")
        request.user = User.objects.get(pk=user.pk)
        found[",".join(names)] = [
            name for name in model_admin.get_actions(request) if name != "delete_selected"
        ]
    return found


def main() -> None:
    call_command("migrate", verbosity=0)
    call_command("makemigrations", "edge_outbox", check=True, dry_run=True, verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Tag, Product, Review, Shelf, Item, Note, Label, Square, Place, Cafe, Book):
            editor.create_model(model)
        for model in (Person, Team, Membership):
            editor.create_model(model)
    warnings.simplefilter("error")
    results: dict[str, object] = {}
    for name, scenario in SCENARIOS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fill()
        with transaction.atomic():
            scenario()
        results[name] = recorded()
    results["warned"] = _warned()
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
    warnings.simplefilter("ignore")
    results["contract"] = contract()
    results["second_database"] = _second_database()
    results["admin"] = _admin()
    json.dump(results, sys.stdout, default=str)


if __name__ == "__main__":
    main()
