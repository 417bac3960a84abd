"""A request's way through handler, asker and sender, on the fakes: what is asked, stored and sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.ports import StoredValue
from origin_sdk_wire.choices import StoreOn
from origin_sdk_wire.key import parse_target, record_key
from origin_sdk_wire.record import Record, head_of, metadata_for, parse_head, read_metadata
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import START_MS, FakeEdge, FakeResponse, Sent

URL = "http://api.example/x"
FRESH = {"cache-control": "max-age=60", "etag": '"1"', "content-type": "text/plain"}


def edge(answer: FakeResponse, **settings: object) -> FakeEdge:
    configured = Settings(origin="http://origin", lifetime_jitter=0.0, **settings)  # type: ignore[arg-type]  # any setting
    return FakeEdge(configured, lambda request: _answered(request, answer))


def _answered(request: RequestFacts, answer: FakeResponse) -> FakeResponse:
    if "if-none-match" in request.fields and request.fields["if-none-match"] == answer.fields.get("etag"):
        return FakeResponse(304, answer.fields)
    return FakeResponse(answer.status, answer.fields, answer.body)


async def ask(world: FakeEdge, method: str = "GET", fields: Mapping[str, str] | None = None) -> Sent:
    sent: Sent = (await world.full(method, URL, fields or {})).response
    return sent


@pytest.mark.parametrize(
    ("memory_bytes", "reads"),
    [pytest.param(1 << 20, "memory", id="out of memory"), pytest.param(0, "KV", id="out of KV")],
)
def test_a_second_request_is_a_hit(memory_bytes: int, reads: str) -> None:
    async def run() -> None:
        world = edge(FakeResponse(200, FRESH, b"body"), memory_bytes=memory_bytes)
        first, second = await ask(world), await ask(world)
        assert (first.body, second.body) == (b"body", b"body")
        assert "fwd=uri-miss" in first.fields["cache-status"]
        assert "; hit;" in second.fields["cache-status"], reads
        assert len(world.origin.requests) == 1
        assert world.faults == []

    asyncio.run(run())


def test_what_is_stale_is_validated_and_kept() -> None:
    async def run() -> None:
        world = edge(FakeResponse(200, FRESH, b"body"))
        await ask(world)
        world.timing.ms += 61_000
        sent = await ask(world)
        assert (sent.status, sent.body) == (200, b"body")
        assert "detail=validated" in sent.fields["cache-status"]
        assert world.origin.requests[1].fields["if-none-match"] == '"1"'
        assert "; hit;" in (await ask(world)).fields["cache-status"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "fields", "status", "body"),
    [
        pytest.param("HEAD", {}, 200, b"", id="HEAD"),
        pytest.param("GET", {"if-none-match": '"1"'}, 304, b"", id="a precondition that holds"),
        pytest.param("GET", {"range": "bytes=1-2"}, 206, b"od", id="a range"),
        pytest.param("GET", {"range": "bytes=9-"}, 416, b"", id="a range beyond the end"),
        pytest.param("GET", {"cache-control": "only-if-cached"}, 200, b"body", id="only-if-cached"),
    ],
)
def test_a_hit_answers_the_request_that_asks(
    method: str, fields: Mapping[str, str], status: int, body: bytes
) -> None:
    async def run() -> None:
        world = edge(FakeResponse(200, FRESH, b"body"))
        await ask(world)
        sent = await ask(world, method, fields)
        assert (sent.status, sent.body) == (status, body)
        assert len(world.origin.requests) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "url", "fields", "status"),
    [
        pytest.param("GET", "nonsense", {}, 400, id="no URL"),
        pytest.param("GET", URL, {"transfer-encoding": "chunked"}, 411, id="a GET with a body of no length"),
        pytest.param("GET", URL, {"cache-control": "only-if-cached"}, 504, id="nothing is stored"),
    ],
)
def test_what_is_answered_without_the_origin(
    method: str, url: str, fields: Mapping[str, str], status: int
) -> None:
    async def run() -> None:
        world = edge(FakeResponse(200, FRESH, b"body"))
        sent: Sent = (await world.full(method, url, fields)).response
        assert sent.status == status
        assert world.origin.requests == []

    asyncio.run(run())


def test_a_write_ends_what_is_stored_for_its_url() -> None:
    async def run() -> None:
        world = edge(FakeResponse(200, FRESH, b"body"))
        await ask(world)
        await ask(world, "POST")
        await ask(world)
        assert [request.method for request in world.origin.requests] == ["GET", "POST", "GET"]
        assert {"m2/s/shared", "m2/s/url/api.example/x"} < world.store.values.keys()

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/mine/x", "/MINE/x", "/mine;a/x", "//mine/x"])
def test_a_write_ends_what_other_isolates_hold_under_keys_that_cannot_be_listed(path: str) -> None:
    async def run() -> None:
        mine = Rule("mine", paths=("/mine/**",), fields=("x-country",))
        world = edge(FakeResponse(200, FRESH, b"body"), rules=(mine,))
        await world.full("POST", f"http://api.example{path}", {})
        assert any(key.startswith("m2/s/url/") for key in world.store.values)

    asyncio.run(run())


def test_an_answer_ends_what_was_stored_in_the_same_millisecond() -> None:
    async def run() -> None:
        stored = {"cache-control": "max-age=0, stale-if-error=600", "etag": '"1"'}
        answers = iter([FakeResponse(200, stored, b"there"), FakeResponse(404, {}), FakeResponse(503, {})])
        world = FakeEdge(Settings(origin="http://origin", refresh_throttle=0), lambda _: next(answers))
        assert [(await ask(world)).status for _ in range(3)] == [200, 404, 503]

    asyncio.run(run())


def test_by_rule_what_is_asked_for_once_is_not_written() -> None:
    async def run() -> None:
        rule = Rule("search", store_on=StoreOn.SECOND_MISS)
        world = edge(FakeResponse(200, FRESH, b"body"), memory_bytes=0, rules=(rule,))
        await ask(world)
        assert record_key(parse_target(URL)) not in world.store.values
        await ask(world)
        assert "; hit;" in (await ask(world)).fields["cache-status"]
        assert len(world.origin.requests) == 2

    asyncio.run(run())


def test_a_validation_does_not_write_a_body_that_lies_apart_again() -> None:
    async def run() -> None:
        world = edge(FakeResponse(200, FRESH))
        born_ms, key = START_MS - 61_000, record_key(parse_target(URL))
        record = Record(200, born_ms, born_ms, 0, tuple(FRESH.items()), (), 4, "", "b1/apart")
        metadata, _ = metadata_for(head_of(record))
        body = world.store.values["b1/apart"] = StoredValue(None, b"body")
        world.store.values[key] = StoredValue(json.loads(metadata), b"")
        sent = await ask(world)
        assert (sent.body, "detail=validated" in sent.fields["cache-status"]) == (b"body", True)
        assert world.store.values["b1/apart"] is body
        kept = parse_head(str(read_metadata(world.store.values[key].metadata)))
        assert (kept.birth_ms, kept.body_key) == (START_MS, "b1/apart")

    asyncio.run(run())


def test_what_is_kept_in_memory_alone_never_reaches_kv() -> None:
    async def run() -> None:
        rule = Rule("baskets", store_on=StoreOn.NEVER)
        world = edge(FakeResponse(200, {**FRESH, "vary": "accept-language"}, b"body"), rules=(rule,))
        await ask(world)
        assert "; hit;" in (await ask(world)).fields["cache-status"]
        assert not [key for key in world.store.values if key.startswith(("r1/", "b1/"))]
        other = edge(FakeResponse(200, FRESH, b"body"), memory_bytes=0)
        await ask(other)  # as it was stored before the rule said so
        cold = edge(FakeResponse(200, FRESH, b"of the origin"), rules=(rule,))
        cold.store.values |= other.store.values
        assert (await ask(cold)).body == b"of the origin"
        assert cold.short_path.lookup(URL, "{}", cold.timing.ms) is None

    asyncio.run(run())


async def test_what_is_handed_on_answers_a_precondition_with_all_but_what_describes_its_content() -> None:
    fields = {
        **FRESH,
        "cache-control": "no-store",
        "content-location": "/x.txt",
        "content-security-policy": "default-src 'self'",
    }
    sent = await ask(edge(FakeResponse(200, fields, b"body")), fields={"if-none-match": '"1", "2"'})
    assert sent.status == 304
    assert {"content-location", "content-security-policy"} <= sent.fields.keys()
    assert "content-type" not in sent.fields
