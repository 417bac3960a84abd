"""What `publish` writes; that the Worker serves it is shown in tests/runtime/test_purge_e2e.py."""

import asyncio
import gzip
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import brotli
import pytest
from django.utils.safestring import mark_safe
from markupsafe import Markup

from origin_sdk import AsyncPurgeClient, NotCacheable, Options, Project, PurgeClient
from origin_sdk._edge.explanation import explain
from origin_sdk._process.audit import AuditEvent
from origin_sdk._values.brotli import brotli_module
from origin_sdk._values.media_types import encoded
from origin_sdk.errors import DataClassViolation, InvalidRequest
from origin_sdk.layers import AsyncLayeredCache, DataClass, Family, LayeredCache
from origin_sdk.testing import FakeKV, ManualClock
from origin_sdk_edge.policy.decision import Awaited, Forward, Lookup
from origin_sdk_edge.policy.facts import Content, RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.storage.variants import variant
from origin_sdk_wire.bounds import MAX_RECORD_SECONDS
from origin_sdk_wire.choices import DataClass as EdgeDataClass
from origin_sdk_wire.choices import Profile, PublishCoding
from origin_sdk_wire.content import content_key
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import freshness_of
from origin_sdk_wire.key import parse_target, record_key, variant_key
from origin_sdk_wire.prepared import read_prepared
from origin_sdk_wire.record import Index, Record, parse_head, prepared_in, read_metadata
from origin_sdk_wire.rules import KeyBody
from origin_sdk_wire.settings import Rule, Settings

URL = "https://a.example/x"
FRESH = {"cache-control": "max-age=600"}
DAY = 86_400


def record_at(fake: FakeKV, key: str) -> Record:
    """Return the record under a key, from metadata or from in front of the body."""
    found = read_metadata(fake.metadata(key))
    if isinstance(found, int):
        found = (fake.read(key) or b"")[:found].decode()
    assert isinstance(found, str)
    return parse_head(found)


@pytest.mark.parametrize(
    ("body", "stored", "media_type"),
    [
        pytest.param({"a": "é"}, '{"a":"é"}'.encode(), "application/json", id="what JSON is made of"),
        pytest.param([1, 2], b"[1,2]", "application/json", id="a list"),
        pytest.param("é", "é".encode(), "text/plain; charset=utf-8", id="text"),
        pytest.param(b"\xff", b"\xff", "application/octet-stream", id="bytes"),
        pytest.param(b"plainly", b"plainly", "application/octet-stream", id="bytes that may be anything"),
        pytest.param(b"", b"", None, id="no bytes at all"),
        pytest.param(b'{"a": 1}', b'{"a": 1}', "application/json", id="JSON, encoded"),
        pytest.param(bytearray(b"[]"), b"[]", "application/json", id="in an array of bytes"),
        pytest.param('{"a": 1}', b'{"a": 1}', "application/json", id="JSON, as text"),
        pytest.param("{{ a }}", b"{{ a }}", "text/plain; charset=utf-8", id="what only begins like JSON"),
        pytest.param("\n<!DOCTYPE html><p>", b"\n<!DOCTYPE html><p>", "text/html; charset=utf-8", id="HTML"),
        pytest.param(b"<html lang=de>", b"<html lang=de>", "text/html; charset=utf-8", id="HTML, encoded"),
        pytest.param(Markup("<p>"), b"<p>", "text/html; charset=utf-8", id="of a template of Jinja"),
        pytest.param(mark_safe("<p>"), b"<p>", "text/html; charset=utf-8", id="and of Django"),
    ],
)
def test_a_body_is_stored_with_its_type(
    client: PurgeClient, fake_kv: FakeKV, body: Any, stored: bytes, media_type: str | None
) -> None:
    published = client.publish(URL, lambda: body, headers=FRESH)
    assert published.key == record_key(parse_target(URL))
    assert fake_kv.read(published.key) == stored
    record = record_at(fake_kv, published.key)
    assert dict(record.fields).get("content-type") == media_type
    assert record.body_bytes == len(stored)


