"""Layers and outbox as one: what a commit changes is forgotten after it, in every layer, and not before."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from origin_sdk import AsyncPurgeClient, Purge, PurgeClient
from origin_sdk.errors import InvalidRequest, InvalidSettings
from origin_sdk.layers import AsyncLayeredCache, Family, LayeredCache, RedisOptions, commits
from origin_sdk.layers.sqlalchemy import invalidate_with, invalidate_with_async
from origin_sdk.outbox import AsyncDrainer, Drainer, InThreads, State
from origin_sdk.outbox.redis import RedisOutbox
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox, outbox_table
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV, ManualClock, assert_purged
from scripts.runtime import paths
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source

FAMILY = Family("product", "{id}", str, groups=("product-{id}",))
KEY = FAMILY.key(id=17)
MARK = "m2/s/group/product-17"


@pytest.fixture(params=["SQLite file", "Redis stream"])
def outbox(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer, prefix: str
) -> Iterator[Any]:
    if request.param == "SQLite file":
        with closing(SqliteOutbox(tmp_path / "outbox.db")) as made:
            yield made
    else:
        with closing(RedisOutbox(redis_server.client(), prefix)) as stream:
            yield stream


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_an_outbox_is_an_edge_that_forgets_no_purge(
    outbox: Any, driver: str, purge_client: PurgeClient, fake_kv: FakeKV, new_cache: Callable[..., Any]
) -> None:
    cache = new_cache("memory", driver, edge=outbox)
    cache.get_or_load(KEY, Source("old"))
    receipt = cache.invalidate(groups=["product-17"], urls=["https://shop.example/17"])
    assert receipt.edge is None
    assert cache.get(KEY) is None
    assert list(fake_kv.marks_in_force()) == []
    Drainer(outbox, purge_client).drain()
    assert_purged(fake_kv, group="product-17")
    assert_purged(fake_kv, url="https://shop.example/17")


def test_what_can_not_be_an_edge_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/service.db")
    with pytest.raises(InvalidSettings, match="invalidate_with"):
        LayeredCache(edge=SqlAlchemyOutbox(engine))  # type: ignore[arg-type]  # what is shown


class TestADrainerWithLayers:
    """Layers of two processes over one Redis, of which one drains."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[RedisServer]:
        with RedisServer(tmp_path / "redis") as own:
            yield own

    @pytest.fixture
    def pair(self, server: RedisServer) -> Iterator[tuple[LayeredCache, LayeredCache]]:
        options = RedisOptions(url=server.url, timeout=PATIENT_SECONDS)
        with LayeredCache(options) as ours, LayeredCache(options) as others:
            assert ours.wait_until_synced(30)
            assert others.wait_until_synced(30)
            yield ours, others

    @pytest.fixture
    def file(self, tmp_path: Path, kv_clock: ManualClock) -> Iterator[SqliteOutbox]:
        with closing(SqliteOutbox(tmp_path / "outbox.db", kv_clock)) as made:
            yield made

    def test_a_purge_reaches_every_process(
        self,
        pair: tuple[LayeredCache, LayeredCache],
        file: SqliteOutbox,
        purge_client: PurgeClient,
        fake_kv: FakeKV,
        kv_clock: ManualClock,
    ) -> None:
        ours, others = pair
        for cache in pair:
            cache.get_or_load(KEY, Source("old"))
        file.record(Purge.of(groups="product-17"))
        [made] = Drainer(file, purge_client, clock=kv_clock, layers=[ours]).drain()
        assert made.done == 1
        assert ours.get(KEY) is None
        eventually(lambda: others.get(KEY) is None)
        assert list(fake_kv.marks_in_force()) == [MARK]

    def test_an_event_loop_does_the_same(
        self,
        server: RedisServer,
        pair: tuple[LayeredCache, LayeredCache],
        file: SqliteOutbox,
        async_purge_client: AsyncPurgeClient,
        kv_clock: ManualClock,
    ) -> None:
        _, others = pair
        others.get_or_load(KEY, Source("old"))
        file.record(Purge.of(groups="product-17"))

        async def drain() -> None:
            options = RedisOptions(url=server.url, timeout=PATIENT_SECONDS)
            async with AsyncLayeredCache(options) as cache:
                drainer = AsyncDrainer(InThreads(file), async_purge_client, clock=kv_clock, layers=[cache])
                [made] = await drainer.drain()
            assert made.done == 1

        asyncio.run(drain())
        eventually(lambda: others.get(KEY) is None)

    def test_layers_forget_before_the_edge_asks(
        self,
        pair: tuple[LayeredCache, LayeredCache],
        file: SqliteOutbox,
        kv_clock: ManualClock,
        purge_client: PurgeClient,
        fake_kv: FakeKV,
    ) -> None:
        ours, _ = pair
        ours.get_or_load(KEY, Source("old"))
        seen: list[tuple[bool, list[str]]] = []

        class Watching:
            def invalidate(self, *, groups: Any, at_edge: bool) -> Any:
                told = ours.invalidate(groups=groups, at_edge=at_edge)
                seen.append((ours.get(KEY) is None, list(fake_kv.marks_in_force())))
                return told

        file.record(Purge.of(groups="product-17"))
        Drainer(file, purge_client, clock=kv_clock, layers=[Watching()]).drain()
        assert seen == [(True, [])]

    def test_while_redis_is_down_the_edge_is_purged_and_the_entry_waits(
        self,
        server: RedisServer,
        pair: tuple[LayeredCache, LayeredCache],
        file: SqliteOutbox,
        purge_client: PurgeClient,
        fake_kv: FakeKV,
        kv_clock: ManualClock,
    ) -> None:
        ours, _ = pair
        drainer = Drainer(file, purge_client, clock=kv_clock, layers=[ours])
        server.stop()
        file.record(Purge.of(groups="product-17"))
        [made] = drainer.drain()
        assert (made.done, made.failed) == (0, 1)
        assert list(fake_kv.marks_in_force()) == [MARK]
        [waiting] = file.list([State.WAITING], 10)
        assert "Redis" in waiting.result

        server.start()
        eventually(lambda: bool(ours.link and ours.link.is_up))
        file.replay(None)
        assert [made.done for made in drainer.drain()] == [1]

    def test_a_layer_that_fails_keeps_nothing_from_the_edge(
        self, file: SqliteOutbox, purge_client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
    ) -> None:
        class Broken:
            def invalidate(self, *, groups: Any, at_edge: bool) -> Any:
                raise RuntimeError(f"{groups} {at_edge}")

        file.record(Purge.of(groups="product-17"))
        [made] = Drainer(file, purge_client, clock=kv_clock, layers=[Broken()]).drain()
        assert made.failed == 1
        assert list(fake_kv.marks_in_force()) == [MARK]

    def test_urls_are_the_edge_s_alone(
        self, file: SqliteOutbox, purge_client: PurgeClient, kv_clock: ManualClock
    ) -> None:
        class Untouched:
            def invalidate(self, *, groups: Any, at_edge: bool) -> Any:
                raise AssertionError((groups, at_edge))

        file.record(Purge.of(urls="https://shop.example/17"))
        [made] = Drainer(file, purge_client, clock=kv_clock, layers=[Untouched()]).drain()
        assert made.done == 1


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = (
        f"sqlite:///{tmp_path}/service.db"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )
    made = create_engine(url)
    metadata = MetaData()
    outbox_table(metadata)
    metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def cache(new_cache: Callable[..., Any]) -> LayeredCache:
    made: LayeredCache = new_cache("redis", "sync")
    assert made.wait_until_synced(30)
    made.get_or_load(KEY, Source("old"))
    return made


