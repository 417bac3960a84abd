"""A row changes in a service -> outbox -> drain -> REST API of `wrangler dev` -> the Worker, without a mock.

Writes go to the origin itself, past the edge: what refreshes there was purged by the outbox alone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from origin_sdk._development.process import Process
from origin_sdk.outbox import Republish, State
from origin_sdk.outbox.sqlite import SqliteOutbox
from scripts.runtime import paths, snapshot
from scripts.runtime.ports import free_port
from scripts.runtime.wrangler import Wrangler
from tests.runtime.edge import eventually

MARK_INTERVAL = 1.0
SLACK = 4.0
"""What the machine that runs the tests may take on top of a bound."""


@dataclass(frozen=True)
class Shop:
    """The demo origin's database and port, and the edge before it."""

    edge: str
    port: int
    database: Path
    environment: Mapping[str, str]
    folder: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def serving(self, *options: str) -> Iterator[Process]:
        command = [sys.executable, "-m", "examples.catalogue", "--port", str(self.port)]
        command += ["--database", str(self.database), *options]
        log = self.folder / "origin.log"
        with Process("origin", command, log=log, folder=paths.ROOT, environment=self.environment) as process:
            process.wait_for(self._answers, what="accepting connections", seconds=30)
            yield process

    def _answers(self) -> bool | None:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return None
        return True

    def at_edge(self, path: str) -> httpx.Response:
        return httpx.get(self.edge + path)

    def becomes_cached(self, path: str) -> None:
        eventually(lambda: "; hit" in self.at_edge(path).headers["cache-status"], f"hit on {path}")

    def drain(self, *options: str) -> str:
        """Run `origin-sdk drain --once` as a process of its own, and return what it says."""
        command = [sys.executable, "-c", "from origin_sdk.cli import main; main()", "drain", "--once"]
        done = subprocess.run(
            [*command, "--outbox", f"sqlite:///{self.database}", *options],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def change(self, values: Mapping[str, object], product: int = 17) -> None:
        httpx.patch(f"{self.origin}/products/{product}", json=values).raise_for_status()


@pytest.fixture(scope="module")
def shop(worker_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder, port = tmp_path_factory.mktemp("outbox"), free_port()
    variables = {
        "ORIGIN": f"http://127.0.0.1:{port}",
        "MARK_INTERVAL": str(MARK_INTERVAL),
        "BREAKER_FAILURES": "0",
    }
    with Wrangler(
        folder, variables=variables, config=worker_tree / "wrangler.toml", snapshots=snapshot.deployed()
    ) as wrangler:
        base, _, namespace = wrangler.kv_url().partition("/storage/kv/namespaces/")
        environment = {"CLOUDFLARE_API_BASE_URL": base, "EDGE_CACHE_NAMESPACE_ID": namespace}
        yield Shop(wrangler.url, port, folder / "shop.db", environment, folder)


def test_a_change_refreshes_page_lists_and_categories(shop: Shop) -> None:
    category = "/categories/kitchen/products"
    with shop.serving():
        before = shop.at_edge("/products/17").json()
        paths_ = [
            "/products/17",
            f"/products?category={before['category']}",
            "/products",
            category,
            "/categories",
        ]
        other = "/products/18"
        for path in (*paths_, other):
            shop.becomes_cached(path)
        old = {path: shop.at_edge(path).text for path in paths_}

        target = "garden" if before["category"] != "garden" else "kitchen"
        shop.change({"price_cents": before["price_cents"] + 1, "category": target})

        for path in paths_:
            if path == category and "kitchen" not in {before["category"], target}:
                continue
            eventually(
                lambda path=path: shop.at_edge(path).text != old[path],  # type: ignore[misc]  # a lambda's default
                f"new {path}",
                MARK_INTERVAL + SLACK,
            )
        assert "; hit" in shop.at_edge(other).headers["cache-status"]


def test_a_service_that_dies_after_its_commit_loses_no_purge(shop: Shop) -> None:
    with shop.serving("--no-drain") as service:
        shop.becomes_cached("/products/17")
        old = shop.at_edge("/products/17").json()["price_cents"]
        shop.change({"price_cents": old + 1})
        os.kill(service.id, signal.SIGKILL)
    assert shop.at_edge("/products/17").json()["price_cents"] == old

    assert shop.drain().startswith("1 done")

    with shop.serving():
        eventually(
            lambda: shop.at_edge("/products/17").json()["price_cents"] == old + 1,
            "new price",
            MARK_INTERVAL + SLACK,
        )


def test_a_republication_brings_the_new_response_before_anyone_asks(shop: Shop) -> None:
    with shop.serving("--no-drain"):
        shop.becomes_cached("/products/19")
        price = shop.at_edge("/products/19").json()["price_cents"] + 1
        shop.change({"price_cents": price}, product=19)
        with closing(SqliteOutbox(shop.database)) as outbox:
            outbox.record(Republish(f"{shop.edge}/products/19"))

        shop.drain("--origin", shop.origin)

        eventually(
            lambda: shop.at_edge("/products/19").json()["price_cents"] == price,
            "new price",
            MARK_INTERVAL + SLACK,
        )
        with closing(SqliteOutbox(shop.database)) as outbox:
            assert "published r1/" in outbox.list([State.DONE], 1)[0].result


def test_a_change_that_is_refused_purges_nothing(shop: Shop) -> None:
    with shop.serving():
        shop.becomes_cached("/products/18")
        before = recorded(shop)
        refused = httpx.patch(f"{shop.origin}/products/18", json={"category": "no-such"})
        assert refused.status_code == 422
        assert recorded(shop) == before
        assert "; hit" in shop.at_edge("/products/18").headers["cache-status"]


def recorded(shop: Shop) -> int:
    with closing(SqliteOutbox(shop.database)) as outbox:
        return sum(outbox.status().counts.values())
