"""What an isolate counts and tells, with a clock that tests set: bounds, flushes, sinks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.busiest import Busiest
from origin_sdk_edge.counters import Counters, shown_url
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.monitor import IsolateIdentity, Monitor, Sinks
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.status import FwdReason, Status
from origin_sdk_edge.ports import StoreError
from origin_sdk_wire.analytics import Point
from origin_sdk_wire.config import load
from origin_sdk_wire.exposition import Isolate, parse_document, parse_isolate
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, Mark
from origin_sdk_wire.metrics import Tier
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS, FakeBackground, FakeEdge, FakeResponse

SECRET = "a secret for tests, of 32 bytes and more"  # noqa: S105 - for tests
URL = "http://a.test/x"


def _settings(**variables: object) -> Settings:
    return load({"ORIGIN": "http://origin.test", "DEBUG_SECRET": SECRET, **variables})


def _exchange(url: str = URL, status: Status | None = None, found: Tier | None = Tier.MEMORY) -> Exchange:
    exchange = Exchange(FakeBackground(), START_MS, RequestFacts("GET", parse_target(url), {}))
    exchange.found_in = found
    exchange.answer(status or Status(Reason.FRESH, hit=True, ttl_seconds=5), 200, 10)
    return exchange


# Tiers


@pytest.mark.parametrize(
    ("status", "found", "tier"),
    [
        pytest.param(Status(Reason.FRESH, hit=True), Tier.MEMORY, Tier.MEMORY, id="a hit out of memory"),
        pytest.param(Status(Reason.FRESH, hit=True), Tier.KV, Tier.KV, id="a hit out of KV"),
        pytest.param(Status(Reason.SLOW_ORIGIN, hit=True), Tier.KV, Tier.STALE, id="for a slow origin"),
        pytest.param(
            Status(Reason.STALE_IF_ERROR, forwarded=FwdReason.STALE),
            Tier.KV,
            Tier.STALE,
            id="for one that fails",
        ),
        pytest.param(
            Status(Reason.STALE_IF_ERROR, collapsed=True),
            Tier.KV,
            Tier.STALE,
            id="for one that fails another",
        ),
        pytest.param(
            Status(Reason.VALIDATED, forwarded=FwdReason.STALE),
            Tier.MEMORY,
            Tier.VALIDATED,
            id="validated",
        ),
        pytest.param(Status(Reason.ABSENT, collapsed=True), Tier.KV, Tier.COLLAPSED, id="another's answer"),
        pytest.param(
            Status(Reason.NO_STORE, forwarded=FwdReason.URI_MISS), Tier.KV, Tier.MISS, id="not stored"
        ),
        pytest.param(
            Status(Reason.METHOD, forwarded=FwdReason.METHOD),
            None,
            Tier.PASS,
            id="the cache took no part",
        ),
        pytest.param(
            Status(Reason.CREDENTIALS, forwarded=FwdReason.BYPASS), Tier.KV, Tier.MISS, id="asked alone"
        ),
    ],
)
def test_a_tier_follows_from_what_was_done(status: Status, found: Tier | None, tier: Tier) -> None:
    assert _exchange(status=status, found=found).tier is tier


def test_an_answer_of_the_worker_s_own_is_of_no_other_tier() -> None:
    exchange = _exchange()
    exchange.answer(Status(Reason.ONLY_IF_CACHED), 504, 5, is_own=True)
    assert exchange.tier is Tier.OWN
    exchange.answer(None, 403, 5, is_own=True)
    assert (exchange.tier, exchange.reason) == (Tier.OWN, "hook-answer")


@pytest.mark.parametrize("reason", [*Reason, *OriginFailure])
def test_every_reason_is_counted_under_its_own_name(reason: Reason | OriginFailure) -> None:
    counters = Counters(_settings())
    counters.answered(_exchange(status=Status(reason)))
    assert counters.read().total("requests", reason=reason.value) == 1


# What clients choose is bounded


@given(st.lists(st.integers(0, 10_000), max_size=300))
def test_no_client_makes_the_table_grow(names: list[int]) -> None:
    counters = Counters(_settings())
    for name in names:
        counters.answered(_exchange(f"http://h{name}.test/{name}"))
    counts = counters.read()
    assert counts.total("requests") == len(names)
    hosts = {labels[0] for labels in counts.series["requests"]}
    assert len(hosts) <= 21
    assert len(set(names)) <= 20 or "other" in hosts


def test_a_host_that_is_known_stays_known() -> None:
    counters = Counters(_settings())
    for at in range(100):
        counters.answered(_exchange(f"http://h{at}.test/"))
    counters.answered(_exchange("http://h0.test/"))
    counters.answered(_exchange("http://h0.test/", Status(Reason.STALE_WHILE_REVALIDATE, hit=True)))
    assert counters.read().total("requests", host="h0.test") == 3


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 9), st.integers(0, 5)), max_size=400))
def test_the_busiest_urls_are_few_and_never_told_too_low(uses: list[tuple[int, int, int]]) -> None:
    busiest, true = Busiest(10), dict.fromkeys(range(401), 0)
    for url, requests, origin_ms in uses:
        busiest.note(f"u{url}", "default", requests, 0, 1, origin_ms)
        true[url] += requests
    told = busiest.urls()
    assert len(told) <= 10
    assert [each.requests for each in told] == sorted((each.requests for each in told), reverse=True)
    for each in told:
        real = true[int(each.url[1:])]
        assert each.requests - each.inherited <= real <= each.requests


def test_a_url_of_few_requests_that_costs_the_origin_much_is_told() -> None:
    busiest = Busiest(10)
    busiest.note("slow", "default", 1, 0, 1, 30_000)
    for turn in range(3):
        for at in range(200):
            busiest.note(f"u{at}", "default", 10 + turn, 0, 0, 0)
    assert "slow" in {each.url for each in busiest.urls()}


def test_a_long_url_takes_little_room() -> None:
    busiest = Busiest(10)
    busiest.note("x" * 100_000, "default", 1, 0, 0, 0)
    assert len(busiest.urls()[0].url) == 512


# Purges


def test_what_the_worker_wrote_itself_is_not_seen_as_another_s_purge() -> None:
    counters = Counters(_settings(METRICS_URLS="full"))
    counters.purged(["url/a.test/x"], Lane.SOFT, "unsafe-request", START_MS)
    counters.saw_purge("url/a.test/x", Lane.SOFT, Mark(START_MS + 2000, "id"), START_MS + 5000)
    assert counters.read().total("purge_lag_seconds") == 0
    counters.saw_purge("url/a.test/x", Lane.HARD, Mark(START_MS + 60_000, "id"), START_MS + 61_500)
    counters.saw_purge("prefixes/a.test", Lane.HARD, Mark(START_MS + 60_000, "id"), START_MS + 61_500)
    counts = counters.read()
    assert (counts.total("purges"), counts.total("purge_lag_seconds")) == (1, 1)
    assert next(iter(counts.cells("purge_lag_seconds")))[0] == 1.5
    assert [(seen.by, seen.lane) for seen in counters.purges()] == [
        ("elsewhere", "h"),
        ("unsafe-request", "s"),
    ]


def test_a_hard_purge_that_its_soft_mark_told_of_is_one_purge() -> None:
    counters = Counters(_settings(METRICS_URLS="full"))
    counters.saw_purge("group/a", Lane.SOFT, Mark(START_MS, "id"), START_MS + 1000)
    counters.saw_purge("group/a", Lane.HARD, Mark(START_MS + 5, "id"), START_MS + 1100)
    counters.saw_purge("group/b", Lane.HARD, Mark(START_MS + 5, "id"), START_MS + 1100)
    assert counters.read().total("purge_lag_seconds") == 2
    assert [(seen.name, seen.lane) for seen in counters.purges()] == [("group/b", "h"), ("group/a", "h")]


def test_a_moment_ahead_is_no_negative_lag() -> None:
    counters = Counters(_settings())
    counters.saw_purge("group/a", Lane.HARD, Mark(START_MS + 500, "id"), START_MS)
    assert next(iter(counters.read().cells("purge_lag_seconds")))[0] == 0
    assert next(counters.purges()).name == ""  # it could be a URL


@pytest.mark.parametrize(
    ("where", "counted"),
    [("before_lookup", "hook"), ("store", "store"), ("of-tomorrow", "other"), ("origin", None)],
)
def test_faults_are_counted_by_where_they_were(where: str, counted: str | None) -> None:
    counters = Counters(_settings())
    counters.fault(where)
    assert counters.read().by("faults", "where") == ({(counted,): [1]} if counted else {})


# The monitor


@dataclass
class FakeShared:
    texts: dict[str, str] = field(default_factory=dict)
    watched: bool = False
    is_broken: bool = False

    async def write(self, isolate_id: str, text: str) -> None:
        self._check()
        self.texts[isolate_id] = text

    async def read(self) -> list[str]:
        self._check()
        return list(self.texts.values())

    async def watch(self) -> None:
        self._check()
        self.watched = True

    async def is_watched(self) -> bool:
        self._check()
        return self.watched

    def _check(self) -> None:
        if self.is_broken:
            raise StoreError("KV is away")


class Monitored:
    """A Worker that tells what it counts."""

    def __init__(self, shared: FakeShared | None = None, name: str = "one", **variables: object) -> None:
        self.settings = _settings(**variables)
        answer = FakeResponse(200, {"cache-control": "max-age=600"}, b"hello")
        self.edge = FakeEdge(self.settings, lambda _: answer)
        self.log: list[dict[str, object]] = []
        self.points: list[Point] = []
        sinks = Sinks(lambda line: self.log.append(json.loads(line)), self.points.append, shared)
        source = IsolateIdentity(name, "FRA", START_MS)
        edge = self.edge
        self.monitor = Monitor(self.settings, edge.counters, edge.storage, edge.fast_path, source, sinks)

    @property
    def now_ms(self) -> int:
        return self.edge.timing.ms

    async def get(self, url: str = URL, times: int = 1) -> None:
        for _ in range(times):
            if self.edge.repeated(url, {}) is not None:
                continue
            served = await self.edge.full("GET", url, {})
            self.edge.remember(url, {}, served)
            if self.monitor.is_due(served.exchange, self.now_ms):
                await self.monitor.flush(self.now_ms)

    async def read(self, accept: str = "*/*") -> str:
        fields = {"authorization": f"Bearer {SECRET}", "accept": accept}
        request = RequestFacts("GET", parse_target("http://a.test/.edge-cache/metrics"), fields)
        return (await self.monitor.answer(request, self.now_ms)).text


async def test_repetitions_are_counted_once_whenever_they_are_read() -> None:
    monitored = Monitored(METRICS_URLS="path")
    await monitored.get(times=10)
    for _ in range(2):
        (isolate,) = parse_document(await monitored.read()).isolates
        assert isolate.counts.total("requests", tier="memory") == 9
        assert isolate.counts.total("response_bytes") == 50
        assert isolate.urls[0].requests == 10
    monitored.edge.storage.memory.drop("r1/http/a.test/x")
    assert parse_document(await monitored.read()).total().total("requests") == 10


async def test_a_flush_comes_after_ten_seconds_then_each_minute() -> None:
    monitored = Monitored()
    for seconds, flushes in [(0, 0), (9, 0), (1, 1), (50, 1), (10, 2), (59, 2), (2, 3)]:
        monitored.edge.timing.ms += seconds * 1000
        await monitored.get(f"{URL}?{seconds}")
        assert sum(line["edge_cache"] == "flush" for line in monitored.log) == flushes


async def test_while_it_is_read_it_flushes_each_ten_seconds() -> None:
    monitored = Monitored()
    monitored.edge.timing.ms += 10_000
    await monitored.get()
    for at in range(3):
        monitored.edge.timing.ms += 10_000
        await monitored.read()
        await monitored.get(f"{URL}?{at}")
    assert len(monitored.log) == 4


async def test_points_and_lines_hold_what_came_since_the_last_flush() -> None:
    monitored = Monitored()
    for times, requests in [(3, 3), (5, 5)]:
        monitored.points.clear()
        await monitored.get(times=times)
        await monitored.monitor.flush(monitored.now_ms)
        told = sum(point.doubles[0] for point in monitored.points if point.blobs[1] == "answers")
        assert told == requests == monitored.log[-1]["requests"]
    monitored.points.clear()
    await monitored.monitor.flush(monitored.now_ms)
    assert (len(monitored.log), monitored.points) == (2, [])


async def test_isolates_tell_each_other_s_counts() -> None:
    shared = FakeShared()
    one, other = Monitored(shared, "one"), Monitored(shared, "other")
    await other.get(times=4)
    await other.monitor.flush(other.now_ms)
    await one.get(times=2)
    document = parse_document(await one.read())
    assert [(isolate.id, isolate.counts.total("requests")) for isolate in document.isolates] == [
        ("one", 2),
        ("other", 4),
    ]
    assert shared.watched
    shared.texts["broken"] = "{}"
    await other.get(f"{URL}?1")
    await other.monitor.flush(other.now_ms)
    assert parse_document(await one.read()).isolates[1].counts.total("requests") == 4  # KV was just read
    one.edge.timing.ms += 10_000
    assert len(parse_document(await one.read()).isolates) == 2
    assert 'isolate="other"' in await one.read("application/openmetrics-text;q=0.9, */*;q=0.1")


async def test_an_isolate_learns_with_a_flush_that_another_is_watched() -> None:
    shared = FakeShared(watched=True)
    monitored = Monitored(shared)
    monitored.edge.timing.ms += 10_000
    await monitored.get()
    monitored.edge.timing.ms += 10_000
    await monitored.get(f"{URL}?1")
    assert len(monitored.log) == 2


async def test_kv_that_fails_costs_what_others_counted_and_no_more() -> None:
    shared = FakeShared(is_broken=True)
    monitored = Monitored(shared)
    await monitored.get()
    await monitored.monitor.flush(monitored.now_ms)
    (isolate,) = parse_document(await monitored.read()).isolates
    assert isolate.counts.total("requests") == 1
    assert isolate.counts.total("faults", where="metrics") >= 1
    shared.is_broken = False
    await monitored.get(f"{URL}?1")
    await monitored.monitor.flush(monitored.now_ms)
    left: Isolate = parse_isolate(shared.texts["one"])
    assert left.counts.total("requests") == 2


@pytest.mark.parametrize(("share", "lines"), [(0, 0), (0.25, 5), (0.125, 2), (1, 20)])
async def test_the_log_has_a_line_for_a_share_of_requests(share: float, lines: int) -> None:
    monitored = Monitored(LOG_SAMPLING=share, METRICS_URLS="path")
    await monitored.get(f"{URL}?q=personal", times=20)
    told = [line for line in monitored.log if line["edge_cache"] == "request"]
    assert len(told) == lines
    assert all(line["url"] == URL for line in told)


def test_a_url_is_told_without_the_keys_in_its_query() -> None:
    rule = {"path": "/x", "key_parameters": ["sig"], "data_class": "private"}
    settings = _settings(METRICS_URLS="full", RULES=[rule])
    request = RequestFacts("GET", parse_target("http://a.test/y?a=1&sig=secret&b=2"), {})
    assert shown_url(request, settings) == "http://a.test/y?a=1&b=2"
