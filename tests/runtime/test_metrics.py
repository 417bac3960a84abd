"""What the route tells is what clients counted: of each tier, in a crowd, and after what went wrong."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from origin_sdk_wire.analytics import GROUPS, MOST_POINTS, add_row
from origin_sdk_wire.exposition import Document, Isolate, parse_document
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, Mark, group_mark, url_mark, value_of, written_keys
from origin_sdk_wire.metrics import Counts, Tier
from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, StandIn, Worker
from tests.runtime.client import Response
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import HOST, detail, eventually, get, key_of, new_path, running
from tests.runtime.kv import BreakableKV
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Pause, Reply, Reset, chunked, reply, truncated

SECRET = "a secret for tests, of 32 bytes and more"  # noqa: S105 - for tests
PATH = "/.edge-cache/metrics"
BEARER = ("Authorization", f"Bearer {SECRET}")
FRESH = [("Cache-Control", "max-age=600")]
INTERVAL = 0.4
_MARGIN_MS = 50
"""As the SDK does."""
STALE_AT_ONCE = [
    ("Cache-Control", "max-age=0, stale-while-revalidate=600, stale-if-error=600"),
    ("ETag", '"1"'),
]
RULES: Sequence[Mapping[str, Json]] = [
    {"name": "bypassed", "path": "/bypassed/**", "bypass": True},
    {"name": "never", "path": "/never/**", "data_class": "never"},
    {"name": "members", "path": "/members/**", "bypass_cookies": "sid", "ignore_cookies": True},
    {"name": "private", "path": "/me/**", "data_class": "private", "key_cookies": ["sid"]},
]
_BASE: Mapping[str, Json] = {"DEBUG_SECRET": SECRET, "METRICS_URLS": "full", "RULES": RULES}
_SETTINGS: Mapping[str, Mapping[str, Json]] = {
    "edge": {
        "MARK_INTERVAL": f"{INTERVAL:g}s",
        "CLIENT_REFRESH_INTERVAL": 0,
        "SERVER_TIMING": "full",
    },
    "small": {
        "MEMORY_BYTES": "400KiB",
        "MEMORY_ITEM_BYTES": "200KiB",
        "BREAKER_FAILURES": 2,
        "BREAKER_PAUSE": 3600,
    },
    "hasty": {"ORIGIN_TIMEOUT": "500ms", "SOFT_TIMEOUT": 0},
    "one": {"METRICS_SHARED": True, "SERVER_TIMING": "short"},
    "other": {"METRICS_SHARED": True},
    "quiet": {"METRICS_URLS": "none", "LOG_SAMPLING": 0.5},
    "closed": {"DEBUG_SECRET": ""},
    "developed": {"DEBUG_SECRET": "", "DEVELOPMENT": True},
}


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    workers = {name: {**_BASE, **own} for name, own in _SETTINGS.items()}
    with running(tmp_path_factory.mktemp("metrics"), running_origin, workers) as workerd:
        yield workerd


def told(url: str, *fields: tuple[str, str]) -> Document:
    response = get(url, PATH, *(fields or (BEARER,)))
    assert response.status == 200, response
    assert response.value("Cache-Control") == "no-store"
    return parse_document(response.body)


def own(url: str) -> Isolate:
    return told(url).isolates[0]


class Tally:
    """What a client counts itself, beside what the route tells of the same requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: Counter[tuple[str, str]] = Counter()
        self.bytes = 0
        self._before = own(url).counts

    def see(self, *responses: Response) -> Response:
        for response in responses:
            assert response.complete
            self.seen[detail(response), f"{response.status // 100}xx"] += 1
            self.bytes += len(response.body)
        return responses[-1]

    def get(self, path: str, *fields: tuple[str, str], method: str = "GET", body: bytes = b"") -> Response:
        return self.see(get(self.url, path, *fields, method=method, body=body))

    def counted(self) -> Counts:
        return own(self.url).counts.since(self._before)

    def check(self) -> Counts:
        """Hold what the route tells against what was seen, and return it."""
        counts = self.counted()
        rows = {labels: cells[0] for labels, cells in counts.by("requests", "reason", "status").items()}
        assert rows == dict(self.seen)
        assert counts.total("response_bytes") == self.bytes
        return counts


