"""Changes of Django's models and what they purge, over SQLite and PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.runtime import paths
from scripts.runtime.servers import Postgres

PAN = {"product-1", "category-1", "tagged-red"}
POT = {"product-2", "category-1"}
EXPECTED: dict[str, set[str]] = {
    "create": {"product-3", "category-2"},
    "save": {*PAN, "category-2"},
    "save_some_fields": set(),
    "save_unwatched": set(),
    "save_by_key": {*PAN, "category-3"},
    "delete": {*PAN, "reviews-1"},
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
    assert results.keys() == {*EXPECTED, "woken", "layers", "autocommit", "contract"}


def test_a_drainer_is_woken_by_the_commit_alone(results: Any) -> None:
    assert results["woken"] == [0, 0, 1]


def test_layers_forget_with_the_commit_and_not_without_it(results: Any) -> None:
    assert results["layers"] == ["before", "before", None]


def test_autocommit_is_warned_of(results: Any) -> None:
    assert "set ATOMIC_REQUESTS" in results["autocommit"]


def test_the_outbox_speaks_djangos_sql(results: Any) -> None:
    payload = '{"purge":{"groups":["a"],"reason":"50 % off: now"}}'
    counts = {"waiting": 1}
    assert results["contract"] == [0.0, payload, "50 % off: now", [], 105.0, 1, 1, 1, counts]
