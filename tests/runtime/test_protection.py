"""What one client sends speaks for no other, and switches no protection of the origin off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.runtime.workerd import Workerd
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import Variables, detail, eventually, get, is_hit, key_of, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Fields, Hold, Pause, Reply, reply

FRESH = [
    ("Cache-Control", "public, max-age=600"),
    ("ETag", '"1"'),
    ("Last-Modified", "Fri, 01 Jan 2021 00:00:00 GMT"),
]
STALE = [("Cache-Control", "public, max-age=0, stale-while-revalidate=600")]
PRIVATE = [("Cache-Control", "private")]


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    workers: Variables = {
        "edge": {},
        "eager": {"CLIENT_REFRESH_INTERVAL": "500ms"},
        "narrow": {"REFRESH_CONCURRENCY": 8},
        "thrifty": {"SECOND_USE_BYTES": "100KiB", "VARIANTS_PER_URL": 8},
    }
    with running(tmp_path_factory.mktemp("protection"), running_origin, workers) as workerd:
        yield workerd


OWN = [
    pytest.param(("Authorization", "Bearer x"), id="Authorization"),
    pytest.param(("Cookie", "session=x"), id="Cookie"),
    pytest.param(("Cache-Control", "no-store"), id="no-store"),
]


def _private_for(own: tuple[str, str], fields: Fields, body: bytes, seconds: float = 0.0) -> object:
    """Answer requests with a field for one client alone, and all others for everybody."""

    def answer(request: Request) -> Reply:
        is_own = request.value(own[0]) == own[1]
        return reply(200, PRIVATE if is_own else fields, b"own" if is_own else body).after(Pause(seconds))

    return answer


@pytest.mark.parametrize("own", OWN)
def test_a_crowd_is_collapsed_whatever_one_client_is_answered(
    edge: Workerd, origin: ScriptedOrigin, own: tuple[str, str]
) -> None:
    path = new_path()
    origin.decide(path, _private_for(own, FRESH, b"all", seconds=0.7))  # type: ignore[arg-type]
    for _ in range(2):
        assert get(edge.url("edge"), path, own).body == b"own"

    told = crowd(edge.url("edge"), [Asked(path)] * 40)

    assert {t.body for t in told} == {b"all"}
    assert len(origin.requests(path)) == 3


@pytest.mark.parametrize("own", OWN)
def test_a_crowd_waits_for_no_request_that_is_one_clients_own(
    edge: Workerd, origin: ScriptedOrigin, own: tuple[str, str]
) -> None:
    path = new_path()
    origin.decide(path, _private_for(own, FRESH, b"all", seconds=1.0))  # type: ignore[arg-type]
    with ThreadPoolExecutor() as pool:
        first = pool.submit(get, edge.url("edge"), path, own)
        origin.wait_for_requests(1, path)
        told = crowd(edge.url("edge"), [Asked(path)] * 40)

    assert first.result().body == b"own"
    assert {t.body for t in told} == {b"all"}
    assert len(origin.requests(path)) == 2


@pytest.mark.parametrize("own", OWN)
def test_a_crowd_that_shares_a_response_is_collapsed_whatever_it_bears(
    edge: Workerd, origin: ScriptedOrigin, own: tuple[str, str]
) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"all").after(Pause(0.7)))

    told = crowd(edge.url("edge"), [Asked(path, [own])] * 40)

    assert {t.body for t in told} == {b"all"}
    assert len(origin.requests(path)) == 1


@pytest.mark.parametrize("status", [200, 401, 403, 500, 503, 429])
@pytest.mark.parametrize("own", OWN)
def test_a_refresh_is_made_for_all_whatever_one_client_is_answered(
    edge: Workerd, origin: ScriptedOrigin, own: tuple[str, str], status: int
) -> None:
    path = new_path()

    def answer(request: Request) -> Reply:
        if request.value(own[0]) == own[1]:
            return reply(status, [*PRIVATE, ("Retry-After", "60")], b"own")
        return reply(
            200, FRESH if len(origin.requests(path)) > 2 else STALE, b"%d" % len(origin.requests(path))
        )

    origin.decide(path, answer)
    get(edge.url("edge"), path)
    get(edge.url("edge"), path, own)
    origin.wait_for_requests(2, path)

    eventually(lambda: get(edge.url("edge"), path).body not in {b"1", b"own"}, "a refreshed response")


DEMANDS = [
    pytest.param(("Cache-Control", "no-cache"), id="no-cache"),
    pytest.param(("Cache-Control", "max-age=0"), id="max-age=0"),
    pytest.param(("Cache-Control", "no-cache, no-store"), id="no-cache, no-store"),
    pytest.param(("Cache-Control", "min-fresh=9999"), id="min-fresh"),
    pytest.param(("Pragma", "no-cache"), id="Pragma"),
    pytest.param(("If-Match", '"other"'), id="If-Match"),
    pytest.param(("If-Unmodified-Since", "Wed, 01 Jan 2020 00:00:00 GMT"), id="If-Unmodified-Since"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("demand", DEMANDS)
def test_no_client_has_what_just_came_asked_for_anew(
    edge: Workerd, origin: ScriptedOrigin, demand: tuple[str, str], method: str
) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"1"))
    get(edge.url("edge"), path)

    told = [get(edge.url("edge"), path, demand, method=method) for _ in range(20)]

    assert all(is_hit(t) for t in told)
    assert len(origin.requests(path)) == 1


ANSWERS = [reply(200, FRESH, b"2"), reply(400), reply(429), reply(500), reply(503)]


@pytest.mark.parametrize("demand", DEMANDS)
def test_a_crowd_that_demands_a_new_response_makes_few_requests(
    edge: Workerd, origin: ScriptedOrigin, demand: tuple[str, str]
) -> None:
    paths = [new_path() for _ in ANSWERS]
    for path, answer in zip(paths, ANSWERS, strict=True):
        origin.on(path, reply(200, FRESH, b"1"), answer)
        get(edge.url("eager"), path)
    time.sleep(0.6)  # longer than the interval

    began = time.perf_counter()
    crowd(edge.url("eager"), [Asked(path, [demand]) for path in paths] * 30)
    intervals = (time.perf_counter() - began) / 0.5

    # The first, one for each interval that the crowd lasts, and one at its end; there are 30 of each.
    assert max(len(origin.requests(path)) for path in paths) <= min(intervals + 3, 25)


def test_many_stale_urls_are_refreshed_a_few_at_a_time(edge: Workerd, origin: ScriptedOrigin) -> None:
    paths, hold = [new_path() for _ in range(40)], Hold()
    for path in paths:
        origin.on(path, reply(200, STALE, b"old"), reply(200, FRESH, b"new").after(hold))
    crowd(edge.url("narrow"), [Asked(path) for path in paths])

    told = crowd(edge.url("narrow"), [Asked(path) for path in paths] * 2)
    origin.wait_for_requests(len(paths) + 4)
    time.sleep(0.5)  # in which more could come

    assert {t.body for t in told} == {b"old"}
    assert len(origin.requests()) - len(paths) == 4  # half of 8: all are of one rule
    hold.release()
    for path in paths:
        eventually(lambda path=path: get(edge.url("narrow"), path).body == b"new", "a turn")  # type: ignore[misc]
    assert len(origin.requests()) == 2 * len(paths)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param([("If-Match", '"1"')], 200, id="If-Match"),
        pytest.param([("If-Match", '"0", "1"')], 200, id="If-Match, one of two"),
        pytest.param([("If-Match", "*")], 200, id="If-Match: *"),
        pytest.param([("If-Match", '"2"')], 412, id="If-Match of another"),
        pytest.param([("If-Match", 'W/"1"')], 412, id="If-Match compares strongly"),
        pytest.param([("If-Match", '"1"'), ("Range", "bytes=0-1")], 206, id="If-Match with a range"),
        pytest.param([("If-Match", '"2"'), ("Range", "bytes=0-1")], 412, id="a range of another"),
        pytest.param([("If-Match", '"1"'), ("If-None-Match", '"1"')], 304, id="both"),
        pytest.param([("If-Unmodified-Since", "Fri, 01 Jan 2021 00:00:00 GMT")], 200, id="unmodified"),
        pytest.param([("If-Unmodified-Since", "Wed, 01 Jan 2020 00:00:00 GMT")], 412, id="modified since"),
        pytest.param([("If-Unmodified-Since", "yesterday")], 200, id="no date"),
        pytest.param(
            [("If-Match", '"1"'), ("If-Unmodified-Since", "Wed, 01 Jan 2020 00:00:00 GMT")],
            200,
            id="If-Match wins",
        ),
    ],
)
def test_preconditions_are_evaluated_on_what_is_stored(
    edge: Workerd, origin: ScriptedOrigin, fields: Fields, status: int
) -> None:
    stored, cold, own = new_path(), new_path(), new_path()
    for path in (stored, cold):
        origin.on(path, reply(200, FRESH, b"1234"))
    get(edge.url("edge"), stored)

    response = get(edge.url("edge"), stored, *fields)

    assert (response.status, is_hit(response)) == (status, True)
    assert response.body == {200: b"1234", 206: b"12"}.get(status, b"")
    assert get(edge.url("edge"), cold, *fields).status in {status, 200 if status == 206 else status}
    # What isn't stored, the origin evaluates, or what it sent is evaluated here.
    origin.on(own, reply(200, [*PRIVATE, *FRESH[1:]], b"1234"))
    assert get(edge.url("edge"), own, *fields).status in {200, status}
    assert detail(response) == "fresh"


def test_many_variants_of_a_url_do_not_fill_the_store(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    languages = [f"l{number}" for number in range(100)]

    def greet(request: Request) -> Reply:
        return reply(200, [*FRESH[:1], ("Vary", "X-L")], (request.value("X-L") or "").encode())

    origin.decide(path, greet)

    told = crowd(edge.url("thrifty"), [Asked(path, [("X-L", language)]) for language in languages])

    assert [t.body.decode() for t in told] == languages
    eventually(lambda: len(edge.store().keys(key_of(path))) >= 8, "some of them in KV")
    time.sleep(0.5)
    assert len(edge.store().keys(key_of(path))) <= 11  # with their index, and one for each minute that passed
    assert is_hit(get(edge.url("thrifty"), path, ("X-L", "l99")))


def test_large_bodies_that_clients_leave_behind_fill_no_store(edge: Workerd, origin: ScriptedOrigin) -> None:
    paths = [new_path() for _ in range(5)]
    for path in paths:
        origin.on(path, reply(200, FRESH, b"x" * 2_000_000))

    crowd(edge.url("thrifty"), [Asked(path, leaves_after=0.5) for path in paths])
    origin.wait_for_requests(5)
    time.sleep(0.5)
    assert [edge.store().keys(key_of(path)) for path in paths] == [[]] * 5

    get(edge.url("thrifty"), paths[0])
    eventually(lambda: edge.store().keys(key_of(paths[0])), "what was asked for again")
