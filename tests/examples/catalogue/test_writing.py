from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import pytest

from examples.catalogue import reading, writing
from examples.catalogue.database import Database
from examples.catalogue.errors import ConflictError
from examples.catalogue.schemas import ProductChange

_DRAFT: dict[str, object] = {"name": "Kestrel Paper Kite", "category": "toys", "price_cents": 2490}
_INVALIDATION = "cache-group-invalidation"


async def test_a_product_is_created_and_found_everywhere(client: httpx.AsyncClient) -> None:
    created = await client.post("/products", json=_DRAFT | {"stock": 4, "tags": ["wood"]})
    assert created.status_code == 201
    assert created.headers["location"] == created.headers["content-location"] == "/products/3001"
    assert created.headers["cache-control"] == "no-store"
    assert created.headers[_INVALIDATION] == '"product-3001", "category-14", "products", "categories"'
    assert (await client.get("/products/3001")).content == created.content
    assert (await client.get("/search?q=paper+kite")).json()["total"] == 1
    assert (await client.get("/categories")).json()["items"][13]["products"] == 127


async def test_a_change_touches_what_it_names_and_the_revision(
    client: httpx.AsyncClient, moments: list[datetime]
) -> None:
    before = (await client.get("/products/17")).json()
    changed = await client.patch("/products/17", json={"price_cents": 4990})
    assert changed.headers[_INVALIDATION] == '"product-17", "category-1", "products"'
    after = (await client.get("/products/17")).json()
    now = moments[-1].isoformat().replace("+00:00", "Z")
    assert after == changed.json() == before | {"price_cents": 4990, "revision": 2, "updated_at": now}


async def test_a_change_makes_every_validator_of_before_fail(
    client: httpx.AsyncClient, moments: list[datetime], set_now: Callable[[datetime], None]
) -> None:
    before = await client.get("/categories/kitchen/products")
    await client.patch("/products/17", json={"stock": 0})
    set_now(moments[-1] + timedelta(seconds=1))
    for condition, validator in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
        again = await client.get(
            "/categories/kitchen/products", headers={condition: before.headers[validator]}
        )
        assert again.status_code == 200


async def test_a_replacement_resets_what_it_leaves_out(client: httpx.AsyncClient) -> None:
    response = await client.put("/products/17", json=_DRAFT)
    assert response.status_code == 200
    product = (await client.get("/products/17")).json()
    assert (product["description"], product["stock"], product["tags"]) == ("", 0, [])


async def test_a_move_invalidates_both_categories_and_their_counts(client: httpx.AsyncClient) -> None:
    response = await client.patch("/products/17", json={"category": "tea"})
    assert (
        response.headers[_INVALIDATION]
        == '"product-17", "category-1", "category-17", "products", "categories"'
    )
    assert (await client.get("/categories/kitchen/products")).json()["total"] == 605
    assert (await client.get("/categories/tea/products")).json()["total"] == 127


async def test_a_rename_leaves_a_redirect_behind_and_a_rename_back_takes_it_away(
    client: httpx.AsyncClient,
) -> None:
    former, present = "/products/by-slug/westerley-compact-casserole", "/products/by-slug/small-casserole"
    await client.patch("/products/17", json={"name": "Small Casserole"})
    assert (await client.get(former)).headers["location"] == present
    await client.patch("/products/17", json={"name": "Westerley Compact Casserole"})
    assert (await client.get(former)).status_code == 200
    assert (await client.get(present)).headers["location"] == former


async def test_a_new_product_may_take_a_former_slug_and_be_renamed_in_turn(client: httpx.AsyncClient) -> None:
    created = await client.post("/products", json=_DRAFT | {"name": "Article 50"})
    assert (await client.get("/products/by-slug/article-50")).json()["id"] == created.json()["id"]
    renamed = await client.patch(created.headers["location"], json={"name": "Article Fifty"})
    assert renamed.status_code == 200
    assert (await client.get("/products/by-slug/article-50")).headers["location"].endswith("/article-fifty")


