"""The edge as the outermost layer: one call invalidates below it first, then there."""

from collections.abc import Callable
from typing import Any

import pytest

from origin_sdk import AsyncPurgeClient, PurgeClient
from origin_sdk._process.audit import AuditEvent
from origin_sdk.layers import AsyncLayeredCache, AsyncPurger, Family, LayeredCache, Purger
from tests.layers.test_contract import Source

FAMILY = Family("product", "{id}", str, groups=("product-{id}",))
KEY = FAMILY.key(id=17)


def test_the_clients_are_purgers(purge_client: PurgeClient, async_purge_client: AsyncPurgeClient) -> None:
    sync: Purger = purge_client
    asynchronous: AsyncPurger = async_purge_client
    assert sync is not asynchronous


class Edge:
    """Remembers what it was asked, and what the cache below it had then."""

    def __init__(self, below: Callable[[], object], error: Exception | None = None) -> None:
        self.asked: list[tuple[list[str], list[str], object]] = []
        self._below = below
        self._error = error

    def purge(self, *, groups: list[str], urls: list[str]) -> str:
        self.asked.append((groups, urls, self._below()))
        if self._error:
            raise self._error
        return "receipt"


def test_groups_and_urls_are_purged_when_nothing_below_can_answer_with_the_old() -> None:
    edge = Edge(lambda: cache.get(KEY))
    with LayeredCache(edge=edge) as cache:
        cache.get_or_load(KEY, Source("old"))
        receipt = cache.invalidate(groups=["product-17"], urls=["https://api.example.com/products/17"])
    assert edge.asked == [(["product-17"], ["https://api.example.com/products/17"], None)]
    assert receipt.edge == "receipt"


async def test_an_event_loop_awaits_the_purge(async_purge_client: AsyncPurgeClient) -> None:
    async with AsyncLayeredCache(edge=async_purge_client) as cache:
        receipt = await cache.invalidate(groups=["product-17"])
    assert receipt.edge.marks


def test_a_purge_that_fails_is_raised_with_memory_and_redis_done() -> None:
    events: list[AuditEvent] = []
    edge: Any = Edge(lambda: None, RuntimeError("no edge"))
    with LayeredCache(edge=edge, audit=events.append, actor="tests") as cache:
        cache.get_or_load(KEY, Source("old"))
        with pytest.raises(RuntimeError, match="no edge"):
            cache.invalidate(groups=["product-17"])
        assert cache.get(KEY) is None
    assert [(event.action, event.actor, event.outcome) for event in events] == [
        ("invalidate", "tests", "RuntimeError")
    ]


def test_the_audit_names_writes_and_invalidations_and_holds_no_value() -> None:
    events: list[AuditEvent] = []
    with LayeredCache(audit=events.append, actor="tests") as cache:
        cache.set(KEY, "secret")
        cache.delete(KEY)
        cache.invalidate(groups=["product-17"])
    assert [event.action for event in events] == ["set", "delete", "invalidate"]
    assert "secret" not in str([event.as_json() for event in events])
