"""Servers that several suites need: started once, by the first test that asks."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from scripts.runtime.servers import Postgres, Redis, ServerMissing

_Server = TypeVar("_Server")

# How long an example takes, or is made, says how busy the machine is; pytest-timeout ends what hangs. A whole
# run, which judges a commit, tries the same examples each time; other runs and scripts/fuzz look for more.
settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="SAME_EXAMPLES" in os.environ,
)
settings.load_profile("unhurried")

# A shell has what it starts in the background ignore Ctrl-C, and so would all programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_SERVERS = {
    "wrangler",
    "postgres",
    "redis_server",
    "sentinel_set",
    "redis_cluster",
    "cluster_of_six",
    "browser",
    "page",
    "promtool",
}
_SLOW_ROOMS = (
    "tests/runtime/",
    "tests/examples/",
    "tests/scripts/",
    "tests/deployment/test_package.py",
    "tests/deployment/test_wheel.py",
    "tests/docs/test_applications.py",
    "tests/docs/test_events.py",
    "tests/docs/test_site.py",
    "tests/outbox/test_clocks.py",
    "tests/outbox/test_commands.py",
    "tests/outbox/test_crash.py",
    "tests/sdk/test_processes.py",
    "tests/sdk/test_users_data.py",
    "tests/test_upload.py",
)


# Side by side the files that take longest come first, so that none of them is left alone at the end.
_LONGEST = (
    "tests/scripts/test_bench.py",
    "tests/deployment/test_wheel.py",
    "tests/runtime/test_dev.py",
    "tests/outbox/test_crash.py",
    "tests/layers/test_django.py",
    "tests/sdk/test_processes.py",
    "tests/events/test_django.py",
    "tests/dashboard/test_page.py",
    "tests/sdk/test_cli_endings.py",
    "tests/deployment/test_workflows.py",
    "tests/docs/test_site.py",
    "tests/scripts/test_django_suite.py",
    "tests/runtime/",
    "tests/layers/",
    "tests/scripts/",
    "tests/outbox/",
    "tests/events/",
    "tests/examples/",
    "tests/docs/",
    "tests/sdk/test_users_data.py",
    "tests/sdk/test_kv_contract.py",
    "tests/edge/test_fastpath.py",
    "tests/sdk/test_purge.py",
)
_ONE_WRANGLER = tuple(
    f"tests/runtime/test_http_{name}.py"
    for name in ("freshness", "safe", "sequences", "storing", "validation")
)
"""Files that share two `wrangler dev`, which are slow to start: one worker runs them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give a file to one worker, and files that share a server that is slow to start to the same."""
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415 - not where other versions are tried

    class FilesTogether(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return _ONE_WRANGLER[0] if file in _ONE_WRANGLER else file

    return FilesTogether(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="leave out what starts servers, runtimes and programs"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector off what lasts as long as the run: it took over half of the collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # Workers that run side by side must collect the same tests.
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: the id of a row holds an address: give its class a repr")
    items.sort(key=_place)
    if config.getoption("--quick"):
        slow = [item for item in items if _is_slow(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not _is_slow(item)]


def _place(item: pytest.Item) -> int:
    return next((place for place, path in enumerate(_LONGEST) if item.nodeid.startswith(path)), len(_LONGEST))


_OVER_A_SERVER = re.compile(r"\[.*(redis|sentinel|cluster|postgres|psycopg|asyncpg|wrangler)", re.IGNORECASE)
"""Rows of a contract suite that run over a server, which a fixture starts when it is asked for."""


def _is_slow(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return (
        item.nodeid.startswith(_SLOW_ROOMS)
        or _OVER_A_SERVER.search(item.name) is not None
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
        # What an earlier test left open may hold locks, and be waited for until it is collected.
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    return postgres.url()
