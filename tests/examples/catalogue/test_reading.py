import json
import struct
import zlib

import httpx
import pytest


async def test_a_product(client: httpx.AsyncClient) -> None:
    product = (await client.get("/products/17")).json()
    assert product == {
        "id": 17,
        "slug": "westerley-compact-casserole",
        "name": "Westerley Compact Casserole",
        "description": product["description"],
        "category": "kitchen",
        "price_cents": product["price_cents"],
        "currency": "EUR",
        "stock": product["stock"],
        "tags": product["tags"],
        "image": "/products/17/image.png",
        "created_at": product["created_at"],
        "updated_at": product["updated_at"],
        "revision": 1,
    }


async def test_pages_follow_one_another_by_link(client: httpx.AsyncClient) -> None:
    response = await client.get("/products?category=tea&per_page=50&sort=name")
    seen = [item["name"] for item in response.json()["items"]]
    while "next" in response.links:
        response = await client.get(response.links["next"]["url"])
        seen += [item["name"] for item in response.json()["items"]]
    assert len(seen) == response.json()["total"] == 126
    assert seen == sorted(seen)
    assert response.links["prev"]["url"] == "/products?category=tea&per_page=50&sort=name&page=2"


async def test_a_page_after_the_last_is_empty(client: httpx.AsyncClient) -> None:
    page = (await client.get("/products?page=1000")).json()
    assert (page["items"], page["total"], page["pages"]) == ([], 3000, 150)


@pytest.mark.parametrize(
    ("sort", "member", "descending"),
    [
        ("id", "id", False),
        ("name", "name", False),
        ("price", "price_cents", False),
        ("-price", "price_cents", True),
        ("-created", "created_at", True),
    ],
)
async def test_orders(client: httpx.AsyncClient, sort: str, member: str, *, descending: bool) -> None:
    items = (await client.get(f"/products?per_page=100&sort={sort}")).json()["items"]
    values = [item[member] for item in items]
    assert values == sorted(values, reverse=descending)


async def test_the_sold_out_and_the_rest_are_all(client: httpx.AsyncClient) -> None:
    sold_out = (await client.get("/products?in_stock=false")).json()
    rest = (await client.get("/products?in_stock=true")).json()
    assert sold_out["total"] + rest["total"] == 3000
    assert sold_out["total"] > 0
    assert {item["stock"] for item in sold_out["items"]} == {0}


@pytest.mark.parametrize(
    ("words", "total"),
    [
        pytest.param("copper kettle", 7, id="every word must occur, here in names"),
        pytest.param("KETTLE copper", 7, id="neither case nor order matters"),
        pytest.param("fluorocarbons trail", 8, id="descriptions count"),
        pytest.param("loose-leaf", 61, id="tags count"),
        pytest.param("xylophone", 0, id="nothing found is an empty list"),
        pytest.param("100%", 0, id="a percent sign stands for itself"),
        pytest.param("c_pper", 0, id="an underscore stands for itself"),
    ],
)
async def test_search(client: httpx.AsyncClient, words: str, total: int) -> None:
    response = await client.get("/search", params={"q": words})
    assert response.status_code == 200
    assert response.json()["total"] == total


async def test_search_shows_names_before_descriptions(client: httpx.AsyncClient) -> None:
    items = (await client.get("/search?q=oak&per_page=100")).json()["items"]
    named = ["oak" in item["name"].lower() for item in items]
    assert True in named
    assert named == sorted(named, reverse=True)


@pytest.mark.parametrize(("language", "name"), [("en", "Kitchen"), ("de-CH", "Küche"), ("fr", "Cuisine")])
async def test_categories_vary_by_language(client: httpx.AsyncClient, language: str, name: str) -> None:
    response = await client.get("/categories", headers={"Accept-Language": language})
    assert response.headers["vary"] == "Accept-Language"
    assert response.headers["content-language"] == language[:2]
    body = response.json()
    assert (body["items"][0]["name"], len(body["items"])) == (name, 20)
    assert sum(item["products"] for item in body["items"]) == 3000


async def test_the_largest_category_is_worth_compressing(client: httpx.AsyncClient) -> None:
    response = await client.get("/categories/kitchen/products")
    assert len(response.json()["items"]) == response.json()["total"] == 606
    assert 300_000 < len(response.content) < 500_000
    assert "content-encoding" not in response.headers


async def test_a_former_slug_redirects_to_the_one_of_now(client: httpx.AsyncClient) -> None:
    moved = await client.get("/products/by-slug/article-50")
    response = await client.get(moved.headers["location"])
    assert response.json()["id"] == 50
    assert response.headers["content-location"] == "/products/50"


async def test_the_image_is_a_png(client: httpx.AsyncClient) -> None:
    response = await client.get("/products/17/image.png")
    assert response.headers["content-type"] == "image/png"
    assert response.content.startswith(b"\x89PNG\r\n\x1a\n")
    kinds, offset = [], 8
    while offset < len(response.content):
        length, kind = struct.unpack_from(">I4s", response.content, offset)
        chunk = response.content[offset + 4 : offset + 8 + length]
        assert struct.unpack_from(">I", response.content, offset + 8 + length) == (zlib.crc32(chunk),)
        kinds.append(kind)
        offset += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


async def test_the_export_has_one_product_a_line_and_no_length(client: httpx.AsyncClient) -> None:
    response = await client.get("/export.ndjson")
    assert response.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in response.headers
    products = [json.loads(line) for line in response.text.splitlines()]
    assert [product["id"] for product in products] == list(range(1, 3001))
    assert products[16] == (await client.get("/products/17")).json()


async def test_the_slow_report_waits_and_adds_up(client: httpx.AsyncClient, naps: list[float]) -> None:
    response = await client.get("/slow?seconds=2.5")
    assert naps == [2.5]
    assert sum(row["products"] for row in response.json()["rows"]) == 3000
    assert response.json()["generated_at"] == "2026-03-01T12:00:00.250000Z"


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/products?page=0", "query.page"),
        ("/products?page=10001", "query.page"),
        ("/products?per_page=101", "query.per_page"),
        ("/products?sort=colour", "query.sort"),
        ("/products?category=No%20Slug", "query.category"),
        ("/products/0", "path.product_id"),
        ("/products/99999999999999999999", "path.product_id"),
        ("/search", "query.q"),
        ("/search?q=a", "query.q"),
        ("/slow?seconds=31", "query.seconds"),
        ("/slow?seconds=nan", "query.seconds"),
    ],
)
async def test_an_invalid_query_is_refused_by_the_name_of_its_parameter(
    client: httpx.AsyncClient, target: str, field: str
) -> None:
    response = await client.get(target)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [each["field"] for each in response.json()["errors"]] == [field]
    assert response.json()["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    "target",
    ["/products/9999", "/products/by-slug/none", "/categories/none/products", "/products/9999/image.png"],
)
async def test_what_is_not_there_is_a_problem_document(client: httpx.AsyncClient, target: str) -> None:
    response = await client.get(target)
    assert response.status_code == response.json()["status"] == 404
    assert response.json()["detail"].startswith("there is no ")


async def test_a_method_that_a_path_does_not_know_names_those_that_it_does(client: httpx.AsyncClient) -> None:
    response = await client.post("/categories")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


async def test_the_index_names_paths_that_exist(client: httpx.AsyncClient) -> None:
    for path in (await client.get("/")).json()["paths"]:
        response = await client.get(path, headers={"Authorization": "Bearer demo-alice"})
        assert response.status_code == 200, path
