"""What belongs to one client, and what one client chose, never comes to another one.

Each row is a request, an answer that shows it, and the same for the next client.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.edge import Variables, detail, eventually, get, is_hit, new_path, running
from tests.runtime.origin import Answer, Request, ScriptedOrigin
from tests.runtime.replies import Fields, Reply, reply

RULES: Sequence[Json] = [
    {
        "path": "/mine/cookie/**",
        "data_class": "private",
        "key_cookies": ["session"],
        "default_lifetime": "10m",
    },
    {"path": "/mine/claim/**", "data_class": "private", "key_claims": ["sub"], "default_lifetime": "10m"},
    {"path": "/priced/**", "key_cookies": ["currency"]},
    {
        "path": "/partners/**",
        "data_class": "private",
        "key_fields": ["X-API-Key"],
        "default_lifetime": "10m",
    },
    {"host": "secret.example", "data_class": "never"},
]
DEBUG_SECRET = "another secret of the tests, of thirty-two bytes"  # noqa: S105 - a test's
TOKENS: Mapping[str, Json] = {
    "TOKEN_SECRET": "a secret of the tests that has thirty-two bytes",
    "TOKEN_AUDIENCE": "api",
    "TOKEN_ISSUER": "me",
    "TOKEN_CLAIMS": {"use": "access"},
}


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("identity")
    workers: Variables = {
        "safe": {"RULES": RULES, **TOKENS, "DEBUG_SECRET": DEBUG_SECRET},
        "strict": {"PROFILE": "rfc9111"},
        "broken": {"MEMORY_BYTES": "plenty"},
        "developed": {"MEMORY_BYTES": "plenty", "DEVELOPMENT": True},
        "nowhere": {"ORIGIN": ""},
    }
    with running(folder, running_origin, workers) as workerd:
        yield workerd


def shown(fields: Fields) -> Answer:
    """An origin's answer that shows all that the request bears."""

    def answer(request: Request) -> Reply:
        return reply(200, fields, repr([request.target, *request.fields]).encode())

    return answer


# Permissions and what withdraws them

SID, TOKEN = ("Cookie", "sid=alice"), ("Authorization", "Bearer alice")

NOT_SHARED = [
    pytest.param(SID, "max-age=600", "X-Cookie-Consent", id="a Vary that only holds the word"),
    pytest.param(SID, "max-age=600", "Cookie Accept", id="a Vary without its comma"),
    pytest.param(SID, "max-age=600", "Cookie;q=1", id="a Vary with a parameter"),
    pytest.param(SID, "max-age=600", '"Cookie"', id="a Vary in quotes"),
    pytest.param(SID, "max-age=600", "Set-Cookie", id="a Vary that names another field"),
    pytest.param(SID, "public=1, max-age=600", "", id="a cookie, and public with an argument"),
    pytest.param(SID, 'x="a, public, max-age=600', "", id="a cookie, and public in an open quote"),
    pytest.param(TOKEN, "max-age=600, must-revalidate", "", id="must-revalidate"),
    pytest.param(TOKEN, "max-age=600, proxy-revalidate", "", id="proxy-revalidate"),
    pytest.param(TOKEN, "max-age=600", "Authorization", id="a Vary that names Authorization"),
    pytest.param(TOKEN, "public=bad, max-age=600", "", id="public with an argument"),
    pytest.param(TOKEN, '", public, max-age=600', "", id="public after an open quote"),
    pytest.param(TOKEN, "public; max-age=600", "", id="public before a semicolon"),
    pytest.param(TOKEN, "max-age=600, s-maxage=x", "", id="s-maxage without seconds"),
    pytest.param(TOKEN, "max-age=600, s-maxage", "", id="s-maxage alone"),
    pytest.param(("X-A", "1"), "public, max-age=600; private", "", id="private after a semicolon"),
    pytest.param(("X-A", "1"), "public max-age=600 no-store", "", id="no-store without commas"),
    pytest.param(("X-A", "1"), "public, max-age=600, private=true", "", id="private with a switch"),
    pytest.param(("X-A", "1"), 'public, max-age=600, "no-store"', "", id="no-store in quotes"),
]


@pytest.mark.parametrize(("own", "control", "vary"), NOT_SHARED)
def test_what_is_not_for_everyone_by_name_is_not_shared(
    edge: Workerd, origin: ScriptedOrigin, own: tuple[str, str], control: str, vary: str
) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", control), *([("Vary", vary)] if vary else [])]))
    name, value = own

    get(edge.url("safe"), path, own)
    told = [get(edge.url("safe"), path, (name, "bob")), get(edge.url("safe"), path)]

    assert value.encode() not in told[0].body + told[1].body or value == "1"
    assert not any(map(is_hit, told))


