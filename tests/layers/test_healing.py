"""Loads in the cache's own threads leave no connection open, and heal as requests do."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from origin_sdk.layers import Family, LayeredCache, Policy
from scripts.runtime import paths

FAMILY = Family("number", "{id}", int, policy=Policy(hard_timeout=20))
"""Its loads run in threads of the cache."""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Has one connection: whoever leaves it open keeps it from all others."""
    return create_engine(f"sqlite:///{tmp_path}/db", pool_size=1, max_overflow=0, pool_timeout=0.5)


def query(session: Any, statement: str = "SELECT 1") -> int:
    return int(session.execute(text(statement)).scalar_one())


@pytest.mark.parametrize(
    "open_session",
    [lambda engine: scoped_session(sessionmaker(engine)), Session],
    ids=["a session of the thread", "a session of a caller"],
)
def test_what_a_load_leaves_open_in_sqlalchemy_is_given_back(
    engine: Engine, open_session: Callable[[Engine], Any]
) -> None:
    session = open_session(engine)
    with LayeredCache() as cache:
        for number in range(40):
            assert cache.get_or_load(FAMILY.key(id=number), lambda _: query(session)) == 1
        with Session(engine) as other:
            assert query(other) == 1


def test_a_load_that_failed_in_sqlalchemy_costs_no_later_one(engine: Engine) -> None:
    session = scoped_session(sessionmaker(engine))

    def failing(_: object) -> int:
        query(session)
        session.connection().invalidate()
        return query(session)

    with LayeredCache(background=1) as cache:
        for number in range(5):
            with pytest.raises(Exception, match="invalid transaction"):
                cache.get_or_load(FAMILY.key(id=number), failing)
            assert cache.get_or_load(FAMILY.key(id=-number - 1), lambda _: query(session)) == 1
            with pytest.raises(OperationalError):
                cache.get_or_load(FAMILY.key(id=number), lambda _: query(session, "SELECT x FROM y"))


DJANGO = """
from threading import get_ident
from django.conf import settings
settings.configure(DATABASES={"default": DATABASE})
import django
django.setup()
from django.db import DatabaseError, connection
from origin_sdk.layers import Family, LayeredCache, Policy
family = Family("number", "{id}", int, policy=Policy(hard_timeout=20))
made = []
def load(_):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    made.append((get_ident(), pid))
    return pid
def ended():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        return {pid for _, pid in made}.isdisjoint(pid for (pid,) in cursor.fetchall())
def end():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [made[-1][1]])
with LayeredCache(background=1) as cache:
    for number in range(5):
        cache.get_or_load(family.key(id=number), load)
    assert len({thread for thread, _ in made}) == 1
    print("connections", len({pid for _, pid in made}))
    failures = 0
    if DATABASE["CONN_MAX_AGE"] == 0:
        from time import monotonic, sleep
        until = monotonic() + 10
        while not ended() and monotonic() < until:
            sleep(0.02)
        assert ended()
    else:
        end()
    for number in range(5, 10):
        try:
            cache.get_or_load(family.key(id=number), load)
        except DatabaseError:
            failures += 1
    print("failures", failures)
"""


@pytest.mark.parametrize(
    ("age", "connections", "most"), [(0, 5, 0), (None, 1, 1)], ids=["none kept", "kept for ever"]
)
def test_djangos_connections_are_closed_and_heal(
    postgres_url: str, tmp_path: Path, age: int | None, connections: int, most: int
) -> None:
    url = make_url(postgres_url)
    database: dict[str, object] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.database,
        "USER": url.username or "",
    }
    database |= {
        "PASSWORD": url.password or "",
        "HOST": url.host or url.query.get("host", ""),
        "PORT": url.port or "",
    }
    project = f"DATABASE = {database | {'CONN_MAX_AGE': age}!r}\n{DJANGO}"
    ran = subprocess.run(
        (sys.executable, "-W", "ignore", "-c", project),
        cwd=tmp_path,
        env={"PYTHONPATH": str(paths.ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.stderr == ""
    opened, failures = ran.stdout.splitlines()
    assert opened == f"connections {connections}"
    assert int(failures.removeprefix("failures ")) <= most