@pytest.mark.parametrize(
    ("url", "headers", "media_type"),
    [
        pytest.param(f"{URL}/menu.CSV?x=.json", {}, "text/csv; charset=utf-8", id="by the URL"),
        pytest.param(f"{URL}/menu.csv", {"CONTENT-TYPE": "text/x"}, "text/x", id="what is given stands"),
    ],
)
def test_a_type_may_follow_from_elsewhere(
    client: PurgeClient, fake_kv: FakeKV, url: str, headers: dict[str, str], media_type: str
) -> None:
    key = client.publish(url, lambda: b"1,2", headers={**FRESH, **headers}).key
    assert dict(record_at(fake_kv, key).fields)["content-type"] == media_type


def test_what_begins_like_json_and_goes_too_deep_is_text() -> None:
    assert encoded("[" * 200_000, URL)[1] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("body", "form"),
    [
        ({"a": {1}}, "JSON"),
        ({"a": float("nan")}, "JSON"),
        (object(), "JSON"),
        ({"a": "\ud800"}, "JSON"),
        ("half a character: \ud800", "UTF-8"),
    ],
)
def test_what_cannot_be_sent_is_named(client: PurgeClient, body: Any, form: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{URL} can't be published.*{form}.*Content-Type"):
        client.publish(URL, lambda: body, headers=FRESH)


def test_fields_groups_and_moments_are_those_of_a_stored_response(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    headers = {
        **FRESH,
        "ETag": '"v1"',
        "Cache-Groups": '"a", "b"',
        "Cache-Tag": "c,d",
        "Surrogate-Key": "e f",
        "Connection": "close",
        "Age": "5",
        "Content-Length": "4",
    }
    key = client.publish(URL, lambda: b"body", headers=headers, groups=["g", "a"]).key
    record = record_at(fake_kv, key)
    assert record.groups == ("g", "a", "b", "c", "d", "e", "f")
    assert [name for name, _ in record.fields] == [
        "cache-control",
        "etag",
        "cache-groups",
        "content-type",
        "date",
    ]
    assert record.birth_ms == record.response_ms == round(kv_clock.now() * 1000)


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        pytest.param(
            "max-age=600", 600 + DAY + 7 * DAY, id="freshness, the default stale-if-error, retention"
        ),
        pytest.param("max-age=600, must-revalidate", 600 + 7 * DAY, id="no window where none is allowed"),
        pytest.param("max-age=600, stale-while-revalidate=172800", 600 + 9 * DAY, id="the longest window"),
        pytest.param("max-age=99999999", MAX_RECORD_SECONDS, id="never longer than a mark lives"),
    ],
)
def test_kv_keeps_it_longer_than_it_may_be_used(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock, cache_control: str, seconds: int
) -> None:
    published = client.publish(URL, lambda: b"", headers={"cache-control": cache_control})
    assert published.seconds == seconds
    kv_clock.advance(seconds - 1)
    assert fake_kv.read(published.key) == b""
    kv_clock.advance(2)
    assert fake_kv.read(published.key) is None


def test_text_is_stored_compressed_where_that_pays(client: PurgeClient, fake_kv: FakeKV) -> None:
    key = client.publish(URL, lambda: "text " * 2000, headers=FRESH).key
    record = record_at(fake_kv, key)
    assert (record.coding, record.body_bytes) == ("gzip", 10_000)
    assert gzip.decompress(fake_kv.read(key) or b"") == b"text " * 2000


@pytest.mark.parametrize("size", [pytest.param(2000, id="small"), pytest.param(20_000, id="large")])
def test_brotli_is_published_where_it_is_set_and_installed(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV, size: int
) -> None:
    client = new_client(project=Project(publish_coding=PublishCoding.BR))
    published = client.publish(URL, lambda: "text " * size, headers=FRESH)
    assert (published.coding, record_at(fake_kv, published.key).coding) == ("br", "br")
    assert record_at(fake_kv, published.key).body_bytes == size * 5
    assert brotli.decompress(fake_kv.read(published.key)) == b"text " * size


