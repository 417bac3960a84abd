"""An edge and its shield, one behind the other: what hooks, profiles, seals and settings make of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin_sdk_edge.hooks import HookRequest, HookResponse, Hooks
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.ports import OriginError
from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.config import load
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, group_mark, url_mark
from tests.edge.examples import examples
from tests.edge.fakes import FakeEdge, FakeResponse, FakeShield, FakeStore, FakeTiming, Sent

URL = "https://api.example.com/a"
FRESH = {"cache-control": "public, max-age=600", "content-length": "1"}
LONG = "an example of at least 32 bytes, not to be used"
STORE_KEYS = "a:YW4gZXhhbXBsZSwgYW5kIG5vdCB0byBiZSB1c2VkLi4="


def _answer(_: RequestFacts) -> FakeResponse:
    return FakeResponse(200, FRESH, b"a")


@dataclass
class Two:
    """Both, with hooks of their own; ``others`` are what the shield's settings are beyond the edge's."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    answer: Callable[[RequestFacts], FakeResponse] = _answer
    edge_hooks: Hooks | None = None
    shield_hooks: Hooks | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {"ORIGIN": "https://o.example", "LIFETIME_JITTER": 0, **self.variables}
        store = FakeStore()
        self.shield = FakeEdge(
            load({**given, "CACHE_NAME": "Shield", **self.others}),
            self.answer,
            store=store,
            hooks=self.shield_hooks,
        )
        self.edge = FakeEdge(load(given), self.answer, shield=FakeShield(self.shield), hooks=self.edge_hooks)

    async def ask(self, **fields: str) -> Sent:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        sent: Sent = (await self.edge.full("GET", URL, named)).response
        return sent

    def later(self, seconds: int) -> None:
        """Move both clocks."""
        for each in (self.edge, self.shield):
            each.timing.ms += seconds * 1000

    @property
    def asked(self) -> list[RequestFacts]:
        """What the shield asked the origin."""
        return self.shield.origin.requests


async def test_it_is_asked_in_the_origins_place() -> None:
    two = Two()
    told = await two.ask(user_agent="x")
    assert (told.status, told.body) == (200, b"a")
    assert not two.edge.origin.requests
    assert len(two.asked) == 1
    assert "edge-shield" not in told.fields
    assert not two.edge.faults
    assert not two.shield.faults
    assert not two.edge.store.values, "who asks the origin writes"


@pytest.mark.parametrize(
    ("others", "named"),
    [
        pytest.param({"KEY_VERSION": "2"}, "KEY_VERSION", id="a setting"),
        pytest.param({"RULES": [{"path": "/a", "lifetime": "1h"}]}, "RULES", id="a rule"),
        pytest.param({"ORIGIN_SECRET": LONG}, "ORIGIN_SECRET", id="a secret"),
        pytest.param({"CODINGS": "gzip", "TOKEN_SECRET": LONG}, "CODINGS, TOKEN_SECRET", id="several"),
    ],
)
async def test_other_settings_are_refused_named_and_the_origin_asked(
    others: Mapping[str, Any], named: str
) -> None:
    two = Two(others=others)
    told = await two.ask()
    assert (told.status, told.body) == (200, b"a")
    assert "; shield=unavailable" in told.fields["cache-status"]
    assert (len(two.edge.origin.requests), len(two.asked)) == (1, 0)
    assert two.edge.store.values, "who asks the origin writes"
    [(where, error)] = two.edge.faults
    assert (where, str(error)) == (
        "shield",
        f"the shield was deployed with other settings ({named}): deploy both",
    )
    [away] = [each for each in two.edge.counters.away() if each.origin == "shield"]
    assert away.why == f"other-settings ({named})"


async def test_a_request_that_came_from_an_edge_says_what_it_must() -> None:
    two = Two()
    served = await two.shield.full("GET", URL, {"edge-shield": "settings="}, is_from_edge=True)
    assert served.response.status == 409
    served = await two.shield.full("GET", URL, {}, is_from_edge=True)
    assert served.response.status == 409
    assert not two.asked


# Hooks


async def _naming(request: HookRequest) -> HookRequest:
    return request.with_field("x-tenant", request.fields.get("x-tenant", "") + "acme")