@pytest.mark.parametrize("worker", ["safe", "strict"])
def test_an_invalid_targeted_field_withdraws_in_the_safe_profile(
    edge: Workerd, origin: ScriptedOrigin, worker: str
) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", "max-age=600"), ("CDN-Cache-Control", "no-store, &&&")]))

    assert [is_hit(get(edge.url(worker), path)) for _ in range(2)] == [False, worker == "strict"]


@pytest.mark.parametrize(
    "control", ["public, max-age=600", "s-maxage=600", 's-maxage="600"', "PUBLIC, max-age=600"]
)
@pytest.mark.parametrize("worker", ["safe", "strict"])
def test_what_is_for_everyone_by_name_is_shared(
    edge: Workerd, origin: ScriptedOrigin, control: str, worker: str
) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, [("Cache-Control", control)], b"for all"))
    get(edge.url(worker), path, TOKEN)

    assert is_hit(get(edge.url(worker), path, ("Authorization", "Bearer bob")))


def test_must_revalidate_shares_as_the_rfc_has_it_in_its_profile(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "max-age=600, must-revalidate")], b"for all"))
    get(edge.url("strict"), path, TOKEN)

    assert is_hit(get(edge.url("strict"), path, ("Authorization", "Bearer bob")))


# What a client chose

CANARY = "canary-4f2a"
KEPT_FROM_ORIGIN = [
    "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
    "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
    "X-Forwarded-Anything", "X-Real-IP", "True-Client-IP", "X-Client-IP", "Client-IP",
    "X-Cluster-Client-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Azure-ClientIP",
    "X-Envoy-External-Address",
    "X-Original-URL", "X-Original-Host", "X-Original-Anything", "X-Rewrite-URL", "X-HTTP-Method-Override",
    "X-HTTP-Method", "X-Method-Override", "X-Host", "X-HTTP-Host-Override", "Front-End-Https", "X-ARR-SSL",
    "X-ARR-LOG-ID", "X-Scheme", "X-Script-Name", "X-HTTPS", "Proxy", "Proxy-Client-IP", "WL-Proxy-Client-IP",
    "X-Amzn-Oidc-Data", "X-MS-Client-Principal", "X-Remote-User", "Remote-User", "X-Accel-Redirect",
    "X_Forwarded_Host", "X-Forwarded_Host", "X_Real_IP", "My_Field", "_", "X-Request-ID", "traceparent",
    "X-CSRFToken", "Content-Type", "Content-Language", "Via", "User-Agent", "Referer", "DNT", "Save-Data",
    "Sec-CH-UA", "CF-IPCountry", "CF-Connecting-IP", "Sec-GPC", "Width", "From", "Priority",
]  # fmt: skip
SEEN_BY_ORIGIN = [
    "Accept", "Accept-Language", "Accept-Charset", "Origin", "X-Requested-With", "X-Anything", "X-API-Key",
    "X-Tenant", "Prefer", "Foo", "Stripe-Version", "!#$%&'*+.^`|~", "Accept-Datetime", "If-Foo", "Negotiate",
    "Sec-Fetch-Site", "Cache-Control", "Pragma", "Authorization", "Cookie",
]  # fmt: skip


@pytest.mark.parametrize("control", ["max-age=600", "max-age=0, stale-while-revalidate=600"])
@pytest.mark.parametrize("name", KEPT_FROM_ORIGIN + SEEN_BY_ORIGIN)
def test_what_one_client_chose_comes_to_no_other(
    edge: Workerd, origin: ScriptedOrigin, name: str, control: str
) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", control), ("ETag", '"1"')]))

    get(edge.url("safe"), path, (name, CANARY))
    get(edge.url("safe"), path, (name, CANARY))
    told = [get(edge.url("safe"), path), get(edge.url("safe"), path, (name, "another"))]

    assert not any(CANARY.encode() in response.body for response in told)


@pytest.mark.parametrize("name", KEPT_FROM_ORIGIN)
def test_what_would_mislead_an_origin_does_not_reach_it(
    edge: Workerd, origin: ScriptedOrigin, name: str
) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", "max-age=600")]))

    assert CANARY.encode() not in get(edge.url("safe"), path, (name, CANARY)).body
    assert is_hit(get(edge.url("safe"), path))
    assert is_hit(get(edge.url("safe"), path, (name, CANARY)))