# Each tier


def _miss(tally: Tally, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"one"))
    tally.get(path)


def _memory(tally: Tally, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"one"))
    for _ in range(7):  # by the full path at first, then by the fast one
        tally.get(path)


def _kv(tally: Tally, origin: ScriptedOrigin, edge: Workerd) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"one"))
    get(edge.url("quiet"), path)
    eventually(lambda: edge.store().get(key_of(path)), "the record in KV")
    tally.get(path)


def _stale(tally: Tally, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE_AT_ONCE, b"one"), reply(304, STALE_AT_ONCE))
    tally.get(path)
    time.sleep(1.1)
    assert detail(tally.get(path)) == "stale-while-revalidate"


def _stale_if_error(tally: Tally, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "max-age=1, stale-if-error=600")], b"one"), reply(503))
    tally.get(path)
    time.sleep(1.1)
    assert detail(tally.get(path)) == "stale-if-error"


def _validated(tally: Tally, origin: ScriptedOrigin) -> None:
    path, fields = new_path(), [("Cache-Control", "max-age=1"), ("ETag", '"1"')]
    origin.on(path, reply(200, fields, b"one"), reply(304, fields))
    tally.get(path)
    time.sleep(1.1)
    assert detail(tally.get(path)) == "validated"


def _collapsed(tally: Tally, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"one").after(Pause(0.5)))
    tally.see(*(each.response for each in crowd(tally.url, [Asked(path)] * 20)))


def _pass(tally: Tally, origin: ScriptedOrigin) -> None:
    for path in (new_path(), new_path("bypassed/x")):
        origin.on(path, reply(200, FRESH, b"one"))
    tally.get(path, method="GET")
    tally.get(new_path(), method="POST", body=b"x")


def _own(tally: Tally, _origin: ScriptedOrigin) -> None:
    tally.get(new_path(), ("Cache-Control", "only-if-cached"))


_SCENES: Mapping[Tier, Callable[..., None]] = {
    Tier.MISS: _miss,
    Tier.MEMORY: _memory,
    Tier.KV: _kv,
    Tier.STALE: _stale,
    Tier.VALIDATED: _validated,
    Tier.COLLAPSED: _collapsed,
    Tier.PASS: _pass,
    Tier.OWN: _own,
}


@pytest.mark.parametrize("tier", list(Tier))
def test_the_route_tells_what_a_client_counted_of_each_tier(
    edge: Workerd, origin: ScriptedOrigin, tier: Tier
) -> None:
    tally = Tally(edge.url("edge"))
    scene = _SCENES[tier]
    scene(*((tally, origin, edge) if scene is _kv else (tally, origin)))
    counts = tally.check()
    expected = {Tier.MEMORY: 6, Tier.COLLAPSED: 19, Tier.PASS: 2}.get(tier, 1)
    assert counts.total("requests", tier=tier.value) == expected
    assert counts.total("collapsed") == (19 if tier is Tier.COLLAPSED else 0)


def test_a_stale_answer_its_expiry_and_its_refresh_are_counted(edge: Workerd, origin: ScriptedOrigin) -> None:
    tally = Tally(edge.url("edge"))
    _stale(tally, origin)
    _stale_if_error(tally, origin)
    eventually(lambda: tally.counted().total("refreshes"), "the refresh")
    counts = tally.check()
    assert counts.total("refreshes", outcome="validated") == 1
    assert counts.total("expiries") == 2
    assert counts.total("stale_seconds") == 2
    assert sum(cells[0] for cells in counts.cells("stale_seconds")) <= 4


