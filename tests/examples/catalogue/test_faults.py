import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from examples.catalogue.faults import Fault, FaultInjection, FaultMode, FaultSwitch


async def test_errors_are_switched_on_and_off_for_all_but_health_and_the_switch(
    client: httpx.AsyncClient,
) -> None:
    switched = await client.put("/admin/faults", json={"mode": "error", "status": 503})
    assert switched.json() == {"mode": "error", "status": 503, "seconds": 5.0, "path": "/"}
    failed = await client.get("/products/17")
    assert (failed.status_code, failed.json()["detail"]) == (503, "switched on at /admin/faults")
    assert (await client.head("/products/17")).content == b""
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/admin/faults")).json() == switched.json()
    await client.delete("/admin/faults")
    assert (await client.get("/products/17")).status_code == 200


async def test_a_fault_concerns_only_paths_that_begin_as_told(client: httpx.AsyncClient) -> None:
    await client.put("/admin/faults", json={"mode": "error", "path": "/search"})
    assert (await client.get("/search?q=kettle")).status_code == 500
    assert (await client.get("/products/17")).status_code == 200


async def test_slow_answers_are_right_but_late(client: httpx.AsyncClient, naps: list[float]) -> None:
    await client.put("/admin/faults", json={"mode": "slow", "seconds": 7})
    assert (await client.get("/products/17")).json()["id"] == 17
    assert naps == [7.0]


async def test_a_hanging_request_ends_with_its_connection_and_without_an_answer() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pytest.fail("the app was asked")

    async def receive() -> Message:
        return received.pop(0)

    async def send(_message: Message) -> None:
        pytest.fail("something was answered")

    async def sleep(_seconds: float) -> None:
        pytest.fail("it slept")

    received: list[Message] = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    switch = FaultSwitch()
    switch.fault = Fault(mode=FaultMode.HANG)
    await FaultInjection(app, switch, sleep)({"type": "http", "path": "/products"}, receive, send)
    assert received == []


@pytest.mark.parametrize(
    "fault",
    [{"mode": "explode"}, {"mode": "error", "status": 200}, {"mode": "slow", "seconds": 301}, {"path": "x"}],
)
async def test_a_fault_that_is_none_is_refused(client: httpx.AsyncClient, fault: dict[str, object]) -> None:
    assert (await client.put("/admin/faults", json=fault)).status_code == 422


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_switch_can_not_be_reached_from_elsewhere(
    distant_client: httpx.AsyncClient, method: str
) -> None:
    response = await distant_client.request(method, "/admin/faults", json={"mode": "error"})
    assert response.status_code == 403
    assert (await distant_client.get("/products/17")).status_code == 200


@pytest.mark.parametrize("field", ["Via", "X-Forwarded-For", "Forwarded", "CF-Connecting-IP"])
async def test_the_switch_can_not_be_reached_through_a_proxy(client: httpx.AsyncClient, field: str) -> None:
    response = await client.put("/admin/faults", json={"mode": "error"}, headers={field: "1.1 edge"})
    assert (response.status_code, response.headers["cache-control"]) == (403, "no-store")
