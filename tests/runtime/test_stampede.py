"""Collapsing: many requests for one response make one request to the origin, and each gets a right answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.runtime.workerd import Workerd
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import Variables, detail, eventually, get, is_hit, key_of, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Close, Hold, Pause, Reply, Reset, chunked, head, reply, truncated

CACHED = [("Cache-Control", "max-age=60")]
BIG = b"0123456789abcdef" * 100_000
"""More than the 1 MiB that memory holds of one body."""


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    workers: Variables = {
        "edge": {},
        "twin": {},
        "impatient": {"COLLAPSE_TIMEOUT": "500ms"},
        "patient": {"SOFT_TIMEOUT": 0, "CLIENT_REFRESH_INTERVAL": 0},
    }
    with running(tmp_path_factory.mktemp("stampede"), running_origin, workers) as workerd:
        yield workerd


@pytest.mark.parametrize(
    ("clients", "answer", "body"),
    [
        pytest.param(500, reply(200, CACHED, b"small").after(Pause(1.5)), b"small", id="a small body"),
        pytest.param(
            500,
            chunked(200, CACHED, [Pause(1.5), b"one", Pause(0.2), b"two"]),
            b"onetwo",
            id="chunks of unknown length",
        ),
        pytest.param(60, reply(200, CACHED, BIG).after(Pause(1.5)), BIG, id="a body too large for memory"),
        pytest.param(
            60,
            chunked(200, CACHED, [Pause(1.5), *[BIG[:400_000]] * 4]),
            BIG[:400_000] * 4,
            id="a large body of unknown length",
        ),
        pytest.param(
            200,
            reply(200, [("Cache-Control", "max-age=0"), ("ETag", '"1"')], b"at once stale").after(Pause(1)),
            b"at once stale",
            id="a response that is stale at once",
        ),
        pytest.param(
            200,
            reply(404, [("Cache-Control", "max-age=9")], b"none").after(Pause(1)),
            b"none",
            id="a stored 404",
        ),
    ],
)
def test_a_crowd_makes_one_request(
    edge: Workerd, origin: ScriptedOrigin, clients: int, answer: Reply, body: bytes
) -> None:
    path = new_path()
    origin.on(path, answer)

    told = crowd(edge.url("edge"), [Asked(path)] * clients)

    assert [t for t in told if t.body != body or not t.response.complete] == []
    assert len(origin.requests(path)) == 1
    assert get(edge.url("edge"), path).body == body


def test_a_crowd_for_a_stale_response_makes_one_validation(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    stale = [("Cache-Control", "max-age=0"), ("ETag", '"1"')]
    fresh = [("Cache-Control", "max-age=60"), ("ETag", '"1"')]
    origin.on(path, reply(200, stale, b"kept"), reply(304, fresh).after(Pause(1)))
    get(edge.url("patient"), path)

    told = crowd(edge.url("patient"), [Asked(path)] * 200)

    assert {t.body for t in told} == {b"kept"}
    assert [r.value("If-None-Match") for r in origin.requests(path)] == [None, '"1"']


def test_each_request_of_a_crowd_gets_its_own_variant(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()

    def greet(request: Request) -> Reply:
        language = request.value("X-Language") or ""
        return reply(200, [*CACHED, ("Vary", "X-Language")], language.encode()).after(Pause(0.7))

    origin.decide(path, greet)
    languages = [f"l{number % 4}" for number in range(200)]

    told = crowd(edge.url("edge"), [Asked(path, [("X-Language", language)]) for language in languages])

    assert [t.body.decode() for t in told] == languages
    assert len(origin.requests(path)) == 4


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("Cache-Control", "private, max-age=60")], id="private"),
        pytest.param([("Cache-Control", "no-store")], id="no-store"),
        pytest.param([("Cache-Control", "max-age=60"), ("Set-Cookie", "a=1")], id="Set-Cookie"),
        pytest.param([], id="nothing said"),
    ],
)
def test_what_may_not_be_shared_everyone_gets_for_himself_side_by_side(
    edge: Workerd, origin: ScriptedOrigin, fields: list[tuple[str, str]]
) -> None:
    path = new_path()
    latency = 0.5

    def own(request: Request) -> Reply:
        return reply(200, fields, (request.value("X-Client") or "").encode()).after(Pause(latency))

    origin.decide(path, own)
    requests = [Asked(path, [("X-Client", str(number))]) for number in range(100)]

    first, second = crowd(edge.url("edge"), requests), crowd(edge.url("edge"), requests)

    for told in (first, second):
        assert [t.body.decode() for t in told] == [str(number) for number in range(100)]
    assert len(origin.requests(path)) == 200
    assert all("; apart=hit-for-miss; " in (t.response.value("Cache-Status") or "") for t in second)
    # One after another it would be 50 s. The first waited for one response, the second for none.
    assert max(t.seconds for t in first) < 2 * latency + 4
    assert max(t.seconds for t in second) < latency + 4


def test_requests_queue_again_once_a_response_may_be_shared(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    shared = reply(200, CACHED, b"shared").after(Pause(1))
    origin.on(path, reply(200, [("Cache-Control", "no-store")], b"own"), shared)
    get(edge.url("edge"), path)

    crowd(edge.url("edge"), [Asked(path)] * 2)
    eventually(lambda: is_hit(get(edge.url("edge"), path)), "a hit")


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Reply((Pause(0.7), Reset())), id="a reset before the response"),
        pytest.param(Reply((Pause(0.7), Close())), id="an end before the response"),
        pytest.param(Reply((Pause(0.7), b"\x00nonsense\r\n\r\n", Close())), id="garbage"),
        pytest.param(truncated(b"half", missing=4, fields=CACHED).after(Pause(0.7)), id="half a body"),
    ],
)
def test_a_crowd_fails_together(edge: Workerd, origin: ScriptedOrigin, broken: Reply) -> None:
    path = new_path()
    origin.on(path, broken)

    told = crowd(edge.url("edge"), [Asked(path)] * 100)

    assert {t.response.status for t in told} == {502}
    # The runtime itself sends a GET again if a connection that it had kept breaks; we don't.
    assert len(origin.requests(path)) < 20


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        pytest.param((), (502, False), id="at once: nobody is sent half a body"),
        pytest.param((Pause(0.5),), (200, True), id="later: what they were sent is cut for all to see"),
    ],
)
def test_half_a_chunked_body_fails_for_all(
    edge: Workerd, origin: ScriptedOrigin, pauses: tuple[Pause, ...], expected: tuple[int, bool]
) -> None:
    path = new_path()
    start = head(200, [*CACHED, ("Transfer-Encoding", "chunked")])
    whole = reply(200, CACHED, b"whole")
    origin.on(path, Reply((Pause(0.7), start, b"4\r\nhalf\r\n", *pauses, Close())), whole)

    told = crowd(edge.url("edge"), [Asked(path)] * 50)

    assert {(t.response.status, t.body == b"half") for t in told} == {expected}
    assert [t for t in told if t.response.complete and t.response.status == 200] == []
    assert get(edge.url("edge"), path).body == b"whole"


def test_an_error_stands_in_nobodys_way_and_is_not_waited_for_again(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path()
    origin.on(
        path, *[reply(503, [], b"down").after(Pause(0.3))] * 20, reply(200, CACHED, b"up").after(Pause(0.7))
    )

    down = crowd(edge.url("edge"), [Asked(path)] * 20)
    up = crowd(edge.url("edge"), [Asked(path)] * 100)

    assert {(t.response.status, t.body) for t in down} == {(503, b"down")}
    assert {(t.response.status, t.body) for t in up} == {(200, b"up")}
    assert len(origin.requests(path)) == 21


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda hold: reply(200, CACHED, b"whole").after(hold), id="before the response"),
        pytest.param(
            lambda hold: chunked(200, CACHED, [b"who", hold, b"le"]), id="in the middle of a chunked body"
        ),
        pytest.param(
            lambda hold: Reply((head(200, [*CACHED, ("Content-Length", "5")]), b"who", hold, b"le")),
            id="in the middle of a body",
        ),
    ],
)
def test_the_leader_may_leave(edge: Workerd, origin: ScriptedOrigin, answer: object) -> None:
    path, hold = new_path(), Hold()
    assert callable(answer)
    origin.on(path, answer(hold))

    crowd(edge.url("edge"), [Asked(path, leaves_after=0.3)])
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(get, edge.url("edge"), path) for _ in range(5)]
        origin.wait_for_requests(1, path)
        hold.release()
        told = [w.result() for w in waiting]

    assert {t.body for t in told} == {b"whole"}
    assert len(origin.requests(path)) == 1


def test_what_a_client_left_behind_is_stored_here_and_in_kv(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, CACHED, b"late").after(hold))

    crowd(edge.url("edge"), [Asked(path, leaves_after=0.3)])
    hold.release()

    eventually(lambda: edge.store().get(key_of(path)) == b"late", "the response in KV")
    assert is_hit(get(edge.url("twin"), path))
    assert is_hit(get(edge.url("edge"), path))
    assert len(origin.requests(path)) == 1


def test_waiters_may_leave(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, CACHED, b"whole").after(hold))
    with ThreadPoolExecutor() as pool:
        staying = [pool.submit(get, edge.url("edge"), path) for _ in range(3)]
        origin.wait_for_requests(1, path)
        crowd(edge.url("edge"), [Asked(path, leaves_after=0.3)] * 50)
        hold.release()
        told = [s.result() for s in staying]

    assert {t.body for t in told} == {b"whole"}
    assert is_hit(get(edge.url("edge"), path))


def test_waiting_has_a_bound_after_which_one_flies_anew(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, CACHED, b"lost").after(hold), reply(200, CACHED, b"second"))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(get, edge.url("impatient"), path)
        origin.wait_for_requests(1, path)
        told = crowd(edge.url("impatient"), [Asked(path)] * 5)
        hold.release()
        first.result()

    assert {t.body for t in told} == {b"second"}
    assert len(origin.requests(path)) <= 6
    assert max(t.seconds for t in told) < 5


def test_a_request_that_refuses_what_is_stored_is_not_answered_by_waiting(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path()
    origin.on(path, reply(200, CACHED, b"1"), reply(200, CACHED, b"2"))
    get(edge.url("patient"), path)

    response = get(edge.url("patient"), path, ("Cache-Control", "no-cache"))

    assert (response.body, detail(response)) == (b"2", "request-no-cache")
