"""Nothing of one user reaches another, whatever clients try."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import pytest

from scripts.runtime.build import build
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker
from tests.runtime.client import exchange
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import HOST, QUIET, detail, eventually, get, is_hit, key_of, new_path
from tests.runtime.origin import Answer, Request, ScriptedOrigin
from tests.runtime.replies import Close, Fields, Reply, head, reply

FRESH = [("Cache-Control", "max-age=600")]
PUBLIC = [("Cache-Control", "public, max-age=600")]
TOKEN_KEY = "a secret of the tests that has thirty-two bytes"  # noqa: S105 - a test's

RULES: Sequence[Json] = [
    {"path": ["/account", "/account/**"], "data_class": "never"},
    {"path": "/raw/**", "bypass": True},
    {"path": "/static/**", "lifetime": "10m"},
    {"path": "/free/**", "lifetime": "10m", "ignore_cookies": True},
    {"path": "/keep/**", "query_keep": ["id", "page"]},
    {"path": "/drop/**", "query_drop": ["utm_*"]},
    {"path": "/sort/**", "query_sort": True},
    {"path": "/field/**", "key_fields": ["X-Tenant"], "default_lifetime": "10m"},
    {
        "path": "/mine/field/**",
        "data_class": "private",
        "key_fields": ["X-Api-Key"],
        "default_lifetime": "10m",
    },
    {
        "path": "/mine/cookie/**",
        "data_class": "private",
        "key_cookies": ["session"],
        "default_lifetime": "10m",
    },
    {"path": "/mine/claim/**", "data_class": "private", "key_claims": ["sub"], "default_lifetime": "10m"},
    {"path": "/host/**", "key_fields": ["X-Forwarded-Host"], "default_lifetime": "10m"},
]

HOOKS = """
from origin_sdk_edge.hooks import HookAnswer
from shop.devices import device_of

def before_lookup(request):
    if "/closed" in request.url:
        return HookAnswer(403, "closed\\n", {"x-hook": "answer"})
    if "/raises" in request.url:
        raise ValueError("on purpose")
    if "x-old" in request.fields:
        return request.with_url(request.url.replace("/old", "/new")).without_field("x-old")
    return request.with_field("x-device", device_of(request))

def after_origin(request, response):
    if "/unstorable" in request.url:
        raise ValueError("on purpose")
    return response.with_field("cache-control", "max-age=600").with_field("x-after", "origin")

def before_send(request, response):
    return response.without_field("x-backend").with_field("x-sent-to", request.fields.get("x-device", "?"))
"""

DEVICES = '''
from __future__ import annotations
from typing import NamedTuple, get_type_hints
from origin_sdk_edge.hooks import HookRequest

class Mobile(NamedTuple):
    """mobile"""
    name: str = "Mobile"

def device_of(request: HookRequest) -> str:
    assert get_type_hints(device_of)["request"] is HookRequest
    is_mobile = Mobile().name in request.fields.get("user-agent", "")
    return str(Mobile.__doc__) if is_mobile else "desktop"
'''
"""What lies beside the hooks may read its own docstrings and hints, as the deployed Worker's code can't."""


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    own = tmp_path_factory.mktemp("own")
    (own / "shop").mkdir()
    (own / "hooks.py").write_text(HOOKS, encoding="utf-8")
    (own / "shop" / "devices.py").write_text(DEVICES, encoding="utf-8")
    tree = build(tmp_path_factory.mktemp("hooked"), own)
    variables = {**QUIET, "ORIGIN": running_origin.url}
    ruled = {**variables, "RULES": RULES, "TOKEN_SECRET": TOKEN_KEY}
    workers = [
        Worker("edge", variables=variables),
        Worker("ruled", variables=ruled),
        Worker("hooked", tree, variables=variables),
    ]
    with Workerd(tmp_path_factory.mktemp("safety"), workers) as workerd:
        yield workerd


def _echo(*names: str, fields: Fields = FRESH) -> Answer:
    """An origin's answer that shows some fields of the request."""

    def answer(request: Request) -> Reply:
        shown = [f"{name}={request.value(name)}" for name in names]
        return reply(200, fields, "; ".join([request.target, *shown]).encode())

    return answer


# Users