async def test_an_event_loop_goes_on_while_a_body_is_compressed(
    fake_kv: FakeKV, kv_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = Event(), Event()

    class Slow:
        MODE_TEXT = brotli.MODE_TEXT

        @staticmethod
        def compress(body: bytes, **options: Any) -> bytes:
            begun.set()
            assert goes_on.wait(5)
            return bytes(brotli.compress(body, **options))

    monkeypatch.setitem(sys.modules, "brotli", Slow)
    brotli_module.cache_clear()
    try:
        async with AsyncPurgeClient(
            fake_kv.settings,
            project=Project(publish_coding=PublishCoding.BR),
            options=Options(clock=kv_clock),
            transport=fake_kv.transport,
        ) as edge:
            publishing = asyncio.create_task(
                edge.publish(URL, "text " * 2000, born=edge.now(), headers=FRESH)
            )
            await asyncio.to_thread(begun.wait, 5)
            goes_on.set()
            published = await publishing
    finally:
        brotli_module.cache_clear()
    assert (published.coding, brotli.decompress(fake_kv.read(published.key))) == ("br", b"text " * 2000)


def test_without_brotli_gzip_is_published_and_told(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("brotli", "brotlicffi"):
        monkeypatch.setitem(sys.modules, name, None)
    brotli_module.cache_clear()
    try:
        client = new_client(project=Project(publish_coding=PublishCoding.BR))
        published = client.publish(URL, lambda: "text " * 2000, headers=FRESH)
    finally:
        brotli_module.cache_clear()
    assert (published.coding, record_at(fake_kv, published.key).coding) == ("gzip", "gzip")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"content-type": "image/png"}, id="what isn't text"),
        pytest.param({"cache-control": "max-age=600, no-transform"}, id="what must not be transformed"),
    ],
)
def test_other_bodies_are_stored_as_they_are(
    client: PurgeClient, fake_kv: FakeKV, headers: dict[str, str]
) -> None:
    key = client.publish(URL, lambda: "text " * 2000, headers={**FRESH, **headers}).key
    assert record_at(fake_kv, key).coding == ""
    assert fake_kv.read(key) == b"text " * 2000


def test_a_large_body_lies_apart_and_is_there_before_its_record(client: PurgeClient, fake_kv: FakeKV) -> None:
    body = bytes(2 * 1024 * 1024)
    key = client.publish(URL, lambda: body, headers=FRESH).key
    record = record_at(fake_kv, key)
    assert record.body_key.startswith("b1/")
    assert (fake_kv.read(key), fake_kv.read(record.body_key)) == (b"", body)
    written = [b'"b1/' in request.body for request in fake_kv.requests if request.method == "PUT"]
    assert written == [True, False], "the body first"


def test_a_head_too_long_for_metadata_lies_in_front(client: PurgeClient, fake_kv: FakeKV) -> None:
    key = client.publish(URL, lambda: b"body", headers={**FRESH, "x-long": "x" * 2000}).key
    assert dict(record_at(fake_kv, key).fields)["x-long"] == "x" * 2000
    assert (fake_kv.read(key) or b"").endswith(b"body")


@pytest.mark.parametrize("profile", ["safe", "rfc9111"])
def test_a_plain_response_takes_no_variants_place(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV, profile: str
) -> None:
    client, base = new_client(project=Project(profile=Profile(profile))), record_key(parse_target(URL))
    german = {"accept-language": "de"}
    headers = {**FRESH, "vary": "Accept-Language"}
    varied = client.publish(URL, lambda: b"de", headers=headers, request_headers=german)
    plain = client.publish(URL, lambda: b"plain", headers=FRESH)
    assert read_metadata(fake_kv.metadata(base)) == Index((("accept-language",),))
    assert (fake_kv.read(varied.key), fake_kv.read(plain.key)) == (b"de", b"plain")
    name = "accept-language" if profile == "safe" else ""
    assert plain.key == variant_key(base, [(name, None)])
    # To the request of a variant it is the variant's successor, in the safe profile alone.
    again = client.publish(URL, lambda: b"de, again", headers=FRESH, request_headers=german)
    assert (again.key == varied.key) == (profile == "safe")


