from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from examples.catalogue.caching import (
    Validators,
    is_match_failed,
    is_not_modified,
    settled,
    strong_etag,
)

_CHANGED = datetime(2026, 3, 1, 12, 0, 5, 900_000, tzinfo=UTC)
_BOTH = Validators(etag='"a"', last_modified=_CHANGED)
_NO_DATE = Validators(etag='"a"')
_NO_ETAG = Validators(last_modified=_CHANGED)
_ON_TIME = "Sun, 01 Mar 2026 12:00:05 GMT"
_TOO_EARLY = "Sun, 01 Mar 2026 12:00:04 GMT"


@pytest.mark.parametrize(
    ("fields", "validators", "expected"),
    [
        pytest.param({}, _BOTH, False, id="no condition"),
        pytest.param({"if-none-match": '"a"'}, _BOTH, True, id="the same tag"),
        pytest.param({"if-none-match": 'W/"a"'}, _BOTH, True, id="the comparison is weak"),
        pytest.param({"if-none-match": '"b", "a"'}, _BOTH, True, id="one tag of several"),
        pytest.param({"if-none-match": '"b,a"'}, _BOTH, False, id="a comma inside a tag is part of it"),
        pytest.param({"if-none-match": "*"}, _NO_ETAG, True, id="the asterisk matches whatever is there"),
        pytest.param({"if-none-match": "a"}, _BOTH, False, id="a tag without quotes is none"),
        pytest.param({"if-none-match": '"a"'}, _NO_ETAG, False, id="a tag against a response without one"),
        pytest.param({"if-modified-since": _ON_TIME}, _BOTH, True, id="not modified since the same second"),
        pytest.param({"if-modified-since": _TOO_EARLY}, _BOTH, False, id="modified a second later"),
        pytest.param(
            {"if-modified-since": _ON_TIME}, _NO_DATE, False, id="a date against a response without one"
        ),
        pytest.param({"if-modified-since": "yesterday"}, _BOTH, False, id="what is no date is no condition"),
        pytest.param(
            {"if-modified-since": "Sun, 01 Mar 2026 12:00:05"}, _BOTH, False, id="a date without a zone"
        ),
        pytest.param(
            {"if-none-match": '"b"', "if-modified-since": _ON_TIME},
            _BOTH,
            False,
            id="the tag outranks the date",
        ),
    ],
)
def test_when_304_is_the_answer(fields: dict[str, str], validators: Validators, *, expected: bool) -> None:
    assert is_not_modified(fields, validators) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, False, id="no condition"),
        pytest.param({"if-match": '"a"'}, False, id="the same tag"),
        pytest.param({"if-match": '"b", "a"'}, False, id="one tag of several"),
        pytest.param({"if-match": "*"}, False, id="the asterisk matches whatever is there"),
        pytest.param({"if-match": '"b"'}, True, id="another tag"),
        pytest.param({"if-match": 'W/"a"'}, True, id="the comparison is strong"),
    ],
)
def test_when_if_match_fails(fields: dict[str, str], *, expected: bool) -> None:
    assert is_match_failed(fields, '"a"') is expected


def test_a_moment_in_the_present_second_is_no_validator_yet() -> None:
    assert settled(_CHANGED, _CHANGED + timedelta(seconds=0.05)) is None
    assert settled(_CHANGED, _CHANGED + timedelta(seconds=0.1)) == _CHANGED


def test_the_etag_depends_on_the_bytes_alone() -> None:
    assert strong_etag(b"a") == strong_etag(b"a") != strong_etag(b"b")


_PRODUCT = "public, max-age=60, s-maxage=300, stale-while-revalidate=60, stale-if-error=86400"
_LIST = "public, max-age=30, stale-if-error=600"
_LIST_AT_EDGE = "max-age=600, stale-while-revalidate=120, stale-if-error=86400"
_SEARCH = "public, max-age=120, stale-if-error=600"
_SEARCH_AT_EDGE = "max-age=30, stale-while-revalidate=30, stale-if-error=3600"
_CATEGORIES = "public, max-age=300, s-maxage=3600, stale-while-revalidate=600, stale-if-error=604800"
_IMAGE_AT_EDGE = "max-age=604800, stale-while-revalidate=86400, stale-if-error=604800"
_EXPORT = "public, max-age=60, s-maxage=600, stale-if-error=86400"
_REPORT = "public, max-age=5, stale-while-revalidate=60, stale-if-error=86400"
_MOVED = "public, max-age=3600, s-maxage=86400"
_IN_1 = '"product-17", "category-1"'


