"""Purges over the fake API, by the synchronous and the asynchronous client alike."""

import asyncio
import json
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from origin_sdk import AsyncPurgeClient, Options, PurgeClient, Settings
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.effects import Progress
from origin_sdk._cloudflare.kv import MAX_BATCH_PAIRS
from origin_sdk._edge.purge import CLOUDFLARE_MARGIN_SECONDS
from origin_sdk.errors import (
    AuthenticationFailed,
    CloudflareUnavailable,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    PartialPurgeError,
    RateLimited,
    RequestRejected,
)
from origin_sdk.testing import FakeKV, ManualClock
from origin_sdk_wire.bounds import MARK_SECONDS
from origin_sdk_wire.marks import parse_mark
from tests.sdk.records import store

MakeClient = Callable[..., PurgeClient]


def test_one_request_writes_all_marks_of_a_mix(client: PurgeClient, fake_kv: FakeKV) -> None:
    receipt = client.purge(groups=["a", "b"], urls="a.example/x", prefixes="a.example/p", hosts="b.example")
    assert receipt.requests == len(fake_kv.requests) == 1
    assert list(receipt.marks) == [
        "m2/s/shared",
        "m2/s/url/a.example/x",
        "m2/s/group/a",
        "m2/s/group/b",
        "m2/s/prefix/a.example/p",
        "m2/s/prefixes/a.example",
        "m2/s/host/b.example",
    ]
    assert sorted(receipt.marks) == sorted(fake_kv.stored_keys("m2/"))


