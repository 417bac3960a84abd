"""The tools for other people's tests: what the local API can't show, the clock, and the assertions."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from origin_sdk import AsyncNullPurgeClient, NotCacheable, NullPurgeClient, PurgeClient, Settings
from origin_sdk.testing import (
    FakeKV,
    ManualClock,
    assert_cacheable,
    assert_not_cacheable,
    assert_not_purged,
    assert_purged,
)

pytest_plugins = ["pytester"]

URL = "https://a.example/p/x"
LASTING = {"cache-control": "max-age=60"}


@pytest.mark.parametrize(
    ("purged", "asked", "holds"),
    [
        pytest.param({"urls": URL}, {"url": URL}, True, id="a URL"),
        pytest.param({"urls": URL}, {"url": "http://A.example/p/x"}, True, id="a URL in other words"),
        pytest.param({"urls": URL}, {"url": URL + "?q"}, False, id="another URL"),
        pytest.param({"prefixes": "a.example/p"}, {"url": URL}, True, id="a URL by its prefix"),
        pytest.param({"hosts": "a.example"}, {"url": URL}, True, id="a URL by its host"),
        pytest.param({"everything": True}, {"group": "g"}, True, id="a group by everything"),
        pytest.param({"groups": "g"}, {"group": "g"}, True, id="a group"),
        pytest.param({"groups": "g"}, {"group": "h"}, False, id="another group"),
        pytest.param({"groups": "g"}, {"group": "g", "hard": True}, False, id="softly, not hard"),
        pytest.param({"groups": "g", "hard": True}, {"group": "g", "hard": True}, True, id="hard"),
        pytest.param(
            {"prefixes": "a.example/p"}, {"prefix": "a.example/p/x"}, True, id="a prefix by a shorter one"
        ),
        pytest.param(
            {"prefixes": "a.example/p"}, {"host": "a.example"}, False, id="not the host by its prefix"
        ),
        pytest.param({"urls": URL}, {"everything": True}, False, id="not everything"),
    ],
)
def test_assertions_follow_what_a_purge_covers(
    purge_client: PurgeClient, fake_kv: FakeKV, purged: dict[str, Any], asked: dict[str, Any], holds: bool
) -> None:
    null = NullPurgeClient()
    purge_client.purge(**purged)
    null.purge(**purged)
    for edge in (fake_kv, null):
        (assert_purged if holds else assert_not_purged)(edge, **asked)
        with pytest.raises(AssertionError, match="purged"):
            (assert_not_purged if holds else assert_purged)(edge, **asked)


def test_an_assertion_about_nothing_is_a_mistake(fake_kv: FakeKV) -> None:
    with pytest.raises(TypeError, match="say what"):
        assert_purged(fake_kv)


def test_a_failed_assertion_lists_what_was_purged(purge_client: PurgeClient, fake_kv: FakeKV) -> None:
    purge_client.purge(groups="products")
    with pytest.raises(AssertionError, match="m2/s/group/products"):
        assert_purged(fake_kv, group="product-7")


def test_responses_of_httpx_are_judged() -> None:
    assert_cacheable(httpx.Response(200, headers={"cache-control": "max-age=60"}))
    with pytest.raises(AssertionError, match="no-store"):
        assert_cacheable(httpx.Response(200, headers={"cache-control": "no-store"}))
    assert_not_cacheable(
        httpx.Response(200, headers=[("cache-control", "max-age=60"), ("set-cookie", "a=b")])
    )
    with pytest.raises(AssertionError, match="cacheable"):
        assert_not_cacheable(httpx.Response(200, headers={"cache-control": "max-age=60"}))


# The fake's own bad days


def test_other_locations_see_old_values_for_a_while(fake_kv: FakeKV, kv_clock: ManualClock) -> None:
    fake_kv.put("key", "old")
    kv_clock.advance(100)
    fake_kv.put("key", "new")
    assert (fake_kv.read("key"), fake_kv.read("key", "osaka")) == (b"new", b"old")
    kv_clock.advance(fake_kv.propagation_seconds)
    assert fake_kv.read("key", "osaka") == b"new"


def test_a_delete_is_no_faster(purge_client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock) -> None:
    fake_kv.put("r1/https/a.example/p/x", "body")
    kv_clock.advance(100)
    purge_client.purge(urls=URL, hard=True, delete=True)
    assert fake_kv.read("r1/https/a.example/p/x") is None
    assert fake_kv.read("r1/https/a.example/p/x", "osaka") == b"body"


def test_past_the_limit_all_are_blocked_for_five_minutes(fake_kv: FakeKV, kv_clock: ManualClock) -> None:
    fake_kv.rate_limit = 3
    with httpx.Client(
        transport=fake_kv.transport, headers={"authorization": f"Bearer {fake_kv.token}"}
    ) as client:
        url = f"{fake_kv.settings.namespace_url}/keys"
        assert [client.get(url).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        assert client.get(url).headers["retry-after"] == "300"
        kv_clock.advance(300)
        assert client.get(url).headers["ratelimit"] == '"default";r=2;t=300'


def test_latency_moves_the_clock(purge_client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock) -> None:
    began = kv_clock.now()
    fake_kv.latency_seconds = 0.25
    purge_client.purge(groups="a")
    assert kv_clock.now() - began == 0.25


def test_it_can_be_served_on_a_port(fake_kv: FakeKV) -> None:
    with fake_kv.serve() as base_url:
        settings = Settings(base_url=base_url, namespace_id=fake_kv.namespace_id)
        with PurgeClient(settings) as client:
            client.purge(groups="a")
    assert_purged(fake_kv, group="a")


def test_the_plugin_brings_its_fixtures_into_any_suite(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from origin_sdk.testing import assert_not_purged, assert_purged

        def test_service(purge_client, fake_kv, kv_clock):
            purge_client.purge(groups=["product-7"])
            assert_purged(fake_kv, group="product-7")
            assert_not_purged(fake_kv, group="product-8")

        async def test_asynchronous_service(async_purge_client, fake_kv):
            await async_purge_client.purge(urls="https://shop.example/")
            assert_purged(fake_kv, url="https://shop.example/")
        """
    )
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=2)