@pytest.mark.parametrize(
    ("target", "status", "cache_control", "at_edge", "groups"),
    [
        pytest.param("/", 200, _CATEGORIES, None, None, id="index"),
        pytest.param("/products", 200, _LIST, _LIST_AT_EDGE, '"products"', id="list"),
        pytest.param(
            "/products?category=tea", 200, _LIST, _LIST_AT_EDGE, '"category-17"', id="list of a category"
        ),
        pytest.param("/products/17", 200, _PRODUCT, None, _IN_1, id="product"),
        pytest.param(
            "/products/by-slug/westerley-compact-casserole", 200, _PRODUCT, None, _IN_1, id="product by slug"
        ),
        pytest.param(
            "/products/by-slug/article-50", 301, _MOVED, None, '"product-50", "category-1"', id="former slug"
        ),
        pytest.param(
            "/products/17/image.png", 200, "public, max-age=86400", _IMAGE_AT_EDGE, '"product-17"', id="image"
        ),
        pytest.param("/search?q=kettle", 200, _SEARCH, _SEARCH_AT_EDGE, '"products"', id="search"),
        pytest.param("/categories", 200, _CATEGORIES, None, '"categories"', id="categories"),
        pytest.param(
            "/categories/tea/products",
            200,
            _LIST,
            _LIST_AT_EDGE,
            '"category-17"',
            id="products of a category",
        ),
        pytest.param("/slow", 200, _REPORT, None, '"products"', id="slow report"),
        pytest.param("/export.ndjson", 200, _EXPORT, None, '"products"', id="export"),
        pytest.param("/health", 200, "no-store", None, None, id="health"),
        pytest.param(
            "/products/9999",
            404,
            "public, max-age=10",
            None,
            '"product-9999"',
            id="absent product, for a while",
        ),
        pytest.param(
            "/categories/none/products", 404, "public, max-age=10", None, '"categories"', id="absent category"
        ),
        pytest.param("/nowhere", 404, "no-store", None, None, id="path that is none"),
        pytest.param("/products?page=0", 422, "no-store", None, None, id="invalid query"),
        pytest.param("/me", 401, "no-store", None, None, id="profile without a token"),
    ],
)
async def test_cache_fields(
    client: httpx.AsyncClient,
    target: str,
    status: int,
    cache_control: str,
    at_edge: str | None,
    groups: str | None,
) -> None:
    response = await client.get(target)
    assert response.status_code == status
    assert response.headers["cache-control"] == cache_control
    assert response.headers.get("cdn-cache-control") == at_edge
    assert response.headers.get("cache-groups") == groups


_READ = [
    "/products?page=2",
    "/products/17",
    "/products/17/image.png",
    "/products/by-slug/westerley-compact-casserole",
    "/search?q=kettle",
    "/categories",
    "/categories/kitchen/products",
    "/slow?seconds=0",
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", _READ)
async def test_a_matching_etag_is_answered_by_304(
    client: httpx.AsyncClient, target: str, method: str
) -> None:
    full = await client.get(target)
    response = await client.request(method, target, headers={"If-None-Match": full.headers["etag"]})
    assert response.status_code == 304
    assert response.content == b""
    guiding = {
        "cache-control",
        "cdn-cache-control",
        "cache-groups",
        "content-location",
        "etag",
        "last-modified",
        "vary",
    }
    assert dict(response.headers) == {name: full.headers[name] for name in full.headers if name in guiding}


@pytest.mark.parametrize("target", ["/products/17", "/categories/tea/products", "/export.ndjson"])
async def test_the_last_modified_date_is_answered_by_304(client: httpx.AsyncClient, target: str) -> None:
    full = await client.get(target)
    response = await client.get(target, headers={"If-Modified-Since": full.headers["last-modified"]})
    assert response.status_code == 304
    assert response.headers["last-modified"] == full.headers["last-modified"]


@pytest.mark.parametrize("target", [*_READ, "/export.ndjson", "/health", "/products/9999"])
async def test_head_is_get_without_content(client: httpx.AsyncClient, target: str) -> None:
    full = await client.get(target)
    head = await client.head(target)
    assert (head.status_code, head.headers, head.content) == (full.status_code, full.headers, b"")


async def test_a_product_just_changed_has_no_date_until_the_second_is_over(
    client: httpx.AsyncClient, moments: list[datetime], set_now: Callable[[datetime], None]
) -> None:
    await client.patch("/products/17", json={"stock": 3})
    assert "last-modified" not in (await client.get("/products/17")).headers
    set_now(moments[-1] + timedelta(seconds=1))
    assert (await client.get("/products/17")).headers["last-modified"] == "Sun, 01 Mar 2026 12:00:00 GMT"
