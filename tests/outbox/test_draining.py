"""What becomes of entries when they are delivered: merged, tried again, given up, rendered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx
import pytest
from sqlalchemy import Engine, text

from origin_sdk import AsyncPurgeClient, AuditEvent, Purge, PurgeClient
from origin_sdk._edge.purge import CLOUDFLARE_MARGIN_SECONDS
from origin_sdk.errors import InvalidRequest, InvalidSettings
from origin_sdk.layers import Family, LayeredCache
from origin_sdk.outbox import (
    AsyncDrainer,
    Drainer,
    InThreads,
    OriginRenderer,
    Pace,
    Renderers,
    Rendition,
    Republish,
    Round,
    State,
)
from origin_sdk.outbox.sqlalchemy import record
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV, ManualClock, assert_not_purged, assert_purged
from origin_sdk_wire.marks import Lane, group_mark, mark_key, parse_mark
from origin_sdk_wire.rules import KeyRule
from tests.outbox.conftest import sqlalchemy_kind

URL = "https://a.example/products/1"


@pytest.fixture
def outbox(tmp_path: Path, kv_clock: ManualClock) -> Iterator[SqliteOutbox]:
    made = SqliteOutbox(tmp_path / "outbox.db", kv_clock)
    yield made
    made.close()


@dataclass
class Draining:
    """A drainer of either kind, driven from a test that isn't asynchronous."""

    outbox: SqliteOutbox
    drain: Callable[[], tuple[Round, ...]]


@pytest.fixture(params=["sync", "async"])
def draining(
    request: pytest.FixtureRequest,
    outbox: SqliteOutbox,
    purge_client: PurgeClient,
    async_purge_client: AsyncPurgeClient,
    kv_clock: ManualClock,
    renderers: Renderers,
) -> Draining:
    if request.param == "sync":
        return Draining(outbox, Drainer(outbox, purge_client, clock=kv_clock, render=renderers).drain)
    drainer = AsyncDrainer(InThreads(outbox), async_purge_client, clock=kv_clock, render=renderers)
    return Draining(outbox, lambda: asyncio.run(drainer.drain()))


@pytest.fixture
def renderers() -> Renderers:
    made = Renderers()

    @made.register("page")
    def page(text: str) -> Rendition:
        return Rendition(text, {"cache-control": "max-age=600"}, groups=("pages",))

    @made.register("order")
    def order() -> Rendition:
        with LayeredCache() as cache:
            text = cache.get_or_load(Family("order", "{id}", str).key(id=7), lambda _: "secret")
        return Rendition(text, {"cache-control": "max-age=600"})

    @made.register("private")
    def private() -> Rendition:
        return Rendition("secret", {"cache-control": "private, max-age=600"})

    @made.register("broken")
    def broken() -> Rendition:
        raise ZeroDivisionError

    return made


def mark(fake_kv: FakeKV, group: str, lane: Lane = Lane.SOFT) -> int:
    return fake_kv.marks_in_force()[mark_key(group_mark(group), lane)].moment_ms


def writes(fake_kv: FakeKV) -> int:
    return sum(request.method == "PUT" for request in fake_kv.requests)


