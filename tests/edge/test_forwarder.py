"""Requests that the cache takes no part in: what their answers end, and what becomes of their failures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.ports import OriginError
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import url_mark
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import FakeEdge, FakeResponse, Sent

URL = "https://api.example/a"
MARK = f"m2/s/{url_mark(parse_target(URL))}"
PAGE = FakeResponse(200, {"cache-control": "max-age=60", "content-length": "4"}, b"page")


def edge(write: Callable[[], FakeResponse], *rules: Rule) -> FakeEdge:
    return FakeEdge(
        Settings(origin="https://o.example", rules=rules),
        lambda request: PAGE if request.method == "GET" else write(),
    )


async def ask(world: FakeEdge, method: str = "GET") -> Sent:
    sent: Sent = (await world.full(method, URL, {})).response
    return sent


@pytest.mark.parametrize(
    ("status", "is_marked"),
    [pytest.param(204, True, id="it succeeds"), pytest.param(404, False, id="it fails")],
)
async def test_a_write_ends_what_is_stored_if(status: int, is_marked: bool) -> None:
    world = edge(lambda: FakeResponse(status, {}))
    await ask(world)
    assert "; hit;" in (await ask(world)).fields["cache-status"]
    world.timing.ms += 2000
    assert (await ask(world, "POST")).status == status
    assert (MARK in world.store.values) is is_marked
    assert ("; hit;" in (await ask(world)).fields["cache-status"]) is not is_marked


async def test_a_write_to_what_nobody_stored_costs_no_mark() -> None:
    world = edge(lambda: FakeResponse(204, {}))
    await ask(world, "POST")
    assert MARK not in world.store.values


@pytest.mark.parametrize(
    ("failure", "status"), [(OriginFailure.UNREACHABLE, 502), (OriginFailure.TIMEOUT, 504)], ids=str
)
async def test_a_failed_origin_is_told_of(failure: OriginFailure, status: int) -> None:
    def fail() -> FakeResponse:
        raise OriginError(failure, "gone")

    world = edge(fail)
    sent = await ask(world, "POST")
    assert (sent.status, sent.fields["cache-control"]) == (status, "no-store")
    assert f"detail={failure.value}" in sent.fields["cache-status"]
    assert [where for where, _ in world.faults] == ["origin"]


async def test_what_bypasses_is_neither_looked_up_nor_stored() -> None:
    world = edge(lambda: PAGE, Rule(bypass=True))
    for _ in range(2):
        assert "detail=bypass-rule" in (await ask(world)).fields["cache-status"]
    assert len(world.origin.requests) == 2
    assert world.store.values == {}
