"""Caches over every layer and driver, and the Redis servers below them."""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from origin_sdk.layers import RedisOptions
from origin_sdk.testing import ManualClock
from tests.layers.caches import make
from tests.layers.servers import PATIENT_SECONDS, ClusterOfSix, RedisServer, SentinelSet

_prefixes = count()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not shutil.which("valkey-server"):
        pytest.skip("no valkey-server: scripts/install valkey-server, where Debian has it")
    with RedisServer(tmp_path_factory.mktemp("valkey"), program="valkey-server") as server:
        yield server


@pytest.fixture(scope="session")
def sentinel_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSet]:
    running = SentinelSet(tmp_path_factory.mktemp("sentinels"), is_steady=True)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfSix]:
    running = ClusterOfSix(tmp_path_factory.mktemp("cluster"), is_steady=True)
    yield running
    running.stop()


@pytest.fixture
def prefix() -> str:
    """A prefix of the test's own, so that servers can be shared."""
    return f"test-{next(_prefixes)}"


@pytest.fixture
def options_for(request: pytest.FixtureRequest, prefix: str) -> Callable[[str], RedisOptions | None]:
    """Return the way to a kind of Redis, which is started when first asked for."""

    def options(layer: str) -> RedisOptions | None:
        if layer == "memory":
            return None
        fixture = {
            "redis": "redis_server",
            "sentinel": "sentinel_set",
            "cluster": "redis_cluster",
            "valkey": "valkey_server",
        }[layer]
        url = request.getfixturevalue(fixture).url
        return RedisOptions(url=url, prefix=prefix, timeout=PATIENT_SECONDS)

    return options


@pytest.fixture
def new_cache(options_for: Callable[[str], RedisOptions | None]) -> Iterator[Callable[..., Any]]:
    """Makes caches of a layer and a driver, which are closed after the test."""
    made: list[Any] = []

    def new(layer: str, driver: str, **options: Any) -> Any:
        made.append(make(driver, options_for(layer), **options))
        return made[-1]

    yield new
    for cache in made:
        cache.close()


@pytest.fixture(
    params=[
        (layer, driver)
        for layer in ("memory", "redis", "sentinel", "cluster", "valkey")
        for driver in ("sync", "async")
    ],
    ids="-".join,
)
def cache(request: pytest.FixtureRequest, new_cache: Callable[..., Any]) -> Any:
    """Every layer and driver; where there is Redis, invalidations of others are heard."""
    layer, driver = request.param
    made = new_cache(layer, driver)
    assert layer == "memory" or made.wait_until_synced(30)
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sync", "async"])
def timed(request: pytest.FixtureRequest, new_cache: Callable[..., Any], clock: ManualClock) -> Any:
    """Each driver over memory, with a clock that moves when told to."""
    return new_cache("memory", request.param, clock=clock)
