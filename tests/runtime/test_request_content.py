"""Requests with a content that a rule puts into the key: QUERY (RFC 10008), POST, GraphQL."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, Mark, group_mark, url_mark, value_of, written_keys
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.client import Response, exchange
from tests.runtime.edge import HOST, Variables, detail, eventually, get, is_hit, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Hold, Reply, chunked, reply

BOUND = 2000
RULES: Sequence[Json] = [
    {"name": "raw", "path": "/raw/**", "key_body": True},
    {"name": "json", "path": "/json/**", "key_body": "json"},
    {"name": "graphql", "path": "/graphql/**", "key_body": "graphql", "groups_from": "product-{data.p.id}"},
    {
        "name": "logged-in",
        "path": "/logged-in/**",
        "key_body": "graphql",
        "bypass_cookies": ["sid"],
        "ignore_cookies": True,
    },
    {"name": "groups", "path": "/grouped/**", "groups_from": ["item-{items.id}", "shop"]},
    {"name": "mine", "path": "/mine/**", "key_body": True, "data_class": "private", "key_cookies": ["sid"]},
]
FRESH = [("Cache-Control", "public, max-age=600"), ("Content-Type", "application/json")]
JSON = ("Content-Type", "application/json")


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("content")
    safe: Mapping[str, Json] = {"RULES": RULES, "KEY_BODY_BYTES": BOUND, "MARK_INTERVAL": "200ms"}
    hurried: Mapping[str, Json] = {"RULES": RULES, "BETWEEN_BYTES_TIMEOUT": "500ms"}
    workers: Variables = {"safe": safe, "twin": safe, "large": {"RULES": RULES}, "hurried": hurried}
    with running(folder, running_origin, workers) as workerd:
        yield workerd


@dataclass(frozen=True, slots=True)
class Sent:
    """A request with a content."""

    content: bytes = b'{"a": 1, "b": 2}'
    method: str = "QUERY"
    fields: Sequence[tuple[str, str]] = (JSON,)
    query: str = ""

    def to(self, url: str, path: str) -> Response:
        fields = self.fields if self.content else [*self.fields, ("Content-Length", "0")]
        return get(url, path + self.query, *fields, method=self.method, body=self.content)


def answers(origin: ScriptedOrigin, path: str, *fields: tuple[str, str]) -> None:
    """Let the origin answer with what it was asked, as JSON."""

    def answer(request: Request) -> Reply:
        turn = len(origin.requests(path))
        told = {"turn": turn, "method": request.method, "content": request.body.decode("latin-1")}
        return reply(200, [*FRESH, *fields], json.dumps(told).encode())

    origin.decide(path, answer)


def graphql(query: str, **others: Json) -> Sent:
    return Sent(json.dumps({"query": query, **others}).encode(), "POST")


def as_user(sent: Sent) -> Sent:
    """Return a request that passes by the cache for its cookie."""
    return replace(sent, fields=[*sent.fields, ("Cookie", "sid=a")])


PERSISTED: Json = {"persistedQuery": {"version": 1, "sha256Hash": sha256(b"{ p }").hexdigest()}}
OTHER_HASH: Json = {"persistedQuery": {"version": 1, "sha256Hash": sha256(b"{ q }").hexdigest()}}
HASH_ALONE = json.dumps({"extensions": PERSISTED}).encode()
POST = Sent(method="POST")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
UTF_7 = ("Content-Type", "application/json; charset=utf-7")
NESTED = b"[" * 900 + b"]" * 900

# what the first request stores answers the second, or doesn't

SHARED = [
    pytest.param("raw", Sent(), Sent(), id="the same QUERY"),
    pytest.param("raw", POST, POST, id="the same POST"),
    pytest.param("raw", Sent(b""), Sent(b""), id="a QUERY without content"),
    pytest.param("raw", Sent(fields=[("Content-Type", "Application/JSON")]), Sent(), id="a type's case"),
    pytest.param("raw", Sent(fields=[JSON, ("Range", "bytes=0-1")]), Sent(), id="a range, which is GET's"),
    pytest.param("json", Sent(), Sent(b'{"b":2,"a":1}'), id="the order of members, and spaces"),
    pytest.param("json", Sent(b'{"a": "\\u00e9"}'), Sent('{"a": "é"}'.encode()), id="an escaped letter"),
    pytest.param("json", POST, Sent(b'{"b":2,"a":1}', "POST"), id="the order of members of a POST"),
    pytest.param("graphql", graphql("{ p }"), graphql("{ p }", variables={}), id="no variables"),
    pytest.param("graphql", graphql("{ p }"), graphql("{ p }", operationName=None), id="no operation name"),
    pytest.param("graphql", graphql("{ p }"), graphql("{ p }", extensions=PERSISTED), id="its hash"),
    pytest.param(
        "graphql",
        Sent(graphql("{ p }").content),
        Sent(HASH_ALONE),
        id="a hash, by QUERY",
    ),
    pytest.param(
        "graphql",
        graphql("query A { a } fragment F on T { mutation }"),
        graphql("query A { a } fragment F on T { mutation }"),
        id="a field that is called mutation",
    ),
    pytest.param(
        "graphql",
        graphql('# mutation\nquery ($mutation: S = "mutation {") { a(b: """} \\""" mutation""") }'),
        graphql('# mutation\nquery ($mutation: S = "mutation {") { a(b: """} \\""" mutation""") }'),
        id="mutation in a comment, a variable and strings",
    ),
]