CREDENTIALS: Mapping[str, Callable[[str], Fields]] = {
    "Authorization": lambda user: [("Authorization", f"Bearer {user}")],
    "Cookie": lambda user: [("Cookie", f"session={user}")],
    "both": lambda user: [("Authorization", f"Bearer {user}"), ("Cookie", f"session={user}")],
}
CONTROLS: Mapping[str, Fields] = {
    "nothing said": [],
    "max-age": FRESH,
    "Expires": [("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")],
    "private": [("Cache-Control", "private, max-age=600")],
    "no-store": [("Cache-Control", "no-store, max-age=600")],
    "no-cache": [("Cache-Control", "no-cache"), ("ETag", '"same"')],
    "Set-Cookie": [*PUBLIC, ("Set-Cookie", "session=new")],
    "Last-Modified": [("Last-Modified", "Fri, 01 Jan 2010 00:00:00 GMT")],
    "stale-while-revalidate": [("Cache-Control", "max-age=0, stale-while-revalidate=600")],
}


@pytest.mark.parametrize("worker", ["edge", "ruled"])
@pytest.mark.parametrize(
    ("credential", "control"),
    [pytest.param(*pair, id=" / ".join(pair)) for pair in product(CREDENTIALS, CONTROLS)],
)
def test_every_user_sees_his_own(
    edge: Workerd, origin: ScriptedOrigin, credential: str, control: str, worker: str
) -> None:
    path = new_path("static/users") if worker == "ruled" else new_path()

    def own(request: Request) -> Reply:
        user = (
            (request.value("Authorization") or request.value("Cookie") or "nobody").split("=")[-1].split()[-1]
        )
        return reply(200, CONTROLS[control], user.encode())

    origin.decide(path, own)
    users = ["alice", "bob", "alice", "carol", "bob"]

    told = [get(edge.url(worker), path, *CREDENTIALS[credential](user)).body.decode() for user in users]

    assert told == users
    assert get(edge.url(worker), path).body == b"nobody"
    assert edge.store().keys(key_of(path)) == [] or edge.store().get(key_of(path)) == b"nobody"


def test_an_anonymous_response_is_not_for_who_sends_a_token(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, _echo("Authorization"))
    get(edge.url("edge"), path)

    assert b"Bearer a" in get(edge.url("edge"), path, ("Authorization", "Bearer a")).body


@pytest.mark.parametrize("control", ["public, max-age=600", "s-maxage=600"])
def test_what_the_origin_calls_public_by_name_is_shared(
    edge: Workerd, origin: ScriptedOrigin, control: str
) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, [("Cache-Control", control)], b"for all"))

    told = [get(edge.url("edge"), path, ("Authorization", f"Bearer {user}")) for user in "ab"]

    assert [is_hit(t) for t in told] == [False, True]


@pytest.mark.parametrize("kind", ["field", "cookie", "claim"])
def test_a_declared_identity_has_its_own_stored_responses(
    edge: Workerd, origin: ScriptedOrigin, kind: str
) -> None:
    path = new_path(f"mine/{kind}/x")

    def fields_of(user: str) -> tuple[str, str]:
        return {
            "field": ("X-Api-Key", user),
            "cookie": ("Cookie", f"theme=dark; session={user}"),
            "claim": ("Authorization", f"Bearer {_token({'sub': user})}"),
        }[kind]

    def own(request: Request) -> Reply:
        sent = (
            request.value("X-Api-Key")
            or request.value("Cookie")
            or request.value("Authorization")
            or "nobody"
        )
        return reply(200, [("Cache-Control", "private")], sent.encode())

    origin.decide(path, own)

    told = [get(edge.url("ruled"), path, fields_of(user)) for user in ["alice", "bob", "alice", "bob"]]

    assert [t.body.decode() for t in told] == [
        fields_of(user)[1] for user in ["alice", "bob", "alice", "bob"]
    ]
    assert [is_hit(t) for t in told] == [False, False, True, True]
    assert get(edge.url("ruled"), path).body == b"nobody"
    assert not any(b"alice" in key.encode() for key in edge.store().keys("r1/"))


def _token(claims: dict[str, object], *, key: str = TOKEN_KEY, algorithm: str = "HS256") -> str:
    claims = {"exp": 4_000_000_000, **claims}
    parts = [_base64(json.dumps(part).encode()) for part in ({"alg": algorithm}, claims)]
    signature = hmac.new(key.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, "" if algorithm == "none" else _base64(signature)])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(
            _token({"sub": "alice"}, key="another secret of thirty-two bytes!"), id="another secret"
        ),
        pytest.param(_token({"sub": "alice"}, algorithm="none"), id="no signature"),
        pytest.param(_token({"sub": "alice", "exp": 1}), id="expired"),
        pytest.param("alice", id="no token"),
        pytest.param(_token({"sub": "alice"})[:-4] + "AAAA", id="another signature"),
    ],
)
def test_a_forged_token_gets_nothing_that_is_stored(
    edge: Workerd, origin: ScriptedOrigin, forged: str
) -> None:
    path = new_path("mine/claim/x")
    alice = f"Bearer {_token({'sub': 'alice'})}"
    origin.decide(
        path, lambda r: reply(200, [], b"alice's") if r.value("Authorization") == alice else reply(401)
    )
    assert get(edge.url("ruled"), path, ("Authorization", alice)).body == b"alice's"

    assert get(edge.url("ruled"), path, ("Authorization", f"Bearer {forged}")).status == 401
    assert is_hit(get(edge.url("ruled"), path, ("Authorization", alice)))


