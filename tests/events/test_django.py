"""Changes of Django's models and what they purge, over SQLite and PostgreSQL."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import models

from scripts.runtime import paths
from scripts.runtime.servers import Postgres

HAS_GENERATED_FIELDS = hasattr(models, "GeneratedField")  # since Django 5.0

# One process runs all scenarios, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(300)

PAN = {"product-1", "category-1", "tagged-red"}
POT = {"product-2", "category-1"}
ITEM = {"item-1", "shelf-1", "spare-3"}
NOTE = {"note-1", "on-1"}
EXPECTED: dict[str, set[str]] = {
    "create": {"product-3", "category-2"},
    "save": {*PAN, "category-2"},
    "save_some_fields": set(),
    "save_unwatched": set(),
    "save_by_key": {*PAN, "category-3"},
    "delete": {*PAN, "reviews-1", "tag-red"},
    "delete_queryset": POT,
    "tag": {*PAN, "tagged-blue", "tag-blue"},
    "untag": {*PAN, "tag-red"},
    "clear_tags": {*PAN, "tag-red"},
    "tag_from_the_other_side": {*POT, "tagged-blue", "tag-blue"},
    "rollback": set(),
    "savepoint_lost": POT,
    "update": {*PAN, *POT, "category-2"},
    "bulk_update": {*POT, "category-7"},
    "bulk_create": {"product-3", "category-5"},
    "admin_action": {*POT, "category-0"},
    "strange_name": {"tag-blue"},
    "publish": {"product-3", "category-9", "publish https://shop.example/3"},
    "explicit": {"by-hand"},
    "set_null": {*ITEM, "shelf-None", *NOTE},
    "set_null_of_a_queryset": {*ITEM, "shelf-None", *NOTE},
    "set_default": {*ITEM, "spare-2"},
    "delete_a_tag": {"tag-red", *PAN},
    "delete_tags": {"tag-red", "tag-blue", *PAN},
    "related_add": {*ITEM, "shelf-2"},
    "related_remove": {*ITEM, "shelf-None"},
    "related_clear": {*ITEM, "shelf-None"},
    "related_set": {*ITEM, "shelf-2"},
    "related_create": {"item-2", "shelf-2", "spare-2"},
    "generic_add": {*NOTE, "on-2"},
    "generic_clear": NOTE,
    "generic_remove": NOTE,
    "generic_set": {*NOTE, "on-2"},
    "generic_key": {"label-1-on-1", "label-1-on-2"},
    "generic_key_unwatched": set(),
    "generated": {"area-1", "area-9"} if HAS_GENERATED_FIELDS else set(),
    "generic_cascade": {*ITEM, "shelf-None", *NOTE},
    "child_as_its_parent": {"cafe-old", "cafe-new"},
    "child": {"cafe-old", "cafe-new"},
    "child_unwatched": set(),
    "children_updated": {"cafe-old", "cafe-new"},
    "parents_updated": {"cafe-old", "cafe-new"},
    "parent_deleted": {"cafe-old"},
    "concrete_of_a_proxy": {"novel-ulysses", "novel-emma"},
    "concrete_of_a_proxy_deleted": {"novel-ulysses"},
    "proxy": {"novel-ulysses", "novel-emma"},
    "rows_updated": {"novel-ulysses", "novel-emma"},
    "rows_updated_to_an_expression": {"novel-ulysses", "novel-a, (WHERE) ulysses"},
    "rows_updated_in_bulk": {"novel-ulysses", "novel-emma"},
    "rows_updated_in_sql": {"novel-ulysses", "novel-a, b = c", "novel-emma"},
    "rows_deleted_without_a_signal": {"novel-ulysses"},
    "rows_created": {"novel-emma", "novel-ulysses", "novel-dune"},
    "groups_for_bulk_create": {"teams"},
    "groups_for_an_upsert": {"teams"},
    "groups_for_an_association_in_bulk": {"teams"},
    "groups_for_raw": {"teams"},
    "through": {"team-red"},
    "through_deleted": {"team-red"},
    "through_managed": {"team-red"},
    "through_removed": {"team-red"},
    "through_set": {"team-red"},
    "through_cleared_from_the_other_side": {"team-red"},
    "through_of_a_deleted_one": {"team-red"},
    "unwatched_updated": set(),
    "other_tables": set(),
    "expression": {*PAN, "category-2"},
}
SOME = {
    "cursor, or else nothing": "UPDATE of django_shop_item changes Item",
    "cursor, behind a select": "UPDATE of django_shop_item changes Item",
    "update of what a generated field is made of": "UPDATE of django_shop_square changes Square",
}
"""What only one database, or not each Django, has."""
OTHERS = ("second_database", "admin")
UNSEEN = {
    "update": "UPDATE of django_shop_item changes Item",
    "update, in a receiver of a signal": "UPDATE of django_shop_item changes Item",
    "update, locked": "UPDATE of django_shop_item changes Item",
    "update to a case": "UPDATE of django_shop_item changes Item",
    "update of a generic key's part": "UPDATE of django_shop_label changes Label",
    "bulk_update": "UPDATE of django_shop_item changes Item",
    "bulk_create": "INSERT of django_shop_item changes Item",
    "bulk_create, conflicts ignored": "INSERT of django_shop_item changes Item",
    "rows that are created can't be looked up": "INSERT of django_shop_book changes Novel",
    "_raw_delete": "DELETE of django_shop_item changes Item",
    "raw": "DELETE of django_shop_item changes Item",
    "cursor": "UPDATE of django_shop_item changes Item",
    "cursor, behind a comment": "UPDATE of django_shop_item changes Item",
    "cursor, insert": "INSERT of django_shop_item changes Item",
    "cursor, in a CTE": "UPDATE of django_shop_item changes Item",
    "rows that a join decides on can't be looked up": "UPDATE of django_shop_book changes Novel",
    "an iterator isn't used up": "UPDATE of django_shop_book changes Novel",
    "the association table": "UPDATE of django_shop_product_tags changes Product",
    "the association table, create": "INSERT of django_shop_product_tags changes Product",
    "the association table, delete": "DELETE of django_shop_product_tags changes Product",
    "the association table, save": "INSERT of django_shop_product_tags changes Product",
    "the association table, bulk_create": "INSERT of django_shop_product_tags changes Product",
    "bulk, update": "",
    "changed, bulk_create": "",
}


@pytest.fixture(scope="module", params=["sqlite3", "postgresql"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    database = [str(tmp_path_factory.mktemp("django") / "shop.db")]
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        server.make_database("django")
        database = ["django", str(server.port)]
    command = [sys.executable, "-m", "tests.events.django_world", request.param, *database]
    done = subprocess.run(command, cwd=Path(paths.ROOT), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_change_purges_what_it_makes_out_of_date(results: Any, scenario: str) -> None:
    assert set(results[scenario]) == EXPECTED[scenario]


def test_every_scenario_is_looked_at(results: Any) -> None:
    assert results.keys() == {*EXPECTED, "warned", "woken", "layers", "autocommit", "contract", *OTHERS}


@pytest.mark.parametrize("verb", UNSEEN)
def test_what_no_signal_shows_is_warned_of_where_it_is_done(results: Any, verb: str) -> None:
    said = results["warned"][verb]
    assert bool(said) == bool(UNSEEN[verb])
    assert all(message.startswith("django_world.py: ") for message in said)
    assert any(UNSEEN[verb] in message for message in said) or not UNSEEN[verb]


def test_so_is_what_not_each_database_and_not_each_django_has(results: Any) -> None:
    warned = results["warned"]
    assert warned.keys() - UNSEEN.keys() <= SOME.keys()
    for verb in warned.keys() - UNSEEN.keys():
        assert any(SOME[verb] in message for message in warned[verb]), verb


def test_a_database_without_the_outbox_is_told_what_to_do(results: Any) -> None:
    assert "manage.py migrate --database=second" in results["second_database"]
    assert "DjangoOutbox('second')" in results["second_database"]


def test_to_view_the_outbox_does_not_allow_to_change_it(results: Any) -> None:
    assert results["admin"] == {
        "": [],
        "replay": ["replay"],
        "drop": ["drop"],
        "replay,drop": ["replay", "drop"],
    }


def test_a_drainer_is_woken_by_the_commit_alone(results: Any) -> None:
    assert results["woken"] == [0, 0, 1]


def test_layers_forget_with_the_commit_and_not_without_it(results: Any) -> None:
    assert results["layers"] == ["before", "before", None]


def test_autocommit_is_warned_of(results: Any) -> None:
    assert "set ATOMIC_REQUESTS" in results["autocommit"]


def test_the_outbox_speaks_djangos_sql(results: Any) -> None:
    payload = '{"purge":{"groups":["a"],"reason":"50 % off: now"}}'
    counts = {"waiting": 1}
    assert results["contract"] == [0.0, payload, "50 % off: now", [], True, 1, 1, 1, counts]


WATCHING = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"])
django.setup()
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core import checks
from origin_sdk.events.django import EdgeEvents
edge = EdgeEvents()
edge.register(User, groups=lambda user: f"user-{user.pk}", watch=["username", "groups", "pk_of_nothing"])
edge.register(Group, groups=lambda group: f"group-{group.pk}", watch="user_set")
edge.register(Permission, groups=lambda each: "permissions", watch=["codename", "content_type_id"])
edge.register(ContentType, groups=lambda each: "types", watch=["permission_set"])
print([f"{found.id}: {found.msg}" for found in checks.run_checks() if found.id.startswith("origin_sdk")])
"""


def test_a_watched_name_that_the_model_does_not_have_fails_djangos_checks() -> None:
    command = [sys.executable, "-c", WATCHING]
    ran = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, timeout=50, check=True)
    problems = ast.literal_eval(ran.stdout)
    assert [problem.partition(":")[2].partition(":")[0] for problem in problems] == [
        " watch = ['pk_of_nothing'] in the rule for User",
        " watch = ['permission_set'] in the rule for ContentType",
    ]
    assert all(problem.startswith("origin_sdk.E001: ") for problem in problems)