APART = [
    pytest.param("raw", Sent(), Sent(b"other"), id="another content"),
    pytest.param("raw", Sent(), POST, id="another method"),
    pytest.param("raw", Sent(), Sent(query="?a=1"), id="another query"),
    pytest.param("raw", Sent(), Sent(fields=[FORM]), id="another media type"),
    pytest.param("raw", Sent(), Sent(fields=[]), id="no media type"),
    pytest.param("raw", Sent(), Sent(fields=[JSON, ("Content-Encoding", "br")]), id="another content coding"),
    pytest.param("raw", Sent(), Sent(fields=[JSON, ("Content-Language", "de")]), id="another language"),
    pytest.param("raw", Sent(), Sent(b'{"b": 2, "a": 1}'), id="the order of members"),
    pytest.param("json", Sent(b'{"a": 1}'), Sent(b'{"a": "1"}'), id="a number and a text"),
    pytest.param("json", Sent(b'{"a": 1}'), Sent(b'{"a": 1.0}'), id="a number written otherwise"),
    pytest.param("json", Sent(b"[1]"), Sent(b'{"n": "1"}'), id="a number and what stands for one in the key"),
    pytest.param("json", Sent(b'{"a": 1, "a": 2}'), Sent(b'{"a": 2}'), id="a repeated name"),
    pytest.param("json", Sent(b'{"a": 1}'), Sent(b'{"a": 1, "__proto__": {}}'), id="one member more"),
    pytest.param("json", Sent(fields=[FORM]), Sent(b'{"b":2,"a":1}', fields=[FORM]), id="no type of JSON"),
    *[
        pytest.param("json", Sent(f"[{one}]".encode()), Sent(f"[{other}]".encode()), id=f"{one} and {other}")
        for one, other in (
            ("9007199254740992", "9007199254740993"),
            ("0", "-0"),
            ("100", "1e2"),
            ("1e400", "1e401"),
            ('"\\ud800"', '"\\ud801"'),
            ('"\\ud800"', '"\\ufffd"'),
            ('"\\u0000"', '""'),
            ('"é"', '"e\u0301"'),
            ("null", "NaN"),
            ("{}", "[]"),
            ('""', "null"),
        )
    ],
    pytest.param("json", Sent(b'{"id": 1, "ID": 2}'), Sent(b'{"ID": 2, "id": 1}'), id="a name in two cases"),
    pytest.param(
        "json",
        Sent(b'{"a": {"k": 1, "\xe2\x84\xaa": 2}}'),
        Sent(b'{"a": {"\xe2\x84\xaa": 2, "k": 1}}'),
        id="a name with the sign of Kelvin",
    ),
    pytest.param("json", Sent(), Sent(b"\xef\xbb\xbf" + Sent().content), id="a BOM"),
    pytest.param("json", Sent(), Sent(Sent().content.decode().encode("utf-16-le")), id="UTF-16"),
    pytest.param(
        "json",
        Sent(b'["+AGE-"]', fields=[UTF_7]),
        Sent(b'["\\u002bAGE-"]', fields=[UTF_7]),
        id="what is the same in UTF-8 alone",
    ),
    pytest.param("json", Sent(), Sent(fields=[(JSON[0], f"{JSON[1]}, text/plain")]), id="two media types"),
    pytest.param("json", Sent(b"[" * 900 + b"]" * 900), Sent(b"[" * 899 + b"]" * 899), id="deep nests"),
    pytest.param("raw", Sent(b"a=1&a=2", fields=[FORM]), Sent(b"a=2&a=1", fields=[FORM]), id="a field twice"),
    pytest.param("raw", Sent(b"a=1", fields=[FORM]), Sent(b"%61=1", fields=[FORM]), id="a field, encoded"),
    pytest.param(
        "graphql",
        Sent(b'{"query": "{ p(a: \\"\\ud800\\") }"}', "POST"),
        Sent(b'{"query": "{ p(a: \\"?\\") }"}', "POST"),
        id="half a surrogate pair",
    ),
    pytest.param("graphql", graphql("{ p }"), graphql("{ q }"), id="another document"),
    pytest.param("graphql", graphql("{ p }"), graphql("{ p }", variables={"a": 1}), id="other variables"),
    pytest.param("graphql", graphql("{ p }"), graphql("{ p }", operationName="A"), id="an operation name"),
    pytest.param("graphql", graphql("{ p }"), graphql("{ p }", id="7"), id="a member of no standard"),
    pytest.param("graphql", graphql("{ p }"), graphql("{ p }", extensions={"a": 1}), id="an extension"),
]