async def test_before_lookup_runs_at_the_edge_alone_and_what_it_sets_reaches_the_origin() -> None:
    hooks = Hooks(before_lookup=_naming)
    two = Two(edge_hooks=hooks, shield_hooks=hooks)
    await two.ask()
    assert two.asked[0].fields["x-tenant"] == "acme"


async def test_after_origin_runs_at_the_shield_alone() -> None:
    seen: list[str] = []

    async def count(_: HookRequest, response: HookResponse) -> HookResponse:
        seen.append("run")
        return response.with_field("x-counted", response.fields.get("x-counted", "") + "1")

    hooks = Hooks(after_origin=count)
    two = Two(edge_hooks=hooks, shield_hooks=hooks)
    told = await two.ask()
    assert (seen, told.fields["x-counted"]) == (["run"], "1")


@pytest.mark.parametrize("reason", [Reason.HOOK_FAILED, Reason.HOOK_TIMEOUT])
async def test_what_a_hook_failed_on_is_stored_nowhere(reason: Reason) -> None:
    async def fail(_request: HookRequest, _response: HookResponse) -> Reason:
        return reason

    hooks = Hooks(after_origin=fail)
    two = Two(edge_hooks=hooks, shield_hooks=hooks)
    for _ in range(2):
        told = await two.ask()
        assert (told.status, told.body) == (200, b"a")
        assert "hook-" in told.fields["cache-status"].rpartition("EdgeCache;")[2]
    # What isn't shared gains nothing by the shield.
    assert (len(two.asked), len(two.edge.origin.requests)) == (1, 1)
    assert not two.edge.store.values
    assert not two.shield.store.values


async def test_a_hook_that_fails_freshens_nothing_at_the_edge() -> None:
    fails = False

    async def at_times(_request: HookRequest, response: HookResponse) -> HookResponse | Reason:
        return Reason.HOOK_FAILED if fails else response

    hooks = Hooks(after_origin=at_times)
    fields = {**FRESH, "cache-control": "public, max-age=5", "etag": '"a"'}
    two = Two({}, lambda _: FakeResponse(200, fields, b"a"), hooks, hooks)
    await two.ask()
    fails = True
    two.later(6)
    for _ in range(2):
        told = await two.ask()
        assert (told.status, told.body) == (200, b"a")
        assert "hook-failed" in told.fields["cache-status"].rpartition("EdgeCache;")[2]


async def test_before_send_runs_at_the_edge_alone() -> None:
    async def stamp(_: HookRequest, response: HookResponse) -> HookResponse:
        return response.with_field("x-sent", response.fields.get("x-sent", "") + "1")

    hooks = Hooks(before_send=stamp)
    two = Two(edge_hooks=hooks, shield_hooks=hooks)
    assert [(await two.ask()).fields["x-sent"] for _ in range(2)] == ["1", "1"]


# What the origin gets to see


@pytest.mark.parametrize("profile", ["safe", "rfc9111"])
async def test_the_clients_address_is_cloudflares(profile: str) -> None:
    two = Two({"PROFILE": profile, "SHIELD_TIMEOUT": "5s"})
    await two.ask(cf_connecting_ip="203.0.113.7", x_forwarded_for="203.0.113.7")
    assert two.asked[0].fields["x-forwarded-for"] == "203.0.113.7"


async def test_the_addresses_of_proxies_pass_where_a_setting_lets_them() -> None:
    two = Two({"PASSED_FIELDS": ["x-forwarded-*"]})
    await two.ask(cf_connecting_ip="203.0.113.7", x_forwarded_for="198.51.100.1, 203.0.113.7")
    assert two.asked[0].fields["x-forwarded-for"] == "198.51.100.1, 203.0.113.7"


async def test_an_address_that_a_client_makes_up_is_none() -> None:
    two = Two()
    await two.ask(x_forwarded_for="6.6.6.6")
    assert "x-forwarded-for" not in two.asked[0].fields


async def test_what_describes_clients_selects_where_it_is_nominated() -> None:
    def answer(request: RequestFacts) -> FakeResponse:
        agent = request.fields.get("user-agent", "none")
        return FakeResponse(200, {**FRESH, "vary": "User-Agent", "content-length": "4"}, agent.encode()[:4])

    two = Two(answer=answer)
    for agent in ("aaaa", "bbbb") * 2:
        assert (await two.ask(user_agent=agent)).body == agent.encode()
    assert [request.fields.get("user-agent") for request in two.asked if "user-agent" in request.fields] == [
        "aaaa",
        "bbbb",
    ]