# What isn't in the key

UNKEYED = [
    "X-Forwarded-Host",
    "X-Forwarded-Scheme",
    "X-Host",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "Forwarded",
]


PROXYS_OWN = {"X-Forwarded-Host", "X-Forwarded-Scheme", "Forwarded"}
"""What only a proxy before the origin can know: no client says it, whatever the method."""


@pytest.mark.parametrize("name", UNKEYED)
def test_an_unkeyed_field_reaches_no_origin_on_a_cacheable_request(
    edge: Workerd, origin: ScriptedOrigin, name: str
) -> None:
    path = new_path()
    origin.decide(path, _echo(*UNKEYED))

    poisoned = get(edge.url("edge"), path, (name, "evil.example"))
    posted = get(edge.url("edge"), path, (name, "evil.example"), method="POST", body=b"x")

    assert b"evil" not in poisoned.body
    assert (b"evil" in posted.body) == (name not in PROXYS_OWN)
    assert b"evil" not in get(edge.url("edge"), path).body


def test_a_field_that_a_rule_puts_into_the_key_reaches_the_origin(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("field/x")
    origin.decide(path, _echo("X-Tenant"))

    told = [get(edge.url("ruled"), path, ("X-Tenant", tenant)) for tenant in ["one", "two", "one"]]

    assert [t.body.rpartition(b"=")[2] for t in told] == [b"one", b"two", b"one"]
    assert is_hit(told[2])


def test_a_field_cannot_be_hidden_from_the_origin_but_not_from_the_key(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("field/x")
    origin.decide(path, _echo("X-Tenant"))

    get(edge.url("ruled"), path, ("X-Tenant", "one"), ("Connection", "X-Tenant"))

    assert get(edge.url("ruled"), path, ("X-Tenant", "one")).body.endswith(b"X-Tenant=one")


def test_another_host_is_another_key(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, _echo("X-Forwarded-Host"))

    evil = get(edge.url("edge"), path, host="evil.example")

    assert evil.body.endswith(b"evil.example")
    assert get(edge.url("edge"), path).body.endswith(HOST.encode())


# Deception

DISGUISES = [
    "/account/x.css",
    "/account;x.css",
    "/account%2fx.css",
    "/account%2Fx.css",
    "/account/..%2faccount",
    "/x/..%2Faccount",
    "/x/..%2faccount%2fx.css",
    "/account%3bx.css",
    "/account%3fx.css",
    "/account%23x.css",
    "/account%00x.css",
    "/ACCOUNT",
    "/account/",
    "//account",
    "/%61ccount",
    "/account//x",
    "/static/..%2faccount",
    "/static/..%5caccount",
    "/static/..;/account",
    "/static/%252e%252e%252faccount",
    "/x/%2e%2e/account",
    "/account%0ax.css",
]


@pytest.mark.parametrize("path", DISGUISES)
def test_what_is_never_stored_is_not_stored_in_disguise(
    edge: Workerd, origin: ScriptedOrigin, path: str
) -> None:
    origin.otherwise(lambda r: reply(200, PUBLIC, (r.value("Cookie") or "nobody").encode()))

    told = [
        get(edge.url("ruled"), path, ("Cookie", f"session={user}")).body for user in ["victim", "attacker"]
    ]

    assert told == [b"session=victim", b"session=attacker"]
    assert get(edge.url("ruled"), path).body == b"nobody"


def test_a_bypass_passes_by(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("raw/x")
    origin.on(path, reply(200, PUBLIC, b"1"), reply(200, PUBLIC, b"2"))

    told = [get(edge.url("ruled"), path) for _ in range(2)]

    assert [(t.body, detail(t)) for t in told] == [(b"1", "bypass-rule"), (b"2", "bypass-rule")]


def test_where_cookies_do_not_matter_the_origin_does_not_see_them(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("free/x")
    origin.decide(path, lambda r: reply(200, [], (r.value("Cookie") or "none").encode()))

    told = [get(edge.url("ruled"), path, ("Cookie", user)) for user in "ab"]

    assert [(t.body, is_hit(t)) for t in told] == [(b"none", False), (b"none", True)]


# Keys and parameters


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/k1?a=1&b=2", "/k1?a=1%26b=2"),
        ("/k2?a=1", "/k2?a=1&a=2"),
        ("/k3?a", "/k3?a="),
        ("/k4", "/k4?"),
        ("/k5/a", "/k5/A"),
        ("/k6/a%2Fb", "/k6/a/b"),
        ("/k7/a;b", "/k7/a%3Bb"),
        ("/k8?a=%00", "/k8?a="),
        ("/k9?a=+", "/k9?a=%2B"),
        ("/k10/a//b", "/k10/a/b"),
        ("/k11/" + "a" * 600, "/k11/" + "a" * 601),
        ("/k12?x=%23", "/k12?x="),
        ("/k13/%E4", "/k13/%C3%A4"),
    ],
)
def test_different_targets_have_different_keys(
    edge: Workerd, origin: ScriptedOrigin, one: str, other: str
) -> None:
    origin.otherwise(lambda request: reply(200, FRESH, request.target.encode()))

    told = [get(edge.url("edge"), path).body for path in (one, other, one, other)]

    assert told[0] != told[1]
    assert told[:2] == told[2:]


@pytest.mark.parametrize(
    ("one", "other", "sent"),
    [
        pytest.param("/drop/a?id=1&utm_source=x", "/drop/a?id=1", "/drop/a?id=1", id="dropped"),
        pytest.param("/drop/b?utm_source=x;id=evil", "/drop/b", "/drop/b", id="cloaked by a semicolon"),
        pytest.param("/drop/c?id=1&utm%5Fx=evil", "/drop/c?id=1", "/drop/c?id=1", id="an encoded name"),
        pytest.param("/drop/d?id=1&UTM_x=evil", "", "/drop/d?id=1&UTM_x=evil", id="another case"),
        pytest.param("/keep/a?evil=1&id=1", "/keep/a?id=1", "/keep/a?id=1", id="kept"),
        pytest.param("/keep/b?id=1;evil=1", "", "/keep/b?id=1;evil=1", id="kept with what hides in it"),
        pytest.param("/keep/c?id=1&id=2", "", "/keep/c?id=1&id=2", id="twice"),
        pytest.param("/keep/d?%69d=1", "", "/keep/d?id=1", id="an encoded name that is kept"),
        pytest.param("/sort/a?b=2&a=1", "/sort/a?a=1&b=2", "/sort/a?a=1&b=2", id="sorted"),
        pytest.param("/sort/b?a=2&a=1", "", "/sort/b?a=2&a=1", id="the order of values stays"),
    ],
)
def test_the_origin_sees_what_is_in_the_key(
    edge: Workerd, origin: ScriptedOrigin, one: str, other: str, sent: str
) -> None:
    origin.otherwise(lambda request: reply(200, FRESH, request.target.encode()))

    assert get(edge.url("ruled"), one).body.decode() == sent
    if other:
        assert is_hit(get(edge.url("ruled"), other))


# Strange messages


@pytest.mark.parametrize(
    "target",
    [
        "/%",
        "/%2",
        "/%zz",
        "/a%ff",
        "/%00",
        "/?%",
        "/?a=%%",
        "/" + "x" * 40_000,
        "/a%0d%0aX-Injected:%201",
        "/\\..\\x",
        "/?#",
    ],
    ids=lambda target: target[:24],
)
def test_a_strange_target_is_answered(edge: Workerd, origin: ScriptedOrigin, target: str) -> None:
    origin.otherwise(lambda _: reply(200, FRESH, b"fine"))

    response = get(edge.url("edge"), target)

    assert response.status in {200, 400}
    assert response.value("X-Injected") is None
    assert all(request.value("X-Injected") is None for request in origin.requests())


@pytest.mark.parametrize(
    "field",
    [
        ("X-Large", "x" * 50_000),
        ("Accept-Language", ", ".join(["de"] * 5000)),
        ("Cookie", "; ".join(f"c{number}={number}" for number in range(2000))),
        ("If-None-Match", '"' + "x" * 50_000 + '"'),
        ("Range", "bytes=" + ",".join(["0-1"] * 5000)),
        ("Range", "bytes=" + "9" * 5000 + "-"),
        ("Cache-Control", "max-age=" + "9" * 5000),
        ("Cache-Control", ("\\" * 200 + '"') * 50),
        ("Authorization", "Bearer " + "." * 5000),
        ("X-Latin", "caf\xe9"),
    ],
    ids=lambda field: f"{field[0]} {field[1][:12]}",
)
def test_an_oversized_or_odd_field_is_answered(
    edge: Workerd, origin: ScriptedOrigin, field: tuple[str, str]
) -> None:
    path = new_path("mine/claim/x")
    origin.on(path, reply(200, [*FRESH, ("Vary", field[0])], b"fine"))

    told = [get(edge.url(worker), path, field) for worker in ("edge", "ruled", "edge")]

    assert {t.status for t in told} <= {200, 206, 416}


def test_a_response_with_enormous_fields_is_passed_on_unstored(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, [*FRESH, ("X-Large", "x" * 40_000), ("X-Larger", "x" * 40_000)], b"fine"))

    told = [get(edge.url("edge"), path) for _ in range(2)]

    assert [(t.body, is_hit(t)) for t in told] == [(b"fine", False)] * 2


def test_bytes_beyond_the_length_are_nobodys_response(edge: Workerd, origin: ScriptedOrigin) -> None:
    path, other = new_path(), new_path()
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=600\r\n\r\nevil"
    origin.on(path, Reply((head(200, [*FRESH, ("Content-Length", "4")]) + b"fine" + smuggled,)))
    origin.on(other, reply(200, FRESH, b"other"))

    told = [get(edge.url("edge"), each).body for each in (path, other, path, other)]

    assert told == [b"fine", b"other", b"fine", b"other"]


def test_two_lengths_are_no_length(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    lengths = [("Content-Length", "2"), ("Content-Length", "4")]
    origin.on(path, Reply((head(200, [*FRESH, *lengths]), b"fine", Close())))

    response = get(edge.url("edge"), path)

    assert response.status == 502 or response.body == b"fine"
    assert edge.store().get(key_of(path)) in {None, b"fine"}


def test_a_folded_or_repeated_field_cannot_split_a_request(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.on(path, reply(200, FRESH, b"fine"))
    raw = (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-A: 1\r\n\tGET /evil HTTP/1.1\r\nConnection: close\r\n\r\n"
    )

    response = exchange(edge.url("edge"), raw.encode())

    assert response.status in {200, 400}
    assert origin.requests("/evil") == []


# Upgrades


def test_a_websocket_passes_through(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()

    def switch(request: Request) -> Reply:
        joined = (request.value("Sec-WebSocket-Key") or "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(joined.encode(), usedforsecurity=False).digest()).decode()
        fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
        return Reply((head(101, fields), b"\x81\x02hi", b"\x88\x00"))

    origin.decide(path, switch)
    asked = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
    asked.append(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))

    response = get(edge.url("edge"), path, *asked)

    assert response.status == 101
    assert origin.requests(path)[0].value("Upgrade") == "websocket"


# Hooks


def test_a_hook_can_answer_and_change_requests_and_responses(edge: Workerd, origin: ScriptedOrigin) -> None:
    closed, old = get(edge.url("hooked"), "/closed"), new_path("old")
    origin.decide(
        old.replace("/old", "/new"),
        lambda r: reply(200, [("X-Backend", "7")], (r.value("X-Device") or "").encode()),
    )

    first = get(edge.url("hooked"), old, ("X-Old", "1"))
    second = get(edge.url("hooked"), old, ("X-Old", "1"))

    assert (closed.status, closed.body, closed.value("X-Hook")) == (403, b"closed\n", "answer")
    assert [is_hit(first), is_hit(second)] == [False, True]
    for response in (first, second):
        assert (response.value("X-Backend"), response.value("X-After")) == (None, "origin")
        assert response.value("X-Sent-To") == "?"


@pytest.mark.parametrize("name", ["raises", "unstorable"])
def test_a_hook_that_raises_costs_a_hit_alone(edge: Workerd, origin: ScriptedOrigin, name: str) -> None:
    path = new_path(name)
    origin.on(path, reply(200, FRESH, b"1"), reply(200, FRESH, b"2"))

    told = [get(edge.url("hooked"), path) for _ in range(2)]

    assert [(t.status, t.body) for t in told] == [(200, b"1"), (200, b"2")]
    eventually(lambda: "on purpose" in edge.process.output(), "a note in the log")


def test_users_stay_apart_when_they_come_at_once(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, _echo("Authorization", fields=[*FRESH, ("Set-Cookie", "a=b")]))
    began = time.monotonic()

    told = crowd(edge.url("edge"), [Asked(path, [("Authorization", f"Bearer {n}")]) for n in range(100)])

    assert [t.body.rpartition(b" ")[2] for t in told] == [str(n).encode() for n in range(100)]
    assert time.monotonic() - began < 20
