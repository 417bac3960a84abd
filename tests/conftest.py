"""Servers that several suites need: started once, by the first test that asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from scripts.runtime.servers import Postgres, Redis, ServerMissing

_Server = TypeVar("_Server")

# How long an example takes says how busy the machine is; pytest-timeout ends what hangs.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


_SERVERS = {"wrangler", "postgres", "redis_server", "sentinel_set", "redis_cluster", "cluster_of_six"}
_SLOW_ROOMS = ("tests/runtime/", "tests/examples/", "tests/test_upload.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="leave out what starts servers, runtimes and programs"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # Workers that run side by side must collect the same tests.
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: the id of a row holds an address: give its class a repr")
    if config.getoption("--quick"):
        slow = [item for item in items if _is_slow(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not _is_slow(item)]


def _is_slow(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return (
        item.nodeid.startswith(_SLOW_ROOMS)
        or not fixtures.isdisjoint(_SERVERS)
        or any(item.get_closest_marker(mark) for mark in ("alone", "timed"))
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with _started(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with _started(Redis) as server:
        yield server


def _started(start: Callable[[], _Server]) -> _Server:
    """Start a server. Where it isn't installed, skip on a developer's machine, and only there."""
    try:
        return start()
    except ServerMissing as missing:
        if os.geteuid() == 0 or "CI" in os.environ:
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """The one database, emptied: to make one for each test takes longer than most tests."""
    engine = create_engine(postgres.url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    return postgres.url()