async def test_a_language_that_was_negotiated_is_no_answer_for_others() -> None:
    two = Two(
        {"RULES": [{"path": "/**", "languages": ["en", "de"]}]},
        lambda request: FakeResponse(
            200, {**FRESH, "content-length": "2"}, request.fields["accept-language"].encode()
        ),
    )
    for accepted, body in (("de-AT", b"de"), ("fr", b"en"), ("de", b"de")):
        assert (await two.ask(accept_language=accepted)).body == body
    assert len(two.asked) == 2


# Private, and sealed


async def test_private_responses_of_a_sealed_store_are_each_ones_own() -> None:
    rules = [{"path": "/**", "data_class": "private", "key_cookies": ["s"], "shield": True}]

    def answer(request: RequestFacts) -> FakeResponse:
        fields = {"cache-control": "private, max-age=600", "content-length": "5"}
        return FakeResponse(200, fields, request.fields["cookie"][-1:].encode() * 5)

    two = Two({"RULES": rules, "STORE_KEYS": STORE_KEYS}, answer)
    for user in ("a", "b") * 2:
        assert (await two.ask(cookie=f"s={user}")).body == user.encode() * 5
    assert len(two.asked) == 2
    stored = [value.body for value in two.shield.store.values.values()]
    assert stored
    assert not any(b"aaaaa" in body or b"bbbbb" in body for body in stored if isinstance(body, bytes))


# Codings


async def test_what_the_shield_compressed_is_validated_without_its_body() -> None:
    def answer(request: RequestFacts) -> FakeResponse:
        fields = {"cache-control": "public, max-age=5", "etag": '"a"', "content-type": "text/plain"}
        if request.fields.get("if-none-match") == '"a"':
            return FakeResponse(304, fields)
        return FakeResponse(200, {**fields, "content-length": "5000"}, b"a" * 5000)

    two = Two(answer=answer)
    await two.ask()
    near = FakeEdge(two.shield.handler.settings, answer, store=two.shield.store)
    edge = FakeEdge(two.edge.handler.settings, answer, shield=FakeShield(near))
    asked = {"accept-encoding": "gzip"}
    first: Sent = (await edge.full("GET", URL, asked)).response
    assert (first.fields["content-encoding"], first.fields["etag"]) == ("gzip", 'W/"a"')
    for each in (edge, near):
        each.timing.ms += 6_000
    again: Sent = (await edge.full("GET", URL, asked)).response
    assert "detail=validated" in again.fields["cache-status"].rpartition("EdgeCache;")[2]
    assert again.body == first.body


# The origin's failures


async def test_the_origins_failure_is_told_and_not_tried_again() -> None:
    def fail(_: RequestFacts) -> FakeResponse:
        raise OriginError(OriginFailure.TIMEOUT, "silence")

    two = Two(answer=fail)
    told = await two.ask()
    assert (told.status, "origin-timeout" in told.fields["cache-status"]) == (504, True)
    assert (len(two.asked), len(two.edge.origin.requests)) == (1, 0)


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [
        pytest.param(1, ["/slow"], id="the origin is quicker: the shield is away"),
        pytest.param(6, ["/slow", "/a"], id="nor could the origin answer in time"),
    ],
)
async def test_one_url_that_takes_long_speaks_for_no_other(seconds: int, asked: list[str]) -> None:
    class Slow(FakeShield):
        async def fetch(self, request: RequestFacts, *others: Any) -> FakeResponse:
            paths.append(request.target.path)
            if request.target.path == "/slow":
                raise OriginError(OriginFailure.TIMEOUT, "no response within 5 s")
            return await super().fetch(request, *others)

    def answer(request: RequestFacts) -> FakeResponse:
        edge.timing.ms += seconds * 1000 if request.target.path == "/slow" else 0
        return _answer(request)

    two, paths = Two(), list[str]()
    edge = FakeEdge(two.edge.handler.settings, answer, shield=Slow(two.shield))
    for path in ("/slow", "/a"):
        assert (await edge.full("GET", f"https://api.example.com{path}", {})).response.status == 200
    assert paths == asked


