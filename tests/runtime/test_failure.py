"""An origin that falls: stale where that is allowed, a plain error otherwise, and nothing broken stored."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import HOST, Variables, detail, eventually, get, is_hit, key_of, new_path, running
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import (
    Close,
    Fields,
    Hold,
    Pause,
    Reply,
    Reset,
    chunked,
    head,
    reply,
    truncated,
    until_close,
)

FRESH = [("Cache-Control", "max-age=600")]
STALE = [("Cache-Control", "max-age=0, stale-if-error=600"), ("ETag", '"1"')]
CHUNKED = ("Transfer-Encoding", "chunked")
SOFT, HARD = 0.5, 2.0


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    patience: Mapping[str, Json] = {
        "ORIGIN_TIMEOUT": "2s",
        "BETWEEN_BYTES_TIMEOUT": "2s",
        "SOFT_TIMEOUT": "500ms",
        "REFRESH_THROTTLE": 0,
    }
    workers: Variables = {
        "edge": {
            **patience,
            "RULES": [{"path": "/negative-*", "negative_lifetimes": {"404": 600, "410": 600, "503": 600}}],
        },
        "breaker": {**patience, "REFRESH_THROTTLE": 0, "BREAKER_FAILURES": 3, "BREAKER_PAUSE": "2s"},
        "breaking": {**patience, "REFRESH_THROTTLE": 0, "BREAKER_FAILURES": 3, "BREAKER_PAUSE": "2s"},
        "unreachable": {**patience, "ORIGIN": "http://127.0.0.1:1"},
        "limited": {**patience, "MAX_BODY_BYTES": "256KiB", "MEMORY_ITEM_BYTES": "64KiB"},
    }
    with running(tmp_path_factory.mktemp("failure"), running_origin, workers) as workerd:
        yield workerd


NO_ANSWER = [
    pytest.param(Reply((Reset(),)), 502, id="a reset before the response"),
    pytest.param(Reply((Close(),)), 502, id="an end before the response"),
    pytest.param(Reply((b"HTTP/1.1 200 OK\r\nX-Ha", Reset())), 502, id="a reset in the middle of the head"),
    pytest.param(Reply((b"HTTP/1.1 200 OK\r\nX-Ha", Close())), 502, id="an end in the middle of the head"),
    pytest.param(Reply((b"\x16\x03\x01\x02\x00 nonsense\r\n\r\n", Close())), 502, id="garbage"),
    pytest.param(truncated(b"half", missing=4, fields=FRESH), 502, id="half a body"),
    pytest.param(
        Reply((head(200, [*FRESH, ("Content-Length", "8")]), b"half", Reset())), 502, id="a reset in the body"
    ),
    pytest.param(reply(200, FRESH, b"late").after(Pause(6)), 504, id="a head that takes too long"),
    pytest.param(
        Reply((head(200, [*FRESH, ("Content-Length", "4")]), b"l", Pause(6), b"ate")),
        504,
        id="a body that takes too long",
    ),
]


def test_what_a_slow_origin_said_last_stands_in_when_it_fails(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "max-age=1")], b"late").after(Pause(1.1)), reply(503))

    assert get(edge.url("edge"), path).body == b"late"

    response = get(edge.url("edge"), path)
    assert (response.status, response.body, detail(response)) == (200, b"late", "stale-if-error")


@pytest.mark.parametrize(("broken", "status"), NO_ANSWER)
def test_nothing_stored_makes_a_plain_error(
    edge: Workerd, origin: ScriptedOrigin, broken: Reply, status: int
) -> None:
    path = new_path()
    origin.on(path, broken)

    began = time.monotonic()
    response = get(edge.url("edge"), path)

    assert response.status == status
    assert response.value("Content-Type") == "text/plain; charset=utf-8"
    assert response.value("Cache-Control") == "no-store"
    assert response.body.startswith(b"The origin")
    assert time.monotonic() - began < HARD + 5
    origin.on(path, reply(200, FRESH, b"whole"))
    assert get(edge.url("edge"), path).body == b"whole"


@pytest.mark.parametrize(("broken", "_status"), NO_ANSWER)
def test_what_is_stored_stands_in_and_stays(
    edge: Workerd, origin: ScriptedOrigin, broken: Reply, _status: int
) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE, b"stored"), broken)
    get(edge.url("edge"), path)

    began = time.monotonic()
    told = [get(edge.url("edge"), path) for _ in range(2)]

    assert {(t.status, t.body) for t in told} == {(200, b"stored")}
    assert {detail(t) for t in told} <= {"stale-if-error", "slow-origin", "throttled"}
    assert time.monotonic() - began < 2 * SOFT + 5
    eventually(lambda: edge.store().get(key_of(path)) == b"stored", "the response in KV")


def test_a_cut_chunked_body_is_passed_on_cut_and_not_stored(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(
        path,
        Reply((head(200, [*FRESH, CHUNKED]), b"4\r\nhalf\r\n", Pause(1), Close())),
        chunked(200, FRESH, [b"whole"]),
    )

    first, second = get(edge.url("edge"), path), get(edge.url("edge"), path)

    assert (first.body, first.complete) == (b"half", False)
    assert (second.body, second.complete, is_hit(second)) == (b"whole", True, False)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_passed_on_if_nothing_is_stored(
    edge: Workerd, origin: ScriptedOrigin, status: int
) -> None:
    path = new_path()
    origin.on(path, reply(status, FRESH, b"why"), reply(200, FRESH, b"well"))

    first, second = get(edge.url("edge"), path), get(edge.url("edge"), path)

    assert (first.status, first.body) == (status, b"why")
    assert (second.status, second.body) == (200, b"well")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_never_replaces_what_is_stored(
    edge: Workerd, origin: ScriptedOrigin, status: int
) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE, b"stored"), reply(status, FRESH, b"why"))

    told = [get(edge.url("edge"), path) for _ in range(4)]

    assert {(t.status, t.body) for t in told} == {(200, b"stored")}
    eventually(lambda: edge.store().get(key_of(path)) == b"stored", "the response in KV")


@pytest.mark.parametrize(
    "control",
    [
        "max-age=0, must-revalidate",
        "max-age=0, stale-if-error=0",
        "s-maxage=0",
        "max-age=0, proxy-revalidate",
    ],
)
def test_no_stale_response_where_a_directive_forbids_it(
    edge: Workerd, origin: ScriptedOrigin, control: str
) -> None:
    path = new_path()
    origin.on(
        path, reply(200, [("Cache-Control", control), ("ETag", '"1"')], b"stored"), reply(503, [], b"why")
    )
    get(edge.url("edge"), path)

    assert get(edge.url("edge"), path).status == 503
    origin.on(path, Reply((Reset(),)))
    assert get(edge.url("edge"), path).status == 502


def test_an_origin_that_refuses_connections(edge: Workerd) -> None:
    response = get(edge.url("unreachable"), new_path())

    assert (response.status, response.body[:31]) == (502, b"The origin can't be reached, an")


def test_what_one_isolate_stored_another_serves_while_the_origin_is_down(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE, b"stored"))
    get(edge.url("edge"), path)
    eventually(lambda: edge.store().get(key_of(path)), "the response in KV")

    response = get(edge.url("unreachable"), path)

    assert (response.status, response.body, detail(response)) == (200, b"stored", "stale-if-error")


def test_a_slow_origin_is_answered_for_and_its_late_result_is_kept(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, STALE, b"stored"), reply(200, FRESH, b"late").after(hold))
    get(edge.url("edge"), path)

    told = crowd(edge.url("edge"), [Asked(path)] * 20)
    threading.Timer(0.1, hold.release).start()

    assert {(t.body, detail(t.response)) for t in told} == {(b"stored", "slow-origin")}
    assert max(t.seconds for t in told) < SOFT + 3
    eventually(lambda: get(edge.url("edge"), path).body == b"late", "the late result")
    eventually(lambda: edge.store().get(key_of(path)) == b"late", "the late result in KV")
    assert len(origin.requests(path)) == 2


def test_a_quick_origin_is_waited_for(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE, b"1"), reply(200, FRESH, b"2").after(Pause(0.1)))
    get(edge.url("edge"), path)

    assert get(edge.url("edge"), path).body == b"2"


def test_a_body_that_drips_arrives_whole(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    drops = [item for number in range(20) for item in (bytes([65 + number]), Pause(0.15))]
    origin.on(path, chunked(200, FRESH, drops))

    response = get(edge.url("edge"), path)

    assert (response.body, response.complete) == (b"ABCDEFGHIJKLMNOPQRST", True)
    assert is_hit(get(edge.url("edge"), path))


@pytest.mark.parametrize("status", [404, 410])
def test_an_absence_is_stored_by_rule(edge: Workerd, origin: ScriptedOrigin, status: int) -> None:
    by_rule, otherwise = new_path("negative"), new_path()
    for path in (by_rule, otherwise):
        origin.on(path, reply(status, [], b"none"))
        get(edge.url("edge"), path)

    assert is_hit(get(edge.url("edge"), by_rule))
    assert not is_hit(get(edge.url("edge"), otherwise))


def test_an_absence_takes_the_place_of_what_was_there(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE, b"there"), reply(404, [], b"gone"), Reply((Reset(),)))

    told = [get(edge.url("edge"), path) for _ in range(3)]

    assert [t.status for t in told] == [200, 404, 502]


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 505, 599])
def test_a_url_that_errs_leaves_all_others_as_they_are(
    edge: Workerd, origin: ScriptedOrigin, status: int
) -> None:
    erring, other = new_path(), new_path()
    origin.on(erring, reply(200, STALE, b"stored"), reply(status, [], b"no"))
    origin.on(other, reply(200, STALE, b"old"), reply(200, FRESH, b"new"))
    get(edge.url("breaker"), other)

    for _ in range(7):
        get(edge.url("breaker"), erring)

    assert get(edge.url("breaker"), other).body == b"new"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry", ["60", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_an_origin_that_asks_to_be_left_alone_is_and_stale_is_served(
    edge: Workerd, origin: ScriptedOrigin, status: int, retry: str
) -> None:
    path, busy = new_path(), reply(status, [("Retry-After", retry)], b"busy")
    origin.on(path, reply(200, [("Cache-Control", "max-age=0, stale-while-revalidate=600")], b"stored"), busy)
    get(edge.url("edge"), path)
    get(edge.url("edge"), path)
    origin.wait_for_requests(2, path)
    eventually(lambda: get(edge.url("edge"), path).body == b"stored", "the stored response")

    told = [get(edge.url("edge"), path) for _ in range(20)]

    assert {(t.status, t.body) for t in told} == {(200, b"stored")}
    assert len(origin.requests(path)) <= 3  # one may have come before the answer did


@pytest.mark.parametrize("status", [520, 522, 530])
def test_an_open_breaker_leaves_the_origin_alone_and_closes_by_itself(
    edge: Workerd, origin: ScriptedOrigin, status: int
) -> None:
    paths, cold = [new_path() for _ in range(3)], new_path()
    for path in (*paths, cold):
        origin.on(path, reply(200, STALE, b"stored"), reply(status, [], b"no"))
    for path in paths:
        get(edge.url("breaker"), path)
    for _ in range(3):
        get(edge.url("breaker"), paths[0])

    answers = [get(edge.url("breaker"), path) for path in paths]

    assert {(detail(answer), answer.body) for answer in answers} == {("breaker-open", b"stored")}
    assert [len(origin.requests(path)) for path in paths] == [4, 1, 1]
    # Without anything to serve, the origin is asked even so; when it answers, all is well again.
    for path in paths:
        origin.on(path, reply(200, FRESH, b"new"))
    assert get(edge.url("breaker"), cold).body == b"stored"
    assert get(edge.url("breaker"), paths[1]).body == b"new"


def test_an_open_breaker_tries_again_after_a_pause(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE, b"stored"), *[reply(522, [], b"no")] * 3, reply(200, FRESH, b"new"))
    get(edge.url("breaking"), path)
    for _ in range(3):
        get(edge.url("breaking"), path)
    assert detail(get(edge.url("breaking"), path)) == "breaker-open"

    eventually(lambda: get(edge.url("breaking"), path).body == b"new", "another try")

    assert len(origin.requests(path)) == 5


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="of unknown length"),
        pytest.param([("Content-Length", str(300_000))], id="of known length"),
    ],
)
def test_a_body_beyond_the_limit_streams_through_unstored(
    edge: Workerd, origin: ScriptedOrigin, fields: Fields
) -> None:
    path, body = new_path(), b"x" * 300_000
    whole = (
        Reply((head(200, [*FRESH, *fields]), body)) if fields else chunked(200, FRESH, [body[:100_000]] * 3)
    )
    origin.on(path, whole)

    told = [get(edge.url("limited"), path) for _ in range(2)]

    assert [(t.body == body, t.complete, is_hit(t)) for t in told] == [(True, True, False)] * 2
    assert edge.store().keys(key_of(path)) == []
    assert not any("; stored" in (t.value("Cache-Status") or "") for t in told)
    assert detail(eventually(lambda: get(edge.url("limited"), path), "an answer")) == "too-large"


def test_an_endless_body_flows_at_the_pace_of_its_reader(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, chunk, sent = new_path(), b"x" * 65_536, [0]

    def endless() -> Iterator[bytes]:
        for number in range(4096):  # 256 MiB
            sent[0] = number
            yield chunk

    origin.on(path, chunked(200, FRESH, endless()))

    with _connected(edge.url("limited"), path) as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
        eventually(lambda: _rests(sent), "an end of sending")
        assert sent[0] * len(chunk) < 32 * 1024 * 1024


def _rests(count: list[int]) -> bool:
    """Whether the count stays the same for a while."""
    before = count[0]
    time.sleep(0.4)
    return count[0] == before


def _connected(url: str, path: str) -> socket.socket:
    """Return a connection on which a response to a request for ``path`` is coming, unread."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port or 80), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    return connection


def test_server_sent_events_pass_as_they_come_and_are_nobodys_to_wait_for(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, hold = new_path(), Hold()
    events = [*FRESH, ("Content-Type", "text/event-stream")]
    origin.on(path, chunked(200, events, [b"data: 1\n\n", hold, b"data: 2\n\n"]))

    with ExitStack() as stack:
        listeners = [stack.enter_context(_connected(edge.url("edge"), path)) for _ in range(5)]
        for listener in listeners:
            _receive_until(listener, b"data: 1\n\n")
        hold.release()
        for listener in listeners:
            _receive_until(listener, b"data: 2\n\n")

    assert len(origin.requests(path)) == 5
    assert edge.store().keys(key_of(path)) == []


def _receive_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        more = connection.recv(65_536)
        assert more, received
        received += more


def test_an_old_response_without_length_is_stored_as_it_came(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, until_close(200, FRESH, b"until the end"))

    assert get(edge.url("edge"), path).body == b"until the end"
    assert is_hit(get(edge.url("edge"), path))
