"""Stale-while-revalidate: nobody waits, one refresh at a time, and what it brings is stored."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

from scripts.runtime.workerd import Workerd
from tests.runtime.client import Response
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import Variables, detail, eventually, get, is_hit, key_of, new_path, running
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Close, Fields, Hold, Reply, Reset, reply

STALE_AT_ONCE = [("Cache-Control", "max-age=0, stale-while-revalidate=600")]
FRESH = [("Cache-Control", "max-age=600")]


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    workers: Variables = {
        "edge": {"REFRESH_THROTTLE": "1500ms"},
        "twin": {},
        "ahead": {"REFRESH_AHEAD": 0.9},
        "jittery": {"LIFETIME_JITTER": 0.5},
    }
    with running(tmp_path_factory.mktemp("stale"), running_origin, workers) as workerd:
        yield workerd


def _timed(edge: Workerd, path: str, times: int) -> tuple[list[Response], float]:
    """Return the answers, and the median time of one in seconds."""
    answers, seconds = [], []
    for _ in range(times):
        began = time.perf_counter()
        answers.append(get(edge.url("edge"), path))
        seconds.append(time.perf_counter() - began)
    return answers, statistics.median(seconds)


def test_stale_answers_are_as_quick_as_hits_while_the_origin_takes_its_time(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    fresh, stale, hold = new_path(), new_path(), Hold()
    origin.on(fresh, reply(200, FRESH, b"fresh"))
    origin.on(stale, reply(200, STALE_AT_ONCE, b"1"), reply(200, FRESH, b"2").after(hold))
    for path in (fresh, stale):
        get(edge.url("edge"), path)

    _, hit_seconds = _timed(edge, fresh, 50)
    answers, stale_seconds = _timed(edge, stale, 50)

    assert {(answer.body, detail(answer)) for answer in answers} == {(b"1", "stale-while-revalidate")}
    assert all(is_hit(answer) for answer in answers)
    assert stale_seconds < 10 * hit_seconds
    assert len(origin.requests(stale)) <= 2
    hold.release()
    eventually(lambda: get(edge.url("edge"), stale).body == b"2", "the refreshed response")
    assert len(origin.requests(stale)) == 2


def test_the_refreshed_response_is_in_kv_for_other_isolates(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE_AT_ONCE, b"1"), reply(200, FRESH, b"2"))
    get(edge.url("edge"), path)

    get(edge.url("edge"), path)

    eventually(lambda: edge.store().get(key_of(path)) == b"2", "the refreshed body in KV")
    response = get(edge.url("twin"), path)
    assert (response.body, is_hit(response)) == (b"2", True)
    assert len(origin.requests(path)) == 2


def test_a_refresh_that_validates_extends_what_is_stored(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, tag = new_path(), ("ETag", '"1"')
    origin.on(path, reply(200, [*STALE_AT_ONCE, tag], b"kept"), reply(304, [*FRESH, tag]))
    get(edge.url("edge"), path)

    get(edge.url("edge"), path)

    eventually(lambda: detail(get(edge.url("edge"), path)) == "fresh", "a fresh response")
    eventually(lambda: "max-age=600" in str(edge.store().metadata(key_of(path))), "its fields in KV")
    assert get(edge.url("twin"), path).body == b"kept"
    assert [r.value("If-None-Match") for r in origin.requests(path)] == [None, '"1"']


def test_a_crowd_of_stale_answers_starts_one_refresh(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, STALE_AT_ONCE, b"1"), reply(200, FRESH, b"2").after(hold))
    get(edge.url("edge"), path)

    told = crowd(edge.url("edge"), [Asked(path)] * 200)
    origin.wait_for_requests(2, path)
    told += crowd(edge.url("edge"), [Asked(path)] * 50)
    hold.release()

    assert {t.body for t in told} == {b"1"}
    eventually(lambda: get(edge.url("edge"), path).body == b"2", "the refreshed response")
    assert len(origin.requests(path)) == 2


def test_each_variant_has_its_own_refresh(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    fields = [*STALE_AT_ONCE, ("Vary", "X-L")]
    origin.on(path, *[reply(200, fields, b"old")] * 2, reply(200, fields, b"new").after(hold))
    variants = [("X-L", "a"), ("X-L", "b")]
    for variant in variants:
        get(edge.url("edge"), path, variant)

    told = [get(edge.url("edge"), path, variant) for variant in variants * 3]

    assert {t.body for t in told} == {b"old"}
    requests = origin.wait_for_requests(4, path)
    assert sorted(r.value("X-L") or "" for r in requests[2:]) == ["a", "b"]
    hold.release()


def test_the_client_whose_request_began_a_refresh_may_leave(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path(), Hold()
    origin.on(path, reply(200, STALE_AT_ONCE, b"1"), reply(200, FRESH, b"2").after(hold))
    get(edge.url("edge"), path)

    get(edge.url("edge"), path)  # has its answer, and closes the connection
    origin.wait_for_requests(2, path)
    hold.release()

    eventually(lambda: get(edge.url("edge"), path).body == b"2", "the refreshed response")


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(reply(503, [], b"no"), id="a 503"),
        pytest.param(Reply((Close(),)), id="no response"),
        pytest.param(Reply((Reset(),)), id="a reset"),
    ],
)
def test_a_failed_refresh_is_throttled_and_tried_again_later(
    edge: Workerd, origin: ScriptedOrigin, failure: Reply
) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, STALE_AT_ONCE, b"1"))
    get(edge.url("edge"), path)
    origin.on(path, failure)

    get(edge.url("edge"), path)
    origin.wait_for_requests(2, path)
    tries = _settled(origin, path)  # the runtime itself may send a GET a second time
    told = [get(edge.url("edge"), path) for _ in range(20)]

    assert {t.body for t in told} == {b"1"}
    assert len(origin.requests(path)) == tries
    origin.on(path, reply(200, FRESH, b"2"))
    eventually(lambda: get(edge.url("edge"), path).body == b"2", "another try")


def _settled(origin: ScriptedOrigin, path: str) -> int:
    """Return how many requests came, once no more do."""
    count = 0
    while count != (count := len(origin.requests(path))):
        time.sleep(0.3)
    return count


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([*FRESH, ("Set-Cookie", "a=b")], id="Set-Cookie"),
        pytest.param([*FRESH, ("Age", "1000")], id="what is too old"),
    ],
)
def test_a_refresh_that_brings_nothing_to_store_is_not_repeated_by_every_reader(
    edge: Workerd, origin: ScriptedOrigin, fields: Fields
) -> None:
    path = new_path()
    origin.on(path, reply(200, STALE_AT_ONCE, b"public"), reply(200, fields, b"own"))
    get(edge.url("edge"), path)

    get(edge.url("edge"), path)
    origin.wait_for_requests(2, path)
    _settled(origin, path)
    told = [get(edge.url("edge"), path) for _ in range(20)]

    assert {t.body for t in told} == {b"public"}
    assert len(origin.requests(path)) == 2


def test_outside_the_window_clients_wait(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    soon = [("Cache-Control", "max-age=0, stale-while-revalidate=1")]
    origin.on(path, reply(200, soon, b"1"), reply(200, FRESH, b"2"))
    get(edge.url("edge"), path)
    time.sleep(1.1)

    response = get(edge.url("edge"), path)

    assert (response.body, is_hit(response)) == (b"2", False)


def test_a_hot_response_is_refreshed_ahead_of_its_expiry(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "max-age=10")], b"1"), reply(200, FRESH, b"2"))

    answers = [get(edge.url("ahead"), path)]

    def is_refreshed() -> bool:
        answers.append(get(edge.url("ahead"), path))
        return answers[-1].body == b"2"

    eventually(is_refreshed, "a refresh")
    assert {detail(answer) for answer in answers[1:]} == {"fresh"}
    assert len(origin.requests(path)) == 2


def test_a_response_that_nobody_asks_for_again_is_not_refreshed_ahead(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "max-age=3")], b"1"))

    get(edge.url("ahead"), path)
    get(edge.url("ahead"), path)

    assert len(origin.requests(path)) == 1


def test_lifetimes_are_shortened_at_random(edge: Workerd, origin: ScriptedOrigin) -> None:
    paths = [new_path() for _ in range(30)]
    lives = []
    for path in paths:
        origin.on(path, reply(200, [("Cache-Control", "max-age=1000")], b"1"))
        status = get(edge.url("jittery"), path).value("Cache-Status") or ""
        lives.append(int(status.partition("ttl=")[2].partition(";")[0]))

    assert 499 <= min(lives) < 700 < max(lives) <= 1000