# Doing nothing, in development


def test_doing_nothing_has_all_verbs() -> None:
    with NullPurgeClient() as edge:
        receipt = edge.purge(groups="a", reason="why")
        assert (receipt.requests, receipt.marks) == (0, ("m2/s/group/a",))
        with edge.batch() as batch:
            batch.purge(groups="b")
        published = edge.publish(URL, lambda: {"a": 1}, groups="g", headers=LASTING)
        with pytest.raises(NotCacheable):
            edge.publish(URL, lambda: {"a": 1})
        assert (published.groups, published.requests) == (("g",), 0)
        assert edge.preview(everything=True).responses == 0
        assert (edge.inspect(URL).stored, list(edge.list()), list(edge.marks()), edge.check()) == (
            (),
            [],
            [],
            (),
        )
        assert [result.cached for result in edge.warm([URL])] == [False]
        assert [str(purge) for purge in edge.purges] == ["soft: group a", "soft: group b"]


async def test_doing_nothing_asynchronously() -> None:
    async with AsyncNullPurgeClient() as edge:
        await edge.purge(groups="a")
        async with edge.batch() as batch:
            batch.purge(groups="b", hard=True)
        await edge.publish(URL, lambda: "x", headers=LASTING)
        assert (await edge.preview(groups="a")).marks == 1
        assert (await edge.inspect(URL)).stored == ()
        assert [stored async for stored in edge.list()] == []
        assert [mark async for mark in edge.marks()] == []
        assert await edge.check() == ()
        assert len(await edge.warm([URL])) == 1
        assert_purged(edge, group="b", hard=True)


@pytest.mark.parametrize("client", [NullPurgeClient, AsyncNullPurgeClient])
def test_it_needs_no_settings(client: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGE_CACHE_NAMESPACE_ID", "CLOUDFLARE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    client()