@pytest.mark.parametrize(("rule", "first", "second"), SHARED)
def test_one_answer_is_for_both(
    edge: Workerd, origin: ScriptedOrigin, rule: str, first: Sent, second: Sent
) -> None:
    path = new_path(f"{rule}/t")
    answers(origin, path)
    told = first.to(edge.url("safe"), path)

    met = second.to(edge.url("safe"), path)

    assert is_hit(met), met.fields
    assert met.body == told.body
    (asked,) = origin.requests(path)
    assert (asked.method, asked.body) == (first.method, first.content)
    assert asked.value("Content-Type") == dict(first.fields).get("Content-Type")


@pytest.mark.parametrize(("rule", "first", "second"), APART)
def test_each_has_an_answer_of_its_own(
    edge: Workerd, origin: ScriptedOrigin, rule: str, first: Sent, second: Sent
) -> None:
    path = new_path(f"{rule}/t")
    answers(origin, path)
    first.to(edge.url("safe"), path)

    second.to(edge.url("safe"), path)

    assert [(asked.method, asked.body) for asked in origin.requests(path)] == [
        (sent.method, sent.content) for sent in (first, second)
    ]
    for sent in (first, second):
        again = sent.to(edge.url("safe"), path)
        assert is_hit(again)
        assert json.loads(again.body)["content"] == sent.content.decode("latin-1")


# what is passed on, whole, and not stored

