"""Outboxes of every kind, and the servers that some of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from sqlalchemy import URL, Engine, MetaData, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from origin_sdk.outbox import Intent, Outbox
from origin_sdk.outbox._stores.sql import TABLE
from origin_sdk.outbox.redis import RedisOutbox
from origin_sdk.outbox.sqlalchemy import (
    AsyncSqlAlchemyOutbox,
    SqlAlchemyOutbox,
    outbox_table,
    record,
    record_async,
)
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import ManualClock
from scripts.runtime.servers import Redis
from tests.layers.caches import Loop
from tests.layers.servers import ClusterOfSix


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine over an empty database, of both kinds."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/service.db"
    else:
        url = request.getfixturevalue("postgres_url")
    made = create_engine(url)
    yield made
    made.dispose()


@dataclass(frozen=True)
class Kind:
    """An outbox, and how its service records: committed when it returns."""

    outbox: Outbox
    record: Callable[..., None]
    wait: Callable[[float], None]
    """Let so many seconds pass; fewer than none, as if the store's clock was set back."""


def sqlite_kind(tmp_path: Path, clock: ManualClock) -> Kind:
    outbox = SqliteOutbox(tmp_path / "outbox.db", clock)
    return Kind(outbox, outbox.record, clock.advance)


def sqlalchemy_kind(engine: Engine) -> Kind:
    metadata = MetaData()
    outbox_table(metadata)
    metadata.create_all(engine)

    def recording(*intents: Intent) -> None:
        with engine.begin() as connection:
            record(connection, *intents)

    def wait(seconds: float) -> None:
        with engine.begin() as connection:
            for moment in ("recorded_at", "due_at"):
                connection.execute(
                    text(f"UPDATE {TABLE} SET {moment} = {moment} - :seconds WHERE {moment} > 0"),  # noqa: S608 - ours
                    {"seconds": seconds},
                )

    return Kind(SqlAlchemyOutbox(engine), recording, wait)


def age_streams(client: Any, name: str, seconds: float) -> None:
    """Let what a `RedisOutbox` holds be older; of what was never claimed also when it was recorded."""
    stream, later, ended = f"{{{name}}}", f"{{{name}}}:later", f"{{{name}}}:ended"
    for id_, at in client.zrange(later, 0, -1, withscores=True):
        client.zadd(later, {id_: at - seconds})
    for key in (ended,) if client.zcard(later) or not client.exists(stream) else (ended, stream):
        rows = client.xrange(key)
        client.delete(key)
        for id_, row in rows:
            moment, _, number = id_.decode().partition("-")
            at = {b"at": float(row[b"at"]) - seconds} if b"at" in row else {}
            client.xadd(key, {**row, **at}, id=f"{int(moment) - round(seconds * 1000)}-{number}")
        if key == stream:
            client.xgroup_create(stream, "drainers", id="0", mkstream=True)


class OfLoop:
    """An asynchronous outbox, called from threads; what only operators ask goes to a synchronous one."""

    def __init__(self, url: URL, loop: Loop, operated: Outbox) -> None:
        self._engine = loop.run(_engine_in_loop(url))
        self._outbox = AsyncSqlAlchemyOutbox(self._engine)
        self._loop = loop
        self._operated = operated

    def __getattr__(self, name: str) -> Any:
        if name not in {"claim", "settle", "due_in", "prune"}:
            return getattr(self._operated, name)
        return lambda *arguments: self._loop.run(getattr(self._outbox, name)(*arguments))

    def record(self, *intents: Intent) -> None:
        self._loop.run(self._record(intents))

    async def _record(self, intents: tuple[Intent, ...]) -> None:
        async with async_sessionmaker(self._engine).begin() as session:
            await record_async(session, *intents)

    def close(self) -> None:
        self._loop.run(self._engine.dispose())
        self._loop.stop()


async def _engine_in_loop(url: URL) -> AsyncEngine:
    return create_async_engine(url)


ASYNC_DRIVERS = {
    "SQLAlchemy over aiosqlite": "sqlite+aiosqlite",
    "SQLAlchemy over psycopg, asynchronous": "postgresql+psycopg",
    "SQLAlchemy over asyncpg": "postgresql+asyncpg",
}


@pytest.fixture(scope="session")
def cluster_of_six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfSix]:
    running = ClusterOfSix(tmp_path_factory.mktemp("cluster"), is_steady=True)
    yield running
    running.stop()


def redis_client(request: pytest.FixtureRequest, *, is_cluster: bool) -> Any:
    """Return a client of one server, or of a cluster."""
    if is_cluster:
        cluster: ClusterOfSix = request.getfixturevalue("cluster_of_six")
        return redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    server: Redis = request.getfixturevalue("redis_server")
    return redis.Redis.from_url(server.url)


@pytest.fixture(
    params=[
        "SQLite file",
        "Redis streams",
        "Redis streams in a cluster",
        "SQLAlchemy over SQLite",
        "SQLAlchemy over PostgreSQL",
        *ASYNC_DRIVERS,
    ]
)
def kind(request: pytest.FixtureRequest, tmp_path: Path, kv_clock: ManualClock) -> Iterator[Kind]:
    """Each kind of outbox."""
    if request.param == "SQLite file":
        made = sqlite_kind(tmp_path, kv_clock)
        yield made
        made.outbox.close()
        return
    if request.param.startswith("Redis streams"):
        with redis_client(request, is_cluster=request.param.endswith("cluster")) as client:
            client.flushall()
            streams = RedisOutbox(client)
            yield Kind(streams, streams.record, partial(age_streams, client, "edge-outbox"))
        return
    is_sqlite = request.param.lower().endswith("sqlite")
    engine = create_engine(
        f"sqlite:///{tmp_path}/service.db" if is_sqlite else request.getfixturevalue("postgres_url")
    )
    made = sqlalchemy_kind(engine)
    if request.param in ASYNC_DRIVERS:
        url = engine.url.set(drivername=ASYNC_DRIVERS[request.param])
        outbox = OfLoop(url, Loop(), made.outbox)
        yield Kind(cast("Outbox", outbox), outbox.record, made.wait)
        outbox.close()
    else:
        yield made
    engine.dispose()
