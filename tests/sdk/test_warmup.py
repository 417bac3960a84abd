import gzip
import json
from typing import Any

import httpx
import pytest

from origin_sdk import AsyncPurgeClient, PurgeClient, WarmRequest
from origin_sdk._cloudflare.effects import Progress
from origin_sdk._edge.warmup import moved_to, urls_of_openapi, urls_of_sitemap, warmed
from origin_sdk.errors import InvalidRequest
from origin_sdk.testing import FakeKV

SITEMAP = b"""<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
  <url><loc>https://a.example/1?x=1&amp;y=2</loc><lastmod>2026-01-01</lastmod></url>
  <url><loc> https://a.example/2 </loc></url>
</urlset>"""
INDEX = b"""<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
  <sitemap><loc>https://a.example/s1.xml</loc></sitemap></sitemapindex>"""


@pytest.mark.parametrize(
    ("content", "urls", "sitemaps"),
    [
        pytest.param(SITEMAP, ["https://a.example/1?x=1&y=2", "https://a.example/2"], [], id="a sitemap"),
        pytest.param(
            gzip.compress(INDEX), [], ["https://a.example/s1.xml"], id="a compressed index of sitemaps"
        ),
    ],
)
def test_urls_of_a_sitemap(content: bytes, urls: list[str], sitemaps: list[str]) -> None:
    assert urls_of_sitemap(content) == (urls, sitemaps)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<html><br></html>", id="not XML"),
        pytest.param(
            b'<!DOCTYPE x [<!ENTITY a "aaaa">]><urlset><url><loc>&a;</loc></url></urlset>', id="a bomb"
        ),
    ],
)
def test_what_is_no_sitemap_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not a sitemap"):
        urls_of_sitemap(content)


def operation(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"parameters": list(parameters)}}


@pytest.mark.parametrize(
    ("path", "item", "url"),
    [
        pytest.param("/p", operation(), "https://a.example/v1/p", id="no parameters"),
        pytest.param(
            "/p/{id}",
            operation({"name": "id", "in": "path", "required": True, "example": 7}),
            "https://a.example/v1/p/7",
            id="an example in the path",
        ),
        pytest.param(
            "/p/{id}",
            {"get": {}, "parameters": [{"name": "id", "in": "path", "schema": {"enum": ["a b", "c"]}}]},
            "https://a.example/v1/p/a%20b",
            id="the first of an enum, for all operations of the path",
        ),
        pytest.param(
            "/p",
            operation(
                {"name": "page", "in": "query", "required": True, "schema": {"default": 1}},
                {"name": "sort", "in": "query", "example": "name"},
            ),
            "https://a.example/v1/p?page=1",
            id="required ones alone in the query",
        ),
        pytest.param("/p/{id}", operation({"name": "id", "in": "path"}), None, id="no value: left out"),
        pytest.param(
            "/p/{id}",
            operation({"name": "id", "in": "path", "example": "\ud800"}),
            None,
            id="half a character: left out",
        ),
        pytest.param("/p", {"post": {}}, "", id="no GET: no matter"),
    ],
)
def test_urls_of_an_openapi_document(path: str, item: dict[str, Any], url: str | None) -> None:
    document = {"servers": [{"url": "https://a.example/v1/"}], "paths": {path: item}}
    expected = ([], [path]) if url is None else ([url] if url else [], [])
    assert urls_of_openapi(json.dumps(document).encode()) == expected


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"openapi: 3.1.0", "JSON"), (b'{"paths": {}, "servers": [{"url": "/v1"}]}', "--base"), (b"[]", "JSON")],
)
def test_a_document_without_what_is_needed_is_refused(content: bytes, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        urls_of_openapi(content)


def test_a_url_on_another_host() -> None:
    assert moved_to("https://a.example/x?y", "http://127.0.0.1:8787") == "http://127.0.0.1:8787/x?y"
    assert moved_to("https://a.example/x", "") == "https://a.example/x"


@pytest.mark.parametrize(
    ("cache_status", "cached"),
    [
        ("EdgeCache; fwd=uri-miss; fwd-status=200; stored; detail=stored", True),
        ("EdgeCache; hit; ttl=60", True),
        ("EdgeCache; fwd=uri-miss; fwd-status=200; detail=no-store", False),
        ("Origin; hit, EdgeCache; fwd=bypass", False),
        ('EdgeCache; hit; key="r1/http/a.example/x?a=1,2\\", EdgeCache; fwd=miss"', True),
        ('Origin; key="hit, stored", EdgeCache; fwd=miss; detail="stored"', False),
        ("", False),
    ],
)
def test_cache_status_tells_whether_the_edge_has_it(cache_status: str, cached: bool) -> None:
    assert warmed("u", 200, {"cache-status": cache_status}).cached is cached


def edge(request: httpx.Request) -> httpx.Response:
    assert "authorization" not in request.headers, "the token is for the API alone"
    if request.url.path == "/down":
        raise httpx.ConnectError("refused", request=request)
    stored = "" if request.url.path == "/private" else "; stored"
    return httpx.Response(
        200, headers={"cache-status": f"EdgeCache; fwd=uri-miss{stored}"}, content=b"x" * 100_000
    )


URLS = ["https://a.example/1", "https://a.example/private", "https://a.example/down", "https://a.example/1"]


def test_every_url_is_asked_for_once_and_its_outcome_told(fake_kv: FakeKV) -> None:
    progress: list[Progress] = []
    with PurgeClient(fake_kv.settings, edge_transport=httpx.MockTransport(edge)) as client:
        results = client.warm(URLS, on_progress=progress.append)
    assert [(result.url, result.cached, bool(result.error)) for result in results] == [
        (URLS[0], True, False),
        (URLS[1], False, False),
        (URLS[2], False, True),
    ]
    assert progress[-1] == Progress(3, 3)


async def test_asynchronously_too(fake_kv: FakeKV) -> None:
    progress: list[Progress] = []
    async with AsyncPurgeClient(fake_kv.settings, edge_transport=httpx.MockTransport(edge)) as client:
        results = await client.warm(URLS, concurrency=2, on_progress=progress.append)
    assert [result.cached for result in results] == [True, False, False]
    assert progress[-1] == Progress(3, 3)


def test_a_request_with_a_content_is_sent_as_it_is_described(fake_kv: FakeKV) -> None:
    asked: list[httpx.Request] = []
    request = WarmRequest("QUERY", b'{"a": 1}', {"Content-Type": "application/json"})

    def answer(sent: httpx.Request) -> httpx.Response:
        asked.append(sent)
        return edge(sent)

    transport = httpx.MockTransport(answer)
    with PurgeClient(fake_kv.settings, edge_transport=transport) as client:
        [result] = client.warm(URLS[:1], request=request)

    assert result.cached
    [sent] = asked
    assert (sent.method, sent.read()) == ("QUERY", b'{"a": 1}')
    assert sent.headers["content-type"] == "application/json"