@pytest.mark.parametrize("name", ["X-Anything", "Accept", "Prefer", "X-API-Key"])
def test_other_fields_reach_the_origin(edge: Workerd, origin: ScriptedOrigin, name: str) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", "max-age=600")]))

    assert CANARY.encode() in get(edge.url("safe"), path, (name, CANARY)).body


@pytest.mark.parametrize(
    "name", ["X-Anything", "Accept", "Origin", "User-Agent", "Referer", "Sec-CH-UA", "X-API-Key"]
)
def test_what_a_response_nominates_reaches_the_origin_and_selects(
    edge: Workerd, origin: ScriptedOrigin, name: str
) -> None:
    path = new_path()
    fields = [("Cache-Control", "max-age=600"), ("Vary", name)]
    origin.decide(path, lambda request: reply(200, fields, (request.value(name) or "none").encode()))
    values = ["one/1", "two/2", "one/1", "two/2"]

    told = [get(edge.url("safe"), path, (name, value)) for value in values]

    assert [response.body.decode() for response in told] == values
    assert [is_hit(response) for response in told] == [False, False, True, True]


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        pytest.param("203.0.113.7", "203.0.113.7", id="IPv4"),
        pytest.param("2001:db8::7", "2001:db8::7", id="IPv6"),
        pytest.param("evil.example", None, id="no address"),
    ],
)
def test_the_origin_gets_to_know_the_address_that_cloudflare_knows(
    edge: Workerd, origin: ScriptedOrigin, address: str, sent: str | None
) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "max-age=600")]))

    get(edge.url("safe"), path, ("X-Forwarded-For", "198.51.100.1"), ("CF-Connecting-IP", address))

    (request,) = origin.requests(path)
    assert request.value("X-Forwarded-For") == sent
    assert (request.value("X-Forwarded-Host"), request.value("X-Forwarded-Proto")) == ("api.test", "http")


@pytest.mark.parametrize("name", ["X_Forwarded_Host", "X-Forwarded_Proto"])
def test_no_field_of_a_clients_stands_for_one_that_the_cache_sets(
    edge: Workerd, origin: ScriptedOrigin, name: str
) -> None:
    path = new_path()
    origin.decide(path, shown([]))

    assert CANARY.encode() not in get(edge.url("safe"), path, (name, CANARY), method="POST", body=b"x").body


# Who a client is


def _token(header: Mapping[str, object] | None = None, /, **claims: object) -> tuple[str, str]:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header or {"alg": "HS256"}, claims)
    ]
    signature = base64.urlsafe_b64encode(
        hmac.digest(str(TOKENS["TOKEN_SECRET"]).encode(), b".".join(parts), "sha256")
    )
    return "Authorization", "Bearer " + b".".join([*parts, signature.rstrip(b"=")]).decode()


_VALID: Mapping[str, object] = {"exp": 4_000_000_000, "aud": "api", "iss": "me", "use": "access"}
STRANGERS = [
    pytest.param("cookie", ("Cookie", "session=bob; session =alice"), id="a space after a name"),
    pytest.param("cookie", ("Cookie", "session=bob; session=alice"), id="a cookie twice"),
    pytest.param("cookie", ("Cookie", "session=alice; session=bob"), id="a cookie twice, the other way"),
    pytest.param("cookie", ("Cookie", 'a="; session=alice; b="; session=bob'), id="a cookie in quotes"),
    pytest.param("cookie", ("Cookie", "session=alice, session=bob"), id="a cookie after a comma"),
    pytest.param("claim", _token(sub=None, **_VALID), id="a claim that is null"),
    pytest.param("claim", _token(**_VALID), id="no claim"),
    pytest.param("claim", _token(sub=1, **_VALID), id="a number for a text"),
    pytest.param("claim", _token(sub="1", **{**_VALID, "aud": "shop"}), id="for another audience"),
    pytest.param("claim", _token(sub="1", **{**_VALID, "iss": "you"}), id="by another issuer"),
    pytest.param("claim", _token(sub="1", **{**_VALID, "use": "refresh"}), id="to refresh another"),
    pytest.param("claim", _token(sub="1", **{**_VALID, "exp": None}), id="with null for an end"),
    pytest.param(
        "claim",
        _token(sub="1", **{name: value for name, value in _VALID.items() if name != "exp"}),
        id="without an end",
    ),
    pytest.param("claim", _token({"alg": "HS256", "typ": "reset"}, sub="1", **_VALID), id="of another type"),
]


