"""What a rule keeps out of the cache, or for one identity, is kept so under every spelling."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any
from urllib.parse import unquote

import pytest
from django.http.request import split_domain_port
from django.urls import re_path
from django.urls.exceptions import Resolver404
from django.urls.resolvers import RegexPattern, URLResolver
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match, Route
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, RequestRedirect
from werkzeug.routing import Rule as Rule_
from werkzeug.sansio.utils import get_host

from origin_sdk_wire.choices import DataClass, Profile, SingleFlight, StoreOn
from origin_sdk_wire.disguise import AMBIGUOUS, keyed_targets, strictest_rule
from origin_sdk_wire.key import Target, parse_target
from origin_sdk_wire.rules import KeyBody
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import Rule, Settings

PLAIN = Rule()
SETTINGS = Settings(
    rules=(
        Rule("open", paths=("/account/logo.png",)),
        Rule("account", paths=("/account", "/account/**"), data_class=DataClass.NEVER),
        Rule("raw", paths=("/raw/*",), bypass=True),
        Rule("secret", paths=("/Secret/**",), data_class=DataClass.NEVER),
        Rule("café", paths=("/c%C3%A4f%C3%A9",), data_class=DataClass.NEVER),
        Rule("partners", paths=("/partners/**",), data_class=DataClass.PRIVATE, fields=("x-api-key",)),
        Rule("clients", paths=("/clients/",), data_class=DataClass.PRIVATE, fields=("x-api-key",)),
        Rule("tenants", paths=("/tenants/**",), data_class=DataClass.PRIVATE, fields=("x-tenant",)),
    )
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/account/x.css", "account"),
        ("/account;v=1", "account"),
        ("/account%2Fx.css", "account"),
        ("/x/..%2faccount", "account"),
        ("/x/..%5caccount", "account"),
        ("/x/..;/account", "account"),
        ("/x/%252e%252e%252faccount", "account"),
        ("/account%3Fx.css", "account"),
        ("/account%00.css", "account"),
        ("/ACCOUNT", "account"),
        ("//account", "account"),
        ("/account/", "account"),
        ("/raw/../RAW/x", "raw"),
        ("/account%20", "account"),
        ("/account.", "account"),
        ("/./account%2e/", "account"),
        ("/%C5%BFecret/x", "secret"),
        ("/SECRET/x", "secret"),
        ("/secret/x", "secret"),
        ("/c%C3%A4f%C3%A9", "café"),
        ("/C%C3%84F%C3%89", "café"),
        ("/c%25C3%25A4f%25C3%25A9", "café"),
        ("/PARTNERS/x", "partners"),
        ("/partners%2fx", "partners"),
        ("/partners;a/x", "partners"),
        ("/partners%5Cx", "partners"),
        ("//partners//x", "partners"),
        ("/x/..%2Fpartners/x", "partners"),
        ("/CLIENTS", "clients"),
        ("/clients", "clients"),
        ("/tenants/..%2Fpartners/x", "ambiguous"),
        ("/TENANTS/x", "tenants"),
        ("/accounts", None),
        ("/accounts.css", None),
        ("/a/account", None),
        ("/a/account.css", None),
        ("/Raw", None),
        ("/products%2F7.json", None),
    ],
)
def test_the_rule_that_a_disguised_path_falls_under(path: str, name: str | None) -> None:
    rule = strictest_rule(PLAIN, "GET", parse_target(f"https://a.test{path}"), SETTINGS)

    assert rule.name == (name or "default")


def test_nothing_is_looked_at_where_no_rule_forbids() -> None:
    assert strictest_rule(PLAIN, "GET", parse_target("https://a.test/ACCOUNT"), Settings()) is PLAIN


def test_the_profile_of_the_rfcs_goes_by_the_spelling() -> None:
    target = parse_target("https://a.test/ACCOUNT")

    assert strictest_rule(PLAIN, "GET", target, replace(SETTINGS, profile=Profile.RFC9111)) is PLAIN


HOSTS = Settings(
    rules=(
        Rule("secret", hosts=("secret.example",), data_class=DataClass.NEVER),
        Rule("tenants", hosts=("*.tenants.example",), data_class=DataClass.PRIVATE, fields=("x-tenant",)),
    )
)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("secret.example", "secret"),
        ("SECRET.example", "secret"),
        ("secret.example:8443", "secret"),
        ("secret.example.", "secret"),
        ("secret.example.:8443", "secret"),
        ("a.tenants.example:8080", "tenants"),
        ("a.tenants.example.", "tenants"),
        ("another.example:8443", "default"),
    ],
)
def test_the_rule_that_a_disguised_host_falls_under(host: str, name: str) -> None:
    target = parse_target(f"https://{host}/x")
    found = next((rule for rule in HOSTS.rules if rule.matches("GET", target)), PLAIN)

    assert strictest_rule(found, "GET", target, HOSTS).name == name


def test_a_path_whose_readings_are_of_different_identities_is_nobodys() -> None:
    target = parse_target("https://a.test/tenants/..%2Fpartners/x")
    tenants = SETTINGS.rules[-1]

    assert strictest_rule(tenants, "GET", target, SETTINGS) is AMBIGUOUS


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            Rule("shop", paths=("/shop/**",), bypass_cookies=frozenset({"sid"})), id="past the cache"
        ),
        pytest.param(Rule("shop", paths=("/shop/**",), store_on=StoreOn.NEVER), id="out of KV"),
        pytest.param(Rule("shop", paths=("/shop/**",), seal=Seal.ENCRYPT), id="sealed in KV"),
    ],
)
@pytest.mark.parametrize("path", ["/SHOP/x", "//shop/x", "/shop%2Fx"])
def test_what_is_kept_past_the_cache_or_apart_is_so_under_each_spelling(rule: Rule, path: str) -> None:
    target = parse_target(f"https://a.test{path}")
    assert strictest_rule(PLAIN, "GET", target, Settings(rules=(rule,))) is rule


A, B = frozenset({"a"}), frozenset({"b", "wp_*"})
IN_MEMORY: dict[str, Any] = {"store_on": StoreOn.NEVER, "single_flight": SingleFlight.ISOLATE}
PRIVATE: dict[str, Any] = {"data_class": DataClass.PRIVATE, "fields": ("x-tenant",)}


@pytest.mark.parametrize(
    ("shop", "other", "joined"),
    [
        pytest.param({"bypass_cookies": A}, {"bypass_cookies": B}, {"bypass_cookies": A | B}, id="cookies"),
        pytest.param(PRIVATE, {"bypass_cookies": B}, {"bypass_cookies": B}, id="cookies beside an identity"),
        pytest.param({"bypass_cookies": A}, {"store_on": StoreOn.NEVER}, IN_MEMORY, id="memory alone"),
        pytest.param(
            {"bypass_cookies": A, "single_flight": SingleFlight.GLOBAL},
            {"store_on": StoreOn.NEVER},
            IN_MEMORY,
            id="memory alone, so of no other isolate",
        ),
        pytest.param(
            {"store_on": StoreOn.NEVER}, {"seal": Seal.ENCRYPT}, {"seal": Seal.ENCRYPT}, id="a seal"
        ),
        pytest.param(
            {**PRIVATE, "seal": Seal.NONE},
            {"seal": Seal.AUTHENTICATE},
            {"seal": Seal.AUTHENTICATE},
            id="a seal beside none",
        ),
        pytest.param(PRIVATE, {"seal": Seal.NONE}, {}, id="no seal takes none away"),
        pytest.param({"bypass_cookies": A}, {"lifetime": 9.0}, {}, id="nothing to be careful of"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["as it is spelt", "as another reading"])
def test_what_any_reading_is_careful_of_holds(
    shop: dict[str, Any], other: dict[str, Any], joined: dict[str, Any], is_first: bool
) -> None:
    own, further = Rule("shop", paths=("/shop/**",), **shop), Rule("other", paths=("/other/**",), **other)
    settings = Settings(rules=(own, further))
    path = "/shop/..%2Fother/x" if is_first else "/other/..%2Fshop/x"
    target = parse_target(f"https://a.test{path}")
    spelt = own if is_first else further

    rule = strictest_rule(spelt, "GET", target, settings)

    for name, value in joined.items():
        assert getattr(rule, name) == value
    strictest = own if rule.name == "shop" else further
    changed = {
        each.name for each in fields(Rule) if getattr(rule, each.name) != getattr(strictest, each.name)
    }
    assert changed <= {"bypass_cookies", "store_on", "single_flight", "seal"}
    if not joined:
        assert rule is own


def test_a_reading_under_which_a_credential_is_revoked_is_not_passed_over() -> None:
    private = Rule("open", paths=("/open/**",), data_class=DataClass.PRIVATE, claims=("sub",))
    revocable = replace(private, name="inbox", paths=("/inbox/**",), revoked_by=("user-{sub}",))
    settings = Settings(rules=(private, revocable))
    target = parse_target("https://a.test/open/..%2Finbox/x")

    assert strictest_rule(private, "GET", target, settings) is AMBIGUOUS


# What a purge of a URL names


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("/signed/1?page=2&key=secret", ["/signed/1?page=2"], id="by GET alone"),
        pytest.param("/search?page=2&key=secret", ["/search"], id="by GET and QUERY"),
        pytest.param("/find?page=2", ["/find?page=2", "/find"], id="by QUERY otherwise than by GET"),
        pytest.param("/FIND?page=2", ["/FIND?page=2", "/FIND"], id="so in another spelling"),
    ],
)
def test_a_purge_names_what_may_be_stored_and_no_more(url: str, expected: list[str]) -> None:
    by_query = frozenset({"QUERY"})
    rules = (
        Rule("signed", paths=("/signed/*",), methods=frozenset({"GET"}), parameters=("key",)),
        Rule("search", paths=("/search",), parameters=("key",), query_drop=("page",), body=KeyBody.RAW),
        Rule("find", paths=("/find",), methods=by_query, query_drop=("page",), body=KeyBody.RAW),
    )
    found = keyed_targets(parse_target(f"https://a.test{url}"), rules)

    assert [str(target).removeprefix("https://a.test") for target in found] == expected


# What the routers of frameworks take for the same path


def _view(*_: object) -> None:
    """Nothing is served here."""


_STARLETTE = Route("/partners/{rest:path}", _view)
_WERKZEUG = Map([Rule_("/partners/<path:rest>", endpoint="partners")], merge_slashes=True)
_DJANGO = URLResolver(RegexPattern(r"^/"), [re_path(r"^(?i:partners)/(?P<rest>.*)$", _view)])


def _in_starlette(path: str) -> bool:
    scope = {"type": "http", "method": "GET", "path": path, "root_path": ""}
    return _STARLETTE.matches(scope)[0] is Match.FULL


def _in_werkzeug(path: str) -> bool:
    try:
        _WERKZEUG.bind("a.test").match(path)
    except RequestRedirect as redirect:
        return "/partners/" in redirect.new_url
    except NotFound:
        return False
    return True


def _in_django(path: str) -> bool:
    try:
        _DJANGO.resolve(path)
    except Resolver404:
        return False
    return True


_ROUTERS = [_in_starlette, _in_werkzeug, _in_django]
_PIECES = st.sampled_from(
    [
        "/", "/", "partners", "PARTNERS", "Partner%73", "%70artners", "part%C5%BFners", "%2f", "%2F", "%5c",
        "\\", ";a", "..", ".", "%2e", "%252f", "%25", "x", "%00", "%20", "//", "%3b", "%3f",
        "tenants", "open", ".css",
    ]
)  # fmt: skip


@pytest.mark.parametrize("is_routed", _ROUTERS)
@given(st.lists(_PIECES, max_size=8).map(lambda pieces: "/" + "".join(pieces)))
def test_what_a_router_takes_for_private_falls_under_its_rule(
    is_routed: Callable[[str], bool], spelt: str
) -> None:
    target = parse_target(f"https://a.test{spelt}")
    if is_routed(unquote(target.path)):
        assert _ruled(target, SETTINGS).name in {"partners", "account", "ambiguous"}


def _ruled(target: Target, settings: Settings) -> Rule:
    found = next((rule for rule in settings.rules if rule.matches("GET", target)), PLAIN)
    return strictest_rule(found, "GET", target, settings)


_HOSTS = st.lists(
    st.sampled_from(["secret", "SECRET", ".", "example", "Example", ":443", ":80", ":8443", ":", "a"]),
    max_size=6,
).map("".join)


@given(_HOSTS)
def test_what_a_framework_takes_for_a_host_falls_under_its_rule(host: str) -> None:
    if not re.fullmatch(r"[a-zA-Z.]+(:[0-9]*)?", host):
        return
    target = parse_target(f"https://{host}/x")
    read = {
        split_domain_port(host)[0],
        get_host("https", host).partition(":")[0],
        host.partition(":")[0].lower(),
    }
    if "secret.example" in read:
        assert _ruled(target, HOSTS).name == "secret"