class TestInATransaction:
    """A session that changes a product, and readers meanwhile."""

    def test_nothing_is_forgotten_before_the_commit_and_all_after_it(
        self,
        engine: Engine,
        cache: LayeredCache,
        new_cache: Callable[..., Any],
        purge_client: PurgeClient,
        fake_kv: FakeKV,
    ) -> None:
        others: LayeredCache = new_cache("redis", "sync")
        assert others.wait_until_synced(30)
        with Session(engine) as session:
            invalidate_with(session, cache, groups=["product-17"])
            assert cache.get(KEY) == "old"
            assert others.get_or_load(KEY, Source("not asked")) == "old"
            session.commit()
            assert cache.get(KEY) is None
        eventually(lambda: others.get(KEY) is None)
        Drainer(SqlAlchemyOutbox(engine), purge_client, layers=[cache]).drain()
        assert list(fake_kv.marks_in_force()) == [MARK]

    def test_what_was_loaded_during_the_transaction_does_not_outlive_it(
        self, engine: Engine, cache: LayeredCache
    ) -> None:
        other = FAMILY.key(id=18)
        with Session(engine) as session:
            invalidate_with(session, cache, groups=["product-18"])
            assert cache.get_or_load(other, Source("the old row")) == "the old row"
            session.commit()
        assert cache.get_or_load(other, Source("the new row")) == "the new row"

    def test_a_rollback_forgets_nothing(
        self, engine: Engine, cache: LayeredCache, purge_client: PurgeClient, fake_kv: FakeKV
    ) -> None:
        with Session(engine) as session:
            invalidate_with(session, cache, groups=["product-17"])
            session.rollback()
            session.commit()
        assert cache.get(KEY) == "old"
        Drainer(SqlAlchemyOutbox(engine), purge_client, layers=[cache]).drain()
        assert list(fake_kv.marks_in_force()) == []

    @pytest.mark.parametrize("is_undone", [False, True])
    def test_a_savepoint_waits_for_the_commit(
        self, engine: Engine, cache: LayeredCache, *, is_undone: bool
    ) -> None:
        with Session(engine) as session:
            invalidate_with(session, cache, groups=["product-17"])
            savepoint = session.begin_nested()
            invalidate_with(session, cache, groups=["product-18"])
            if is_undone:
                savepoint.rollback()
            else:
                savepoint.commit()
            assert cache.get(KEY) == "old"
            session.commit()
        assert cache.get(KEY) is None

    def test_a_session_may_be_used_again(self, engine: Engine, cache: LayeredCache) -> None:
        with Session(engine) as session:
            for text in ("first", "second"):
                cache.set(KEY, text)
                invalidate_with(session, cache, groups=["product-17"])
                session.commit()
                assert cache.get(KEY) is None

    def test_a_group_that_can_not_be_is_an_error_at_once(self, engine: Engine, cache: LayeredCache) -> None:
        with Session(engine) as session, pytest.raises(InvalidRequest):
            invalidate_with(session, cache, groups=["x" * 300])

    def test_a_commit_stands_while_redis_is_down(self, engine: Engine, tmp_path: Path) -> None:
        with RedisServer(tmp_path / "redis") as server, LayeredCache(server.url) as cache:
            cache.get_or_load(KEY, Source("old"))
            server.stop()
            with Session(engine) as session:
                invalidate_with(session, cache, groups=["product-17"])
                session.commit()
            assert cache.get(KEY) is None


