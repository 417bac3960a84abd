"""Refreshes behind responses that were sent: when there is one, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.ports import OriginError
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import FakeEdge, FakeResponse, Sent

URL = "https://api.example/a"
STALE = {"cache-control": "max-age=10, stale-while-revalidate=600, stale-if-error=600", "etag": '"1"'}


@dataclass
class Site:
    """An origin whose answers a test sets; ``None`` is none."""

    now: FakeResponse | None
    conditions: list[str] = field(default_factory=list)

    def answer(self, request: RequestFacts) -> FakeResponse:
        self.conditions.append(request.fields.get("if-none-match", ""))
        if self.now is None:
            raise OriginError(OriginFailure.UNREACHABLE, "gone")
        return self.now


def page(body: bytes, status: int = 200, **fields: str) -> FakeResponse:
    return FakeResponse(status, {**STALE, "content-length": str(len(body)), **fields}, body)


async def ask(world: FakeEdge) -> Sent:
    sent: Sent = (await world.full("GET", URL, {})).response
    return sent


@pytest.mark.parametrize(
    ("then", "outcome", "later"),
    [
        pytest.param(page(b"new", etag='"2"'), "stored", b"new", id="another response"),
        pytest.param(FakeResponse(304, STALE), "validated", b"old", id="not modified"),
        pytest.param(None, "failed", b"old", id="no answer"),
        pytest.param(page(b"err", 500), "failed", b"old", id="an error"),
    ],
)
async def test_a_stale_response_is_sent_and_refreshed(
    then: FakeResponse | None, outcome: str, later: bytes
) -> None:
    site = Site(page(b"old"))
    world = FakeEdge(Settings(origin="https://o.example", lifetime_jitter=0.0), site.answer)
    await ask(world)
    world.timing.ms += 20_000
    site.now = then
    sent = await ask(world)
    assert (sent.body, site.conditions) == (b"old", ["", '"1"'])
    assert world.counters.counts.series["refreshes"] == {("default", outcome): [1]}
    assert (await ask(world)).body == later


async def test_a_failed_refresh_is_not_repeated_at_once() -> None:
    site = Site(page(b"old"))
    world = FakeEdge(Settings(origin="https://o.example", lifetime_jitter=0.0), site.answer)
    await ask(world)
    world.timing.ms += 20_000
    site.now = page(b"err", 500)
    for _ in range(3):
        assert (await ask(world)).body == b"old"
    assert len(site.conditions) == 2
    world.timing.ms += 11_000
    await ask(world)
    assert len(site.conditions) == 3
