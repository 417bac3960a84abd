"""The shield in the real runtime: edges with KVs of their own, as where one location's isn't seen yet."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from origin_sdk_wire.config import load
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, Mark, group_mark, url_mark, value_of, written_keys
from origin_sdk_wire.shield import settings_digest
from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Namespace, Worker
from tests.runtime.client import Response
from tests.runtime.edge import HOST, QUIET, detail, eventually, get, is_hit, key_of, new_path
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Close, Hold, Reply, chunked, reply, truncated

FRESH = [("Cache-Control", "public, max-age=600")]
BRIEF = [("Cache-Control", "public, max-age=1, stale-if-error=600, stale-while-revalidate=0")]
EDGES = ("osaka", "lima")
RULES: list[Json] = [
    {"path": "/own/**", "data_class": "private", "key_cookies": ["s"], "shield": True},
    {"path": "/unshared/**", "data_class": "private", "key_cookies": ["s"]},
    {"path": "/local/**", "store_on": "never"},
    {"path": "/direct/**", "shield": False},
    {"path": "/query/**", "key_body": True},
]
_SHIELDS = Path(__file__).parent / "workers" / "shields"


def _variables(origin: ScriptedOrigin) -> dict[str, Json]:
    return {**QUIET, "ORIGIN": origin.url, "RULES": RULES, "MARK_INTERVAL": "50ms", "SHIELD_TIMEOUT": "2s"}


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    variables = _variables(running_origin)
    named: dict[str, Json] = {"CACHE_NAME": "Shield"}
    workers = [
        Worker("near", variables={**variables, **named}, shield="osaka", stores={"CACHE": Namespace("near")}),
        *(
            Worker(name, variables=variables, shield="near", stores={"CACHE": Namespace(name)})
            for name in EDGES
        ),
        Worker("shields", _SHIELDS, main="shields.js"),
        Worker(
            "unlucky",
            variables={**variables, "SHIELD_TIMEOUT": "100ms"},
            shield="shields",
            stores={"CACHE": Namespace("unlucky")},
        ),
    ]
    dear: dict[str, Json] = {**variables, "RULES": [{"path": "/**", "single_flight": "global"}]}
    workers += [
        Worker("dear-near", variables=dear, log="dear-near", stores={"CACHE": Namespace("dear-near")}),
        Worker(
            "dear-osaka",
            variables=dear,
            log="dear-near",
            shield="dear-near",
            stores={"CACHE": Namespace("dear-osaka")},
        ),
    ]
    with Workerd(tmp_path_factory.mktemp("shield"), workers, snapshots=snapshot.deployed()) as workerd:
        yield workerd


def _status(response: Response) -> str:
    return response.value("Cache-Status") or ""


def _purge(edge: Workerd, place: str, *names: str, lane: Lane = Lane.HARD) -> None:
    """Write marks that one location alone sees, and return when their moment has come."""
    moment_ms = int(datetime.now(UTC).timestamp() * 1000) + 50  # noqa: TID251 - marks are dated
    for key in written_keys(names, lane):
        edge.store(Namespace(place)).put(key, value_of(key, Mark(moment_ms, "test")).encode())
    time.sleep(0.1)


def _numbered() -> Callable[[Request], Reply]:
    count = 0

    def answer(_: Request) -> Reply:
        nonlocal count
        count += 1
        return reply(200, [*FRESH, ("Cache-Groups", '"g"')], str(count).encode())

    return answer


def test_one_request_for_all_locations(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, FRESH, b"a").after(hold))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(get, edge.url(name), path) for name in EDGES * 2]
        origin.wait_for_requests(1, path)
        hold.release()
        told = [each.result() for each in asked]

    assert {(each.status, each.body) for each in told} == {(200, b"a")}
    assert len(origin.requests(path)) == 1
    # RFC 9211 section 2: a member for each cache, the one nearest to the origin first.
    assert any(_status(each).startswith("Shield; fwd=uri-miss; fwd-status=200") for each in told)
    assert all("EdgeCache; fwd=uri-miss" in _status(each) for each in told)
    assert [is_hit(get(edge.url(name), path)) for name in EDGES] == [True, True]
    assert not any("edge-shield" in name.lower() for each in told for name, _ in each.fields)
    asked_of_origin = {name.lower() for name, _ in origin.requests(path)[0].fields}
    assert "edge-shield" not in asked_of_origin
    assert origin.requests(path)[0].value("X-Forwarded-Host") == HOST


def test_who_asks_the_origin_writes_to_kv(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"a"))
    get(edge.url("osaka"), path)
    eventually(lambda: edge.store(Namespace("near")).get(key_of(path)), "the shield's record")
    assert edge.store(Namespace("osaka")).keys(key_of(path)) == []


def test_age_is_that_of_the_shields_response(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"a"))
    began = time.monotonic()
    get(edge.url("osaka"), path)
    time.sleep(1.1)
    ages = [int(get(edge.url("lima"), path).value("Age") or 0) for _ in range(2)]
    assert all(1 <= age <= time.monotonic() - began + 1 for age in ages)
    assert len(origin.requests(path)) == 1


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("name", ["url", "group"])
def test_an_edge_that_knows_of_a_purge_gets_nothing_older(
    edge: Workerd, origin: ScriptedOrigin, name: str, lane: Lane
) -> None:
    path = new_path()
    origin.decide(path, _numbered())
    for place in EDGES:
        assert get(edge.url(place), path).body == b"1"
    mark = url_mark(parse_target(f"http://{HOST}{path}")) if name == "url" else group_mark("g")
    _purge(edge, "osaka", mark, lane=lane)

    eventually(lambda: get(edge.url("osaka"), path).body == b"2", "newer: the shield heard of the purge")
    assert get(edge.url("lima"), path).body == b"1", "that location doesn't know of the purge yet"


def test_what_a_shield_began_before_a_purge_is_never_fresh_after_it(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, hold, answers = new_path(), Hold(), iter(("old", "new", "new"))

    def answer(_: Request) -> Reply:
        text = next(answers)
        given = reply(200, FRESH, text.encode())
        return given.after(hold) if text == "old" else given

    origin.decide(path, answer)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, edge.url("osaka"), path)
        origin.wait_for_requests(1, path)
        _purge(edge, "osaka", url_mark(parse_target(f"http://{HOST}{path}")))
        second = pool.submit(get, edge.url("osaka"), path)
        hold.release()
        first.result(), second.result()
    eventually(lambda: get(edge.url("osaka"), path).body == b"new", "the new one")
    assert get(edge.url("osaka"), path).body == b"new"


# Who asks, and who is believed


@pytest.mark.parametrize("place", ["near", "osaka"])
def test_clients_are_not_believed_to_be_edges(edge: Workerd, origin: ScriptedOrigin, place: str) -> None:
    path = new_path()
    digest = settings_digest(load({**_variables(origin), "CACHE_NAME": "Shield"}))
    forged = f"settings={digest}&own=x-forwarded-host&address=6.6.6.6&hard=9999999999999"
    origin.on(path, reply(200, [*FRESH, ("Cache-Groups", '"g"')], b"a"))
    get(edge.url(place), path)
    told = get(edge.url(place), path, ("Edge-Shield", forged), ("X-Forwarded-Host", "evil.example"))
    assert is_hit(told) or _status(told).startswith("Shield; hit")
    assert told.value("Cache-Groups") is None
    assert told.value("Edge-Shield") is None
    [asked] = origin.requests(path)
    assert asked.value("X-Forwarded-Host") == HOST
    assert asked.value("X-Forwarded-For") is None


def test_an_origin_is_not_believed_to_be_a_shield(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, [*FRESH, ("Edge-Shield", "birth=9999999999999&later=1")], b"a"))
    told = get(edge.url("osaka"), path)
    assert told.value("Edge-Shield") is None
    assert int(told.value("Age") or 0) < 5
    assert get(edge.url("near"), path).value("Edge-Shield") is None


def test_a_shield_never_asks_a_shield(edge: Workerd, origin: ScriptedOrigin) -> None:
    # That of the one is the other.
    for place, asker in (("near", "EdgeCache"), ("osaka", "Shield")):
        path = new_path()
        origin.on(path, reply(200, FRESH, b"a"))
        told = get(edge.url(place), path)
        assert (told.body, "unavailable" in _status(told)) == (b"a", False)
        [asked] = origin.requests(path)
        assert asked.value("Via") == f"1.1 {asker}"


def test_a_flight_of_the_world_is_the_shields(edge: Workerd, origin: ScriptedOrigin) -> None:
    # Were it led by the edge, the shield would wait for that, and the edge for the shield.
    path = new_path()
    origin.on(path, reply(200, FRESH, b"a"))
    told = get(edge.url("dear-osaka"), path)
    assert (told.body, "unavailable" in _status(told)) == (b"a", False)
    assert len(_status(told).split("EdgeCache;")) == 3, "by both"


# A shield that fails


@pytest.mark.parametrize("way", ["throws", "errs", "mistells", "breaks-off", "hangs"])
def test_without_the_shield_the_origin_is_asked(edge: Workerd, origin: ScriptedOrigin, way: str) -> None:
    path = f"/{way}" + new_path()
    origin.on(path, reply(200, FRESH, b"of the origin"))
    told = get(edge.url("unlucky"), path)
    assert (told.status, told.body) == (200, b"of the origin")
    eventually(
        lambda: edge.store(Namespace("unlucky")).get(key_of(path)), "who asks the origin writes to KV itself"
    )
    assert len(origin.requests(path)) == 1


def test_a_shield_that_fails_is_left_alone(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = "/throws" + new_path()
    origin.on(path, reply(200, FRESH, b"a"))
    assert "; shield=unavailable" in _status(get(edge.url("unlucky"), path))
    later = "/works" + new_path()
    origin.on(later, reply(200, FRESH, b"b"))
    told = get(edge.url("unlucky"), later)
    assert (told.body, "; shield=unavailable" in _status(told)) == (b"b", True)


# What HTTP asks of two caches


def test_an_origin_that_is_away_is_asked_once(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, Reply((Close(),)))
    assert get(edge.url("osaka"), path).status == 502
    assert len(origin.requests(path)) <= 2, "the runtime's own second try of a closed connection included"

    origin.on(path, reply(200, BRIEF, b"a"), Reply((Close(),)))
    assert get(edge.url("lima"), path).body == b"a"
    time.sleep(1.1)
    assert get(edge.url("lima"), path).body == b"a"


def test_validation_goes_through_both(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()

    def answer(request: Request) -> Reply:
        fields = [("Cache-Control", "public, max-age=1, stale-while-revalidate=0"), ("ETag", '"v1"')]
        return reply(304, fields) if request.value("If-None-Match") == '"v1"' else reply(200, fields, b"a")

    origin.decide(path, answer)
    get(edge.url("osaka"), path)
    time.sleep(1.1)
    told = get(edge.url("osaka"), path)
    assert (told.status, told.body, detail(told)) == (200, b"a", "validated")
    assert [request.value("If-None-Match") for request in origin.requests(path)] == [None, '"v1"']
    again = get(edge.url("osaka"), path, ("If-None-Match", '"v1"'))
    assert again.status == 304
    time.sleep(1.1)
    assert get(edge.url("lima"), path, ("If-None-Match", '"v1"')).status == 304


def test_ranges_and_head(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, [*FRESH, ("ETag", '"v1"')], b"0123456789"))
    head = get(edge.url("osaka"), path, method="HEAD")
    assert (head.status, head.body, head.value("Content-Length")) == (200, b"", "10")
    assert get(edge.url("osaka"), path).body == b"0123456789"
    for place in EDGES:
        told = get(edge.url(place), path, ("Range", "bytes=2-4"))
        assert (told.status, told.body, told.value("Content-Range")) == (206, b"234", "bytes 2-4/10")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        pytest.param("/t", [*FRESH, ("Set-Cookie", "s=1")], id="a cookie goes to its client alone"),
        pytest.param("/t", [("Cache-Control", "private, max-age=60")], id="private isn't shared"),
        pytest.param("/t", [("Cache-Control", "no-store")], id="no-store isn't stored"),
        pytest.param("/t", [*FRESH, ("Vary", "Accept-Language")], id="one variant for each language"),
        pytest.param("/own", FRESH, id="one for each identity"),
    ],
)
def test_two_users_at_two_locations(
    edge: Workerd, origin: ScriptedOrigin, path: str, fields: list[tuple[str, str]]
) -> None:
    path += new_path()

    def answer(request: Request) -> Reply:
        return reply(200, fields, f"{request.value('Accept-Language')} {request.value('Cookie')}".encode())

    origin.decide(path, answer)
    users = [
        get(edge.url(place), path, ("Accept-Language", language), *cookie)
        for place, language in zip(EDGES, ("de", "fr"), strict=True)
        for cookie in [[("Cookie", f"s={language}")] if path.startswith("/own") else []]
    ]
    assert len(origin.requests(path)) == 2
    assert users[0].body != users[1].body
    if ("Set-Cookie", "s=1") in fields:
        assert [each.value("Set-Cookie") for each in users] == ["s=1", "s=1"]


@pytest.mark.parametrize("path", ["/unshared", "/local", "/direct"])
def test_what_stays_out_of_the_shield(edge: Workerd, origin: ScriptedOrigin, path: str) -> None:
    path += new_path()
    origin.on(path, reply(200, FRESH, b"a"))
    told = get(edge.url("osaka"), path, ("Cookie", "s=1"))
    assert not _status(told).startswith("Shield")
    assert origin.requests(path)[0].value("Via") == "1.1 EdgeCache"


def test_writes_go_to_the_origin_itself(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, _numbered())
    assert get(edge.url("osaka"), path).body == b"1"
    assert get(edge.url("osaka"), path, method="POST", body=b"x").body == b"2"
    assert [request.value("Via") for request in origin.requests(path)] == ["1.1 Shield", "1.1 EdgeCache"]
    # The edge knows of the write, and so does the shield once it is asked.
    assert get(edge.url("osaka"), path).body == b"3"


def test_queries_go_through_with_their_content(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = "/query" + new_path()
    origin.decide(path, lambda request: reply(200, FRESH, request.body[::-1]))
    for body in (b"abc", b"xyz"):
        for place in EDGES:
            told = get(edge.url(place), path, ("Content-Type", "text/plain"), method="QUERY", body=body)
            assert told.body == body[::-1]
    assert len(origin.requests(path)) == 2


def test_bodies_come_as_they_are_sent(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, body = new_path(), b"0123456789abcdef" * 100_000
    origin.on(path, chunked(200, FRESH, [body[at : at + 65536] for at in range(0, len(body), 65536)]))
    for place in EDGES:
        assert get(edge.url(place), path).body == body
    assert len(origin.requests(path)) == 1

    path = new_path()
    origin.on(path, truncated(body[:500_000], missing=10, fields=FRESH), reply(200, FRESH, b"whole"))
    assert get(edge.url("osaka"), path).status == 502
    assert len(origin.requests(path)) == 1, "the shield says that the origin failed: it isn't asked twice"
    assert get(edge.url("osaka"), path).body == b"whole"


def test_a_client_that_goes_away_leaves_the_answer(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, FRESH, b"a").after(hold))
    gone = threading.Thread(target=_ask_and_leave, args=(edge.url("osaka"), path))
    gone.start()
    origin.wait_for_requests(1, path)
    gone.join()
    hold.release()
    eventually(lambda: is_hit(get(edge.url("osaka"), path)), "the answer that nobody waited for")
    assert len(origin.requests(path)) == 1
    assert get(edge.url("lima"), path).body == b"a"


def _ask_and_leave(url: str, path: str) -> None:
    host, _, port = url.partition("://")[2].partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        time.sleep(0.3)