def test_bodies_of_unknown_length_are_counted_once_they_are_sent(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    tally, path = Tally(edge.url("edge")), new_path()
    origin.on(path, chunked(200, FRESH, [Pause(0.3), b"x" * 70_000, Pause(0.3), b"y" * 30_000]))
    told_all = crowd(tally.url, [Asked(path)] * 3)
    assert {len(each.body) for each in told_all} == {100_000}
    tally.see(*(each.response for each in told_all))
    eventually(lambda: tally.counted().total("response_bytes") == 300_000, "all bytes")
    tally.check()


@pytest.mark.parametrize(
    ("method", "fields", "size"),
    [
        pytest.param("HEAD", [], 0, id="a HEAD"),
        pytest.param("GET", [("If-None-Match", '"1"')], 0, id="a 304 of the cache's own"),
        pytest.param("GET", [("Range", "bytes=0-9")], 10, id="a part"),
        pytest.param("GET", [("Accept-Encoding", "gzip")], None, id="as it lies there, compressed"),
    ],
)
def test_bytes_are_those_that_were_sent(
    edge: Workerd, origin: ScriptedOrigin, method: str, fields: list[tuple[str, str]], size: int | None
) -> None:
    path, url = new_path(), edge.url("edge")
    shown = [*FRESH, ("ETag", '"1"'), ("Content-Type", "application/json")]
    origin.on(path, reply(200, shown, b'{"a": 1}' * 2000))
    get(url, path)
    eventually(lambda: edge.store().get(key_of(path)), "the record in KV")
    tally = Tally(url)
    response = tally.get(path, *fields, method=method)
    assert size is None or len(response.body) == size
    tally.check()


# Each reason


@dataclass(frozen=True, slots=True)
class Case:
    """A request, the origin's answer, and the reason that comes of it; with ``again`` of the second one."""

    reason: str
    answer: Reply
    fields: Sequence[tuple[str, str]] = ()
    name: str = "t"
    method: str = "GET"
    again: bool = False
    pause: float = 0.0


_GROUPS = ", ".join(f'"g{at}"' for at in range(300))
_ONE_SECOND = [("Cache-Control", "max-age=1")]
CASES = [
    Case("absent", reply(200, FRESH)),
    Case("fresh", reply(200, FRESH), again=True),
    Case("method", reply(200), method="POST"),
    Case("bypass-rule", reply(200, FRESH), name="bypassed/x"),
    Case("bypass-cookie", reply(200, FRESH), [("Cookie", "a=1; sid=2")], name="members/x"),
    Case("class-never", reply(200, FRESH), name="never/x"),
    Case("identity-missing", reply(200, FRESH), name="me/x"),
    Case("malformed-cookie", reply(200, FRESH), [("Cookie", "sid=1; sid=2")], name="me/x"),
    Case("request-body", reply(200, FRESH), [("Content-Length", "1")]),
    Case("other-variant", reply(200, [*FRESH, ("Vary", "X-A")]), [("X-A", "2")], again=True),
    Case("stale", reply(200, _ONE_SECOND), again=True, pause=1.1),
    Case("stale-while-revalidate", reply(200, STALE_AT_ONCE), again=True, pause=1.1),
    Case("request-no-cache", reply(200, FRESH), [("Cache-Control", "no-cache")], again=True),
    Case("only-if-cached", reply(200, FRESH), [("Cache-Control", "only-if-cached")]),
    Case("no-store", reply(200, [("Cache-Control", "no-store")])),
    Case("private", reply(200, [("Cache-Control", "private, max-age=60")])),
    Case("authorization", reply(200, FRESH), [("Authorization", "Bearer x")]),
    Case("cookie", reply(200, FRESH), [("Cookie", "a=1")]),
    Case("set-cookie", reply(200, [*FRESH, ("Set-Cookie", "a=1")])),
    Case("vary-any", reply(200, [*FRESH, ("Vary", "*")])),
    Case("unkeyed-field", reply(200, FRESH), [("X-Api-Key", "1")]),
    Case("status", reply(428, FRESH)),
    Case("no-freshness", reply(200)),
    Case("expired", reply(200, [*FRESH, ("Age", "700")])),
    Case("stream", reply(200, [*FRESH, ("Content-Type", "text/event-stream")])),
    Case("too-many-groups", reply(200, [*FRESH, ("Cache-Groups", _GROUPS)])),
    Case("client-error", reply(400, FRESH, b"no")),
    Case("server-error", reply(500, FRESH, b"no")),
]


def test_each_reason_that_traffic_brings_is_told(edge: Workerd, origin: ScriptedOrigin) -> None:
    tally, paths = Tally(edge.url("edge")), {case.reason: new_path(case.name) for case in CASES}
    for case in CASES:
        origin.on(paths[case.reason], case.answer)
        if case.again:
            fields = [("X-A", "1")] if case.reason == "other-variant" else []
            tally.get(paths[case.reason], *fields)
    time.sleep(max(case.pause for case in CASES))
    for case in CASES:
        body = b"x" if ("Content-Length", "1") in case.fields else b""
        fields = [field for field in case.fields if field[0] != "Content-Length"]
        response = tally.get(paths[case.reason], *fields, method=case.method, body=body)
        assert detail(response) == case.reason
    counts = tally.check()
    assert {labels[0] for labels in counts.by("requests", "reason")} == {case.reason for case in CASES}


# A crowd


def test_the_numbers_hold_for_500_at_once(edge: Workerd, origin: ScriptedOrigin) -> None:
    tally = Tally(edge.url("edge"))
    hot, cold, stale, private, failing = (
        new_path(name) for name in ("hot", "cold", "stale", "me/x", "failing")
    )
    origin.on(hot, reply(200, FRESH, b"hot" * 100))
    origin.on(cold, reply(200, FRESH, b"cold").after(Pause(0.4)))
    origin.on(stale, reply(200, STALE_AT_ONCE, b"stale"), reply(200, STALE_AT_ONCE, b"newer"))
    origin.on(private, reply(200, [("Cache-Control", "private")], b"mine"))
    origin.on(failing, reply(500, [], b"oh"))
    tally.get(hot)
    tally.get(stale)
    time.sleep(1.1)
    asked = [
        *[Asked(hot)] * 200,
        *[Asked(cold)] * 120,
        *[Asked(stale)] * 100,
        *[Asked(private, [("Cookie", f"sid={at % 3}")]) for at in range(40)],
        *[Asked(failing)] * 20,
        *[Asked(hot, [("Cache-Control", "no-store, only-if-cached")], "HEAD")] * 10,
        *[Asked(new_path("bypassed/x"), (), "DELETE") for _ in range(10)],
    ]
    answers = crowd(tally.url, [asked[at * 7 % len(asked)] for at in range(len(asked))])
    assert len(answers) == 500
    tally.see(*(each.response for each in answers))
    counts = tally.check()
    assert counts.total("requests") == 502
    assert counts.total("collapsed") == sum(
        "collapsed" in (each.response.value("Cache-Status") or "") for each in answers
    )
    assert counts.total("requests", rule="private") == 40


# What goes wrong


@pytest.mark.parametrize(
    ("worker", "answer", "kind"),
    [
        pytest.param("small", Reset(), "unreachable", id="a connection that is reset"),
        pytest.param("hasty", Pause(2), "timeout", id="nothing in time"),
        pytest.param("small", None, "truncated", id="a body that breaks off"),
    ],
)
def test_the_origin_s_errors_are_counted_by_kind(
    edge: Workerd, origin: ScriptedOrigin, worker: str, answer: Reset | Pause | None, kind: str
) -> None:
    tally, path = Tally(edge.url(worker)), new_path()
    broken = (
        truncated(b"half", missing=4, fields=FRESH) if answer is None else reply(200, FRESH).after(answer)
    )
    origin.on(path, broken)
    assert tally.get(path).status in {502, 504}
    counts = tally.check()
    assert counts.total("origin_errors", kind=kind) == 1 == counts.total("origin_errors")
    assert counts.total("requests", tier="own") == 1


def test_a_breaker_that_opens_is_counted(edge: Workerd, origin: ScriptedOrigin) -> None:
    origin.on(path := new_path(), reply(200, FRESH))
    get(edge.url("small"), path)  # an answer closes it
    tally = Tally(edge.url("small"))
    for _ in range(4):
        origin.on(path := new_path(), reply(200, FRESH).after(Reset()))
        tally.get(path)
    assert tally.check().total("breaker_openings") == 1


def test_evictions_are_counted_with_their_bytes_and_age(edge: Workerd, origin: ScriptedOrigin) -> None:
    tally = Tally(edge.url("small"))
    for _ in range(10):
        origin.on(path := new_path(), reply(200, FRESH, b"x" * 100_000))
        tally.get(path)
    counts = tally.check()
    evicted = counts.total("eviction_seconds")
    assert 5 <= evicted <= 13  # ten of these, and what other tests left
    assert counts.total("evicted_bytes") >= 5 * 100_000
    isolate = own(tally.url)
    assert isolate.counts.value("memory_bytes") <= isolate.counts.value("memory_limit_bytes") == 400 * 1024
    assert isolate.counts.value("memory_entries") <= 4


# Purges


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("kind", ["group", "url"])
def test_a_purge_from_outside_is_counted_once_with_its_lag(
    edge: Workerd, origin: ScriptedOrigin, kind: str, lane: Lane
) -> None:
    path, url, group = new_path(), edge.url("edge"), f"lagging-{lane}"
    origin.on(path, reply(200, [*FRESH, ("Cache-Groups", f'"{group}"')], b"one"))
    get(url, path)
    time.sleep(INTERVAL * 1.5)
    get(url, path)  # its marks are known from here on
    time.sleep(INTERVAL)
    tally = Tally(url)
    name = group_mark(group) if kind == "group" else url_mark(parse_target(f"http://{HOST}{path}"))
    for key in written_keys([name], lane):
        moment_ms = int(datetime.now(UTC).timestamp() * 1000) + _MARGIN_MS  # noqa: TID251 - marks are dated
        edge.store().put(key, value_of(key, Mark(moment_ms, "test")).encode())
    purged = "purged-soft" if lane is Lane.SOFT else "purged-hard"
    eventually(lambda: detail(tally.get(path)) == purged, "the purge")
    time.sleep(INTERVAL * 2)
    tally.get(path)
    counts = tally.check()
    assert counts.total("purge_lag_seconds") == 1
    assert sum(cells[0] for cells in counts.cells("purge_lag_seconds")) < 10
    seen, *_ = own(url).purges
    assert (seen.by, seen.lane, seen.name, seen.purge_id) == ("elsewhere", lane.value, name, "test")


def test_purges_of_the_worker_s_own_are_counted_by_cause(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, url = new_path(), edge.url("edge")
    origin.on(path, reply(200, FRESH, b"one"))
    get(url, path)
    eventually(lambda: edge.store().get(key_of(path)), "the record in KV")
    tally = Tally(url)
    tally.get(path, method="DELETE")
    eventually(lambda: tally.counted().total("purges"), "the mark")
    counts = tally.check()
    assert counts.total("purges", by="unsafe-request", lane="s") >= 1
    time.sleep(2 * INTERVAL)
    tally.get(path)
    time.sleep(2 * INTERVAL)
    tally.get(path)
    assert tally.check().total("purge_lag_seconds") == 0  # its own mark, seen in KV, is none from elsewhere
    names = {seen.name for seen in own(url).purges if seen.by == "unsafe-request"}
    assert url_mark(parse_target(f"http://{HOST}{path}")) in names


# KV


def test_kv_keys_are_those_that_kv_was_asked_for(
    running_origin: ScriptedOrigin,
    origin: ScriptedOrigin,
    breakable_kv: BreakableKV,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder, store = tmp_path_factory.mktemp("kv"), StandIn(breakable_kv.address)
    with running(folder, running_origin, {"a": {"DEBUG_SECRET": SECRET}}, store=store) as workerd:
        url = workerd.url("a")
        for _ in range(3):
            origin.on(path := new_path(), reply(200, [*FRESH, ("Cache-Groups", '"g", "h"')], b"one"))
            get(url, path)
            get(url, path)
        eventually(lambda: own(url).counts.total("kv_keys", operation="write") == 3, "the writes")
        asked, counts = breakable_kv.requests(), own(url).counts
        writes = [request for request in asked if request.method == "PUT"]
        singles = [request for request in asked if request.method == "GET"]
        bulks = [json.loads(request.body)["keys"] for request in asked if request.method == "POST"]
        assert counts.total("kv_keys", operation="write", purpose="record") == len(writes)
        assert counts.total("kv_keys", operation="read", purpose="record") == len(singles)
        assert counts.total("kv_keys", operation="read", purpose="mark") == sum(map(len, bulks)) > 0
        assert counts.total("kv_written_bytes") == sum(len(request.body) for request in writes)

        breakable_kv.fault = lambda *_: reply(500)
        get(url, new_path())
        counts = own(url).counts
        assert counts.total("kv_errors", operation="read") >= 1
        assert counts.total("faults", where="store") + counts.total("faults", where="marks") >= 1


# Analytics Engine


def _points(requests: Sequence[Request]) -> Iterator[tuple[str, list[str], list[float]]]:
    """Read what workerd sends for each point: JSON, in which texts are lists of bytes."""
    for request in requests:
        point = json.loads(request.body)
        blobs = [bytes(point[name]).decode() for at in range(1, 21) if (name := f"blob{at}") in point]
        doubles = [point.get(f"double{at}", 0.0) for at in range(1, 21)]
        yield bytes(point["index1"]).decode(), blobs, doubles


def test_points_hold_what_the_route_tells(
    running_origin: ScriptedOrigin, origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ScriptedOrigin() as engine:
        engine.otherwise(lambda _: reply(200))
        variables = {**_BASE, "ORIGIN": running_origin.url}
        worker = Worker("a", variables=variables, datasets={"METRICS": StandIn(engine.address)})
        with Workerd(tmp_path_factory.mktemp("points"), [worker], snapshots=snapshot.deployed()) as workerd:
            url = workerd.url("a")
            origin.on(path := new_path(), reply(200, [*FRESH, ("Cache-Groups", '"g"')], b"one"))
            for _ in range(6):
                get(url, path)
            get(url, new_path("bypassed/x"), method="POST")

            def flushed() -> list[Request]:
                get(url, path, ("Cache-Control", "max-age=599"))
                return engine.requests()

            eventually(flushed, "points")
            time.sleep(0.5)
            points = list(_points(engine.requests()))
            assert len(points) <= MOST_POINTS
            counts, isolate, urls = Counts(), own(url), {}
            for index, blobs, doubles in points:
                version, name, isolate_id, _, *labels = blobs
                assert (version, isolate_id) == ("1", isolate.id)
                if name == "url":
                    urls[labels[1]] = index, doubles[0]
                    continue
                group = GROUPS[name]
                row = dict(zip(group.labels, labels, strict=True))
                assert index == row.get("rule", "-")
                add_row(counts, group, {**row, **{f"c{at}": value for at, value in enumerate(doubles, 1)}})
            # The flush is some requests old.
            told_later = isolate.counts.total("requests", rule="default")
            assert told_later - 50 <= counts.total("requests", rule="default") <= told_later
            assert urls[f"http://{HOST}{path}"] == ("default", counts.total("requests", rule="default"))
            assert counts.total("response_bytes", rule="default") == 3 * counts.total(
                "requests", rule="default"
            )
            for metric in ("origin_requests", "origin_seconds"):
                assert counts.series[metric] == isolate.counts.series[metric]
            assert {index for index, *_ in points} == {"default", "bypassed", "-"}


# Who may read it


@pytest.mark.parametrize(
    ("worker", "fields", "status"),
    [
        pytest.param("edge", [BEARER], 200, id="a bearer token"),
        pytest.param(
            "edge", [("authorization", f"bearer  {SECRET} ")], 200, id="a bearer token, written otherwise"
        ),
        pytest.param("edge", [("Cache-Debug", SECRET)], 200, id="Cache-Debug"),
        pytest.param("edge", [], 401, id="nothing"),
        pytest.param("edge", [("Authorization", f"Basic {SECRET}")], 401, id="another scheme"),
        pytest.param(
            "edge", [("Authorization", f"Bearer {SECRET[:-1]}")], 401, id="a secret that is too short"
        ),
        pytest.param("edge", [("Authorization", "Bearer ")], 401, id="an empty token"),
        pytest.param("edge", [("Cache-Debug", "")], 401, id="an empty field"),
        pytest.param("developed", [], 401, id="while developing, by a name that isn't this machine's"),
        pytest.param("closed", [("Authorization", "Bearer ")], 418, id="no secret is set"),
    ],
)
def test_the_route_is_guarded(
    edge: Workerd, origin: ScriptedOrigin, worker: str, fields: list[tuple[str, str]], status: int
) -> None:
    origin.on(PATH, reply(418, FRESH, b"the API"))
    response = get(edge.url(worker), PATH, *fields)
    assert response.status == status
    assert (response.value("WWW-Authenticate") is not None) == (status == 401)
    assert (response.value("Cache-Status") is not None) == (status == 418)
    assert bool(origin.requests(PATH)) == (status == 418)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.1:8787", "LOCALHOST:1"])
def test_a_developer_reads_it_on_this_machine(edge: Workerd, host: str) -> None:
    response = get(edge.url("developed"), PATH, host=host)
    assert parse_document(response.body).isolates


@pytest.mark.parametrize("host", ["localhost.evil.test", "127.0.0.1.evil.test", "evil.test", "0.0.0.0"])  # noqa: S104
def test_a_page_that_resolves_to_this_machine_does_not(edge: Workerd, host: str) -> None:
    assert get(edge.url("developed"), PATH, host=host).status == 401


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 405), ("DELETE", 405), ("PUT", 405)])
def test_the_route_can_only_be_read(edge: Workerd, method: str, status: int) -> None:
    response = get(edge.url("edge"), PATH, BEARER, method=method, body=b"x" if method == "PUT" else b"")
    assert response.status == status
    assert method != "HEAD" or not response.body


def test_the_route_s_own_requests_are_not_counted(edge: Workerd) -> None:
    tally = Tally(edge.url("edge"))
    for _ in range(3):
        get(tally.url, PATH, BEARER)
    get(tally.url, PATH)
    assert not tally.check()


def test_openmetrics_tells_the_same(edge: Workerd, origin: ScriptedOrigin) -> None:
    origin.on(path := new_path(), reply(200, FRESH, b"one"))
    url = edge.url("edge")
    get(url, path)
    response = get(
        url, PATH, BEARER, ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    )
    assert (response.value("Content-Type") or "").startswith("application/openmetrics-text")
    families = text_string_to_metric_families(response.body.decode())  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    total = sum(sample.value for sample in samples if sample.name == "edge_cache_requests_total")
    assert total == own(url).counts.total("requests")


# What clients choose


def test_hosts_that_clients_make_up_are_bounded(edge: Workerd) -> None:
    url = edge.url("small")
    for at in range(60):
        get(url, new_path(), host=f"made-up-{at}.test")
    counts = own(url).counts
    hosts = {labels[0] for labels in counts.series["requests"]}
    assert len(hosts) <= 21
    assert "other" in hosts
    assert counts.total("requests", host="other") >= 40


def test_urls_are_told_only_if_a_setting_says_so(edge: Workerd, origin: ScriptedOrigin) -> None:
    origin.on(path := new_path(), reply(200, FRESH, b"one"))
    for _ in range(4):
        for worker in ("edge", "quiet"):
            get(edge.url(worker), f"{path}?q=1")
    url, *_ = [each for each in own(edge.url("edge")).urls if path in each.url]
    assert (url.url, url.requests, url.origin_requests) == (f"http://{HOST}{path}?q=1", 4, 1)
    assert own(edge.url("quiet")).urls == ()
    log = edge.process.log.read_text(encoding="utf-8")
    assert path not in "".join(line for line in log.splitlines() if '"quiet"' in line)


# Among isolates, and in the log


def test_isolates_that_share_their_counts_are_told_together(edge: Workerd, origin: ScriptedOrigin) -> None:
    one, other = edge.url("one"), edge.url("other")
    origin.on(path := new_path(), reply(200, FRESH, b"one"))
    get(other, path)
    get(other, path)

    def flushed() -> list[Isolate]:
        get(other, path, ("Cache-Control", "max-age=599"))
        return [isolate for isolate in told(one).isolates[1:] if isolate.counts.total("requests")]

    (seen,) = eventually(flushed, "the other isolate's counts")
    assert seen.id == own(other).id != own(one).id
    assert seen.counts.total("requests") <= own(other).counts.total("requests")
    assert told(one).is_shared


def test_a_flush_and_a_sample_of_requests_are_logged(edge: Workerd, origin: ScriptedOrigin) -> None:
    origin.on(path := new_path(), reply(200, FRESH, b"one"))

    def lines() -> list[dict[str, object]]:
        get(edge.url("quiet"), path)
        get(edge.url("quiet"), path, ("Cache-Control", "max-age=599"))
        log = edge.process.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in log if line.startswith('{"edge_cache"')]

    def flush() -> bool:
        isolate = own(edge.url("quiet")).id
        return any(line["edge_cache"] == "flush" and line["isolate"] == isolate for line in lines())

    eventually(flush, "the line of a flush")
    sampled = [line for line in lines() if line["edge_cache"] == "request"]
    assert sampled
    assert all("url" not in line for line in sampled)
    counted = own(edge.url("quiet")).counts.total("requests")
    assert len(sampled) == pytest.approx(counted / 2, abs=2)


