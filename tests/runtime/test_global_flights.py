"""One request to the origin in the world, in the real runtime: Workers that share the objects of one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Namespace, Worker
from tests.runtime.client import Response
from tests.runtime.edge import QUIET, eventually, get, new_path
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Pause, Reply, reply

CACHED = [("Cache-Control", "max-age=60")]
BODY = b"0123456789abcdef" * 20_000
RULES: list[Json] = [
    {"name": "dear", "path": "/dear/**", "single_flight": "global"},
    {"name": "queried", "path": "/queried/**", "single_flight": "global", "no_vary_search": True},
    {"name": "others", "path": "/**"},
]
_NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    variables = {
        **QUIET,
        "ORIGIN": running_origin.url,
        "RULES": RULES,
        "SOFT_TIMEOUT": 0,
        "ORIGIN_TIMEOUT": "3s",
    }
    workers = [
        # Each has a KV of its own, as where KV doesn't show yet what another location has stored.
        Worker(name, variables=variables, log="one", stores={"CACHE": Namespace(name)})
        for name in _NAMES
    ]
    workers.append(Worker("without", variables=variables))
    with Workerd(tmp_path_factory.mktemp("flights"), workers, snapshots=snapshot.deployed()) as workerd:
        for name in _NAMES:
            get(workerd.url(name), "/begin")
        yield workerd


def _ask_all(edge: Workerd, path: str, times: int = 2) -> list[Response]:
    with ThreadPoolExecutor(len(_NAMES) * times) as pool:
        return list(pool.map(lambda name: get(edge.url(name), path), _NAMES * times))


@pytest.mark.parametrize(
    ("answer", "path", "requests"),
    [
        pytest.param(reply(200, CACHED, BODY).after(Pause(1.5)), "/dear/", 1, id="one for all"),
        pytest.param(reply(200, CACHED, BODY).after(Pause(1.5)), "/cheap/", 3, id="one an isolate"),
        pytest.param(
            reply(200, [("Cache-Control", "private")], BODY).after(Pause(1.5)), "/dear/", 6, id="private"
        ),
    ],
)
def test_requests_to_the_origin(
    edge: Workerd, origin: ScriptedOrigin, answer: Reply, path: str, requests: int
) -> None:
    path += new_path()[1:]
    origin.on(path, answer)
    answers = _ask_all(edge, path)
    assert len(origin.requests(path)) == requests
    assert len({(told.status, told.body) for told in answers}) == 1


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        pytest.param([("No-Vary-Search", "params")], 1, id="for all queries"),
        pytest.param([], 6, id="for each its own"),
    ],
)
def test_many_queries_wait_for_what_the_first_answer_says_of_them(
    edge: Workerd, origin: ScriptedOrigin, fields: list[tuple[str, str]], most: int
) -> None:
    path = "/queried/" + new_path()[1:]

    def answer(request: Request) -> Reply:
        return reply(200, [*CACHED, *fields], request.target.encode()).after(Pause(1.5))

    origin.decide(path, answer)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: get(edge.url(_NAMES[n % 3]), f"{path}?utm={n // 2}"), range(6)))

    assert len(origin.requests(path)) <= most
    if most > 1:
        assert [told.body.decode() for told in answers] == [f"{path}?utm={n // 2}" for n in range(6)]


def test_a_failure_is_shared(edge: Workerd, origin: ScriptedOrigin) -> None:
    def is_shared() -> bool:
        path = "/dear/" + new_path()[1:]
        origin.on(path, reply(200, CACHED, BODY).after(Pause(6)))
        answers = _ask_all(edge, path, times=1)
        assert {told.status for told in answers} == {504}
        return len(origin.requests(path)) == 1

    # Whoever comes long after it has failed tries again.
    eventually(is_shared, "all three at about one time")


def test_who_comes_later_gets_what_another_location_got(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, long = "/dear/" + new_path()[1:], "x" * 2000
    origin.on(path, reply(200, [*CACHED, ("X-Long", long)], BODY))
    get(edge.url("one"), path)
    later = get(edge.url("two"), path)
    assert (later.body, later.value("X-Long")) == (BODY, long)
    assert "; collapsed" in (later.value("Cache-Status") or "")
    assert len(origin.requests(path)) == 1


def test_without_the_binding_it_is_as_it_was(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = "/dear/" + new_path()[1:]
    origin.on(path, reply(200, CACHED, BODY))
    assert "single-flight" not in (get(edge.url("without"), path).value("Cache-Status") or "")
    assert get(edge.url("without"), path).body == BODY
