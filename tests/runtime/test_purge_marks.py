"""Purge marks, read: every kind, soft and hard, within the bound, and never undone by a refresh in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import pytest

from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import (
    EVERYTHING,
    Lane,
    Mark,
    group_mark,
    host_mark,
    mark_key,
    prefix_index_mark,
    prefix_mark,
    url_mark,
    value_of,
    written_keys,
)
from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Namespace, Worker
from tests.runtime.client import Response
from tests.runtime.edge import HOST, QUIET, detail, eventually, get, is_hit, key_of, new_path, within
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Hold, Reply, reply

INTERVAL = 0.4
SLACK = 3.0
"""What a busy machine may take on top of the bound."""

MARGIN_MS = 50
"""As the SDK does: the clock of the runtime was seen to be some milliseconds before that of this process."""

FRESH = [("Cache-Control", "max-age=600, stale-if-error=600")]
NEARBY, FAR = Namespace(location="nearby"), Namespace(location="far")


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    variables = {
        **QUIET,
        "ORIGIN": running_origin.url,
        "MARK_INTERVAL": f"{round(INTERVAL * 1000)}ms",
        "SHARED_GROUPS": ["shared-*"],
    }
    swr = {**variables, "STALE_WHILE_REVALIDATE": 600}
    workers = [
        Worker("edge", variables=variables),
        Worker("twin", variables=variables),
        Worker("serving-stale", variables=swr),
        Worker("breaking", variables={**variables, "BREAKER_FAILURES": 1, "BREAKER_PAUSE": 3600}),
        Worker("nearby", variables=variables, stores={"CACHE": NEARBY}),
        Worker("far", variables=variables, stores={"CACHE": FAR}),
    ]
    with Workerd(tmp_path_factory.mktemp("marks"), workers, snapshots=snapshot.deployed()) as workerd:
        yield workerd


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)  # noqa: TID251 - marks are dated


def purge(edge: Workerd, *names: str, lane: Lane = Lane.HARD, store: Namespace | None = None) -> None:
    """Write marks as the SDK does, and return when their moment has come."""
    for key in written_keys(names, lane):
        mark = Mark(_now_ms() + MARGIN_MS, "test")
        edge.store(store).put(key, value_of(key, mark).encode())
    time.sleep(MARGIN_MS / 1000)


def _target(path: str) -> str:
    return f"http://{HOST}{path}"


def everything(_path: str) -> Sequence[str]:
    return [EVERYTHING]


def host(_path: str) -> Sequence[str]:
    return [host_mark(HOST)]


def url(path: str) -> Sequence[str]:
    return [url_mark(parse_target(_target(path)))]


def group(path: str) -> Sequence[str]:
    return [group_mark(f"of {path}")]


def prefix(path: str) -> Sequence[str]:
    return [prefix_mark(parse_target(_target(path))), prefix_index_mark(HOST)]


def above(path: str) -> Sequence[str]:
    return [prefix_mark(parse_target(_target(path.rpartition("/")[0]))), prefix_index_mark(HOST)]


KINDS = [everything, host, url, group, prefix, above]
Kind = Callable[[str], Sequence[str]]


def _new(name: str = "leaf") -> str:
    return f"{new_path('branch')}/{name}"


def _stored(edge: Workerd, origin: ScriptedOrigin, path: str, *replies: Reply, worker: str = "edge") -> None:
    """Have a response stored, in memory and in KV, and marks read once."""
    origin.on(path, *replies)
    get(edge.url(worker), path)
    eventually(lambda: edge.store().get(key_of(path)) is not None, "the response in KV")
    assert is_hit(get(edge.url(worker), path))


def _page(body: bytes, path: str, fields: Sequence[tuple[str, str]] = FRESH) -> Reply:
    return reply(200, [*fields, ("Cache-Groups", f'"of {path}"'), ("ETag", '"1"')], body)


def _becomes(url: str, path: str, body: bytes, *fields: tuple[str, str]) -> None:
    within(INTERVAL + SLACK, lambda: get(url, path, *fields).body == body)


def _asks_again(edge: Workerd, origin: ScriptedOrigin, path: str) -> bool:
    get(edge.url("edge"), path)
    return len(origin.requests(path)) > 1


@pytest.mark.parametrize("worker", ["edge", "twin"], ids=["memory", "KV"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_purge_is_honoured_within_the_bound_and_touches_nothing_else(
    edge: Workerd, origin: ScriptedOrigin, kind: Kind, worker: str
) -> None:
    path, other = _new(), _new()
    _stored(edge, origin, other, _page(b"other", other), _page(b"changed", other))
    _stored(edge, origin, path, _page(b"old", path), _page(b"new", path))

    purge(edge, *kind(path))

    within(INTERVAL + SLACK, lambda: get(edge.url(worker), path).body == b"new")
    response = get(edge.url(worker), other)
    if kind in {everything, host}:
        assert response.body == b"changed"
    else:
        assert (response.body, is_hit(response)) == (b"other", True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_purge_makes_stale(edge: Workerd, origin: ScriptedOrigin, kind: Kind) -> None:
    path = _new()
    _stored(edge, origin, path, _page(b"old", path), reply(503, [], b"down"))

    purge(edge, *kind(path), lane=Lane.SOFT)

    within(INTERVAL + SLACK, lambda: _asks_again(edge, origin, path))
    response = get(edge.url("edge"), path)
    assert (response.status, response.body) == (200, b"old")
    assert origin.requests(path)[1].value("If-None-Match") == '"1"'


def test_after_a_hard_purge_nothing_stands_in_even_in_an_outage(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = _new()
    _stored(edge, origin, path, _page(b"old", path), reply(503, [], b"down"))

    purge(edge, *url(path))

    within(INTERVAL + SLACK, lambda: get(edge.url("edge"), path).status == 503)
    assert origin.requests(path)[1].value("If-None-Match") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_purge_is_honoured_while_the_breaker_is_open(
    edge: Workerd, origin: ScriptedOrigin, kind: Kind
) -> None:
    away, path, other = _new(), _new(), _new()
    soon_stale = [("Cache-Control", "max-age=0, stale-if-error=600")]
    for each, fields in ((away, soon_stale), (other, soon_stale), (path, FRESH)):
        origin.on(each, _page(b"old", each, fields), _page(b"new", each))
        get(edge.url("breaking"), each)
    origin.on(away, reply(522))

    get(edge.url("breaking"), away)
    assert detail(get(edge.url("breaking"), other)) == "breaker-open"
    purge(edge, *kind(path), lane=Lane.SOFT)

    _becomes(edge.url("breaking"), path, b"new")
    assert get(edge.url("breaking"), other).body == b"new"  # an answer closed the breaker


def test_a_later_soft_purge_does_not_take_back_a_hard_one(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = _new()
    _stored(edge, origin, path, _page(b"old", path), reply(503, [], b"down"))

    purge(edge, *url(path))
    purge(edge, *url(path), lane=Lane.SOFT)

    within(INTERVAL + SLACK, lambda: get(edge.url("edge"), path).status == 503)


def test_a_soft_purge_lets_nobody_wait_where_stale_while_revalidate_applies(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, hold = _new(), Hold()
    _stored(edge, origin, path, _page(b"old", path), _page(b"new", path).after(hold), worker="serving-stale")

    purge(edge, *url(path), lane=Lane.SOFT)

    def asked() -> Response:
        response = get(edge.url("serving-stale"), path)
        assert response.body == b"old"
        return response

    within(INTERVAL + SLACK, lambda: detail(asked()) == "stale-while-revalidate")
    origin.wait_for_requests(2, path)
    hold.release()
    eventually(lambda: get(edge.url("serving-stale"), path).body == b"new", "the refreshed response")


def test_a_url_is_purged_with_all_its_variants(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = _new()
    version = [b"old"]

    def greet(request: Request) -> Reply:
        return reply(200, [*FRESH, ("Vary", "X-L")], (request.value("X-L") or "").encode() + version[0])

    origin.decide(path, greet)
    variants = [("X-L", "a"), ("X-L", "b")]
    assert [get(edge.url("edge"), path, variant).body for variant in variants] == [b"aold", b"bold"]
    version[0] = b"new"

    purge(edge, *url(path))

    for variant in variants:
        expected = variant[1].encode() + b"new"
        _becomes(edge.url("edge"), path, expected, variant)


def test_a_prefix_ends_at_a_segment(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("branch")
    beside = f"{path}x/leaf"
    _stored(edge, origin, f"{path}/leaf", _page(b"old", path), _page(b"new", path))
    _stored(edge, origin, beside, _page(b"beside", beside))

    purge(edge, *prefix(path))

    within(INTERVAL + SLACK, lambda: get(edge.url("edge"), f"{path}/leaf").body == b"new")
    assert is_hit(get(edge.url("edge"), beside))


@pytest.mark.parametrize("kind", KINDS)
def test_a_refresh_in_flight_when_the_purge_comes_cannot_undo_it(
    edge: Workerd, origin: ScriptedOrigin, kind: Kind
) -> None:
    path, hold = _new(), Hold()
    soon_stale = [("Cache-Control", "max-age=0, stale-while-revalidate=600")]
    old, newer = _page(b"old", path, soon_stale), _page(b"still old", path).after(hold)
    origin.on(path, old, newer, _page(b"new", path))
    get(edge.url("edge"), path)
    get(edge.url("edge"), path)  # starts the refresh
    origin.wait_for_requests(2, path)

    purge(edge, *kind(path))
    hold.release()
    eventually(lambda: edge.store().get(key_of(path)) == b"still old", "what was in flight, in KV")

    # Born before the purge, though stored after it: gone within the bound, from memory and from KV.
    within(INTERVAL + SLACK, lambda: get(edge.url("edge"), path).body == b"new")
    assert get(edge.url("twin"), path).body == b"new"
    time.sleep(INTERVAL)
    assert get(edge.url("edge"), path).body == b"new"


def test_a_fetch_in_flight_when_the_purge_is_already_known_is_not_kept(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, sibling, hold = _new(), _new(), Hold()
    _stored(edge, origin, sibling, _page(b"sibling", path))
    origin.on(path, _page(b"old", path).after(hold), _page(b"new", path))
    bodies: list[bytes] = []
    waiting = threading.Thread(target=lambda: bodies.append(get(edge.url("edge"), path).body))
    waiting.start()
    origin.wait_for_requests(1, path)

    purge(edge, *group(path))
    within(INTERVAL + SLACK, lambda: not is_hit(get(edge.url("edge"), sibling)))
    hold.release()
    waiting.join()

    assert bodies == [b"old"]  # asked for before the purge
    assert get(edge.url("edge"), path).body == b"new"


def test_what_is_fetched_after_a_purge_stays(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = _new()
    _stored(edge, origin, path, _page(b"old", path), _page(b"new", path), _page(b"newest", path))
    purge(edge, *url(path), *group(path), EVERYTHING, *prefix(path))
    within(INTERVAL + SLACK, lambda: get(edge.url("edge"), path).body == b"new")

    time.sleep(2 * INTERVAL)

    response = get(edge.url("edge"), path)
    assert (response.body, is_hit(response)) == (b"new", True)


def test_a_far_location_honours_a_purge_once_kv_forgets_what_it_read(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = _new()
    origin.on(path, _page(b"old", path), _page(b"new", path))
    get(edge.url("nearby"), path)
    eventually(lambda: edge.store(NEARBY).get(key_of(path)) is not None, "the response in KV")
    get(edge.url("far"), path)
    time.sleep(INTERVAL * 1.5)
    assert is_hit(get(edge.url("far"), path))  # its marks have been read there

    purge(edge, *url(path), store=NEARBY)

    time.sleep(INTERVAL * 1.5)
    assert get(edge.url("far"), path).body == b"old"
    edge.advance_kv_clock(30)
    within(INTERVAL + SLACK, lambda: get(edge.url("far"), path).body == b"new")


def test_an_unsafe_request_purges_its_url_and_the_groups_that_its_response_names(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, member, other = _new(), _new(), _new()
    for each in (path, member, other):
        _stored(edge, origin, each, _page(b"old", each), _page(b"new", each))
        get(edge.url("twin"), each)
    invalidation = ("Cache-Group-Invalidation", f'"of {member}"')
    changed = reply(204, [invalidation])
    origin.decide(path, lambda request: changed if request.method == "POST" else _page(b"new", path))

    assert get(edge.url("edge"), path, method="POST", body=b"x").status == 204

    # Here at once, in the other isolate within the bound.
    assert [get(edge.url("edge"), each).body for each in (path, member, other)] == [b"new", b"new", b"old"]
    for each in (path, member):
        _becomes(edge.url("twin"), each, b"new")
    assert get(edge.url("twin"), other).body == b"old"


def test_an_unsafe_request_that_fails_purges_nothing(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = _new()
    _stored(edge, origin, path, _page(b"old", path))
    origin.decide(path, lambda _: reply(500))

    get(edge.url("edge"), path, method="POST", body=b"x")

    assert is_hit(get(edge.url("edge"), path))


def test_many_unsafe_requests_for_one_url_end_in_a_mark_for_the_last(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = _new()
    origin.decide(path, lambda request: reply(204) if request.method == "POST" else _page(b"old", path))
    get(edge.url("edge"), path)
    before = last = _now_ms()
    for _ in range(10):
        last = _now_ms()
        get(edge.url("edge"), path, method="POST", body=b"x")

    def moment() -> int:
        text = edge.store().get(mark_key(url(path)[0], Lane.SOFT)) or b"0"
        return int(text.split()[0])

    eventually(lambda: moment() > before, "a mark")
    eventually(lambda: moment() >= last - MARGIN_MS, "the mark of the last")


def _marks(edge: Workerd, text: str) -> list[str]:
    """Return the keys of all marks that name ``text``."""
    return [key for key in edge.store().keys("m2/") if text in key]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(302, [("Location", "/accounts/login/?next=/x")]), id="to a login"),
        pytest.param(reply(303, [("Location", "https://id.test/authorize")]), id="to another host"),
        pytest.param(reply(308, [("Location", "/x/")]), id="to be sent again"),
        pytest.param(reply(401, [("Cache-Group-Invalidation", '"all"')]), id="401"),
        pytest.param(reply(403, [("Cache-Group-Invalidation", '"all"')]), id="403"),
        pytest.param(reply(404, [("Cache-Group-Invalidation", '"all"')]), id="404"),
        pytest.param(reply(500, [("Cache-Group-Invalidation", '"all"')]), id="500"),
    ],
)
def test_what_proves_no_change_invalidates_nothing(
    edge: Workerd, origin: ScriptedOrigin, answer: Reply
) -> None:
    path = _new()
    page = reply(200, [*FRESH, ("Cache-Groups", '"all"')], b"old")
    origin.decide(path, lambda request: answer if request.method == "POST" else page)
    get(edge.url("edge"), path)

    for _ in range(3):
        get(edge.url("edge"), path, method="POST", body=b"x")

    assert is_hit(get(edge.url("edge"), path))
    time.sleep(0.3)
    assert _marks(edge, path) == _marks(edge, "group/all") == []


def test_a_write_where_nothing_is_stored_writes_no_mark(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = _new()
    origin.decide(path, lambda _: reply(201, [("Location", f"{path}/1"), ("Content-Location", f"{path}/2")]))

    for _ in range(5):
        get(edge.url("edge"), path, method="POST", body=b"x")

    time.sleep(0.3)
    assert _marks(edge, path) == []


def test_what_only_another_isolate_stored_is_invalidated(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = _new()
    pages = iter([_page(b"old", path), _page(b"new", path)])
    origin.decide(path, lambda request: reply(204) if request.method == "DELETE" else next(pages))
    get(edge.url("twin"), path)
    eventually(lambda: edge.store().get(key_of(path)) is not None, "the response in KV")

    get(edge.url("edge"), path, method="DELETE")

    _becomes(edge.url("twin"), path, b"new")


def test_after_a_write_the_old_response_stands_in_only_for_an_origin_that_fails(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = _new()
    pages = iter([_page(b"old", path), reply(503)])
    origin.decide(path, lambda request: reply(204) if request.method == "PUT" else next(pages))
    get(edge.url("serving-stale"), path)

    get(edge.url("serving-stale"), path, method="PUT", body=b"x")

    # Not even while it is refreshed: who wrote wants to read it.
    response = get(edge.url("serving-stale"), path)
    assert (response.body, detail(response)) == (b"old", "stale-if-error")


def test_a_write_is_read_at_once_where_stale_while_revalidate_applies(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, other, member = _new(), _new(), _new()
    changed = reply(204, [("Cache-Group-Invalidation", f'"of {member}"')])
    for each in (path, other, member):
        pages = iter([_page(b"old", each), *[_page(b"new", each)] * 9])
        origin.decide(
            each,
            lambda request, pages=pages: changed if request.method == "PUT" else next(pages),  # type: ignore[misc]
        )
        get(edge.url("serving-stale"), each)

    get(edge.url("serving-stale"), path, method="PUT", body=b"x")

    told = [get(edge.url("serving-stale"), each).body for each in (path, member, other)]
    assert told == [b"new", b"new", b"old"]


def test_a_host_invalidates_no_group_of_another(edge: Workerd, origin: ScriptedOrigin) -> None:
    mine, theirs, shared = _new(), _new(), _new()
    for each, name in ((mine, "g"), (theirs, "g"), (shared, "shared-g")):
        fields = [*FRESH, ("Cache-Groups", f'"{name}"')]
        origin.on(each, reply(200, fields, b"old"), reply(200, fields, b"new"))
    hosts = {mine: HOST, theirs: "other.test", shared: "other.test"}
    for each, host_name in hosts.items():
        get(edge.url("edge"), each, host=host_name)
    write = _new()
    origin.on(write, reply(204, [("Cache-Group-Invalidation", '"g", "shared-g"')]))

    get(edge.url("edge"), write, method="POST", body=b"x")

    told = {each: get(edge.url("edge"), each, host=host_name).body for each, host_name in hosts.items()}
    assert told == {mine: b"new", theirs: b"old", shared: b"new"}