# Server-Timing and traces


@pytest.mark.parametrize(
    ("worker", "fields", "beginning"),
    [
        pytest.param("quiet", [], None, id="none"),
        pytest.param("one", [("Cache-Debug", SECRET)], "cache;desc=", id="short"),
        pytest.param("edge", [], "cache;desc=", id="full, to those who may not see it"),
        pytest.param("edge", [("Cache-Debug", SECRET)], 'cache;desc="', id="full"),
    ],
)
def test_server_timing_tells_what_may_be_told(
    edge: Workerd, origin: ScriptedOrigin, worker: str, fields: list[tuple[str, str]], beginning: str | None
) -> None:
    origin.on(
        path := new_path(), reply(200, [*FRESH, ("Server-Timing", "db;dur=5")], b"one").after(Pause(0.1))
    )
    first = get(edge.url(worker), path, *fields).value("Server-Timing") or ""
    later = [get(edge.url(worker), path, *fields).value("Server-Timing") for _ in range(5)]
    assert first.startswith("db;dur=5")  # the origin's own, for the client that it answered
    if beginning is None:
        assert first == "db;dur=5"
        assert later == [None] * 5
        return
    assert first.startswith(f"db;dur=5, {beginning}miss")
    assert ("origin;dur=1" in first) == beginning.endswith('"')
    assert all((field or "").startswith(f"{beginning}memory") for field in later)


def test_a_trace_is_passed_on(edge: Workerd, origin: ScriptedOrigin) -> None:
    trace = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=1"),
    ]
    for path, fields in [(new_path(), trace), (new_path("bypassed/x"), trace)]:
        origin.on(path, reply(200, FRESH, b"one"))
        get(edge.url("edge"), path, *fields)
        get(edge.url("edge"), path + "?bad", ("traceparent", "00-1-2-3"), ("tracestate", "a=1"))
        good, bad = origin.requests(path)
        assert [(name, good.value(name)) for name, _ in trace] == trace
        assert bad.value("traceparent") is None
        assert bad.value("tracestate") is None
