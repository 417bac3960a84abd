"""Bodies on their way: given to all as they come, bounded in silence and not in length."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse, IncompleteRead
from typing import Self
from urllib.parse import urlsplit

import pytest

from scripts.runtime.workerd import Workerd
from tests.runtime.client import exchange
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import HOST, Variables, detail, eventually, get, is_hit, key_of, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Hold, Pause, Reply, Step, chunked, head, reply

CACHED = [("Cache-Control", "max-age=60")]
STALE = [("Cache-Control", "max-age=0, stale-if-error=600"), ("ETag", '"1"')]
SILENCE = 1.5
SOON = 6.0
"""Far less than any timeout but that of silence, and enough for a busy machine."""
PART = b"0123456789abcdef" * 8_192
LARGE = PART * 12
"""1.5 MiB: more than is checked before it is sent."""


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    patient = {"BETWEEN_BYTES_TIMEOUT": "30s", "ORIGIN_TIMEOUT": "30s", "COLLAPSE_TIMEOUT": "30s"}
    workers: Variables = {
        "edge": patient,
        "twin": patient,
        "quick": {
            "BETWEEN_BYTES_TIMEOUT": f"{SILENCE}s",
            "ORIGIN_TIMEOUT": "2s",
            "COLLAPSE_TIMEOUT": "2s",
            "SOFT_TIMEOUT": 0,
            "REFRESH_THROTTLE": 0,
        },
        "small": {**patient, "MAX_BODY_BYTES": "2MiB"},
    }
    with running(tmp_path_factory.mktemp("bodies"), running_origin, workers) as workerd:
        yield workerd


class Reader:
    """A client that reads as much as it is told."""

    def __init__(self, url: str, path: str, *fields: tuple[str, str]) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=20)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {HOST}",
            *(f"{n}: {v}" for n, v in fields),
            "Connection: close",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def begin(self) -> HTTPResponse:
        """Return the response once its fields are there."""
        self.response = HTTPResponse(self._socket)
        self.response.begin()
        return self.response

    def rest(self) -> tuple[bytes, bool]:
        """Return the rest of the body, and whether it is whole."""
        try:
            return self.response.read(), True
        except IncompleteRead as error:
            return error.partial, False
        except ConnectionError:
            return b"", False


def _known_length(begin: bytes, hold: Hold, rest: bytes) -> Reply:
    length = ("Content-Length", str(len(begin) + len(rest)))
    return Reply((head(200, [*CACHED, length]), begin, hold, rest))


def _unknown_length(begin: bytes, hold: Hold, rest: bytes) -> Reply:
    return chunked(200, CACHED, [begin, hold, rest])


def _dripping(part: bytes) -> Reply:
    steps = [step for _ in range(8) for step in (part, Pause(0.5))]
    return Reply((head(200, [*CACHED, ("Content-Length", str(8 * len(part)))]), *steps))


class _Endless:
    """The steps of a body that goes on until the connection breaks."""

    def __init__(self, start: bytes) -> None:
        self.is_over = threading.Event()
        self._start = start

    def __iter__(self) -> Iterator[Step]:
        try:
            yield self._start
            while True:
                yield PART
                yield Pause(0.05)
        finally:
            self.is_over.set()


FRAMINGS = [pytest.param(_known_length, id="Content-Length"), pytest.param(_unknown_length, id="chunked")]


@pytest.mark.parametrize("answer", FRAMINGS)
def test_those_who_wait_get_the_body_as_it_comes(
    edge: Workerd, origin: ScriptedOrigin, answer: object
) -> None:
    path, hold, url = new_path(), Hold(), edge.url("edge")
    assert callable(answer)
    origin.on(path, answer(PART, hold, LARGE))

    with Reader(url, path) as leader:
        assert leader.begin().read(len(PART)) == PART
        readers = [Reader(url, path) for _ in range(5)]
        began = [reader.begin() for reader in readers]
        assert [response.read(len(PART)) for response in began] == [PART] * 5
        hold.release()
        rests = [reader.rest() for reader in (leader, *readers)]
    for reader in readers:
        reader._socket.close()

    assert rests == [(LARGE, True)] * 6
    assert len(origin.requests(path)) == 1
    statuses = [response.getheader("Cache-Status") or "" for response in began]
    assert all("collapsed" in status and "stored" not in status for status in statuses)
    assert eventually(lambda: is_hit(get(edge.url("twin"), path)), "the response in KV")
    assert get(edge.url("twin"), path).body == PART + LARGE


@pytest.mark.parametrize("answer", FRAMINGS)
def test_who_waits_for_a_body_may_ask_for_less_of_it(
    edge: Workerd, origin: ScriptedOrigin, answer: object
) -> None:
    path, hold, url = new_path(), Hold(), edge.url("edge")
    assert callable(answer)
    origin.on(path, answer(PART, hold, LARGE))

    with Reader(url, path) as leader:
        leader.begin()
        with Reader(url, path, ("Range", "bytes=0-9")) as part:
            hold.release()
            leader.rest()
            response = part.begin()
            assert (response.status, part.rest()) == (206, (PART[:10], True))

    assert len(origin.requests(path)) == 1


def test_a_waiter_is_not_fed_another_variant(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold, url = new_path(), Hold(), edge.url("edge")

    def greet(request: Request) -> Reply:
        language = (request.value("X-Language") or "").encode()
        return chunked(200, [*CACHED, ("Vary", "X-Language")], [language, hold, language])

    origin.decide(path, greet)
    with Reader(url, path, ("X-Language", "a")) as first:
        assert first.begin().read(1) == b"a"
        with Reader(url, path, ("X-Language", "a")) as same, Reader(url, path, ("X-Language", "b")) as other:
            assert same.begin().read(1) == b"a"
            hold.release()
            assert [first.rest(), same.rest()] == [(b"a", True)] * 2
            other.begin()
            assert other.rest() == (b"bb", True)


@pytest.mark.parametrize("answer", FRAMINGS)
def test_clients_that_leave_or_read_nothing_hold_nobody_up(
    edge: Workerd, origin: ScriptedOrigin, answer: object
) -> None:
    path, hold, url = new_path(), Hold(), edge.url("edge")
    assert callable(answer)
    origin.on(path, answer(PART, hold, LARGE * 4))

    with Reader(url, path) as leader:
        leader.begin()
        with Reader(url, path) as idle, Reader(url, path) as staying:
            idle.begin()
            staying.begin()
            crowd(url, [Asked(path, leaves_after=0.2)] * 5)
            leader._socket.close()
            hold.release()
            began = time.monotonic()
            assert staying.rest() == (PART + LARGE * 4, True)
            assert time.monotonic() - began < SOON
            assert len(origin.requests(path)) == 1
            assert idle.rest() == (PART + LARGE * 4, True)


@pytest.mark.parametrize(
    ("stalled", "status", "begin"),
    [
        pytest.param(chunked(200, CACHED, [b"begun", Hold(), b"rest"]), 200, b"begun", id="chunked"),
        pytest.param(chunked(200, CACHED, [LARGE, Hold(), b"rest"]), 200, LARGE, id="chunked, large"),
        pytest.param(_known_length(LARGE, Hold(), LARGE), 200, LARGE, id="large, of a known length"),
        pytest.param(
            _known_length(b"begun", Hold(), b"rest"), 504, b"The origin", id="small, of a known length"
        ),
        pytest.param(chunked(200, CACHED, [Hold(), b"rest"]), 200, b"", id="chunked, before the first byte"),
    ],
)
def test_silence_in_a_body_has_an_end_for_all_who_wait(
    edge: Workerd, origin: ScriptedOrigin, stalled: Reply, status: int, begin: bytes
) -> None:
    path = new_path()
    origin.on(path, stalled)

    told = crowd(edge.url("quick"), [Asked(path)] * 4)

    assert {t.response.status for t in told} == {status}
    assert all(t.body.startswith(begin) and len(t.body) < len(begin) + 200 for t in told)
    assert {t.response.complete for t in told} == {status != 200}
    assert max(t.seconds for t in told) < SILENCE + SOON
    assert len(origin.requests(path)) == 1
    origin.on(path, reply(200, CACHED, b"whole"))
    assert get(edge.url("quick"), path).body == b"whole"


@pytest.mark.parametrize(
    "stalled",
    [
        pytest.param(chunked(200, CACHED, [b"begun", Hold(), b"rest"]), id="chunked"),
        pytest.param(chunked(200, CACHED, [Hold(), b"rest"]), id="chunked, before the first byte"),
        pytest.param(_known_length(b"begun", Hold(), b"rest"), id="small, of a known length"),
        pytest.param(_known_length(b"begun", Hold(), LARGE), id="large, of a known length"),
        pytest.param(chunked(200, CACHED, [b"begun", Pause(0.3)]).after(), id="whole"),
    ],
)
def test_what_is_stored_stands_in_for_a_body_that_falls_silent(
    edge: Workerd, origin: ScriptedOrigin, stalled: Reply, request: pytest.FixtureRequest
) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE, b"stored"), stalled)
    get(edge.url("quick"), path)

    told = crowd(edge.url("quick"), [Asked(path)] * 3)

    if request.node.callspec.id == "whole":
        assert {t.body for t in told} == {b"begun"}
        return
    assert {(t.response.status, t.body, detail(t.response)) for t in told} == {
        (200, b"stored", "stale-if-error")
    }
    assert max(t.seconds for t in told) < SILENCE + SOON


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_dripping(b"x"), id="small, of a known length"),
        pytest.param(chunked(200, CACHED, [b"x", Pause(0.5)] * 8), id="chunked"),
        pytest.param(_dripping(b"x" * 2**18), id="large, of a known length"),
    ],
)
def test_a_body_may_take_longer_than_any_timeout_as_long_as_it_comes(
    edge: Workerd, origin: ScriptedOrigin, answer: Reply
) -> None:
    path = new_path()
    origin.on(path, answer)

    told = crowd(edge.url("quick"), [Asked(path)] * 3)

    assert {(t.response.status, t.response.complete, *set(t.body)) for t in told} == {(200, True, ord("x"))}
    assert len(origin.requests(path)) == 1


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param([("Content-Length", "20000000")], id="Content-Length"),
        pytest.param([], id="until the connection closes"),
    ],
)
def test_a_large_body_that_its_clients_left_is_neither_fetched_nor_stored(
    edge: Workerd, origin: ScriptedOrigin, framing: list[tuple[str, str]]
) -> None:
    path, url = new_path(), edge.url("edge")
    endless = _Endless(head(200, [*CACHED, *framing]))
    origin.on(path, Reply(endless), reply(200, CACHED, b"later").after(Pause(0.5)))

    crowd(url, [Asked(path, leaves_after=1)] * 3)

    assert endless.is_over.wait(20)
    assert edge.store().get(key_of(path)) is None
    assert {t.body for t in crowd(url, [Asked(path)] * 4)} == {b"later"}
    assert len(origin.requests(path)) == 2


def test_a_body_that_turns_out_too_large_reaches_all_and_is_remembered(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, url = new_path(), edge.url("small")
    whole = [PART] * 40
    origin.on(path, chunked(200, CACHED, whole))

    first = crowd(url, [Asked(path)] * 4)
    second = crowd(url, [Asked(path)] * 2)

    assert [t.body == b"".join(whole) for t in (*first, *second)] == [True] * 6
    assert not [t for t in (*first, *second) if "stored" in (t.response.value("Cache-Status") or "")]
    assert {detail(t.response) for t in second} == {"too-large"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "size", [pytest.param(0, id="empty"), pytest.param(9, id="small"), pytest.param(300_000, id="large")]
)
def test_a_request_is_passed_on_with_its_body(
    edge: Workerd, origin: ScriptedOrigin, method: str, size: int
) -> None:
    path, body = new_path(), b"x" * size
    origin.on(path, reply(200, CACHED, b"own"))

    for _ in range(2):
        fields = [("Content-Type", "application/json"), ("X-Own", "1")]
        assert get(edge.url("edge"), path, *fields, method=method, body=body).status == 200

    asked = [request for request in origin.requests(path) if request.method == method]
    assert asked
    assert {(request.body, request.value("X-Own")) for request in asked} == {(body, "1")}
    assert len(asked) == 2 or not size


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_that_the_runtime_would_drop_is_refused(
    edge: Workerd, origin: ScriptedOrigin, method: str
) -> None:
    path = new_path()
    origin.on(path, reply(200, CACHED, b"found"))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", "Transfer-Encoding: chunked", "Connection: close"]
    body = b"5\r\nquery\r\n0\r\n\r\n"

    response = exchange(edge.url("edge"), "\r\n".join([*lines, "", ""]).encode() + body)

    assert (response.status, detail(response)) == (411, "request-body")
    assert b"Content-Length" in response.body or method == "HEAD"
    assert origin.requests(path) == []
