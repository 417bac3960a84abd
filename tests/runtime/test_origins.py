"""Rules with origins of their own: who is asked, and who is asked instead, before anything stale is sent."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from origin_sdk_edge.origins import weighted
from origin_sdk_edge.policy.access import METRICS_PATH
from origin_sdk_wire.edge_signature import OriginRequest, is_signed
from origin_sdk_wire.exposition import parse_document
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.edge import HOST, Variables, detail, eventually, get, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Close, Hold, Reply, reply

SECRET = "a secret of the tests that has thirty-two bytes"  # noqa: S105 - a test's
FRESH = [("Cache-Control", "public, max-age=600")]
FORWARDED = ("x-forwarded", "forwarded", "both", "none")
_numbers = count()
CASES = 24
"""Each case has places of its own on each origin, so that no other knows them to be away."""


@dataclass(frozen=True, slots=True)
class Origins:
    """A first and a second origin of each case, and one that nobody can reach."""

    first: ScriptedOrigin
    second: ScriptedOrigin
    away: ScriptedOrigin


@pytest.fixture(scope="module")
def running_origins() -> Iterator[Origins]:
    with ScriptedOrigin() as first, ScriptedOrigin() as second, ScriptedOrigin() as away:
        away.refuse()
        yield Origins(first, second, away)


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, running_origins: Origins, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("origins")
    first, second, away = (
        each.url for each in (running_origins.first, running_origins.second, running_origins.away)
    )
    plain = first.replace("http://", "https://")
    rules: list[Json] = [{"path": "/own/**", "origins": second}]
    for number in range(CASES):
        path, base = f"/case-{number}/**", f"/base-{number}"
        rules += [
            {"path": path, "host": "away.test", "origins": [f"{away}{base}", f"{second}{base}"]},
            {"path": path, "host": "tls.test", "origins": [f"{plain}{base}", f"{second}{base}"]},
            {"path": path, "host": "none.test", "origins": [f"{away}{base}", f"{away}{base}-2"]},
            {"path": path, "key_body": True, "origins": [f"{first}{base}", f"{second}{base}"]},
        ]
    rules += [
        {"path": "/weighted/**", "origins": [first, second], "weights": [3, 1], "default_lifetime": 60},
        {"path": "/away/**", "origins": [f"{away}/w", second], "weights": [1000, 0.001]},
        {"path": "/hasty/**", "origins": first, "origin_timeout": "150ms"},
        {"path": "/soft/**", "origins": first, "soft_timeout": "50ms", "stale_while_revalidate": 0},
    ]
    rules.append({"path": "/secret/**", "data_class": "private", "key_cookies": ["s"], "origins": first})
    workers: Variables = {
        "edge": {"RULES": rules, "DEBUG_SECRET": SECRET},
        "signing": {"RULES": rules, "ORIGIN_SECRET": SECRET},
        **{name: {"FORWARDED": name, "PASSED_FIELDS": ["X-Forwarded-Prefix"]} for name in FORWARDED},
    }
    with running(folder, running_origin, workers) as workerd:
        yield workerd


@pytest.fixture
def origins(running_origins: Origins) -> Origins:
    running_origins.first.forget()
    running_origins.second.forget()
    return running_origins


@dataclass(frozen=True, slots=True)
class Case:
    """Paths that no other test uses: as clients ask for it, and as both origins are asked."""

    path: str
    asked: str

    @classmethod
    def new(cls) -> Case:
        number, name = next(_numbers), new_path("t")
        return cls(f"/case-{number}{name}", f"/base-{number}/case-{number}{name}")


def say(origin: ScriptedOrigin, case: Case, *replies: Reply) -> None:
    origin.on(case.asked, *replies)


OF_FIRST, OF_SECOND = reply(200, FRESH, b"first"), reply(200, FRESH, b"second")


def test_a_rule_has_an_origin_of_its_own(edge: Workerd, origin: ScriptedOrigin, origins: Origins) -> None:
    path, other = new_path("own/t"), new_path()
    origins.second.on(path, reply(200, [("Location", f"{origins.second.url}/x")], b"second"))
    origin.on(other, reply(200, FRESH, b"the Worker's"))

    told = get(edge.url("edge"), path)

    assert (told.body, told.value("Location")) == (b"second", f"http://{HOST}/x")
    assert get(edge.url("edge"), other).body == b"the Worker's"
    [asked] = origins.second.requests(path)
    assert asked.value("X-Forwarded-Host") == HOST
    assert asked.value("Host") == origins.second.address


FAILING = [
    pytest.param(reply(502), id="502"),
    pytest.param(reply(503, [("Retry-After", "60")]), id="503"),
    pytest.param(reply(504), id="504"),
    pytest.param(reply(530), id="what Cloudflare answers for an origin that is away"),
    pytest.param(Reply([Close()]), id="a connection that breaks"),
]


@pytest.mark.parametrize("failing", FAILING)
def test_the_next_origin_is_asked_and_then_first(edge: Workerd, origins: Origins, failing: Reply) -> None:
    case = Case.new()
    say(origins.first, case, failing)
    say(origins.second, case, OF_SECOND)

    told = [get(edge.url("edge"), f"{case.path}?{n}") for n in range(3)]

    assert [each.body for each in told] == [b"second"] * 3
    # The runtime itself tries once more where a connection breaks.
    assert {asked.target for asked in origins.first.requests(case.asked)} == {f"{case.asked}?0"}
    assert len(origins.second.requests(case.asked)) == 3


@pytest.mark.parametrize("host", ["away.test", "tls.test"])
def test_one_that_nobody_can_reach_is_passed_over(edge: Workerd, origins: Origins, host: str) -> None:
    case = Case.new()
    say(origins.second, case, OF_SECOND)

    assert get(edge.url("edge"), case.path, host=host).body == b"second"


@pytest.mark.parametrize("status", [200, 404, 429, 500])
def test_an_answer_is_an_answer(edge: Workerd, origins: Origins, status: int) -> None:
    case = Case.new()
    say(origins.first, case, reply(status, [], b"first"))
    say(origins.second, case, OF_SECOND)

    assert get(edge.url("edge"), case.path).status == status
    assert not origins.second.requests(case.asked)


def test_a_fresh_answer_of_the_next_origin_comes_before_a_stale_one(edge: Workerd, origins: Origins) -> None:
    case = Case.new()
    stale = [("Cache-Control", "public, max-age=0, stale-if-error=600"), ("ETag", '"a"')]
    say(origins.first, case, reply(200, stale, b"first"), reply(503))
    say(origins.second, case, reply(200, stale, b"second"), reply(503))

    told = [get(edge.url("edge"), case.path) for _ in range(3)]

    assert [each.body for each in told] == [b"first", b"second", b"second"]
    assert detail(told[2]) == "stale-if-error"


def test_without_any_origin_the_last_failure_is_told(edge: Workerd) -> None:
    told = get(edge.url("edge"), Case.new().path, host="none.test")

    assert (told.status, detail(told)) == (502, "origin-unreachable")


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        pytest.param("PUT", b"x", 503, id="a write"),
        pytest.param("DELETE", b"", 503, id="a write without content"),
        pytest.param("POST", b"x" * 70_000, 503, id="a content that isn't read"),
        pytest.param("POST", b"x", 200, id="a POST that the rule calls a query"),
        pytest.param("QUERY", b"x", 200, id="a query"),
        pytest.param("HEAD", b"", 200, id="HEAD"),
    ],
)
def test_only_what_is_safe_is_sent_again(
    edge: Workerd, origins: Origins, method: str, body: bytes, status: int
) -> None:
    case = Case.new()
    say(origins.first, case, reply(503))
    say(origins.second, case, OF_SECOND)

    assert get(edge.url("edge"), case.path, method=method, body=body).status == status
    assert {asked.body for asked in origins.first.requests(case.asked)} == {body}
    assert [asked.body for asked in origins.second.requests(case.asked)] == [body] * (status == 200)


def test_a_client_that_breaks_off_its_content_takes_no_origin_away(edge: Workerd, origins: Origins) -> None:
    case = Case.new()
    say(origins.first, case, OF_FIRST)
    say(origins.second, case, OF_SECOND)
    entrance = urlsplit(edge.url("edge"))
    request = f"PUT {case.path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 200000\r\n\r\n"

    failed = _failures(edge)
    with socket.create_connection((entrance.hostname, entrance.port)) as connection:
        connection.sendall(request.encode() + b"x" * 100_000)
    eventually(lambda: _failures(edge) > failed, "the Worker hears that the content broke off")

    assert get(edge.url("edge"), case.path).body == b"first"


def _failures(edge: Workerd) -> float:
    told = get(edge.url("edge"), METRICS_PATH, ("Authorization", f"Bearer {SECRET}")).body.decode()
    return parse_document(told).isolates[0].counts.total("origin_errors")


def test_another_spelling_of_a_path_is_not_sent_to_another_origin(
    edge: Workerd, origin: ScriptedOrigin, origins: Origins
) -> None:
    path = f"{new_path()}/..%2F..%2Fsecret/x"
    origin.otherwise(lambda _: reply(200, FRESH, b"the Worker's"))
    origins.first.otherwise(lambda _: reply(200, FRESH, b"another's"))

    told = [get(edge.url("edge"), path) for _ in range(2)]

    assert [(each.body, detail(each)) for each in told] == [(b"the Worker's", "identity-missing")] * 2


# Weights


def always(answer: Reply) -> Callable[[Request], Reply]:
    return lambda _: answer


def test_each_url_has_an_origin_of_its_own_by_weight(edge: Workerd, origins: Origins) -> None:
    for each, body in ((origins.first, b"first"), (origins.second, b"second")):
        each.otherwise(always(reply(200, [("Cache-Control", "no-store")], body)))
    paths = [f"/weighted/{number}" for number in range(40)]

    once, again = ([get(edge.url(name), path).body for path in paths] for name in ("edge", "signing"))

    assert once == again
    assert 20 < once.count(b"first") < 39


def test_weights_leave_each_url_where_it_is() -> None:
    urls = [f"api.test/{number}" for number in range(4000)]
    by_two = [weighted(("a", "b"), (3, 1), url)[0] for url in urls]
    by_three = [weighted(("a", "b", "c"), (3, 1, 1), url)[0] for url in urls]

    assert 0.72 < by_two.count("a") / len(urls) < 0.78
    assert 0.17 < by_three.count("c") / len(urls) < 0.23
    assert all(then in {before, "c"} for before, then in zip(by_two, by_three, strict=True))


def test_a_weighted_origin_that_is_away_is_passed_over_and_counted(edge: Workerd, origins: Origins) -> None:
    path = new_path("away/t")
    origins.second.on(path, OF_SECOND)

    assert get(edge.url("edge"), path).body == b"second"

    told = json.loads(get(edge.url("edge"), METRICS_PATH, ("Authorization", f"Bearer {SECRET}")).body)
    attempts = parse_document(json.dumps(told)).isolates[0].counts
    assert attempts.value("origin_attempts", (origins.away.address, "failed")) >= 1
    assert attempts.value("origin_attempts", (origins.second.address, "answered")) >= 1
    away = {each.origin: each for each in parse_document(json.dumps(told)).isolates[0].away}
    assert away[origins.away.address].why == "origin-unreachable"
    assert away[origins.away.address].since_ms <= away[origins.away.address].last_ms
    assert origins.second.address not in away


# Patience by rule


def test_a_rule_has_a_patience_of_its_own(edge: Workerd, origins: Origins) -> None:
    path, hold = new_path("hasty/t"), Hold()
    origins.first.on(path, OF_FIRST.after(hold))
    try:
        assert (told := get(edge.url("edge"), path)).status == 504
        assert detail(told) == "origin-timeout"
    finally:
        hold.release()


def test_a_rule_has_a_soft_patience_of_its_own(edge: Workerd, origins: Origins) -> None:
    path, hold = new_path("soft/t"), Hold()
    stale = [("Cache-Control", "public, max-age=0, stale-if-error=600"), ("ETag", '"a"')]
    origins.first.on(path, reply(200, stale, b"first"), OF_FIRST.after(hold))
    get(edge.url("edge"), path)
    try:
        assert detail(get(edge.url("edge"), path)) == "slow-origin"
    finally:
        hold.release()


# What the origin is told of the client's host


POSING = [
    ("Forwarded", "host=evil.example;proto=gopher"),
    ("X-Forwarded-Host", "evil.example"),
    ("X_Forwarded_Host", "evil.example"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Port", "666"),
    ("X_Forwarded-Port", "666"),
    ("X-Forwarded-Server", "evil.example"),
    ("X-Forwarded-Prefix", "/vouched"),
]


@pytest.mark.parametrize("name", FORWARDED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_client_poses_as_a_proxy(edge: Workerd, origin: ScriptedOrigin, name: str, method: str) -> None:
    path = new_path()
    origin.on(path, OF_FIRST)

    get(edge.url(name), path, *POSING, method=method, body=b"x" if method == "POST" else b"")

    [asked] = origin.requests(path)
    told = {field.lower(): value for field, value in asked.fields if "forwarded" in field.lower()}
    told.pop("x-forwarded-for", None)
    expected = {"x-forwarded-prefix": "/vouched"}
    if name in {"x-forwarded", "both"}:
        expected |= {"x-forwarded-host": HOST, "x-forwarded-proto": "http"}
    if name in {"forwarded", "both"}:
        expected["forwarded"] = f'host="{HOST}";proto=http'
    assert told == expected
    assert asked.value("Host") == origin.address


# Signatures


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        pytest.param("/t?a=%20b&c", "GET", b"", id="a page"),
        pytest.param("/%7Et/%C3%A9/x%2Fy", "GET", b"", id="a path that is encoded"),
        pytest.param("/t", "PUT", b"x", id="a write"),
        pytest.param("/case-{case}/t", "QUERY", b"x", id="a query, below a base"),
    ],
)
def test_what_the_origin_is_asked_is_signed(
    edge: Workerd, origin: ScriptedOrigin, origins: Origins, path: str, method: str, body: bytes
) -> None:
    origin.otherwise(lambda _: reply(200))
    origins.first.otherwise(lambda _: reply(200))
    forged = ("Edge-Signature", f"t=1, s={'0' * 64}")
    path = path.format(case=next(_numbers))

    get(edge.url("signing"), path, forged, method=method, body=body)

    [asked] = [*origin.requests(), *origins.first.requests()]
    [value] = asked.values("Edge-Signature")
    signed, _, query = asked.target.partition("?")
    told = OriginRequest(method, "http", HOST, signed.encode(), query.encode())
    now = time.time()  # noqa: TID251 - signatures are dated
    assert is_signed(value, told, [SECRET], now)
    assert not is_signed(value, told, ["another secret"], now)


def test_without_a_secret_nothing_poses_as_a_signature(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, OF_FIRST)

    for method in ("GET", "POST"):
        get(edge.url("edge"), path, ("Edge-Signature", "t=1, s=0"), method=method)

    assert [asked.values("Edge-Signature") for asked in origin.requests(path)] == [[], []]
