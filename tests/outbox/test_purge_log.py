"""A drainer tells the purge log of what it purges: twice, if need be, and counts what stays untold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from origin_sdk import AsyncPurgeClient, Options, Purge, PurgeClient
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk.outbox import AsyncDrainer, Drainer, InThreads, Round, State
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV, ManualClock, assert_purged
from tests.sdk.purge_log import URL, FakeLog, key

Drain = Callable[[SqliteOutbox], tuple[Round, ...]]


@pytest.fixture
def log(kv_clock: ManualClock) -> FakeLog:
    return FakeLog(kv_clock)


@pytest.fixture(params=["sync", "async"])
def drain(request: pytest.FixtureRequest, fake_kv: FakeKV, kv_clock: ManualClock, log: FakeLog) -> Drain:
    settings = replace(fake_kv.settings, log_url=URL, log_key=key(groups=["shop-*"]))
    arguments: dict[str, Any] = {
        "options": Options(clock=kv_clock, budget=RateBudget()),
        "transport": fake_kv.transport,
        "edge_transport": log.transport,
    }

    def in_a_loop(outbox: SqliteOutbox) -> tuple[Round, ...]:
        client = AsyncPurgeClient(settings, **arguments)
        return asyncio.run(AsyncDrainer(InThreads(outbox), client, clock=kv_clock).drain())

    def in_this_thread(outbox: SqliteOutbox) -> tuple[Round, ...]:
        return Drainer(outbox, PurgeClient(settings, **arguments), clock=kv_clock).drain()

    return in_this_thread if request.param == "sync" else in_a_loop


@pytest.mark.parametrize(
    ("failures", "requests", "untold"),
    [
        pytest.param([], 1, 0, id="it is told"),
        pytest.param([503], 2, 0, id="it is told by the second try"),
        pytest.param([None, 503], 2, 1, id="it isn't, and that is counted"),
    ],
)
def test_the_log_is_told_of_a_delivery(
    failures: list[int | None],
    requests: int,
    untold: int,
    drain: Drain,
    fake_kv: FakeKV,
    kv_clock: ManualClock,
    log: FakeLog,
    tmp_path: Path,
) -> None:
    log.failures = [*failures]
    outbox = SqliteOutbox(tmp_path / "outbox.db", kv_clock)
    outbox.record(Purge.of(groups="shop-1"), Purge.of(groups="shop-2"))
    [made] = drain(outbox)
    assert (made.done, made.untold, len(log.requests)) == (2, untold, requests)
    assert len(log.entries) == 1 - untold
    assert_purged(fake_kv, group="shop-2")
    outbox.close()


def test_what_is_out_of_scope_is_dead_and_takes_no_other_along(
    drain: Drain, fake_kv: FakeKV, kv_clock: ManualClock, tmp_path: Path
) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db", kv_clock)
    outbox.record(Purge.of(groups="shop-1"), Purge.of(groups="hr"))
    drain(outbox)
    assert outbox.status().counts == {State.DONE: 1, State.DEAD: 1}
    [dead] = outbox.list([State.DEAD], 9)
    assert "group/hr is outside the scope of the key shop" in dead.result
    assert_purged(fake_kv, group="shop-1")
    outbox.close()