@asynccontextmanager
async def asynchronous(engine: Engine, url: str) -> AsyncIterator[tuple[AsyncSession, AsyncLayeredCache]]:
    driver = "sqlite+aiosqlite" if engine.dialect.name == "sqlite" else "postgresql+asyncpg"
    made = create_async_engine(engine.url.set(drivername=driver))
    options = RedisOptions(url=url, timeout=PATIENT_SECONDS, prefix="asynchronous")
    async with AsyncLayeredCache(options) as cache, AsyncSession(made) as session:
        yield session, cache
    await made.dispose()


async def test_an_asynchronous_session_does_the_same(
    engine: Engine, redis_server: RedisServer, prefix: str
) -> None:
    async def load(text: str) -> str:
        return text

    async with asynchronous(engine, redis_server.url) as (session, cache):
        key = FAMILY.key(id=prefix)
        await cache.get_or_load(key, lambda _: load("old"))
        await invalidate_with_async(session, cache, groups=[f"product-{prefix}"])
        assert await cache.get(key) == "old"
        await session.commit()
        assert cache.judge.peek(key, 0.0)[1] is None
        await asyncio.gather(*commits.tasks)
        assert await cache.get(key) is None
    assert SqlAlchemyOutbox(engine).status().counts == {State.WAITING: 1}


def test_django_forgets_with_the_commit(tmp_path: Path, redis_server: RedisServer) -> None:
    """Django has one configuration a process, so that it runs in one of its own."""
    command = [sys.executable, "-m", "tests.layers.django_commits", str(tmp_path / "db"), redis_server.url]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "in the transaction": "old",
        "rolled back": "old",
        "committed": None,
        "waiting": 1,
    }