async def test_a_deleted_product_is_gone_from_lists_baskets_and_redirects(client: httpx.AsyncClient) -> None:
    alice = {"Authorization": "Bearer demo-alice"}
    response = await client.delete("/products/17")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers[_INVALIDATION] == '"product-17", "category-1", "products", "categories"'
    assert (await client.get("/products/17")).status_code == 404
    assert (await client.delete("/products/17")).status_code == 404
    assert [
        line["product_id"] for line in (await client.get("/me/basket", headers=alice)).json()["lines"]
    ] == [1203]
    await client.delete("/products/50")
    assert (await client.get("/products/by-slug/article-50")).status_code == 404


async def test_the_id_of_a_deleted_product_is_not_given_again(client: httpx.AsyncClient) -> None:
    await client.delete("/products/3000")
    assert (await client.post("/products", json=_DRAFT)).json()["id"] == 3001


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_write_on_an_outdated_basis_is_refused(client: httpx.AsyncClient, method: str) -> None:
    outdated = (await client.get("/products/17")).headers["etag"]
    current = (await client.patch("/products/17", json={"stock": 1})).headers["etag"]
    content = None if method == "DELETE" else _DRAFT
    refused = await client.request(method, "/products/17", json=content, headers={"If-Match": outdated})
    assert refused.status_code == 412
    assert current in refused.json()["detail"]
    assert _INVALIDATION not in refused.headers
    done = await client.request(method, "/products/17", json=content, headers={"If-Match": current})
    assert done.is_success


@pytest.mark.parametrize(
    ("draft", "status", "told"),
    [
        pytest.param({"name": "x"}, 422, "body.name", id="a name that is too short"),
        pytest.param({"name": "???"}, 422, "body.name", id="a name without letters"),
        pytest.param({"price_cents": -1}, 422, "body.price_cents", id="a negative price"),
        pytest.param({"price_cents": 9.5}, 422, "body.price_cents", id="a fraction of a cent"),
        pytest.param({"price_cents": None}, 422, "body.price_cents", id="null is no price"),
        pytest.param({"category": "boats"}, 422, "'boats'", id="an unknown category"),
        pytest.param({"tags": ["Not A Slug"]}, 422, "body.tags.0", id="a tag that is no slug"),
        pytest.param({"colour": "red"}, 422, "body.colour", id="an unknown member"),
        pytest.param(
            {"name": "Westerley Compact Casserole"}, 409, "product 17", id="the name of another product"
        ),
    ],
)
async def test_what_a_write_is_refused_for(
    client: httpx.AsyncClient, draft: dict[str, object], status: int, told: str
) -> None:
    for response in (
        await client.post("/products", json=_DRAFT | draft),
        await client.put("/products/18", json=_DRAFT | draft),
        await client.patch("/products/18", json=draft),
    ):
        assert response.status_code == status
        assert told in response.json()["detail"]
        assert response.headers["cache-control"] == "no-store"
        assert _INVALIDATION not in response.headers
    assert (await client.get("/products")).json()["total"] == 3000


async def test_what_is_not_json_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/products", content="{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")


def test_of_two_writers_on_the_same_revision_the_second_fails(
    database: Database, moments: list[datetime]
) -> None:
    with database.sessions() as slow, database.sessions() as fast:
        read_early = reading.product_by_id(slow, 17)
        writing.change_product(fast, reading.product_by_id(fast, 17), ProductChange(stock=1), moments[-1])
        with pytest.raises(ConflictError, match="read it again"):
            writing.change_product(slow, read_early, ProductChange(stock=2), moments[-1])
    with database.sessions() as session:
        assert reading.product_by_id(session, 17).stock == 1


def test_a_product_deleted_in_between_does_not_get_into_a_basket(
    database: Database, moments: list[datetime]
) -> None:
    with database.sessions() as slow, database.sessions() as fast:
        read_early = reading.product_by_id(slow, 1)
        writing.delete_product(fast, reading.product_by_id(fast, 1), moments[-1])
        with pytest.raises(ConflictError, match="deleted the product"):
            writing.put_into_basket(slow, "bob", read_early, 1)