def test_variants_lie_beside_their_index(client: PurgeClient, fake_kv: FakeKV) -> None:
    base = record_key(parse_target(URL))
    for vary in ("Accept-Language", "Accept, Accept-Language"):
        client.publish(
            URL, lambda: b"", headers={**FRESH, "vary": vary}, request_headers={"Accept-Language": "DE, en"}
        )
    assert read_metadata(fake_kv.metadata(base)) == Index(
        (("accept", "accept-language"), ("accept-language",))
    )
    assert variant_key(base, [("accept-language", "de,en")]) in fake_kv.stored_keys()
    assert variant_key(base, [("accept", None), ("accept-language", "de,en")]) in fake_kv.stored_keys()


RULED = Project(
    rules=(
        Rule("dropped", paths=("/never/**",), bypass=True),
        Rule("mine", paths=("/mine/**",), cookies=("sid",), data_class=EdgeDataClass.PRIVATE),
        Rule("tenants", paths=("/t/**",), fields=("x-tenant",), query_drop=("utm_*",), groups=("tenants",)),
    )
)


def test_a_rule_puts_identity_and_groups_into_it(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV
) -> None:
    client = new_client(project=RULED)
    published = client.publish(
        "https://a.example/t/x?utm_a=1", lambda: b"", headers=FRESH, request_headers={"X-Tenant": "acme"}
    )
    assert published.key == variant_key("r1/https/a.example/t/x", [("field:x-tenant", "acme")])
    assert record_at(fake_kv, published.key).groups == ("tenants",)


def test_what_an_api_key_or_a_parameter_says_is_identity(new_client: Callable[..., PurgeClient]) -> None:
    rule = Rule(
        "keys",
        claims=("tenant",),
        api_key_parameters=("key",),
        parameters=("sig",),
        data_class=EdgeDataClass.PRIVATE,
    )
    client = new_client(project=Project(rules=(rule,)))
    url = "https://a.example/x?a=1&sig=s&key=k"
    with pytest.raises(NotCacheable, match="api-key:tenant"):
        client.publish(url, lambda: b"", headers=FRESH)
    published = client.publish(url, lambda: b"", headers=FRESH, identity={"api-key:tenant": "acme"})
    expected = [("api-key:tenant", '"acme"'), ("parameter:sig", "s")]
    assert published.key == variant_key("r1/https/a.example/x?a=1", expected)


def test_a_response_is_published_to_the_queries_that_it_calls_the_same(
    new_client: Callable[..., PurgeClient],
) -> None:
    project = Project(rules=(Rule("lists", no_vary_search=True),))
    client = new_client(project=project)
    headers = {**FRESH, "no-vary-search": 'params=("ref")'}
    keys = {
        client.publish(f"https://a.example/x?{query}", lambda: b"", headers=headers).key
        for query in ("a=1", "a=1&ref=2", "ref&a=1")
    }
    other = client.publish("https://a.example/x?a=2", lambda: b"", headers=headers).key
    assert len(keys) == 1
    assert other not in keys
    asked = RequestFacts("GET", parse_target("https://a.example/x?ref=9&a=1"), {})
    lookup = on_request(asked, project, 0)
    assert isinstance(lookup, Lookup)
    assert {variant(lookup, ('?params=("ref")',))} == keys