def test_a_thousand_purges_of_one_group_become_one_mark_with_the_latest_moment(
    draining: Draining, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    for _ in range(1000):
        draining.outbox.record(Purge.of(groups="popular"))
        kv_clock.advance(0.001)
    last_change_ms = round(kv_clock.now() * 1000)

    [made] = draining.drain()

    assert (made.claimed, made.done, writes(fake_kv)) == (1000, 1000, 1)
    assert len(fake_kv.marks_in_force()) == 1
    assert mark(fake_kv, "popular") >= last_change_ms


def test_soft_and_hard_lanes_stay_apart(draining: Draining, fake_kv: FakeKV) -> None:
    draining.outbox.record(Purge.of(groups="soft"), Purge.of(groups="hard", hard=True))
    draining.drain()
    assert_purged(fake_kv, group="soft", hard=False)
    assert_not_purged(fake_kv, group="soft", hard=True)
    assert_purged(fake_kv, group="hard", hard=True)
    assert_not_purged(fake_kv, group="hard", hard=False)


def test_a_purge_that_came_late_is_younger_than_the_change(
    draining: Draining, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    draining.outbox.record(Purge.of(groups="a"))
    kv_clock.advance(3600)
    [made] = draining.drain()
    assert mark(fake_kv, "a") >= kv_clock.now() * 1000
    assert made.lag_seconds >= 3600


@pytest.mark.parametrize(("looks", "least", "most"), [(0, 60, 90), (1, 0, 30)], ids=["no look", "a look"])
def test_lag_counts_from_the_commit_as_far_as_the_last_look_tells(
    engine: Engine, purge_client: PurgeClient, looks: int, least: float, most: float
) -> None:
    service = sqlalchemy_kind(engine)
    drainer = Drainer(service.outbox, purge_client)
    with engine.connect() as connection:
        record(connection, Purge.of(groups="a"))
        connection.execute(text("UPDATE edge_outbox SET recorded_at = recorded_at - 60"))  # as if long open
        for _ in range(looks):
            assert drainer.drain() == ()
        connection.commit()
    [made] = drainer.drain()
    assert least <= made.lag_seconds < most


FAULTS: dict[str, Callable[[FakeKV], None]] = {
    "the API is down for longer than one purge tries": lambda fake: fake.fail_next(20),
    "connections are dropped": lambda fake: fake.fail_next(20, status=0),
    "the token's user is blocked": lambda fake: fake.block(400),
    "the mark is left unwritten": lambda fake: fake.leave_unsuccessful(
        mark_key(group_mark("a"), Lane.SOFT), times=9
    ),
    "the token has lost its permission": lambda fake: setattr(fake, "may_write", False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_waits_and_is_delivered_once_it_can_be(
    draining: Draining, fake_kv: FakeKV, kv_clock: ManualClock, fault: str
) -> None:
    draining.outbox.record(Purge.of(groups="a"))
    FAULTS[fault](fake_kv)

    [failed] = draining.drain()

    assert (failed.done, failed.failed, failed.dead) == (0, 1, 0)
    [waiting] = draining.outbox.list([State.WAITING], 10)
    assert ":" in waiting.result
    assert waiting.at > kv_clock.now() - 300
    fake_kv.may_write = True
    for _ in range(20):
        kv_clock.advance(300)
        draining.drain()
    assert_purged(fake_kv, group="a")
    assert draining.outbox.due_in() is None


def test_of_a_merged_purge_only_what_is_left_is_sent_again(
    draining: Draining, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    draining.outbox.record(*[Purge.of(groups=name) for name in ("a", "b", "c")])
    fake_kv.leave_unsuccessful(mark_key(group_mark("b"), Lane.SOFT), times=9)
    [made] = draining.drain()
    assert (made.done, made.failed) == (2, 1)
    [waiting] = draining.outbox.list([State.WAITING], 10)
    assert '"b"' in waiting.payload
    for _ in range(9):
        kv_clock.advance(300)
        draining.drain()
    assert_purged(fake_kv, group="b")


@pytest.mark.parametrize("ahead", [120.0, 1.9, 0.4, -0.4, -90.0])
@pytest.mark.parametrize("latency", [0.0, 3.0])
def test_a_mark_has_cloudflares_time_from_the_first_write_on(
    draining: Draining, fake_kv: FakeKV, kv_clock: ManualClock, ahead: float, latency: float
) -> None:
    fake_kv.skew_seconds, fake_kv.latency_seconds = ahead, latency
    for number in range(3):
        draining.outbox.record(Purge.of(groups="a"))
        draining.drain()
        kv_clock.advance(0.3 + number)
    moments = [
        (parse_mark(version.value.decode()).moment_ms / 1000, version.written_at)
        for version in fake_kv._versions[mark_key(group_mark("a"), Lane.SOFT)]
        if version.value
    ]
    early = [moment - (written_at + ahead) for moment, written_at in moments]
    assert min(early) >= -0.001
    assert max(early) <= CLOUDFLARE_MARGIN_SECONDS + 1 + latency
    assert [moment for moment, _ in moments] == sorted(moment for moment, _ in moments)
    assert len(moments) == 3, "none is written again"


@pytest.mark.parametrize("status", [400, 403], ids=["refused", "a firewall's"])
def test_an_entry_that_is_refused_takes_no_other_along(
    draining: Draining, fake_kv: FakeKV, kv_clock: ManualClock, status: int
) -> None:
    names = [f"g-{number}" for number in range(100)]
    draining.outbox.record(*[Purge.of(groups=name) for name in names])
    draining.outbox.record(Purge.of(urls=URL, hard=True))
    fake_kv.refuse(mark_key(group_mark("g-41"), Lane.SOFT), status=status)
    [made] = draining.drain()
    assert (made.done, made.failed, made.dead) == (100, 1, 0)
    for round_ in range(10):
        draining.outbox.record(Purge.of(groups=f"later-{round_}"))
        kv_clock.advance(300)
        draining.drain()
        assert_purged(fake_kv, group=f"later-{round_}")
    state = State.DEAD if status == 400 else State.WAITING
    [left] = draining.outbox.list([State.DEAD, State.WAITING], 10)
    assert (left.state, json.loads(left.payload)["purge"]["groups"]) == (state, ["g-41"])


@pytest.mark.parametrize("error", [InvalidRequest("no"), ValueError("a defect"), RecursionError()], ids=repr)
def test_an_entry_that_the_client_can_not_send_takes_no_other_along(
    draining: Draining,
    fake_kv: FakeKV,
    kv_clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    marks = Purge.marks

    def broken(purge: Purge, rules: Sequence[KeyRule] = ()) -> dict[str, None]:
        if "g-41" in purge.groups:
            raise error
        return marks(purge, rules)

    monkeypatch.setattr(Purge, "marks", broken)
    draining.outbox.record(
        *[Purge.of(groups=f"g-{number}") for number in range(60)], Republish(URL, "page", {"text": ""})
    )
    for _ in range(9):
        draining.drain()
        kv_clock.advance(300)
    assert len(fake_kv.stored_keys("m2/s/group/")) == 59
    assert published(fake_kv)
    [dead] = draining.outbox.list([State.DEAD, State.WAITING], 10)
    assert (dead.state, json.loads(dead.payload)["purge"]["groups"]) == (State.DEAD, ["g-41"])
    assert type(error).__name__ in dead.result


@pytest.mark.parametrize(
    "error",
    [
        InvalidSettings("connections of another process"),
        FileNotFoundError("SSL_CERT_FILE"),
        OSError(24, "Too many open files"),
        MemoryError(),
    ],
    ids=repr,
)
def test_what_is_wrong_with_the_drainer_or_its_machine_kills_no_entry(
    draining: Draining,
    fake_kv: FakeKV,
    kv_clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    draining.outbox.record(Purge.of(groups="a"), Purge.of(groups="b", hard=True))
    with monkeypatch.context() as broken:
        for client in (PurgeClient, AsyncPurgeClient):
            broken.setattr(client, "send", lambda *_, **__: raising(error))
        for _ in range(20):
            draining.drain()
            kv_clock.advance(300)
    assert {listed.state for listed in draining.outbox.list(list(State), 10)} == {State.WAITING}
    draining.drain()
    assert_purged(fake_kv, group="a")
    assert_purged(fake_kv, group="b", hard=True)


def raising(error: Exception) -> None:
    raise error


def test_delays_grow_up_to_a_bound(
    outbox: SqliteOutbox, fake_kv: FakeKV, purge_client: PurgeClient, kv_clock: ManualClock
) -> None:
    drainer = Drainer(outbox, purge_client, clock=kv_clock)
    outbox.record(Purge.of(groups="a"))
    delays = []
    for _ in range(12):
        fake_kv.fail_next(5)
        drainer.drain()
        due_in = outbox.due_in()
        assert due_in is not None
        delays.append(due_in)
        kv_clock.advance(delays[-1])
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert outbox.list([State.WAITING], 1)[0].attempts == 12


UNUSABLE = {
    "no JSON": "{",
    "no object": "[]",
    "an unknown kind": '{"explode": {}}',
    "an unknown target": '{"purge": {"planets": ["x"]}}',
    "nothing to purge": '{"purge": {}}',
    "a group that no response can carry": '{"purge": {"groups": [" "]}}',
    "a republication without URL": '{"republish": {"renderer": "x"}}',
    "a republication with more than there is": '{"republish": {"url": "https://a", "x": 1}}',
}


@pytest.mark.parametrize("payload", UNUSABLE.values(), ids=UNUSABLE)
def test_what_can_never_be_delivered_is_dead_and_holds_nothing_up(
    draining: Draining, fake_kv: FakeKV, payload: str
) -> None:
    draining.outbox.record(Purge.of(groups="a"), Purge.of(groups="b"))
    with draining.outbox.transaction() as run:
        run("UPDATE edge_outbox SET payload = :payload WHERE id = 1", {"payload": payload})

    [made] = draining.drain()

    assert (made.done, made.dead) == (1, 1)
    assert_purged(fake_kv, group="b")
    [dead] = draining.outbox.list([State.DEAD], 10)
    assert dead.result


def test_everything_swallows_the_rest_of_its_lane(draining: Draining, fake_kv: FakeKV) -> None:
    draining.outbox.record(Purge.of(groups="a"), Purge.of(everything=True), Purge.of(urls=URL))
    [made] = draining.drain()
    assert made.done == 3
    assert set(fake_kv.marks_in_force()) == {"m2/s/everything", "m2/s/shared"}


def published(fake_kv: FakeKV) -> list[str]:
    return fake_kv.stored_keys("r1/")


@pytest.mark.parametrize(
    ("republish", "is_published", "result"),
    [
        pytest.param(Republish(URL, "page", {"text": "new"}), True, "published", id="rendered"),
        pytest.param(Republish(URL, "private"), False, "it says private", id="not for the edge"),
        pytest.param(Republish(URL, "order"), False, "DataClassViolation", id="made of what isn't, either"),
        pytest.param(Republish(URL, "broken"), False, "ZeroDivisionError", id="the renderer fails"),
        pytest.param(Republish(URL, "page", {"wrong": 1}), False, "TypeError", id="wrong arguments"),
        pytest.param(Republish(URL, "unknown"), False, "no renderer 'unknown'", id="no such renderer"),
    ],
)
def test_a_republication_purges_and_publishes_if_it_can(
    draining: Draining, fake_kv: FakeKV, republish: Republish, is_published: bool, result: str
) -> None:
    draining.outbox.record(republish)
    [made] = draining.drain()
    assert made.done == 1
    assert bool(published(fake_kv)) == is_published
    assert_purged(fake_kv, url=URL)
    [done] = draining.outbox.list([State.DONE], 10)
    assert result in done.result


def test_what_is_published_is_younger_than_the_purge_of_the_same_round(
    draining: Draining, purge_client: PurgeClient
) -> None:
    draining.outbox.record(Purge.of(groups="pages", urls=URL), Republish(URL, "page", {"text": "new"}))
    draining.drain()
    [stored] = purge_client.inspect(URL).stored
    assert stored.outcome.value == "hit: fresh"


def test_a_publication_that_cloudflare_does_not_take_is_tried_again(
    outbox: SqliteOutbox, fake_kv: FakeKV, kv_clock: ManualClock, purge_client: PurgeClient
) -> None:
    drainer = Drainer(outbox, purge_client, clock=kv_clock, render=failing_once(fake_kv))
    outbox.record(Republish(URL))
    [made] = drainer.drain()
    assert (made.done, made.failed) == (0, 1)
    kv_clock.advance(600)
    drainer.drain()
    assert published(fake_kv)


def failing_once(fake_kv: FakeKV) -> Callable[[Republish], Rendition]:
    failures = iter([5])

    def render(_: Republish) -> Rendition:
        fake_kv.fail_next(next(failures, 0))
        return Rendition("page", {"cache-control": "max-age=600"})

    return render


@pytest.mark.parametrize("status", [200, 503, 0])
def test_the_origin_itself_can_be_asked(
    outbox: SqliteOutbox, purge_client: PurgeClient, kv_clock: ManualClock, fake_kv: FakeKV, status: int
) -> None:
    def origin(request: httpx.Request) -> httpx.Response:
        if not status:
            raise httpx.ConnectError("refused")
        assert request.headers["host"] == "a.example"
        assert request.url.path == "/products/1"
        return httpx.Response(status, text="new", headers={"cache-control": "max-age=600"})

    render = Renderers(OriginRenderer("http://127.0.0.1:1", httpx.MockTransport(origin)))
    outbox.record(Republish(URL))
    [made] = Drainer(outbox, purge_client, clock=kv_clock, render=render).drain()
    assert made.done == 1
    assert bool(published(fake_kv)) == (status == 200)
    assert_purged(fake_kv, url=URL)


def test_each_entry_leaves_an_audit_record(
    outbox: SqliteOutbox, purge_client: PurgeClient, kv_clock: ManualClock
) -> None:
    events: list[AuditEvent] = []
    outbox.record(Purge.of(groups="a", reason="sale"))
    Drainer(outbox, purge_client, clock=kv_clock, audit=events.append).drain()
    [event] = events
    assert (event.action, event.outcome, event.details["reason"]) == ("deliver", "done", "sale")
    [listed] = outbox.list([State.DONE], 1)
    assert (listed.reason, listed.result) == ("sale", event.details["result"])


def test_a_thread_drains_what_it_is_woken_for_and_stops(
    outbox: SqliteOutbox, fake_kv: FakeKV, purge_client: PurgeClient
) -> None:
    drained = Event()

    def on_round(_: Round) -> None:
        drained.set()

    with Drainer(outbox, purge_client, Pace(poll_seconds=60), on_round=on_round) as drainer:
        outbox.record(Purge.of(groups="a"))
        drainer.wake()
        assert drained.wait(10)
    assert_purged(fake_kv, group="a")


async def test_a_task_drains_what_it_is_woken_for_and_stops(
    outbox: SqliteOutbox, fake_kv: FakeKV, async_purge_client: AsyncPurgeClient
) -> None:
    drained = asyncio.Event()
    pace = Pace(poll_seconds=60)
    async with AsyncDrainer(
        InThreads(outbox), async_purge_client, pace, on_round=lambda _: drained.set()
    ) as drainer:
        outbox.record(Purge.of(groups="a"))
        drainer.wake()
        await asyncio.wait_for(drained.wait(), 10)
    assert_purged(fake_kv, group="a")


class Broken:
    """A store that fails once."""

    def __init__(self, outbox: SqliteOutbox) -> None:
        self._outbox = outbox
        self._failures = iter([OSError("disk")])

    def __getattr__(self, name: str) -> object:
        if error := next(self._failures, None):
            raise error
        return getattr(self._outbox, name)


def test_a_store_that_fails_does_not_end_the_drainer(
    outbox: SqliteOutbox, fake_kv: FakeKV, purge_client: PurgeClient, caplog: pytest.LogCaptureFixture
) -> None:
    drained = Event()
    outbox.record(Purge.of(groups="a"))
    pace = Pace(poll_seconds=0.01, backoff=Pace().backoff.__class__(first_seconds=0.01))
    with Drainer(Broken(outbox), purge_client, pace, on_round=lambda _: drained.set()):  # type: ignore[arg-type]  # by name
        assert drained.wait(10)
    assert_purged(fake_kv, group="a")
    assert "can't be drained" in caplog.text


@pytest.mark.parametrize("path", ["//evil.example/x", "///evil.example", "//"])
def test_a_path_that_would_name_another_host_is_not_asked_for(path: str) -> None:
    asked: list[httpx.Request] = []
    render = OriginRenderer("http://127.0.0.1:1", httpx.MockTransport(asked.append))  # type: ignore[arg-type]  # never called
    with pytest.raises(InvalidRequest, match="another host"):
        render(Republish(f"https://a.example{path}"))
    assert asked == []