PASSED = [
    pytest.param("none", Sent(), "method", id="a QUERY without a rule"),
    pytest.param("none", POST, "method", id="a POST without a rule"),
    pytest.param("raw", Sent(method="PUT"), "method", id="another method"),
    pytest.param("raw", Sent(b"x" * (BOUND + 1)), "request-body", id="more than the bound"),
    pytest.param("raw", Sent(method="POST", fields=[("If-Match", '"a"')]), "precondition", id="If-Match"),
    pytest.param("raw", Sent(method="POST", fields=[("Range", "bytes=0-1")]), "precondition", id="Range"),
    pytest.param("mine", Sent(), "identity-missing", id="a private rule without the identity"),
    pytest.param("graphql", graphql("mutation { a }"), "not-a-query", id="a mutation"),
    pytest.param("graphql", Sent(graphql("mutation { a }").content), "not-a-query", id="a mutation by QUERY"),
    pytest.param("logged-in", as_user(graphql("mutation { a }")), "bypass-cookie", id="a user's mutation"),
    pytest.param("graphql", graphql("subscription { a }"), "not-a-query", id="a subscription"),
    pytest.param(
        "graphql", graphql("query A { a } mutation B { b }", operationName="A"), "not-a-query", id="two"
    ),
    pytest.param("graphql", graphql('{ a(b: "\\"") } mutation { b }'), "not-a-query", id="behind a string"),
    pytest.param("graphql", graphql('{ a(b: """\\""" ) } mutation { b }'), "not-a-query", id="an open text"),
    pytest.param("graphql", graphql("{ a } # \r mutation { b }"), "not-a-query", id="behind a comment"),
    pytest.param("graphql", graphql("{ a } } mutation { b } {"), "not-a-query", id="odd brackets"),
    pytest.param("graphql", graphql("{ p }", extensions=OTHER_HASH), "not-a-query", id="its wrong hash"),
    pytest.param("graphql", Sent(HASH_ALONE, "POST"), "not-a-query", id="a hash alone, by POST"),
    pytest.param("graphql", Sent(b'[{"query": "{ a }"}]', "POST"), "not-a-query", id="a batch"),
    pytest.param("graphql", Sent(b'{"query": "{a}", "query": ""}', "POST"), "not-a-query", id="a name twice"),
    pytest.param("graphql", Sent(b"query=%7Ba%7D", "POST", [FORM]), "not-a-query", id="a form"),
    pytest.param("graphql", Sent(NESTED, "POST"), "not-a-query", id="what is nested deeply"),
    pytest.param(
        "graphql",
        Sent(b'{"query": "{a}", "Query": "mutation {b}"}', "POST"),
        "not-a-query",
        id="a name in two cases",
    ),
    *[
        pytest.param("graphql", replace(graphql("{ p }"), query=query), "not-a-query", id=f"beside {query}")
        for query in (
            "?query=mutation{a}",
            "?a=1&%71uery=mutation{a}",
            "?operationName=B",
            "?QUERY=mutation{a}",
        )
    ],
    pytest.param(
        "graphql",
        Sent(graphql("{ p }").content, "POST", [JSON, ("Content-Encoding", "gzip")]),
        "not-a-query",
        id="gzip",
    ),
    pytest.param("graphql", Sent(graphql("{ p }").content, "POST", [UTF_7]), "not-a-query", id="UTF-7"),
    pytest.param("graphql", Sent(b"\xff\xfe", "POST"), "not-a-query", id="what isn't UTF-8"),
]


@pytest.mark.parametrize(("rule", "sent", "reason"), PASSED)
def test_it_is_passed_on_whole_and_not_stored(
    edge: Workerd, origin: ScriptedOrigin, rule: str, sent: Sent, reason: str
) -> None:
    path = new_path(f"{rule}/t")
    answers(origin, path)

    told = [sent.to(edge.url("safe"), path) for _ in range(2)]

    assert [detail(response) for response in told] == [reason] * 2
    assert [(asked.method, asked.body) for asked in origin.requests(path)] == [
        (sent.method, sent.content)
    ] * 2