@pytest.mark.parametrize(("kind", "stranger"), STRANGERS)
def test_no_other_client_is_taken_for_the_one_whose_data_is_stored(
    edge: Workerd, origin: ScriptedOrigin, kind: str, stranger: tuple[str, str]
) -> None:
    path = new_path(f"mine/{kind}/x")
    own = {"cookie": ("Cookie", "session=alice"), "claim": _token(sub="1", **_VALID)}[kind]
    origin.decide(path, lambda request: reply(200, [], repr(request.fields).encode()))
    assert [is_hit(get(edge.url("safe"), path, own)) for _ in range(2)] == [False, True]

    told = [get(edge.url("safe"), path, stranger) for _ in range(2)]

    assert all(stranger[1] in response.body.decode() for response in told)
    assert is_hit(get(edge.url("safe"), path, own))


@pytest.mark.parametrize("cookie", ["currency =EVIL", "\x1fcurrency=EVIL", "currency=EUR; currency =EVIL"])
def test_a_cookie_that_only_the_origin_reads_poisons_nothing(
    edge: Workerd, origin: ScriptedOrigin, cookie: str
) -> None:
    path = new_path("priced/x")
    origin.decide(path, shown([("Cache-Control", "public, max-age=600")]))

    get(edge.url("safe"), path, ("Cookie", cookie))

    assert b"EVIL" not in get(edge.url("safe"), path).body
    assert b"EVIL" not in get(edge.url("safe"), path, ("Cookie", "currency=EUR")).body


# Where a rule applies

SPELT = [
    "/PARTNERS/x", "/partners%2fx", "/partners;a/x", "/partners%5cx", "//partners/x", "/./partners//x",
    "/p%61rtners/y", "/partners%252fx", "/partner%C5%BF/x", "/x/..%2fpartners/x",
    "/x/%2e%2e%2fpartners/x", "/partners%3b/x", "/Partners/x.css", "/partners/x%00.css", "/partners./x",
]  # fmt: skip


@pytest.mark.parametrize("control", ["max-age=600", "public, max-age=600"])
@pytest.mark.parametrize("path", SPELT)
def test_a_private_rule_applies_however_a_path_is_spelt(
    edge: Workerd, origin: ScriptedOrigin, path: str, control: str
) -> None:
    path = f"{path}?{new_path()}"
    origin.otherwise(
        lambda request: reply(
            200, [("Cache-Control", control)], (request.value("X-API-Key") or "none").encode()
        )
    )

    told = [get(edge.url("safe"), path, ("X-API-Key", key)) for key in ("alice", "bob", "alice")]

    assert [response.body for response in told] == [b"alice", b"bob", b"alice"]
    assert get(edge.url("safe"), path).body == b"none"


@pytest.mark.parametrize(
    "host",
    ["secret.example", "SECRET.Example", "secret.example:8443", "secret.example.", "secret.example.:80"],
)
def test_a_rule_applies_however_a_host_is_written(edge: Workerd, origin: ScriptedOrigin, host: str) -> None:
    path = new_path()
    origin.on(path, reply(200, [("Cache-Control", "public, max-age=600")]))

    told = [get(edge.url("safe"), path, host=host) for _ in range(2)]

    assert [detail(response) for response in told] == ["class-never"] * 2


# What clients see of a response

INTERNAL = [
    "Cache-Groups", "Cache-Tag", "Surrogate-Key", "Surrogate-Control", "CDN-Cache-Control",
    "Cloudflare-CDN-Cache-Control", "Cache-Group-Invalidation",
]  # fmt: skip
OF_ONE_EXCHANGE = [
    "X-Request-Id", "X-RateLimit-Remaining", "RateLimit", "RateLimit-Policy", "traceparent", "tracestate",
    "Server-Timing", "X-Correlation-ID", "X-CSRFToken", "X-Auth-Token", "Set-Cookie2", "Clear-Site-Data",
    "X-Amzn-Trace-Id", "X-B3-TraceId", "X-Runtime", "CF-Ray", "X-Process-Time",
    "X-Envoy-Upstream-Service-Time", "X-Kong-Proxy-Latency", "X-Azure-Ref", "X-Timer",
]  # fmt: skip