# Purges, whatever happens

KEYS = "an example of at least 32 bytes, not to be used"
BY_KEY: Mapping[str, Any] = {
    "API_KEY_TABLE_SECRET": KEYS,
    "API_KEY_TABLE": {key_digest("k", KEYS): {"tenant": "acme"}},
    "RULES": [
        {
            "path": "/**",
            "data_class": "private",
            "api_key_in": "?key",
            "key_claims": ["tenant"],
            "shield": True,
            "lifetime": "10m",
        }
    ],
}


@pytest.mark.parametrize(
    ("variables", "asked", "purged"),
    [
        pytest.param({}, "?b=1", "?b=1", id="its URL"),
        pytest.param(
            {"RULES": [{"path": "/**", "query_drop": ["utm"]}]}, "?utm=1&b=1", "?b=1", id="an edited"
        ),
        pytest.param({"RULES": [{"path": "/**", "no_vary_search": True}]}, "?b=1", "", id="No-Vary-Search"),
        pytest.param(BY_KEY, "?b=1&key=k", "?b=1", id="a parameter that no key shows"),
    ],
)
async def test_a_purge_that_the_edge_alone_knows_is_told_under_the_keys_url(
    variables: Mapping[str, Any], asked: str, purged: str
) -> None:
    two = Two(variables)
    await two.edge.full("GET", URL + asked, {})
    two.later(1)
    name = url_mark(parse_target(URL + purged))
    two.edge.storage.marks.mark_here((name,), Lane.HARD, two.edge.timing.ms)
    two.later(1)
    await two.edge.full("GET", URL + asked, {})
    assert (len(two.asked), len(two.edge.origin.requests)) == (2, 0)


async def test_a_purge_by_a_group_that_only_a_body_names_is_not_overtaken() -> None:
    version = "1"

    def answer(_: RequestFacts) -> FakeResponse:
        body = f'{{"id": "g", "version": {version}}}'.encode()
        fields = {"content-type": "application/json", "content-length": str(len(body))}
        return FakeResponse(200, {**FRESH, **fields}, body)

    two = Two({"RULES": [{"path": "/**", "groups_from": ["id"]}]}, answer)
    await two.ask()
    other = FakeEdge(two.edge.handler.settings, answer, shield=FakeShield(two.shield))
    version = "2"
    two.later(1)
    other.timing.ms = two.edge.timing.ms
    other.storage.marks.mark_here((group_mark("g"),), Lane.SOFT, other.timing.ms)
    other.timing.ms += 1
    sent: Sent = (await other.full("GET", URL, {})).response
    assert b'"version": 2' in sent.body


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("get"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("change"), st.just(0), st.just(False)),
        st.tuples(st.just("purge"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 300, 4_000, 9_000]), st.just(False)),
    ),
    min_size=10,
    max_size=40,
)
"""What happens, at which of two edges or for how long; a purge of the group, or a client that insists."""


@dataclass
class _Still(FakeTiming):
    """A clock that a test alone moves."""

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)


@settings(max_examples=examples(25), deadline=None)
@given(
    steps=STEPS,
    lifetime=st.sampled_from(["max-age=5", "max-age=60", "max-age=5, stale-while-revalidate=20"]),
    is_tagged=st.booleans(),
    lane=st.sampled_from(Lane),
)
def test_nothing_that_an_edge_knows_to_be_purged_comes_back_by_the_shield(
    steps: list[tuple[str, int, bool]], lifetime: str, is_tagged: bool, lane: Lane
) -> None:
    asyncio.run(_hold(steps, lifetime, lane, is_tagged=is_tagged))