def test_what_does_not_say_how_long_it_is_is_passed_on(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("raw/t")
    answers(origin, path)
    head = f"QUERY {path} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"

    told = exchange(edge.url("safe"), head.encode() + b"3\r\nabc\r\n0\r\n\r\n")

    assert detail(told) == "request-body"
    assert [asked.body for asked in origin.requests(path)] == [b"abc"]


def test_what_never_comes_whole_is_not_waited_for(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("raw/t")
    answers(origin, path)
    head = f"QUERY {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"

    told = exchange(edge.url("hurried"), head.encode() + b"abc")

    assert (told.status, detail(told), origin.requests(path)) == (408, "request-body", [])


@pytest.mark.parametrize("rule", ["json", "graphql"])
@pytest.mark.parametrize(
    "content", [pytest.param(b"[" * 60_000, id="a list"), pytest.param(b'{"a":' * 10_000, id="a table")]
)
def test_no_nest_is_so_deep_that_it_ends_the_isolate(
    edge: Workerd, origin: ScriptedOrigin, rule: str, content: bytes
) -> None:
    path = new_path(f"{rule}/t")
    answers(origin, path)

    told = [Sent(content, "POST").to(edge.url("large"), path) for _ in range(2)]
    page = [get(edge.url("large"), f"{path}/page") for _ in range(2)]

    assert [each.status for each in told] == [200] * 2
    assert [asked.body for asked in origin.requests(path)] == [content] * (1 if is_hit(told[1]) else 2)
    assert [each.status for each in page] == [501] * 2


def test_a_smuggled_length_reaches_neither_the_key_nor_the_origin(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("raw/t")
    answers(origin, path)
    framing = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    head = f"QUERY {path} HTTP/1.1\r\nHost: {HOST}\r\n{framing}Connection: close\r\n\r\n"

    told = exchange(edge.url("safe"), head.encode() + b"5\r\nabcde\r\n0\r\n\r\n")

    assert not is_hit(told)
    assert {asked.body for asked in origin.requests(path)} <= {b"abcde"}


def test_get_and_query_of_one_url_never_mix(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("raw/t")
    answers(origin, path)
    url = edge.url("safe")

    told = [
        json.loads(response.body)["method"]
        for _ in range(2)
        for response in (get(url, path), Sent().to(url, path))
    ]

    assert told == ["GET", "QUERY"] * 2
    assert len(origin.requests(path)) == 2


def test_an_identity_keeps_the_answers_of_one_content_apart(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("mine/t")
    answers(origin, path)
    of = {name: Sent(fields=[JSON, ("Cookie", f"sid={name}")]) for name in ("alice", "bob")}

    told = [of[name].to(edge.url("safe"), path).body for name in ("alice", "bob", "alice")]

    assert told[0] == told[2] != told[1]
    assert len(origin.requests(path)) == 2


def test_like_queries_wait_for_one_answer(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, hold = new_path("raw/t"), Hold()
    origin.decide(path, lambda request: reply(200, FRESH, request.body).after(hold))

    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(Sent(content).to, edge.url("safe"), path) for content in [b"a"] * 4 + [b"b"]]
        origin.wait_for_requests(2, path)
        hold.release()
        told = [each.result().body for each in asked]

    assert told == [b"a"] * 4 + [b"b"]
    assert len(origin.requests(path)) == 2


def test_a_stale_answer_is_validated_and_stands_in_for_a_failing_origin(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("raw/t")
    stale = [("Cache-Control", "public, max-age=0, stale-if-error=600"), ("ETag", '"a"')]
    origin.on(path, reply(200, stale, b"found"), reply(304, stale), reply(503))

    told = [Sent().to(edge.url("safe"), path) for _ in range(3)]

    assert [(each.status, each.body) for each in told] == [(200, b"found")] * 3
    assert [detail(each) for each in told[1:]] == ["validated", "stale-if-error"]
    assert [asked.body for asked in origin.requests(path)] == [Sent().content] * 3
    assert origin.requests(path)[1].value("If-None-Match") == '"a"'


def test_a_client_that_knows_the_answer_gets_304(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("raw/t")
    answers(origin, path, ("ETag", '"a"'))
    Sent().to(edge.url("safe"), path)

    assert Sent(fields=[JSON, ("If-None-Match", '"a"')]).to(edge.url("safe"), path).status == 304


def test_a_refresh_in_the_background_asks_with_the_content(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("raw/t")
    origin.decide(
        path,
        lambda request: reply(
            200, [("Cache-Control", "public, max-age=0, stale-while-revalidate=600")], request.body
        ),
    )
    told = [Sent(b"a").to(edge.url("safe"), path) for _ in range(2)]

    assert detail(told[1]) == "stale-while-revalidate"
    assert [asked.body for asked in origin.wait_for_requests(2, path)] == [b"a"] * 2
    assert {asked.method for asked in origin.requests(path)} == {"QUERY"}


# what ends the answers of a URL: a purge of it, and a write, but no query


@pytest.mark.parametrize(
    ("rule", "sent", "ends"),
    [
        pytest.param("raw", Sent(b"c", "PUT"), True, id="a PUT"),
        pytest.param("raw", Sent(b"c", "POST"), False, id="a POST that the rule calls a query"),
        pytest.param("raw", Sent(b"c" * (BOUND + 1), "POST"), False, id="a large one"),
        pytest.param("graphql", graphql("mutation { a }"), True, id="a mutation"),
        pytest.param("graphql", graphql("{ b }"), False, id="another query"),
        pytest.param("graphql", Sent(HASH_ALONE, "POST"), False, id="a hash alone"),
        pytest.param("graphql", Sent(b'[{"query": "{ b }"}]', "POST"), False, id="a batch of queries"),
        pytest.param("graphql", Sent(b"query=%7Ba%7D", "POST", [FORM]), True, id="a form, whatever it says"),
        pytest.param("graphql", graphql(f"{{ {'b' * BOUND} }}"), True, id="what is too large to be read"),
        pytest.param("logged-in", as_user(graphql("mutation { a }")), True, id="a user's mutation"),
        pytest.param("logged-in", as_user(graphql("{ b }")), False, id="a user's query"),
    ],
)
def test_a_write_makes_all_answers_of_its_url_stale(
    edge: Workerd, origin: ScriptedOrigin, rule: str, sent: Sent, ends: bool
) -> None:
    path, query = new_path(f"{rule}/t"), graphql("{ a }")
    answers(origin, path)
    query.to(edge.url("safe"), path)

    sent.to(edge.url("safe"), path)

    assert is_hit(query.to(edge.url("safe"), path)) != ends


def test_what_one_content_is_refused_does_not_end_what_others_have(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("raw/t")
    stale = [("Cache-Control", "public, max-age=0, stale-if-error=600"), ("ETag", '"a"')]

    def answer(request: Request) -> Reply:
        turn = len([asked for asked in origin.requests(path) if asked.body == request.body])
        if turn == 1:
            return reply(200, stale, request.body)
        return reply(403 if request.body == b"one" else 503)

    origin.decide(path, answer)
    one, two = Sent(b"one"), Sent(b"two")

    told = [sent.to(edge.url("safe"), path) for sent in (one, two, one, two)]

    assert [each.status for each in told] == [200, 200, 403, 200]
    assert told[3].body == b"two"


def test_a_mutation_that_names_groups_ends_these_alone(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("graphql/t")

    def answer(request: Request) -> Reply:
        if b"mutation" in request.body:
            return reply(200, [*FRESH, ("Cache-Group-Invalidation", '"product-1"')], b'{"data": {}}')
        number = 1 if b"one" in request.body else 2
        return reply(200, FRESH, json.dumps({"data": {"p": {"id": number}}}).encode())

    origin.decide(path, answer)
    one, two = graphql("{ one }"), graphql("{ two }")
    for query in (one, two):
        query.to(edge.url("safe"), path)

    graphql("mutation { a }").to(edge.url("safe"), path)

    assert [is_hit(query.to(edge.url("safe"), path)) for query in (one, two)] == [False, True]


def test_a_purge_of_the_url_reaches_all_contents_everywhere(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("raw/t")
    answers(origin, path)
    all_sent = [Sent(b"a"), Sent(b"b"), Sent(b"a", "POST")]
    for sent in all_sent:
        sent.to(edge.url("safe"), path)
        eventually(partial(_hits, edge, "twin", sent, path), "a hit from KV")

    purge(edge, url_mark(parse_target(f"http://{HOST}{path}")))

    for worker in ("safe", "twin"):
        for sent in all_sent:
            eventually(partial(_is_new, edge, worker, sent, path, after=len(all_sent)), "a new answer")


def _hits(edge: Workerd, worker: str, sent: Sent, path: str) -> bool:
    return is_hit(sent.to(edge.url(worker), path))


def _is_new(edge: Workerd, worker: str, sent: Sent, path: str, *, after: int) -> bool:
    turn: int = json.loads(sent.to(edge.url(worker), path).body)["turn"]
    return turn > after


# what the body of an answer says


def _answered(body: bytes, *fields: tuple[str, str], status: int = 200) -> Reply:
    return reply(status, [*FRESH, *fields], body)


ITEMS = json.dumps({"items": [{"id": 1}, {"id": "b"}, {"name": "c"}], "shop": True}).encode()


@pytest.mark.parametrize(
    ("rule", "answered", "reason"),
    [
        pytest.param("grouped", _answered(ITEMS), "fresh", id="groups of a list"),
        pytest.param(
            "grouped", _answered(gzip.compress(ITEMS), ("Content-Encoding", "gzip")), "fresh", id="gzip"
        ),
        pytest.param("grouped", chunked(200, FRESH, [ITEMS[:9], ITEMS[9:]]), "fresh", id="no length"),
        pytest.param("grouped", _answered(b"{}"), "fresh", id="no groups"),
        pytest.param("grouped", _answered(b"no JSON"), "answer-unread", id="a body that isn't JSON"),
        pytest.param(
            "grouped", _answered(b"x", ("Content-Encoding", "zstd")), "answer-unread", id="another coding"
        ),
        pytest.param("grouped", _answered(b"x", ("Content-Encoding", "gzip")), "answer-unread", id="no gzip"),
        pytest.param("grouped", _answered(b"x", ("Content-Encoding", "br")), "answer-unread", id="no Brotli"),
        pytest.param("grouped", _answered(NESTED * 99), "answer-unread", id="what is nested deeply"),
        pytest.param("grouped", _answered(b"[" * 99_000), "answer-unread", id="a nest without an end"),
        pytest.param("grouped", _answered(b"no JSON", status=404), "fresh", id="an error of any kind"),
        pytest.param(
            "grouped",
            _answered(json.dumps({"items": [{"id": number} for number in range(257)]}).encode()),
            "too-many-groups",
            id="257 groups",
        ),
        pytest.param("graphql", _answered(b'{"data": null, "errors": [{}]}'), "graphql-errors", id="errors"),
        pytest.param("graphql", _answered(b'{"data": {}, "errors": []}'), "fresh", id="no errors"),
        pytest.param("graphql", chunked(200, FRESH, [b'{"errors": [1]}']), "graphql-errors", id="chunks"),
        pytest.param("graphql", _answered(b"<html>"), "answer-unread", id="no JSON of GraphQL"),
    ],
)
def test_what_the_body_says_decides(
    edge: Workerd, origin: ScriptedOrigin, rule: str, answered: Reply, reason: str
) -> None:
    path = new_path(f"{rule}/t")
    origin.on(path, answered)

    told = [get(edge.url("safe"), path) for _ in range(2)]

    assert detail(told[1]) == reason
    assert told[0].body == told[1].body
    assert all(response.complete for response in told)
    assert len(origin.requests(path)) == (1 if reason == "fresh" else 2)


def test_errors_do_not_take_the_place_of_a_good_answer(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("graphql/t")
    stale = [("Cache-Control", "public, max-age=0, stale-if-error=600"), ("ETag", '"a"')]
    origin.on(path, reply(200, stale, b'{"data": 1}'), _answered(b'{"errors": [1]}'), reply(503))

    told = [graphql("{ a }").to(edge.url("safe"), path) for _ in range(3)]

    assert [each.body for each in told] == [b'{"data": 1}', b'{"errors": [1]}', b'{"data": 1}']


def test_a_purge_of_a_group_that_the_body_names_reaches_the_answer(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("grouped/t")
    number = path.rpartition("-")[2]

    def answer(_: Request) -> Reply:
        told = {"items": {"id": f"x{number}"}, "turn": len(origin.requests(path))}
        return _answered(json.dumps(told).encode())

    origin.decide(path, answer)
    page = Sent(b"", "GET", ())
    page.to(edge.url("safe"), path)
    eventually(partial(_hits, edge, "twin", page, path), "a hit from KV")

    purge(edge, group_mark(f"item-x{number}"))

    for worker in ("safe", "twin"):
        eventually(partial(_is_new, edge, worker, page, path, after=1), "a new answer")


def purge(edge: Workerd, name: str) -> None:
    """Write marks as the SDK does."""
    moment_ms = int(time.time() * 1000) + 50  # noqa: TID251 - marks are dated
    for key in written_keys([name], Lane.HARD):
        edge.store().put(key, value_of(key, Mark(moment_ms, "test")).encode())