def test_a_private_response_is_published_to_a_declared_identity_only(
    new_client: Callable[..., PurgeClient],
) -> None:
    client = new_client(project=RULED)
    url, headers = "https://a.example/mine/x", {"cache-control": "private, max-age=60"}
    with pytest.raises(NotCacheable, match="cookie:sid"):
        client.publish(url, lambda: b"", headers=headers)
    published = client.publish(url, lambda: b"", headers=headers, identity={"cookie:sid": "s1"})
    assert published.key == variant_key("r1/https/a.example/mine/x", [("cookie:sid", "s1")])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param({"headers": {}}, "would be stale", id="no lifetime"),
        pytest.param({"headers": {"cache-control": "no-store"}}, "no-store", id="no-store"),
        pytest.param({"headers": {"cache-control": "private, max-age=9"}}, "private", id="private"),
        pytest.param({"headers": {**FRESH, "set-cookie": "a=b"}}, "Set-Cookie", id="a cookie"),
        pytest.param({"headers": {**FRESH, "vary": "*"}}, r"Vary: \*", id="a response for no request"),
        pytest.param(
            {"headers": {**FRESH, "vary": "Accept-Encoding"}}, "compresses", id="the cache's own business"
        ),
        pytest.param({"headers": FRESH, "status": 304}, "304", id="a status that isn't final"),
        pytest.param({"headers": FRESH, "status": 503}, "503", id="an error of the origin"),
        pytest.param(
            {"headers": FRESH, "groups": [f"g{n}" for n in range(257)]}, "257 groups", id="too many groups"
        ),
    ],
)
def test_what_the_worker_would_not_store_is_refused(
    client: PurgeClient, fake_kv: FakeKV, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(NotCacheable, match=named):
        client.publish(URL, lambda: b"", **arguments)
    assert fake_kv.stored_keys() == []


def test_a_page_has_the_groups_of_the_cached_values_that_it_is_rendered_from(
    client: PurgeClient,
) -> None:
    family = Family("price", "{id}", str, groups=("price-{id}",), data_class=DataClass.PUBLIC)
    with LayeredCache() as cache:
        published = client.publish(
            URL,
            lambda: cache.get_or_load(family.key(id=7), lambda _: "x"),
            headers=FRESH,
            groups="pages",
        )
    assert published.groups == ("pages", "price-7")


async def test_an_event_loop_may_await_what_it_publishes(async_purge_client: AsyncPurgeClient) -> None:
    family = Family("price", "{id}", str, groups=("price-{id}",), data_class=DataClass.PUBLIC)

    async def load(_: object) -> str:
        return "x"

    async with AsyncLayeredCache() as cache:

        async def render(of: Family[str]) -> str:
            return await cache.get_or_load(of.key(id=7), load)

        published = await async_purge_client.publish(URL, lambda: render(family), headers=FRESH)
        assert published.groups == ("price-7",)
        with pytest.raises(DataClassViolation):
            await async_purge_client.publish(URL, lambda: render(Family("order", "{id}", str)), headers=FRESH)


def test_a_page_made_of_what_must_not_reach_the_edge_is_refused_and_audited(
    client: PurgeClient, fake_kv: FakeKV
) -> None:
    events: list[AuditEvent] = []
    with LayeredCache(audit=events.append) as cache:
        key = Family("order", "{id}", str).key(id=7)
        cache.get_or_load(key, lambda _: "x")
        with pytest.raises(DataClassViolation, match=f"{URL}.*'order'"):
            client.publish(URL, lambda: cache.get_or_load(key, lambda _: "x"), headers=FRESH)
    assert fake_kv.stored_keys() == []
    assert events[-1].details == {"family": "order", "what": URL}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(
            {"headers": {**FRESH, "x-a": "1\n>group"}}, "line break", id="a field with a line break"
        ),
        pytest.param({"headers": FRESH, "groups": [" a"]}, "' a'", id="a group that can't be"),
        pytest.param(
            {"headers": {**FRESH, "cache-groups": "a b"}}, "Cache-Groups", id="a field that doesn't parse"
        ),
        pytest.param(
            {"headers": FRESH, "born": datetime.fromisoformat("2026-01-01")},
            "time zone",
            id="a moment without zone",
        ),
    ],
)
def test_what_cannot_be_is_refused(client: PurgeClient, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        client.publish(URL, lambda: b"", **arguments)


def test_a_rule_that_keeps_it_from_the_edge_holds_here_too(new_client: Callable[..., PurgeClient]) -> None:
    with pytest.raises(NotCacheable, match="dropped"):
        new_client(project=RULED).publish("https://a.example/never/x", lambda: b"", headers=FRESH)


@pytest.mark.parametrize(
    "query", ["API_KEY=s3cr3t", "a=1;api_key=s3cr3t", "api_key=s3cr3t", "api%255Fkey=s3cr3t"]
)
def test_a_parameter_that_some_rule_hides_is_published_under_no_other(
    new_client: Callable[..., PurgeClient], query: str
) -> None:
    hiding = Rule("mine", paths=("/mine/**",), data_class=EdgeDataClass.PRIVATE, parameters=("api_key",))
    client = new_client(project=Project(rules=(hiding, Rule("others"))))

    with pytest.raises(NotCacheable, match="proves whose it is") as raised:
        client.publish(f"https://a.example/x?{query}", dict, headers=FRESH)

    assert "s3cr3t" not in str(raised.value)


DISGUISED = Project(
    rules=(
        Rule("account", paths=("/account/**",), data_class=EdgeDataClass.NEVER),
        Rule("mine", paths=("/mine/**",), data_class=EdgeDataClass.PRIVATE, fields=("x-partner",)),
        Rule("yours", paths=("/yours/**",), data_class=EdgeDataClass.PRIVATE, fields=("x-tenant",)),
        Rule("localised", paths=("/localised/**",), fields=("x-country",)),
        Rule("tracked", paths=("/tracked/**",), query_drop=("utm",)),
    )
)
ASKED = {"X-Partner": "a", "X-Tenant": "b", "X-Country": "at"}


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize(
    "path",
    [
        *("/account/x", "/ACCOUNT/x", "/account%2Fx", "/mine/x", "/Mine/x", "//mine/x", "/mine;a/x"),
        *("/localised/x", "/Localised/x", "/yours/..%2Fmine/x", "/TRACKED/x?utm=1&a=2", "/tracked/x?utm=1"),
    ],
)
def test_publishing_goes_by_the_rule_that_the_worker_takes_of_all_spellings(
    new_client: Callable[..., PurgeClient], path: str, profile: Profile
) -> None:
    url, project = f"https://a.example{path}", replace(DISGUISED, profile=profile)
    request = RequestFacts("GET", parse_target(url), {name.lower(): each for name, each in ASKED.items()})
    decision = on_request(request, project, 0)
    client = new_client(project=project)

    if isinstance(decision, Forward):
        with pytest.raises(NotCacheable, match=f"the rule '{decision.rule.name}' keeps it from the edge"):
            client.publish(url, dict, headers=FRESH, request_headers=ASKED)
    else:
        published = client.publish(url, dict, headers=FRESH, request_headers=ASKED)
        assert published.key == variant(decision, ())
        assert decision.rule.name in {explain(url, project).rule, "default"}


def test_a_body_without_its_birth_is_refused(client: PurgeClient) -> None:
    with pytest.raises(InvalidRequest, match="born"):
        client.publish(URL, b"rendered some time ago", headers=FRESH)


def test_birth_is_before_rendering(client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock) -> None:
    began = kv_clock.now()

    def render() -> bytes:
        kv_clock.advance(5)
        return b""

    record = record_at(fake_kv, client.publish(URL, render, headers=FRESH).key)
    assert record.birth_ms == round(began * 1000)
    assert (record.response_ms - record.birth_ms, record.initial_age_ms) == (5000, 5000)


def test_after_a_purge_it_counts_as_newer_than_each_of_its_marks(
    client: PurgeClient, fake_kv: FakeKV
) -> None:
    fake_kv.leave_unsuccessful("m2/s/url/a.example/x")
    receipt = client.purge(urls=URL)
    record = record_at(fake_kv, client.publish(URL, lambda: b"", headers=FRESH, after=receipt).key)
    born = datetime.fromtimestamp(record.birth_ms / 1000, UTC)
    assert born - receipt.latest_moment == timedelta(milliseconds=1)
    assert receipt.latest_moment > receipt.moment


SEARCH = Rule("search", paths=("/search/**",), methods=frozenset({"QUERY", "POST"}), body=KeyBody.JSON)
GRAPHQL = Rule("graphql", paths=("/graphql",), body=KeyBody.GRAPHQL, groups_from=("product-{data.id}",))
BY_CONTENT = Project(rules=(SEARCH, GRAPHQL), key_body_bytes=1000)
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("url", "method", "content"),
    [
        pytest.param("https://a.example/search/x", "QUERY", b'{"a": 1}', id="QUERY"),
        pytest.param("https://a.example/search/x", "POST", b"no JSON", id="POST"),
        pytest.param("https://a.example/graphql", "POST", b'{"query": "{ a }"}', id="GraphQL"),
    ],
)
def test_what_answers_a_content_lies_where_the_worker_looks(
    new_client: Callable[..., PurgeClient], url: str, method: str, content: bytes
) -> None:
    client = new_client(project=BY_CONTENT)
    published = client.publish(
        url,
        lambda: {"data": {"id": 7}},
        headers=FRESH,
        method=method,
        content=content,
        request_headers=JSON,
    )

    fields = {"content-type": "application/json", "content-length": str(len(content))}
    request = RequestFacts(method, parse_target(url), fields)
    waiting = on_request(request, BY_CONTENT, 0)
    assert isinstance(waiting, Forward)
    assert waiting.awaits is Awaited.CONTENT
    key = content_key(method, waiting.rule.body, fields, content)
    lookup = on_request(replace(request, content=Content(content, key.parts)), BY_CONTENT, 0)
    assert isinstance(lookup, Lookup)
    assert published.key == variant(lookup, ())
    assert published.key == explain(url, BY_CONTENT, method, content, fields).key
    assert published.groups == (("product-7",) if "graphql" in url else ())
    (stored,) = client.inspect(url).stored
    assert stored.key == published.key


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param({"url": "https://a.example/x", "method": "QUERY"}, "a rule with key_body", id="no rule"),
        pytest.param({"content": b"x" * 1001}, "1001 bytes", id="a large content"),
        pytest.param({"content": b'{"query": "mutation { a }"}'}, "surely one GraphQL", id="a mutation"),
        pytest.param({"body": {"errors": [1]}}, "the answer has errors", id="an answer with errors"),
        pytest.param({"body": "text"}, "isn't JSON", id="an answer that can't be read"),
    ],
)
def test_what_no_request_would_meet_is_not_published(
    new_client: Callable[..., PurgeClient], arguments: dict[str, Any], problem: str
) -> None:
    given = {"url": "https://a.example/graphql", "content": b'{"query": "{ a }"}', "body": {}, **arguments}
    body = given.pop("body")
    with pytest.raises(NotCacheable, match=problem):
        new_client(project=BY_CONTENT).publish(
            body=lambda: body, headers=FRESH, request_headers=JSON, **{"method": "POST", **given}
        )