async def _hold(steps: list[tuple[str, int, bool]], lifetime: str, lane: Lane, *, is_tagged: bool) -> None:
    timing, version, least = _Still(), 1, [1, 1]

    def answer(request: RequestFacts) -> FakeResponse:
        tag = f'"{version}"'
        fields = {"cache-control": f"public, {lifetime}", "cache-groups": '"g"'}
        if is_tagged and request.fields.get("if-none-match") == tag:
            return FakeResponse(304, {**fields, "etag": tag})
        return FakeResponse(200, fields | ({"etag": tag} if is_tagged else {}), str(version).encode())

    variables = {"ORIGIN": "https://o.example", "LIFETIME_JITTER": 0}
    shield = FakeEdge(load({**variables, "CACHE_NAME": "Shield"}), answer, timing=timing)
    edges = [FakeEdge(load(variables), answer, timing=timing, shield=FakeShield(shield)) for _ in range(2)]
    for what, number, is_other in steps:
        match what:
            case "change":
                version += 1
            case "wait":
                timing.ms += number
            case "purge":
                # What is asked for in the same millisecond is neither before nor after it.
                timing.ms += 1
                name = group_mark("g") if is_other else url_mark(parse_target(URL))
                edges[number].storage.marks.mark_here((name,), lane, timing.ms)
                least[number] = version
                timing.ms += 1
            case "get":
                fields = {"cache-control": "no-cache"} if is_other else {}
                sent: Sent = (await edges[number].full("GET", URL, fields)).response
                is_stale = any(word in sent.fields["cache-status"] for word in ("stale", "throttled"))
                assert int(sent.body) >= least[number] or (lane is Lane.SOFT and is_stale)
    assert not shield.faults


# Whoever asks, for whatever

SELECTING = {
    "language": ("accept-language",),
    "own": ("cookie",),
    "agent": ("user-agent", "x-v"),
    "plain": (),
}
"""What the responses of each path depend on."""
RULES: list[Mapping[str, Any]] = [
    {"path": "/language", "languages": ["en", "de"]},
    {"path": "/own", "data_class": "private", "key_cookies": ["s"], "shield": True},
    {"path": "/plain", "query_drop": ["utm"], "store_on": "never", "shield": True},
]
VALUES = {
    "accept-encoding": ("gzip",),
    "accept-language": ("de-AT", "en", "fr"),
    "authorization": ("Bearer a",),
    "cache-control": ("no-cache",),
    "cookie": ("s=1", "s=2", "t=3"),
    "user-agent": ("phone", "desk"),
    "x-v": ("1", "2"),
}
ASKED = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["GET", "GET", "HEAD"]),
        st.sampled_from([*SELECTING, "PLAIN", "plain?utm=1&b=1", "agent?b=1"]),
        st.fixed_dictionaries({}, optional={name: st.sampled_from(each) for name, each in VALUES.items()}),
        st.sampled_from([0, 0, 6]),
    ),
    min_size=5,
    max_size=20,
)
"""Which edge is asked, how and for what, and how many seconds later."""


def _selected_by(request: RequestFacts) -> FakeResponse:
    names = SELECTING.get(request.target.path[1:], ())
    body = f"{request.target} {[request.fields.get(name) for name in names]}".encode()
    is_own = "cookie" in names
    fields = {"cache-control": f"{'private' if is_own else 'public'}, max-age=5", "vary": ", ".join(names)}
    return FakeResponse(200, {**fields, "content-length": str(len(body))}, body)


@settings(max_examples=examples(25), deadline=None)
@given(asked=ASKED, profile=st.sampled_from(["safe", "rfc9111"]), is_sealed=st.booleans())
def test_nobody_can_tell_an_edge_before_its_shield_from_the_origin(
    asked: list[tuple[int, str, str, dict[str, str], int]], profile: str, is_sealed: bool
) -> None:
    async def run() -> None:
        given = {"ORIGIN": "https://o.example", "PROFILE": profile, "RULES": RULES}
        own, timing = load({**given, **({"STORE_KEYS": STORE_KEYS} if is_sealed else {})}), FakeTiming()
        shield = FakeEdge(own, _selected_by, timing=timing)
        edges = [FakeEdge(own, _selected_by, timing=timing, shield=FakeShield(shield)) for _ in range(2)]
        for number, method, path, fields, seconds in asked:
            timing.ms += seconds * 1000
            url, alone = f"https://api.example.com/{path}", FakeEdge(own, _selected_by)
            sent: Sent = (await edges[number].full(method, url, fields)).response
            expected: Sent = (await alone.full(method, url, fields)).response
            assert (sent.status, sent.body if method == "GET" else b"") == (
                expected.status,
                expected.body if method == "GET" else b"",
            )
            assert not edges[number].faults
        assert not shield.faults

    asyncio.run(run())
