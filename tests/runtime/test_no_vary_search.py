"""No-Vary-Search: which queries share a response, and that no purge misses one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from origin_sdk._values.targets import Purge
from origin_sdk_wire.config import load
from origin_sdk_wire.marks import Mark, value_of
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.edge import HOST, eventually, get, is_hit, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Fields, Reply, reply

RULES: list[Json] = [
    {"path": "/by/**", "no_vary_search": True, "query_drop": ["utm_*"], "lifetime": "10m"},
    {"path": "/ends/**", "no_vary_search": True},
    {
        "path": "/mine/**",
        "no_vary_search": True,
        "key_parameters": ["k"],
        "data_class": "private",
        "lifetime": "10m",
    },
]


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    variables: dict[str, Json] = {"RULES": RULES, "MARK_INTERVAL": "100ms", "VARIANTS_PER_URL": 3}
    workers = {
        "edge": variables,
        "twin": variables,
        "plain": {},
        "strict": {**variables, "PROFILE": "rfc9111"},
    }
    with running(tmp_path_factory.mktemp("queries"), running_origin, workers) as workerd:
        yield workerd


def saying(field: str, *others: tuple[str, str]) -> Fields:
    return [("Cache-Control", "public, max-age=600"), ("No-Vary-Search", field), *others]


def serve(origin: ScriptedOrigin, path: str, fields: Fields) -> None:
    origin.decide(path, lambda asked: reply(200, fields, asked.target.encode()))


@pytest.mark.parametrize(
    ("field", "queries", "hits"),
    [
        pytest.param('params=("ref")', ["?a=1&ref=x", "?a=1", "?ref=y&a=1", "?a=2"], "-++-", id="params"),
        pytest.param("params", ["?a=1", "", "?b", "?"], "-+++", id="none matters"),
        pytest.param('params, except=("p")', ["?p=1", "?p=1&z", "?z&p=2", "?p=2"], "-+-+", id="except"),
        pytest.param("key-order", ["?a=1&b=2", "?b=2&a=1", "?b=2"], "-+-", id="key-order"),
        pytest.param("params=(a)", ["?a=1", "?a=2", "?a=1"], "--+", id="a field that isn't valid"),
        pytest.param('params=("ref")', ["?a=1&utm_x=1", "?a=1&utm_y=2&ref"], "-+", id="beside query_drop"),
    ],
)
@pytest.mark.parametrize("worker", ["edge", "strict"])
def test_which_queries_share_a_response(
    edge: Workerd, origin: ScriptedOrigin, field: str, queries: Sequence[str], hits: str, worker: str
) -> None:
    path = new_path("by/t")
    serve(origin, path, saying(field))

    told = [get(edge.url(worker), f"{path}{query}") for query in queries]

    assert "".join("-+"[is_hit(each)] for each in told) == hits
    assert told[1].value("No-Vary-Search") == field
    assert told[1].value("Edge-Search-Variance") is None


def test_what_another_isolate_learnt_is_read_from_kv(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("by/t")
    serve(origin, path, saying('params=("ref")'))
    get(edge.url("edge"), f"{path}?a=1&ref=x")
    eventually(lambda: len([key for key in edge.store().keys("r1/") if path in key]) == 2, "stored")

    assert is_hit(get(edge.url("twin"), f"{path}?ref=z&a=1"))


def test_responses_of_one_path_may_say_different_things(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("by/t")

    def answer(asked: Request) -> Reply:
        field = 'params=("ref")' if "a=1" in asked.target else "key-order"
        return reply(200, saying(field), asked.target.encode())

    origin.decide(path, answer)
    queries = ("a=1&ref", "b=1&c=2", "ref=2&a=1", "c=2&b=1", "b=1&c=2&ref", "ref&b=1&c=2", "c=3")
    told = [get(edge.url("edge"), f"{path}?{query}") for query in queries]

    assert [is_hit(each) for each in told] == [False, False, True, True, False, True, False]


def test_it_selects_beside_vary(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("by/t")
    serve(origin, path, saying('params=("ref")', ("Vary", "X-Tenant")))
    asked = [("?a&ref", "x"), ("?a", "x"), ("?a", "y"), ("?ref=2&a", "y"), ("?b", "x")]
    told = [get(edge.url("edge"), f"{path}{query}", ("X-Tenant", tenant)) for query, tenant in asked]

    assert [is_hit(each) for each in told] == [False, True, False, True, False]


def test_without_the_rule_each_query_is_one_of_its_own(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("by/t")
    serve(origin, path, saying("params"))
    # What was stored before a rule had it is for its own URL, and no other.
    told = [
        get(edge.url(each), path + query) for each, query in [("plain", ""), ("plain", "?a"), ("twin", "?b")]
    ]

    assert not any(map(is_hit, told))
    assert [each.body.decode() for each in told] == [path, f"{path}?a", f"{path}?b"]


def test_many_queries_are_no_variants_of_one(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("by/t")
    serve(origin, path, saying('params=("ref")'))
    for number in range(6):
        get(edge.url("edge"), f"{path}?page={number}")

    eventually(lambda: len([key for key in edge.store().keys("r1/") if path in key]) == 7, "all of them")


def test_an_identity_in_the_query_stays_one(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("mine/t")
    serve(origin, path, saying("params"))
    told = [
        get(edge.url("edge"), f"{path}?{query}") for query in ("k=alice", "a&k=alice", "k=bob", "k=bob&b")
    ]

    assert [is_hit(each) for each in told] == [False, True, False, True]
    assert b"alice" not in told[3].body


# Purges


@pytest.mark.parametrize("spelt", ["?a=1&ref=x", "?a=1", "?ref=other&a=1", "", "?another"])
@pytest.mark.parametrize("is_hard", [False, True])
def test_a_purge_of_any_spelling_reaches_what_is_stored(
    edge: Workerd, origin: ScriptedOrigin, spelt: str, *, is_hard: bool
) -> None:
    path = new_path("by/t")
    serve(origin, path, saying('params=("ref")'))
    for query in ("?a=1&ref=x", "?a=1"):
        get(edge.url("edge"), path + query)
    assert is_hit(get(edge.url("edge"), f"{path}?a=1"))

    purge = Purge.of(urls=f"http://{HOST}{path}{spelt}", hard=is_hard)
    moment_ms = int(datetime.now(UTC).timestamp() * 1000) + 50  # noqa: TID251 - marks are dated
    for key in purge.marks(load({"RULES": RULES}).rules):
        edge.store().put(key, value_of(key, Mark(moment_ms, "test")).encode())

    def is_asked_again() -> bool:
        get(edge.url("edge"), f"{path}?a=1&ref=y")
        return len(origin.requests(path)) > 1

    eventually(is_asked_again, "purged")


def test_a_write_through_the_edge_reaches_every_query(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("by/t")
    serve(origin, path, saying('params=("ref")'))
    for query in ("?a=1", "?b=1"):
        get(edge.url("edge"), path + query)
    get(edge.url("edge"), f"{path}?c", method="DELETE")

    assert not any(is_hit(get(edge.url("edge"), path + query)) for query in ("?a=1&ref", "?ref&b=1"))


def test_the_end_of_one_query_is_none_of_others(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("ends/t")
    answers = iter(["max-age=0", "no-store"])

    def answer(asked: Request) -> Reply:
        control = next(answers) if "a=1" in asked.target else "max-age=600"
        return reply(200, [("Cache-Control", control), ("No-Vary-Search", 'params=("ref")')])

    origin.decide(path, answer)
    queries = ("b=1", "a=1", "a=1&ref", "b=1&ref")
    told = [get(edge.url("edge"), f"{path}?{query}") for query in queries]

    assert [is_hit(each) for each in told] == [False, False, False, True]
