"""A service with the SDK's middleware behind the real Worker: the edge does what it says of a response."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import fastapi
import httpx
import pytest
import uvicorn
from fastapi.responses import StreamingResponse

from origin_sdk.asgi import CacheFields, add_groups, belongs_to_user, cache_for, invalidate
from origin_sdk.layers import Family, LayeredCache
from scripts.runtime import snapshot
from scripts.runtime.wrangler import Wrangler
from tests.runtime.edge import eventually

MARK_INTERVAL = 1.0
SLACK = 2.0
_START_SECONDS = 10.0


@dataclass
class Shop:
    """A service: a product with a price, and how often it was asked for."""

    price: int = 100
    asked: list[str] = field(default_factory=list)

    def orders_in_parts(self) -> Iterator[bytes]:
        """Read, once the first part is on its way, what must not reach the edge."""
        yield b"orders: "
        with LayeredCache() as cache:
            yield cache.get_or_load(Family("orders", "{id}", bytes).key(id=7), lambda _: b"secret")

    def app(self) -> fastapi.FastAPI:
        app = fastapi.FastAPI()
        app.add_middleware(CacheFields)

        @app.get("/products/7")
        def read() -> dict[str, int]:
            self.asked.append("/products/7")
            cache_for(300, stale_if_error=600)
            add_groups("products", "product-7")
            return {"price": self.price}

        @app.put("/prices/{price}")
        def change(price: int) -> dict[str, int]:
            self.price = price
            invalidate("product-7")
            return {"price": price}

        @app.get("/orders")
        def orders() -> StreamingResponse:
            self.asked.append("/orders")
            cache_for(300)
            return StreamingResponse(self.orders_in_parts())

        @app.get("/basket")
        def basket() -> dict[str, int]:
            self.asked.append("/basket")
            cache_for(300)
            belongs_to_user()
            return {"items": len(self.asked)}

        return app


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def edge(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    server = uvicorn.Server(
        uvicorn.Config(shop.app(), host="127.0.0.1", port=0, log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started, "server", _START_SECONDS)
    port = server.servers[0].sockets[0].getsockname()[1]
    variables = {"ORIGIN": f"http://127.0.0.1:{port}", "MARK_INTERVAL": str(MARK_INTERVAL)}
    folder = tmp_path_factory.mktemp("middleware")
    with (
        Wrangler(folder, variables=variables, snapshots=snapshot.deployed()) as wrangler,
        httpx.Client(base_url=wrangler.url) as client,
    ):
        yield client
    server.should_exit = True
    thread.join()


def test_a_write_through_the_worker_purges_with_no_call_of_the_api(edge: httpx.Client, shop: Shop) -> None:
    assert edge.get("/products/7").json() == {"price": 100}
    eventually(lambda: "; hit" in edge.get("/products/7").headers["cache-status"], "hit")
    asked = len(shop.asked)
    assert edge.get("/products/7").json() == {"price": 100}
    assert len(shop.asked) == asked, "it came from the edge"
    edge.put("/prices/200").raise_for_status()
    eventually(lambda: edge.get("/products/7").json() == {"price": 200}, "new price", MARK_INTERVAL + SLACK)


def test_a_stream_that_reads_what_must_not_be_there_is_cut_off_and_not_kept(
    edge: httpx.Client, shop: Shop
) -> None:
    for _ in range(2):
        # Cut off before the edge sent anything, it is a 502; after that, the client's connection is cut.
        with suppress(httpx.RemoteProtocolError):
            assert edge.get("/orders").status_code == 502
    assert shop.asked.count("/orders") == 2


def test_what_belongs_to_a_user_is_never_kept(edge: httpx.Client) -> None:
    answers = [edge.get("/basket") for _ in range(2)]
    assert answers[0].json() != answers[1].json()
    assert not any("; hit" in answer.headers["cache-status"] for answer in answers)
