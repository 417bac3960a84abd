import httpx
import pytest

_ALICE = {"Authorization": "Bearer demo-alice"}
_BOB = {"Authorization": "Bearer demo-bob"}


async def test_each_user_sees_their_own_profile_and_only_their_cache_may_keep_it(
    client: httpx.AsyncClient,
) -> None:
    alice = await client.get("/me", headers=_ALICE)
    assert alice.headers["cache-control"] == "private, no-cache"
    assert alice.headers["vary"] == "Authorization"
    assert (alice.json()["user"], (await client.get("/me", headers=_BOB)).json()["user"]) == ("alice", "bob")
    again = await client.get("/me", headers=_ALICE | {"If-None-Match": alice.headers["etag"]})
    assert again.status_code == 304


async def test_a_basket_is_stored_nowhere_and_can_be_filled_and_emptied(client: httpx.AsyncClient) -> None:
    basket = await client.get("/me/basket", headers=_BOB)
    assert basket.headers["cache-control"] == "no-store"
    assert "etag" not in basket.headers
    await client.patch("/products/17", json={"stock": 9, "price_cents": 1000})
    filled = await client.put("/me/basket/17", json={"quantity": 3}, headers=_BOB)
    assert filled.headers["cache-control"] == "no-store"
    assert filled.json()["total_cents"] == basket.json()["total_cents"] + 3000
    assert (await client.get("/me/basket", headers=_ALICE)).json()["lines"][0]["quantity"] == 1
    emptied = await client.delete("/me/basket/17", headers=_BOB)
    assert emptied.json() == basket.json()


@pytest.mark.parametrize(
    ("product_id", "quantity", "status"),
    [
        pytest.param(17, 0, 422, id="nothing"),
        pytest.param(17, 100, 422, id="more than anyone needs"),
        pytest.param(17, 9, 409, id="more than there are"),
        pytest.param(9999, 1, 404, id="what doesn't exist"),
    ],
)
async def test_what_a_basket_does_not_take(
    client: httpx.AsyncClient, product_id: int, quantity: int, status: int
) -> None:
    await client.patch("/products/17", json={"stock": 8})
    response = await client.put(f"/me/basket/{product_id}", json={"quantity": quantity}, headers=_ALICE)
    assert response.status_code == status


@pytest.mark.parametrize("target", ["/me", "/me/basket"])
@pytest.mark.parametrize("authorization", [None, "Bearer stolen", "Basic ZGVtby1hbGljZQ=="])
async def test_without_a_demo_token_nothing_is_shown(
    client: httpx.AsyncClient, target: str, authorization: str | None
) -> None:
    response = await client.get(target, headers={"Authorization": authorization} if authorization else {})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="catalogue"'
    assert "demo-alice" in response.json()["detail"]
