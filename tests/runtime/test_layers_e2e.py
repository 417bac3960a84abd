"""One invalidation through all layers: other processes' memory, Redis, and the running Worker."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from origin_sdk import PurgeClient, Settings
from origin_sdk._development.process import Process
from origin_sdk.layers import Family, LayeredCache, RedisOptions
from scripts.runtime import paths, snapshot
from scripts.runtime.ports import free_port
from scripts.runtime.wrangler import Wrangler
from tests.layers.servers import PATIENT_SECONDS, RedisServer
from tests.layers.test_breakdowns import eventually
from tests.runtime.client import ask
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import reply

MARK_INTERVAL = 1.0
FAMILY = Family("product", "{id}", str, groups=("product-{id}",))
KEY = FAMILY.key(id=17)


def test_one_call_empties_every_layer(running_origin: ScriptedOrigin, tmp_path: Path) -> None:
    origin = running_origin
    variables = {"ORIGIN": origin.url, "MARK_INTERVAL": str(MARK_INTERVAL)}
    with (
        RedisServer(tmp_path / "redis") as server,
        Wrangler(tmp_path / "edge", variables=variables, snapshots=snapshot.deployed()) as worker,
        PurgeClient(_settings(worker)) as client,
        LayeredCache(RedisOptions(url=server.url, timeout=PATIENT_SECONDS), edge=client) as ours,
        LayeredCache(RedisOptions(url=server.url, timeout=PATIENT_SECONDS)) as others,
    ):
        assert ours.wait_until_synced(30)
        assert others.wait_until_synced(30)

        def stored_at_the_edge(text: bytes) -> bool:
            response = ask(worker.url, "/products/17")
            return "; hit" in (response.value("cache-status") or "") and response.body == text

        fields = [("Cache-Control", "max-age=600"), ("Cache-Groups", '"product-17"')]
        origin.on("/products/17", reply(200, fields, b"old"))
        assert others.get_or_load(KEY, lambda _: "old") == "old"
        assert ours.get(KEY) == "old"
        eventually(lambda: stored_at_the_edge(b"old"))

        origin.on("/products/17", reply(200, fields, b"new"))
        receipt = ours.invalidate(groups=["product-17"])

        assert receipt.in_redis
        assert receipt.edge.marks
        assert ours.get(KEY) is None
        eventually(lambda: others.memory.get(KEY.name) is None or others.get(KEY) is None, 2)
        others.memory.clear()
        assert others.get(KEY) is None
        eventually(lambda: stored_at_the_edge(b"new"), MARK_INTERVAL + 5)


def _settings(worker: Wrangler) -> Settings:
    base, _, namespace = worker.kv_url().partition("/storage/kv/namespaces/")
    return Settings(base_url=base, namespace_id=namespace, mark_interval=MARK_INTERVAL)


@dataclass(frozen=True)
class Service:
    """`examples.layers.shop` in a process of its own."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def price(self) -> int:
        found: int = httpx.get(f"{self.url}/products/17").json()["price"]
        return found

    @contextmanager
    def running(self, environment: dict[str, str], log: Path) -> Iterator[None]:
        command = [sys.executable, "-m", "uvicorn", "examples.layers.shop:app", "--port", str(self.port)]
        with Process("shop", command, log=log, folder=paths.ROOT, environment=environment) as process:
            process.wait_for(self._answers, what="accepting connections", seconds=30)
            yield

    def _answers(self) -> bool | None:
        try:
            httpx.get(f"{self.url}/products/0")
        except httpx.TransportError:
            return None
        return True


@dataclass(frozen=True)
class Shop:
    """Two processes of a service over one database and one Redis; the Worker asks the first."""

    first: Service
    second: Service
    edge: Wrangler
    redis_url: str
    database: Path

    def at_edge(self) -> tuple[bool, int]:
        response = httpx.get(f"{self.edge.url}/products/17")
        return "; hit" in response.headers["cache-status"], response.json()["price"]

    def becomes_cached(self, price: int) -> None:
        """Let every layer hold a price: both memories, Redis and the edge."""
        eventually(lambda: (self.first.price(), self.second.price()) == (price, price))
        eventually(lambda: self.at_edge() == (True, price), MARK_INTERVAL + 5)

    def everywhere(self, price: int) -> bool:
        return (self.first.price(), self.second.price(), self.at_edge()[1]) == (price,) * 3

    @contextmanager
    def cache(self, client: PurgeClient | None = None) -> Iterator[LayeredCache]:
        options = RedisOptions(url=self.redis_url, prefix="shop", timeout=PATIENT_SECONDS)
        with LayeredCache(options, edge=client) as made:
            assert made.wait_until_synced(30)
            yield made

    def in_redis(self) -> object:
        with self.cache() as cache:
            return cache.get(Family("price", "{number}", dict[str, int]).key(number=17))

    def change_behind_their_backs(self, price: int) -> None:
        """Change the row where no ORM sees it."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("UPDATE product SET price = ? WHERE id = 17", (price,))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    first, second = Service(free_port()), Service(free_port())
    variables = {"ORIGIN": first.url, "MARK_INTERVAL": str(MARK_INTERVAL)}
    with (
        RedisServer(folder / "redis") as server,
        Wrangler(folder / "edge", variables=variables, snapshots=snapshot.deployed()) as worker,
    ):
        settings = _settings(worker)
        environment = {
            "DATABASE_URL": f"sqlite:///{folder / 'shop.db'}",
            "REDIS_URL": server.url,
            "CLOUDFLARE_API_BASE_URL": settings.base_url,
            "EDGE_CACHE_NAMESPACE_ID": settings.namespace_id,
        }
        with (
            first.running(environment, folder / "first.log"),
            second.running(environment, folder / "second.log"),
        ):
            yield Shop(first, second, worker, server.url, folder / "shop.db")


def test_one_invalidation_elsewhere_refreshes_memory_redis_and_edge(shop: Shop) -> None:
    httpx.put(f"{shop.first.url}/products/17", params={"price": 100}).raise_for_status()
    shop.becomes_cached(100)
    shop.change_behind_their_backs(200)
    assert shop.everywhere(100)

    with PurgeClient(_settings(shop.edge)) as client, shop.cache(client) as cache:
        cache.invalidate(groups=["product-17"])

    eventually(lambda: shop.everywhere(200), MARK_INTERVAL + 5)
    assert shop.in_redis() == {"id": 17, "price": 200}


def test_a_row_that_changes_refreshes_every_layer_with_no_purge_in_the_handler(shop: Shop) -> None:
    httpx.put(f"{shop.first.url}/products/17", params={"price": 300}).raise_for_status()
    shop.becomes_cached(300)

    httpx.put(f"{shop.second.url}/products/17", params={"price": 400}).raise_for_status()

    eventually(lambda: shop.everywhere(400), MARK_INTERVAL + 5)
    assert shop.in_redis() == {"id": 17, "price": 400}


def test_a_value_that_must_not_reach_the_edge_is_asked_of_the_origin_each_time(shop: Shop) -> None:
    httpx.put(f"{shop.first.url}/products/17", params={"price": 500}).raise_for_status()
    for _ in range(3):
        response = httpx.get(f"{shop.edge.url}/products/17/margin")
        assert response.headers["cache-control"] == "private, no-store"
        assert not {"hit", "stored"} & set(response.headers["cache-status"].split("; "))