def test_the_receipt_names_moment_and_bound(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    receipt = client.purge(groups="a")
    assert receipt.moment == datetime.fromtimestamp(kv_clock.now() + CLOUDFLARE_MARGIN_SECONDS, UTC)
    assert receipt.visible_by == datetime.fromtimestamp(kv_clock.now(), UTC) + timedelta(seconds=65)
    mark = parse_mark((fake_kv.read("m2/s/group/a") or b"").decode())
    assert (mark.purge_id, mark.moment_ms) == (receipt.id, round(receipt.moment.timestamp() * 1000))


def test_every_location_sees_the_mark_by_the_time_in_the_receipt(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    receipt = client.purge(groups="a")
    assert fake_kv.read("m2/s/group/a", "frankfurt") is None
    kv_clock.advance(receipt.visible_by.timestamp() - kv_clock.now())
    assert fake_kv.read("m2/s/group/a", "frankfurt")


def test_a_mark_outlives_all_that_it_can_invalidate(client: PurgeClient, fake_kv: FakeKV) -> None:
    client.purge(groups="a")
    [pair] = json.loads(fake_kv.requests[0].body)
    assert pair["expiration_ttl"] == MARK_SECONDS


def test_the_token_is_sent_to_the_api(client: PurgeClient, fake_kv: FakeKV) -> None:
    client.purge(groups="a")
    assert fake_kv.requests[0].fields["authorization"] == f"Bearer {fake_kv.token}"


@pytest.mark.parametrize(
    ("ahead", "requests"),
    [
        pytest.param(0.0, 1, id="a clock that is right needs one request"),
        pytest.param(0.9, 1, id="as does one within the margin"),
        pytest.param(90.0, 2, id="a clock behind: the moment would be in the past, it is written again"),
        pytest.param(-90.0, 2, id="a clock ahead: the moment would lie in the future, it is written again"),
    ],
)
def test_the_moment_is_cloudflares(client: PurgeClient, fake_kv: FakeKV, ahead: float, requests: int) -> None:
    fake_kv.skew_seconds = ahead
    receipt = client.purge(groups="a")
    cloudflare = fake_kv.clock.now() + ahead
    assert receipt.requests == requests
    assert 0 <= receipt.moment.timestamp() - cloudflare <= CLOUDFLARE_MARGIN_SECONDS + 1
    assert client.purge(groups="b").requests == 1, "what was learnt is kept"


class SlowWay(httpx.BaseTransport):
    """A way on which a request and its reply take so many seconds each."""

    def __init__(self, fake_kv: FakeKV, clock: ManualClock, there: float, back: float) -> None:
        self._fake_kv, self._clock, self._there, self._back = fake_kv, clock, there, back

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._clock.advance(self._there)
        response = self._fake_kv.transport.handle_request(request)
        self._clock.advance(self._back)
        return response


@pytest.mark.parametrize("ahead", [-1.0, 0.0, 1.9, 2.1, 2.6, 3.0, 3.5, 4.0])
@pytest.mark.parametrize(("there", "back"), [(0.1, 2.5), (1.5, 1.5), (0.3, 4.0)])
def test_a_slow_reply_does_not_hide_a_clock_that_is_slow(
    new_client: MakeClient, fake_kv: FakeKV, kv_clock: ManualClock, ahead: float, there: float, back: float
) -> None:
    fake_kv.skew_seconds = ahead
    begun = fake_kv.clock.now() + ahead
    receipt = new_client(transport=SlowWay(fake_kv, kv_clock, there, back)).purge(groups="a")
    assert receipt.moment.timestamp() >= begun


def test_the_margin_is_left_out_where_the_workers_clock_is_this_machines(
    new_client: MakeClient, fake_kv: FakeKV, kv_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The API of `wrangler dev` sends no Date.
    monkeypatch.setattr(FakeKV, "_date", lambda _: {})
    client = new_client(settings=None, base_url="http://127.0.0.1:1/api", namespace_id=fake_kv.namespace_id)
    assert client.purge(groups="a").moment.timestamp() == pytest.approx(kv_clock.now())


# Scale


def test_nearly_a_hundred_thousand_urls_take_ten_requests(purge_client: PurgeClient, fake_kv: FakeKV) -> None:
    progress: list[Progress] = []
    urls = (f"https://a.example/{number}" for number in range(99_999))
    receipt = purge_client.purge(urls=urls, on_progress=progress.append)
    assert receipt.requests == len(fake_kv.requests) == 10
    assert len(receipt.marks) == 100_000
    assert progress[-1] == Progress(100_000, 100_000)


def test_duplicates_cost_nothing(client: PurgeClient, fake_kv: FakeKV) -> None:
    client.purge(urls=["https://a.example/x"] * 20_000)
    assert len(fake_kv.requests) == 1
    assert len(json.loads(fake_kv.requests[0].body)) == 2


# What goes wrong


def test_what_cloudflare_did_not_write_is_written_again(client: PurgeClient, fake_kv: FakeKV) -> None:
    fake_kv.leave_unsuccessful("m2/s/group/b", times=2)
    receipt = client.purge(groups=["a", "b"])
    bodies = [[pair["key"] for pair in json.loads(request.body)] for request in fake_kv.requests]
    assert bodies == [["m2/s/group/a", "m2/s/group/b"], ["m2/s/group/b"], ["m2/s/group/b"]]
    assert set(receipt.marks) == {"m2/s/group/a", "m2/s/group/b"}


def test_a_mark_written_again_carries_a_later_moment(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    began = kv_clock.now()
    fake_kv.leave_unsuccessful("m2/s/group/b")
    receipt = client.purge(groups=["a", "b"])
    assert kv_clock.now() >= began + 1, "KV takes one write a second to one key"
    assert _moments(fake_kv, "a", "b") == [receipt.moment, receipt.latest_moment]


def test_what_is_written_in_batches_is_purged_as_of_the_first(client: PurgeClient, fake_kv: FakeKV) -> None:
    fake_kv.latency_seconds = 0.5
    receipt = client.purge(groups=[str(number) for number in range(MAX_BATCH_PAIRS + 1)])
    assert _moments(fake_kv, "0", str(MAX_BATCH_PAIRS)) == [receipt.moment, receipt.latest_moment]
    assert receipt.moment < receipt.latest_moment


class Overtaken(httpx.BaseTransport):
    """A network on which the first write is given up on, and is carried out after all others."""

    def __init__(self, fake_kv: FakeKV, clock: ManualClock) -> None:
        self._transport, self._clock = fake_kv.transport, clock
        self._late: list[httpx.Request] = []
        self._writes = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._writes += request.method == "PUT"
        if self._writes == 1:
            self._late.append(request)
            self._clock.advance(5)
            raise httpx.ReadTimeout("no reply", request=request)
        return self._transport.handle_request(request)

    def arrive(self) -> None:
        for request in self._late:
            self._transport.handle_request(request)


def test_a_receipt_holds_even_if_a_try_that_was_given_up_on_comes_last(
    new_client: MakeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    network = Overtaken(fake_kv, kv_clock)
    receipt = new_client(transport=network).purge(groups="a")
    assert _moments(fake_kv, "a") == [receipt.latest_moment]

    network.arrive()
    assert _moments(fake_kv, "a") == [receipt.moment]


def _moments(fake_kv: FakeKV, *groups: str) -> list[datetime]:
    marks = fake_kv.marks_in_force()
    return [datetime.fromtimestamp(marks[f"m2/s/group/{name}"].moment_ms / 1000, UTC) for name in groups]


@pytest.mark.parametrize("status", [400, 413, 403], ids=["refused", "too large", "a firewall's"])
@pytest.mark.parametrize("bad", [[0], [499], [0, 499], [17, 18, 300]], ids=str)
def test_a_refused_target_takes_no_other_along(
    client: PurgeClient, fake_kv: FakeKV, bad: list[int], status: int
) -> None:
    groups = [f"g-{number}" for number in range(500)]
    fake_kv.refuse(*(f"m2/s/group/g-{number}" for number in bad), status=status)
    with pytest.raises(PartialPurgeError, match=f"{len(bad)} of 500 marks") as raised:
        client.purge(groups=groups)
    refused = [groups[number] for number in bad]
    assert list(raised.value.remaining.groups) == refused
    assert sorted(raised.value.receipt.marks) == fake_kv.stored_keys("m2/")
    assert len(fake_kv.stored_keys("m2/")) == 500 - len(bad)
    assert len(fake_kv.requests) <= 1 + 20 * len(bad)


def test_what_refuses_everything_is_soon_believed(client: PurgeClient, fake_kv: FakeKV) -> None:
    groups = [f"g-{number}" for number in range(5000)]
    fake_kv.refuse(*(f"m2/s/group/{group}" for group in groups))
    with pytest.raises(RequestRejected):
        client.purge(groups=groups)
    assert len(fake_kv.requests) < 40


def test_a_refused_key_holds_no_deletion_up(client: PurgeClient, fake_kv: FakeKV) -> None:
    for number in range(20):
        store(fake_kv, f"https://a.example/p/{number}")
    fake_kv.refuse("r1/https/a.example/p/7")
    with pytest.raises(PartialPurgeError):
        client.purge(prefixes="a.example/p", hard=True, delete=True)
    assert fake_kv.stored_keys("r1/") == ["r1/https/a.example/p/7"]


def test_what_stays_unwritten_is_raised_with_the_targets_to_send_again(
    client: PurgeClient, fake_kv: FakeKV
) -> None:
    fake_kv.leave_unsuccessful("m2/s/url/a.example/x", times=99)
    with pytest.raises(PartialPurgeError, match="1 of 3 marks") as raised:
        client.purge(urls="a.example/x", groups="a", reason="sale")
    assert raised.value.receipt.marks == ("m2/s/shared", "m2/s/group/a")
    assert raised.value.remaining.as_json() == {"urls": ["https://a.example/x"], "reason": "sale"}
    fake_kv.leave_unsuccessful("m2/s/url/a.example/x", times=-99)
    assert client.send(raised.value.remaining).marks == ("m2/s/shared", "m2/s/url/a.example/x")


def test_a_failure_in_the_middle_tells_what_is_left(purge_client: PurgeClient, fake_kv: FakeKV) -> None:
    urls = [f"https://a.example/{number}" for number in range(25_000)]
    writes: list[int] = []

    def fail_after_the_first(progress: Progress) -> None:
        writes.append(progress.done)
        fake_kv.fail_next(99, status=500)

    with pytest.raises(PartialPurgeError) as raised:
        purge_client.purge(urls=urls, on_progress=fail_after_the_first)
    assert isinstance(raised.value.__cause__, CloudflareUnavailable)
    assert writes == [10_000]
    assert list(raised.value.remaining.urls) == urls[9_999:]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        pytest.param(lambda kv: kv.fail_next(99, status=0), ConnectionFailed, id="no answer"),
        pytest.param(lambda kv: kv.fail_next(99), CloudflareUnavailable, id="failures"),
        pytest.param(
            lambda kv: setattr(kv, "may_write", False), AuthenticationFailed, id="a token that may only read"
        ),
        pytest.param(lambda kv: setattr(kv, "token", "another"), AuthenticationFailed, id="another token"),
    ],
)
def test_if_nothing_is_written_the_error_is_the_one_that_came(
    client: PurgeClient, fake_kv: FakeKV, spoil: Callable[[FakeKV], None], error: type[Exception]
) -> None:
    spoil(fake_kv)
    with pytest.raises(error):
        client.purge(groups="a")


def test_a_block_of_five_minutes_is_waited_out(
    client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    fake_kv.block(300)
    assert client.purge(groups="a").requests == 2
    assert kv_clock.slept == [300]


def test_unless_the_caller_has_no_time(client: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock) -> None:
    fake_kv.block(300)
    with pytest.raises(RateLimited):
        client.purge(groups="a", timeout=10)
    assert kv_clock.slept == []


def test_a_thousand_purges_in_a_row_are_never_refused(
    new_client: MakeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    clients = [new_client(options=Options(clock=kv_clock, budget=(budget := RateBudget())))]
    clients.append(new_client(options=Options(clock=kv_clock, budget=budget)))
    fake_kv.latency_seconds = 0.02
    for number in range(3000):
        clients[number % 2].purge(groups=f"group-{number}")
    assert len(fake_kv.requests) == 3000, "each was sent once: none was answered 429"


def test_without_a_shared_budget_cloudflare_would_refuse(
    new_client: MakeClient, kv_clock: ManualClock
) -> None:
    hasty = new_client(options=Options(clock=kv_clock, budget=RateBudget.unlimited(), timeout=10))
    with pytest.raises((RateLimited, DeadlineExceeded)):
        deque((hasty.purge(groups=f"group-{number}") for number in range(1300)), maxlen=0)


def test_nothing_is_sent_for_targets_that_cannot_be(client: PurgeClient, fake_kv: FakeKV) -> None:
    with pytest.raises(InvalidRequest):
        client.purge(groups=["good", " bad"])
    assert fake_kv.requests == []


# Deleting


def test_deleting_takes_what_the_purge_covers_and_its_bodies(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, "https://a.example/p/1", groups=("g",))
    store(fake_kv, "https://a.example/p/2", body_key="b1/2")
    store(fake_kv, "https://a.example/pq")
    receipt = client.purge(prefixes="a.example/p", hard=True, delete=True)
    assert receipt.deleted == 3
    assert fake_kv.stored_keys("r1/") == ["r1/https/a.example/pq"]
    assert fake_kv.stored_keys("b1/") == []


def test_deleting_everything_takes_bodies_without_records_too(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, "https://a.example/1")
    fake_kv.put("b1/left-behind", b"body")
    fake_kv.put("other/key", b"someone else's")
    client.purge(everything=True, hard=True, delete=True)
    assert fake_kv.stored_keys() == ["m2/h/everything", "m2/s/everything", "m2/s/shared", "other/key"]


def test_a_hundred_thousand_keys_are_deleted_in_110_requests(
    purge_client: PurgeClient, fake_kv: FakeKV
) -> None:
    for number in range(100_000):
        fake_kv.put(f"r1/https/a.example/p/{number:06}", b"")
    receipt = purge_client.purge(prefixes="a.example/p", hard=True, delete=True)
    assert receipt.deleted == 100_000
    assert receipt.requests == 1 + 101 + 10, "the marks, a list of each scheme's pages, ten bulk deletes"


def test_if_deleting_fails_the_marks_hold_all_the_same(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, "https://a.example/p/1")
    fake_kv.leave_unsuccessful("r1/https/a.example/p/1", times=99)
    with pytest.raises(PartialPurgeError, match="nothing purged is served") as raised:
        client.purge(prefixes="a.example/p", hard=True, delete=True)
    assert raised.value.remaining.delete
    assert "m2/h/prefix/a.example/p" in fake_kv.marks_in_force()


# Preview and batches


def test_a_preview_counts_and_writes_nothing(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, "https://a.example/1", groups=("g",), body_bytes=100)
    store(fake_kv, "https://a.example/2", groups=("g",), body_bytes=50)
    store(fake_kv, "https://a.example/3", body_bytes=7)
    radius = client.preview(groups="g")
    assert (radius.responses, radius.body_bytes, radius.marks) == (2, 150, 1)
    assert radius.examples == ("https://a.example/1", "https://a.example/2")
    assert fake_kv.marks_in_force() == {}


def test_a_batch_is_sent_merged_at_its_end(purge_client: PurgeClient, fake_kv: FakeKV) -> None:
    with purge_client.batch() as batch:
        batch.purge(groups="a")
        batch.purge(groups=["a", "b"])
        batch.purge(urls="a.example/x", hard=True)
        assert fake_kv.requests == []
    assert [list(receipt.marks) for receipt in batch.receipts] == [
        ["m2/s/group/a", "m2/s/group/b"],
        ["m2/s/shared", "m2/h/url/a.example/x", "m2/s/url/a.example/x"],
    ]


async def test_a_batch_of_the_asynchronous_client(fake_kv: FakeKV, async_purge_client: object) -> None:
    async with async_purge_client.batch() as batch:  # type: ignore[attr-defined]  # the fixture's own type
        batch.purge(groups="a")
        batch.purge(groups="b")
    assert fake_kv.stored_keys("m2/") == ["m2/s/group/a", "m2/s/group/b"]


def test_a_batch_that_raises_purges_nothing(purge_client: PurgeClient, fake_kv: FakeKV) -> None:
    def roll_back() -> None:
        with purge_client.batch() as batch:
            batch.purge(groups="a")
            raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError, match="rolled back"):
        roll_back()
    assert fake_kv.requests == []


# Together


def test_threads_share_one_client(fake_kv: FakeKV) -> None:
    with (
        fake_kv.serve() as url,
        PurgeClient(_settings(url, fake_kv)) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        receipts = list(pool.map(lambda number: client.purge(groups=f"g{number}"), range(200)))
    assert len({receipt.id for receipt in receipts}) == 200
    assert len(fake_kv.marks_in_force()) == 200


async def test_tasks_share_one_client(fake_kv: FakeKV) -> None:
    with fake_kv.serve() as url:
        async with AsyncPurgeClient(_settings(url, fake_kv)) as client:
            await asyncio.gather(*(client.purge(groups=f"g{number}") for number in range(100)))
    assert len(fake_kv.marks_in_force()) == 100


def _settings(url: str, fake_kv: FakeKV) -> Settings:
    return Settings(base_url=url, namespace_id=fake_kv.namespace_id)


def test_a_server_that_never_answers_holds_nobody_longer_than_asked(fake_kv: FakeKV) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = _settings(f"http://127.0.0.1:{silent.getsockname()[1]}", fake_kv)
        with PurgeClient(settings) as client:
            began = time.monotonic()
            with pytest.raises(ConnectionFailed, match="ReadTimeout"):
                client.purge(groups="a", timeout=0.3)
            assert time.monotonic() - began < 3


async def test_a_task_that_is_cancelled_is_told_of(fake_kv: FakeKV) -> None:
    waits = asyncio.Event()

    class Waiting(ManualClock):
        async def sleep_async(self, seconds: float) -> None:
            waits.set()
            await asyncio.sleep(seconds)

    fake_kv.block(300)
    events: list[str] = []
    options = Options(clock=Waiting(), audit=lambda event: events.append(event.outcome))
    async with AsyncPurgeClient(fake_kv.settings, options=options, transport=fake_kv.transport) as client:
        task = asyncio.create_task(client.purge(groups="a"))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert events == ["interrupted"]