NEGOTIATING = Rule(
    "few", languages=("en", "de"), media_types=("text/html",), device_field="x-device", fields=("x-device",)
)


def test_what_is_negotiated_by_a_rule_and_the_version_are_in_the_key_as_the_worker_has_them(
    new_client: Callable[..., PurgeClient],
) -> None:
    project = Project(rules=(NEGOTIATING,), key_version="7")
    asked = {"Accept-Language": "de-AT, fr;q=0.5", "User-Agent": "Mobile", "X-Device": "forged"}
    published = new_client(project=project).publish(
        URL, dict, headers={**FRESH, "vary": "Accept-Language"}, request_headers=asked
    )

    fields = {name.lower(): value for name, value in asked.items()}
    lookup = on_request(RequestFacts("GET", parse_target(URL), fields), project, 0)
    assert isinstance(lookup, Lookup)
    assert published.key == variant(lookup, ("accept-language",))


@pytest.mark.parametrize(
    "cache_control", ["max-age=600", "max-age=60, stale-while-revalidate=9", "s-maxage=5"]
)
def test_what_the_worker_would_work_out_is_prepared(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV, cache_control: str
) -> None:
    rule, project = Rule(name="pages", stale_if_error=7), Project(lifetime_jitter=0.5)
    client = new_client(project=replace(project, rules=(rule,)))
    published = client.publish(URL, lambda: "x", headers={"cache-control": cache_control})
    record, settings = record_at(fake_kv, published.key), Settings(lifetime_jitter=0.5)
    expected = freshness_of(record, combined(record.fields), rule, settings)
    assert read_prepared(prepared_in(fake_kv.metadata(published.key)), rule, settings) == expected
