"""API keys in fields and in queries, and credentials that were revoked: what is stored is their owners'."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest

from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.marks import Lane, Mark, group_mark, value_of, written_keys
from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, StandIn, Worker
from tests.runtime.client import Response
from tests.runtime.edge import QUIET, detail, eventually, get, is_hit, new_path
from tests.runtime.kv import BreakableKV, failing
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

SECRET = "a secret of the tests that has thirty-two bytes"  # noqa: S105 - a test's
OLD = "another secret of the tests, of thirty-two bytes"
DEBUG_SECRET = "one more secret of the tests, of thirty-two bytes"  # noqa: S105 - a test's
BEGAN, OVER, LATER = "2026-01-01", "2026-01-02T00:00:00Z", "2999-01-01"


def entry(key: str, secret: str = SECRET, **says: Json) -> tuple[str, Json]:
    return key_digest(key, secret), says


KEYS = dict(
    [
        entry("acme-1", tenant="acme", id=1),
        entry("acme-2", OLD, tenant="acme", id=2),
        entry("globex", tenant="globex", id=3, begins=BEGAN),
        entry("a+b/c=", tenant="odd", id=4),
        entry("expired", tenant="acme", id=5, ends=OVER),
        entry("early", tenant="acme", id=6, begins=LATER),
        entry("no-id", tenant="acme"),
    ]
)
PRIVATE: Mapping[str, Json] = {"data_class": "private", "default_lifetime": "10m"}
RULES: list[Json] = [
    {
        "path": "/keys/**",
        "api_key_in": ["X-API-Key", "Authorization", "?api_key"],
        "key_claims": ["tenant"],
        **PRIVATE,
    },
    {
        "path": "/revocable/**",
        "api_key_in": "X-API-Key",
        "key_claims": ["tenant"],
        "revoked_by": "key-{id}",
        **PRIVATE,
    },
    {
        "path": "/tokens/**",
        "key_claims": ["sub"],
        "revoked_by": ["user-{sub}", "token-{jti}"],
        **PRIVATE,
    },
    {"path": "/parameters/**", "key_parameters": ["k"], **PRIVATE},
    {"path": "/fields/**", "key_fields": ["X-Partner"], **PRIVATE},
    {"path": "/uncookied/**", "key_fields": ["X-Partner"], "ignore_cookies": True, **PRIVATE},
    {"path": "/cookies/**", "key_cookies": ["sid"], **PRIVATE},
    {"path": "/signed/**", "key_parameters": ["sig"], "query_sort": True, "default_lifetime": "10m"},
]
VARIABLES: Mapping[str, Json] = {
    "RULES": RULES,
    "API_KEY_TABLE": KEYS,
    "API_KEY_TABLE_SECRET": SECRET,
    "API_KEY_TABLE_OLD_SECRET": OLD,
    "TOKEN_SECRET": SECRET,
    "MARK_INTERVAL": "100ms",
    "PASSED_FIELDS": ["X-Access-Token"],
    "UNKEYED_FIELDS": ["X-Jwt"],
    "DEBUG_SECRET": DEBUG_SECRET,
    "METRICS_URLS": "full",
    "LOG_SAMPLING": 1,
    "LOG_WRITES": True,
    "CACHE_STATUS_KEY": True,
}


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, running_kv: BreakableKV, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    variables = {"ORIGIN": running_origin.url, **QUIET, **VARIABLES}
    workers = [
        Worker("edge", variables=variables),
        Worker("broken", variables=variables, stores={"CACHE": StandIn(running_kv.address)}),
    ]
    with Workerd(tmp_path_factory.mktemp("credentials"), workers, snapshots=snapshot.deployed()) as workerd:
        yield workerd


def serve(origin: ScriptedOrigin, path: str) -> None:
    """Let the origin answer each with what it was asked."""

    def answer(request: Request) -> Reply:
        body = repr([request.target, request.value("X-API-Key"), request.value("Authorization")])
        return reply(200, [("Cache-Control", "private, max-age=600")], body.encode())

    origin.decide(path, answer)


def by_field(key: str) -> tuple[str, str]:
    return "X-API-Key", key


# API keys by their digests


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        pytest.param("", [by_field("acme-1")], id="the same key"),
        pytest.param("", [by_field("acme-2")], id="another of the same tenant, by the old secret"),
        pytest.param("", [("Authorization", "Bearer acme-1")], id="as a bearer token"),
        pytest.param("?api_key=acme-1", [], id="in the query"),
        pytest.param("?api%5Fkey=acme%2D1", [], id="in the query, encoded"),
    ],
)
def test_a_key_gets_what_is_stored_for_its_tenant(
    edge: Workerd, origin: ScriptedOrigin, query: str, fields: list[tuple[str, str]]
) -> None:
    path = new_path("keys/t")
    serve(origin, path)
    get(edge.url("edge"), path, by_field("acme-1"))

    assert is_hit(get(edge.url("edge"), f"{path}{query}", *fields))
    assert not is_hit(get(edge.url("edge"), path, by_field("globex")))


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        pytest.param("", [], id="no key"),
        pytest.param("", [by_field("")], id="an empty one"),
        pytest.param("", [by_field("acme-3")], id="one that isn't known"),
        pytest.param("", [by_field("expired")], id="one that is over"),
        pytest.param("", [by_field("early")], id="one that hasn't begun"),
        pytest.param("", [by_field(key_digest("acme-1", SECRET))], id="a digest in place of its key"),
        pytest.param("", [by_field("acme-1"), by_field("globex")], id="two, which a list joins"),
        pytest.param("?api_key=globex", [by_field("acme-1")], id="two in two places"),
        pytest.param("?api_key=acme-1&api_key=globex", [], id="two in the query"),
        pytest.param("?api_key=acme-1&api%5fkey=globex", [], id="two, one of them encoded"),
        pytest.param("?api_key=acme-1;x=1", [], id="with more behind a semicolon"),
        pytest.param("", [("Authorization", "Basic acme-1")], id="another scheme"),
        pytest.param("", [by_field("ACME-1")], id="in another case"),
        pytest.param("", [by_field("x" * 2000)], id="one that is too long"),
        pytest.param("", [("X_API_Key", "acme-1")], id="another name"),
    ],
)
def test_what_is_no_key_gets_nothing_that_is_stored(
    edge: Workerd, origin: ScriptedOrigin, query: str, fields: list[tuple[str, str]]
) -> None:
    path = new_path("keys/t")
    serve(origin, path)
    get(edge.url("edge"), path, by_field("acme-1"))

    told = [get(edge.url("edge"), f"{path}{query}", *fields) for _ in range(2)]

    assert [detail(each) for each in told] == ["identity-missing"] * 2


ALICES = ("Authorization", "Bearer of alice")
SESSION = ("Cookie", "session=alice")


@pytest.mark.parametrize(
    ("place", "own", "other"),
    [
        pytest.param("revocable", [by_field("acme-2")], ALICES, id="a key and a token"),
        pytest.param("revocable", [by_field("acme-2")], SESSION, id="a key and a cookie"),
        pytest.param("revocable", [by_field("acme-2")], ("X-Auth-Token", "alice"), id="a key and a field"),
        pytest.param("fields", [("X-Partner", "acme")], ALICES, id="a declared field and a token"),
        pytest.param("fields", [("X-Partner", "acme")], SESSION, id="a declared field and a cookie"),
        pytest.param("fields", [("X-Partner", "acme")], by_field("acme-2"), id="a declared field and a key"),
        pytest.param("cookies", [("Cookie", "sid=a")], ALICES, id="a cookie and a token"),
        pytest.param("cookies", [("Cookie", "sid=a")], by_field("acme-2"), id="a cookie and a key"),
        pytest.param("parameters", [], ALICES, id="a parameter and a token"),
        pytest.param("parameters", [], SESSION, id="a parameter and a cookie"),
    ],
)
def test_an_answer_to_two_credentials_is_not_stored_for_one(
    edge: Workerd, origin: ScriptedOrigin, place: str, own: list[tuple[str, str]], other: tuple[str, str]
) -> None:
    path = new_path(f"{place}/t")
    url = f"{path}?k=1" if place == "parameters" else path
    serve(origin, path)

    both = [get(edge.url("edge"), url, *own, other) for _ in range(2)]
    alone = [get(edge.url("edge"), url, *own) for _ in range(3)]  # the last one by the fast path

    assert [detail(each) for each in both] == ["undeclared-credential"] * 2
    assert [is_hit(each) for each in alone] == [False, True, True]
    assert detail(get(edge.url("edge"), url, *own, other)) == "undeclared-credential"


@pytest.mark.parametrize(
    ("place", "other"),
    [
        pytest.param("uncookied", SESSION, id="cookies that the rule ignores"),
        pytest.param("fields", ("X-Access-Token", "a"), id="a field that passes"),
        pytest.param("fields", ("X-Jwt", "a"), id="a field that doesn't reach the origin"),
        pytest.param("fields", ("X-Other", "a"), id="a field that proves nothing"),
    ],
)
def test_what_is_said_not_to_matter_is_no_second_credential(
    edge: Workerd, origin: ScriptedOrigin, place: str, other: tuple[str, str]
) -> None:
    path, own = new_path(f"{place}/t"), ("X-Partner", "acme")
    serve(origin, path)

    assert [is_hit(get(edge.url("edge"), path, own, other)) for _ in range(2)] == [False, True]


SPELT = [
    "API_KEY=s3cr3t", "v=1;api_key=s3cr3t", "api%255Fkey=s3cr3t", "api.key=s3cr3t", "api+key=s3cr3t",
    "api_key[]=s3cr3t", "api_key%00x=s3cr3t", "+api_key=s3cr3t", "%61pi_key=s3cr3t", "a=?api_key=s3cr3t",
    "a=1&api_key=s3cr3t&api_key=t", "%E2%84%AA=s3cr3t", "sig=s3cr3t",
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "query"),
    [
        *[(place, query) for place in ("KEYS", "open") for query in SPELT],
        *[(place, "api_key=s3cr3t") for place in ("keys", "KEYS", "open", "keys%00", "signed", "cookies")],
    ],
)
def test_a_hidden_parameter_is_shown_nowhere_however_it_is_spelt(
    edge: Workerd, origin: ScriptedOrigin, place: str, query: str
) -> None:
    path = new_path(f"{place}/t")
    url, debug = f"{path}?{query}", ("Cache-Debug", DEBUG_SECRET)
    fields = [("Cache-Control", "public, max-age=600"), ("ETag", '"a"')]
    told_of = [("Location", url), ("Content-Location", f"{path}/?{query}")]
    origin.otherwise(lambda asked: reply(200, [*fields, *(told_of if asked.method == "DELETE" else ())]))

    told = [get(edge.url("edge"), url, debug) for _ in range(2)]
    for plain in (path, f"{path}/"):
        get(edge.url("edge"), plain)
    get(edge.url("edge"), url, debug, method="DELETE")
    get(edge.url("edge"), f"{path}/", method="DELETE")  # which writes after it

    eventually(lambda: any(f"{path}/" in key for key in edge.store().keys("m2/")), "the marks")
    shown = [each.value("Cache-Status") or "" for each in told]
    counted = get(edge.url("edge"), "/.edge-cache/metrics", ("Authorization", f"Bearer {DEBUG_SECRET}"))
    assert not [text for text in [*edge.store().keys(), *shown, counted.body.decode()] if "s3cr3t" in text]
    assert "s3cr3t" not in edge.process.output()
    assert "s3cr3t" in origin.requests(path)[0].target


@pytest.mark.parametrize("query", ["v=1;sig=x", "SIG=x", "s%2569g=x", "sig=x&sig=y", "sig=x&sig[]=y"])
def test_what_may_be_the_parameter_to_some_is_nobodys(
    edge: Workerd, origin: ScriptedOrigin, query: str
) -> None:
    path = new_path("signed/t")
    origin.decide(path, lambda asked: reply(200, [], asked.target.encode()))

    told = [get(edge.url("edge"), f"{path}?{query}") for _ in range(2)]

    assert not any(map(is_hit, told))
    assert told[0].body == f"{path}?{query}".encode()


@pytest.mark.parametrize("query", ["s%69g=x", "sigs=x", "v=sig", "filter[sig]=x"])
def test_what_no_origin_takes_for_the_parameter_is_none(
    edge: Workerd, origin: ScriptedOrigin, query: str
) -> None:
    path = new_path("signed/t")
    origin.decide(path, lambda _: reply(200, []))

    assert [is_hit(get(edge.url("edge"), f"{path}?{query}")) for _ in range(2)] == [False, True]


def test_a_key_in_the_query_reaches_the_origin_and_no_store(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("keys/t")
    serve(origin, path)

    told = get(edge.url("edge"), f"{path}?page=2&api_key=a%2Bb%2Fc%3D")

    assert [asked.target for asked in origin.requests(path)] == [f"{path}?page=2&api_key=a%2Bb%2Fc%3D"]
    assert b"a%2Bb" in told.body
    stored = eventually(lambda: [key for key in edge.store().keys("r1/") if path in key], "stored")
    assert not [key for key in stored if "api_key" in key or "a%2Bb" in key]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("Location", "{path}/?{query}", id="a redirect"),
        pytest.param("Link", "<{path}?page=2&api_key=a+b/c=>; rel=next", id="a link, decoded"),
    ],
)
def test_a_key_that_the_origin_repeats_is_not_stored_for_others(
    name: str, value: str, edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, query = new_path("keys/t"), "api_key=a%2Bb%2Fc%3D"
    fields = [(name, value.format(path=path, query=query)), ("Cache-Control", "max-age=600")]
    origin.decide(path, lambda _: reply(301 if name == "Location" else 200, fields))

    told = [get(edge.url("edge"), f"{path}?{query}") for _ in range(2)]

    assert [detail(each) for each in told] == ["shown-parameter"] * 2
    assert not [key for key in edge.store().keys("r1/") if path in key]


# Parameters that are somebody's


def test_a_parameter_is_an_identity(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("parameters/t")
    serve(origin, path)
    alice, bob, nobody = (f"{path}?k={name}&a=1" for name in ("alice", "bob", ""))

    told = [get(edge.url("edge"), each) for each in (alice, bob, alice, nobody, path, f"{alice}&k=bob")]

    assert [is_hit(each) for each in told] == [False, False, True, False, False, False]
    assert [detail(each) for each in told[3:]] == ["identity-missing"] * 3
    assert b"alice" in told[2].body
    stored = eventually(lambda: [key for key in edge.store().keys("r1/") if path in key], "stored")
    assert not [key for key in stored if "alice" in key]


def test_a_signed_url_is_keyed_by_its_signature_and_repeated(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("signed/t")
    origin.decide(path, lambda asked: reply(200, [], asked.target.encode()))
    told = [get(edge.url("edge"), f"{path}?{query}") for query in ("b=1&sig=x", "sig=x&b=1", "b=1&sig=y")]

    assert [is_hit(each) for each in told] == [False, True, False]
    assert told[2].body == f"{path}?b=1&sig=y".encode()


# Revocation


def token(sub: str, age_seconds: float = 60, **claims: Json) -> tuple[str, str]:
    now = int(time.time())  # noqa: TID251 - tokens are dated
    said = {"sub": sub, "jti": f"of-{sub}", "iat": now - age_seconds, "exp": now + 600, **claims}
    parts = ({"alg": "HS256"}, {name: value for name, value in said.items() if value is not None})
    message = ".".join(_b64(json.dumps(part).encode()) for part in parts)
    return (
        "Authorization",
        f"Bearer {message}.{_b64(hmac.digest(SECRET.encode(), message.encode(), 'sha256'))}",
    )


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def purge(edge: Workerd, group: str, lane: Lane = Lane.SOFT, ago_seconds: float = 0) -> None:
    moment_ms = int((datetime.now(UTC).timestamp() - ago_seconds) * 1000)  # noqa: TID251 - marks are dated
    for key in written_keys([group_mark(group)], lane):
        edge.store().put(key, value_of(key, Mark(moment_ms, "test")).encode())


def ask(edge: Workerd, path: str, *fields: tuple[str, str]) -> Response:
    return get(edge.url("edge"), path, *fields)


def until_revoked(edge: Workerd, path: str, *fields: tuple[str, str]) -> None:
    eventually(lambda: detail(ask(edge, path, *fields)) == "revoked", "a revocation")


@pytest.mark.parametrize("group", ["user-{}", "token-of-{}"])
@pytest.mark.parametrize("lane", list(Lane))
def test_a_revoked_token_gets_nothing_that_is_stored(
    edge: Workerd, origin: ScriptedOrigin, group: str, lane: Lane
) -> None:
    path = new_path("tokens/t")
    sub = path.rpartition("/")[2]
    serve(origin, path)
    other = token(sub, jti="another")
    told = [ask(edge, path, each) for each in (token(sub), token(sub), token("bob"), token("bob"))]
    assert [is_hit(each) for each in told] == [False, True] * 2

    purge(edge, group.format(sub), lane)
    until_revoked(edge, path, token(sub))

    assert detail(ask(edge, path, other)) == ("revoked" if group.startswith("user") else "fresh")
    assert is_hit(ask(edge, path, token("bob")))
    # One that was issued since gets what is stored for its user.
    assert is_hit(ask(edge, path, token(sub, -60, jti="a new one")))
    assert detail(ask(edge, path, token(sub))) == "revoked"


@pytest.mark.parametrize(
    "jti",
    [
        pytest.param(None, id="without a claim that revokes it"),
        pytest.param(True, id="with one that names no group"),
        pytest.param("x" * 300, id="with one that is too long for a group"),
        pytest.param({"a": 1}, id="with a table"),
    ],
)
def test_a_token_that_nobody_could_revoke_opens_nothing(
    edge: Workerd, origin: ScriptedOrigin, jti: Json
) -> None:
    path = new_path("tokens/t")
    serve(origin, path)
    told = [ask(edge, path, token("carol", jti=jti)) for _ in range(2)]

    assert [detail(each) for each in told] == ["identity-missing"] * 2


@pytest.mark.parametrize("issued", [None, "1795744800", True, -5, 1e10, 1e300])
def test_a_token_without_a_time_is_revoked_by_any_purge(
    edge: Workerd, origin: ScriptedOrigin, issued: Json
) -> None:
    path = new_path("tokens/t")
    sub = path.rpartition("/")[2]
    serve(origin, path)
    purge(edge, f"user-{sub}", ago_seconds=86_400 * 300)

    assert detail(ask(edge, path, token(sub, iat=issued))) == "revoked"


def test_a_key_is_revoked_by_a_purge_since_it_began(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("revocable/t")
    serve(origin, path)
    told = [ask(edge, path, by_field(key)) for key in ("acme-1", "acme-2", "globex", "globex")]
    assert [is_hit(each) for each in told] == [False, True, False, True]

    purge(edge, "key-1", Lane.HARD)
    purge(edge, "key-3", ago_seconds=86_400 * 365 * 5)
    until_revoked(edge, path, by_field("acme-1"))

    assert is_hit(ask(edge, path, by_field("acme-2")))
    assert is_hit(ask(edge, path, by_field("globex")))
    assert detail(ask(edge, path, by_field("no-id"))) == "identity-missing"


def test_while_it_cant_be_told_nothing_private_is_served(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path = new_path("tokens/t")
    serve(origin, path)

    def asked() -> Response:
        return get(edge.url("broken"), path, token("dave"))

    assert is_hit([asked() for _ in range(2)][-1])
    breakable_kv.fault = failing(500)
    eventually(lambda: detail(asked()) == "marks-unknown", "a broken KV")
    assert asked().status == 200