@pytest.mark.parametrize("control", ["max-age=600", "max-age=0, stale-while-revalidate=600", "no-store"])
@pytest.mark.parametrize("name", INTERNAL)
def test_internal_fields_stay_inside(edge: Workerd, origin: ScriptedOrigin, name: str, control: str) -> None:
    path = new_path()
    value = control if name.endswith("Control") else '"group"'
    origin.on(path, reply(200, [("Cache-Control", control), (name, value), ("ETag", '"1"')]))

    told = [get(edge.url("safe"), path) for _ in range(4)]
    told += [
        get(edge.url("safe"), path, method="HEAD"),
        get(edge.url("safe"), path, ("If-None-Match", '"1"')),
    ]
    told.append(get(edge.url("safe"), path, method="POST", body=b"x"))

    assert [response.value(name) for response in told] == [None] * 7


@pytest.mark.parametrize("name", OF_ONE_EXCHANGE)
def test_fields_of_one_exchange_reach_its_client_alone(
    edge: Workerd, origin: ScriptedOrigin, name: str
) -> None:
    path = new_path()
    fields = [("Cache-Control", "max-age=600"), ("X-Other", "kept"), (name, "of one")]
    origin.on(path, reply(200, fields, b"x"), reply(200, fields, b"y"))

    told = [get(edge.url("safe"), path) for _ in range(4)]

    assert [response.value(name) for response in told] == ["of one", None, None, None]
    assert [response.value("X-Other") for response in told] == ["kept"] * 4
    assert [is_hit(response) for response in told] == [False, True, True, True]


@pytest.mark.parametrize("control", ["max-age=1, stale-while-revalidate=600", "max-age=0"])
def test_fields_of_a_validation_are_of_one_exchange_too(
    edge: Workerd, origin: ScriptedOrigin, control: str
) -> None:
    path = new_path()
    fields = [("Cache-Control", control), ("ETag", '"1"')]
    first = [*fields, ("X-Request-Id", "first")]
    origin.on(path, reply(200, first, b"x"), reply(304, [*fields, ("X-Request-Id", "second")]))

    told = [get(edge.url("safe"), path) for _ in range(3)]

    assert [response.value("X-Request-Id") for response in told] == ["first", None, None]


def test_the_key_is_for_who_may_see_it(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", "max-age=600")]))

    def has_key(*fields: tuple[str, str]) -> bool:
        return "key=" in (get(edge.url("safe"), path, *fields).value("Cache-Status") or "")

    assert [has_key() for _ in range(4)] == [False] * 4
    assert has_key(("Cache-Debug", DEBUG_SECRET))
    assert not has_key(("Cache-Debug", "a guess"))
    assert not has_key(("Cache-Debug", ""))
    assert DEBUG_SECRET.encode() not in get(edge.url("safe"), path).body
    assert "key=" in (get(edge.url("strict"), path).value("Cache-Status") or "")


def test_who_may_see_the_key_sees_what_is_missing_in_it(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", "max-age=600"), ("Vary", "X-Tenant")]))
    own = [("X-Tenant", "a"), ("X-Api-Key", "b"), ("Accept", "text/html"), ("X-Geo", "c")]

    def status(*fields: tuple[str, str]) -> str:
        return get(edge.url("safe"), path, *own, *fields).value("Cache-Status") or ""

    named = status(("Cache-Debug", DEBUG_SECRET))
    assert 'unkeyed="x-api-key x-geo"; detail=unkeyed-field' in named
    assert "x-geo" not in status()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_debug_secret_stays_inside(edge: Workerd, origin: ScriptedOrigin, method: str) -> None:
    path = new_path()
    origin.decide(path, shown([]))

    told = get(edge.url("safe"), path, ("Cache-Debug", DEBUG_SECRET), method=method)

    assert DEBUG_SECRET.encode() not in told.body


# What a client may learn of the configuration, and where its requests go


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost:8787", "api.test", "[::1]"])
def test_configuration_errors_are_shown_by_where_it_runs(edge: Workerd, host: str) -> None:
    broken, developed = (get(edge.url(name), "/", host=host) for name in ("broken", "developed"))

    assert (broken.status, developed.status) == (500, 500)
    assert b"MEMORY_BYTES" not in broken.body
    assert b"MEMORY_BYTES" in developed.body


def test_without_an_origin_outside_cloudflare_no_client_chooses_one(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    told = [get(edge.url("nowhere"), "/", host=host) for host in (origin.address, "localhost")]

    assert [response.status for response in told] == [500, 500]
    assert origin.requests() == []
    eventually(lambda: "ORIGIN" in edge.process.output(), "the remedy in the log")
