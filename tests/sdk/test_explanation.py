from typing import Any

import pytest

from origin_sdk._edge.explanation import explain
from origin_sdk._values.project import Project
from origin_sdk_wire.choices import DataClass, StoreOn
from origin_sdk_wire.rules import KeyBody
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import Rule

PROJECT = Project(
    rules=(
        Rule("writes", methods=frozenset({"POST"})),
        Rule("internal", hosts=("*.internal.example",), bypass=True),
        Rule("search", paths=("/search/**",), query_drop=("utm_*",), query_sort=True),
        Rule("tenants", paths=("/t/**",), fields=("x-tenant",), cookies=("sid",), claims=("sub",)),
    )
)


@pytest.mark.parametrize(
    ("url", "rule", "key"),
    [
        pytest.param("https://a.example/x", "", "r1/https/a.example/x", id="no rule"),
        pytest.param(
            "https://a.example/search/?b=1&utm_x=2&a=3",
            "search",
            "r1/https/a.example/search/?a=3&b=1",
            id="edits",
        ),
        pytest.param("https://b.internal.example/x", "internal", "", id="kept from the edge"),
        pytest.param("a.example/t/x", "tenants", "r1/https/a.example/t/x", id="an identity"),
    ],
)
def test_rule_and_key(url: str, rule: str, key: str) -> None:
    explanation = explain(url, PROJECT)
    assert (explanation.rule, explanation.key) == (rule, key)


@pytest.mark.parametrize(
    ("url", "method", "name", "why"),
    [
        ("https://a.example/search/", "GET", "writes", "methods = ['POST'] without GET"),
        (
            "https://a.example/search/",
            "GET",
            "internal",
            "host = ['*.internal.example'] doesn't match a.example",
        ),
        ("https://a.example/search/", "GET", "search", "matches"),
        ("https://a.example/search/", "GET", "tenants", "path = ['/t/**'] doesn't match /search/"),
        ("https://a.example/search/", "POST", "search", "an earlier rule applies"),
    ],
)
def test_why_each_rule_applies_or_not(url: str, method: str, name: str, why: str) -> None:
    verdicts = {verdict.name: verdict.why for verdict in explain(url, PROJECT, method).verdicts}
    assert verdicts[name] == why


@pytest.mark.parametrize(
    ("url", "merged"),
    [
        pytest.param("https://A.example/x", ["spelling", "all clients"], id="another spelling"),
        pytest.param(
            "https://a.example/search/?utm_x=2&a=3",
            ["query parameters that the rule drops, here utm_x=2", "the order", "all clients"],
            id="what the rule drops, and the order",
        ),
        pytest.param("https://a.example/t/x", [], id="nothing: clients differ by identity"),
    ],
)
def test_what_shares_the_key(url: str, merged: list[str]) -> None:
    said = explain(url, PROJECT).merged
    assert [line.startswith(start) for line, start in zip(said, merged, strict=True)] == [True] * len(merged)


@pytest.mark.parametrize(
    ("url", "split"),
    [
        ("https://a.example/t/x", ["request field x-tenant", "cookie sid", "token claim sub"]),
        ("https://a.example/x?q", ["the query, letter by letter"]),
        ("https://a.example/" + "x" * 600, ["a digest: the target is longer than the 512 bytes of a KV key"]),
        (
            "https://b.internal.example/",
            ["nothing: the rule keeps it from the edge, each request goes to the origin"],
        ),
    ],
)
def test_what_gives_requests_keys_apart(url: str, split: list[str]) -> None:
    assert set(split) <= set(explain(url, PROJECT).split_by)


def test_by_which_marks_it_is_purged() -> None:
    assert explain("https://a.example/search/x?utm_y=1", PROJECT).marks == (
        "everything",
        "host/a.example",
        "url/a.example/search/x",
        "prefix/a.example",
        "prefix/a.example/search",
        "prefix/a.example/search/x",
    )


STRICT = Project(
    rules=(
        Rule("account", paths=("/account/**",), data_class=DataClass.NEVER),
        Rule("secret", hosts=("secret.example",), bypass=True),
        Rule("pages", paths=("/**",)),
    )
)


@pytest.mark.parametrize(
    ("url", "rule", "said"),
    [
        pytest.param("https://a.example/account/x", "account", "", id="as it is spelt"),
        pytest.param("https://a.example/x", "pages", "", id="no reading is stricter"),
        pytest.param("https://a.example/ACCOUNT/x", "account", "/account/x", id="by letters of another case"),
        pytest.param("https://a.example/account;v=1/x", "account", "/account/x", id="without parameters"),
        pytest.param("https://a.example/p/..%2Faccount/x", "account", "/account/x", id="resolved"),
        pytest.param("https://secret.example:8443/x", "secret", "secret.example/x", id="by a host's port"),
    ],
)
def test_a_stricter_rule_of_another_reading_is_named_with_the_reading(url: str, rule: str, said: str) -> None:
    explanation = explain(url, STRICT)
    [applied] = [verdict for verdict in explanation.verdicts if verdict.applies]
    assert (explanation.rule, applied.name) == (rule, rule)
    assert [said in reading.lower() and rule in reading for reading in explanation.readings] == (
        [True] if said else []
    )
    assert bool(explanation.key) == (rule == "pages")


def test_readings_of_different_identities_are_named() -> None:
    rules = (
        Rule("ann", paths=("/ann/**",), data_class=DataClass.PRIVATE, cookies=("a",)),
        Rule("bob", paths=("/bob/**",), data_class=DataClass.PRIVATE, cookies=("b",)),
    )
    explanation = explain("https://a.example/ann/..%2Fbob/x", Project(rules=rules))
    assert (explanation.key, len(explanation.readings)) == ("", 1)
    assert "different identities" in explanation.readings[0]


def test_credentials_are_told_and_what_revokes_them() -> None:
    rule = Rule(
        "keys",
        claims=("tenant",),
        api_key_fields=("x-api-key",),
        api_key_parameters=("key",),
        parameters=("sig",),
        data_class=DataClass.PRIVATE,
        revoked_by=("key-{id}",),
    )
    explanation = explain("https://a.example/x?key=secret&sig=1&a=2", Project(rules=(rule,)))

    assert explanation.key == "r1/https/a.example/x?a=2"
    assert {"API key in x-api-key or ?key: claim tenant", "query parameter sig, as a digest"} <= set(
        explanation.split_by
    )
    assert explanation.revoked_by == ("key-{id}",)
    assert not any("drops" in line for line in explanation.merged)


def test_what_is_brought_down_to_few_values_is_told() -> None:
    rule = Rule(
        "few", languages=("en", "de"), media_types=("text/html",), device_field="x", ignore_origin=True
    )
    explanation = explain("https://a.example/", Project(rules=(rule,), key_version="7"))

    merged = " ".join(explanation.merged)
    assert all(each in merged for each in ("Accept-Language", "en, de", "text/html", "devices", "Origin"))
    assert "the version 7" in explanation.split_by


@pytest.mark.parametrize(
    ("method", "key", "split"),
    [
        pytest.param("GET", True, False, id="GET"),
        pytest.param("QUERY", True, True, id="QUERY"),
        pytest.param("POST", True, True, id="POST"),
        pytest.param("PUT", False, False, id="what no content makes a look-up of"),
    ],
)
def test_a_content_in_the_key_is_told(method: str, key: bool, split: bool) -> None:
    project = Project(rules=(Rule("search", paths=("/search",), body=KeyBody.JSON),))
    explanation = explain("https://a.example/search", project, method)
    assert bool(explanation.key) == key
    assert any("content (json)" in line for line in explanation.split_by) == split


def test_a_url_that_shows_what_another_rule_hides_has_no_key() -> None:
    hiding = Rule("mine", paths=("/mine/**",), data_class=DataClass.PRIVATE, parameters=("api_key",))
    project = Project(rules=(hiding,))

    for query in ("api_key=s3cr3t", "API_KEY=s3cr3t", "a=1;api_key=s3cr3t"):
        explanation = explain(f"https://a.example/x?{query}", project)
        assert not explanation.key
        assert "parameter api_key, which another rule hides" in explanation.split_by[0]
        assert "undeclared-credential" in explanation.split_by[0]
        assert "s3cr3t" not in repr(explanation.marks)
    assert explain("https://a.example/mine/x?api_key=s3cr3t", project).key


@pytest.mark.parametrize(
    ("rule", "project", "told", "not_told"),
    [
        pytest.param(
            {"claims": ("sub",)},
            {},
            ["any cookie", "ignore_cookies = true", "api-key", "PASSED_FIELDS"],
            [" authorization,"],
            id="a token",
        ),
        pytest.param(
            {"claims": ("sub",), "ignore_cookies": True}, {}, ["api-key"], ["cookie"], id="without cookies"
        ),
        pytest.param({"cookies": ("sid",)}, {}, [" authorization,"], ["any cookie"], id="a cookie"),
        pytest.param(
            {"cookies": ("sid",)},
            {"passed_fields": frozenset({"authorization"})},
            ["api-key"],
            [" authorization,"],
            id="what makes no difference",
        ),
        pytest.param(
            {"claims": ("tenant",), "api_key_fields": ("x-own-key",)},
            {},
            ["any cookie", "authorization"],
            ["x-own-key"],
            id="an API key",
        ),
        pytest.param(
            {"data_class": DataClass.PUBLIC, "bypass_cookies": frozenset({"sid", "wp_*"})},
            {},
            ["sid or wp_* (bypass_cookies)"],
            ["undeclared"],
            id="bypass_cookies",
        ),
    ],
)
def test_what_makes_requests_bypass_the_cache_is_named_with_the_remedy(
    rule: dict[str, Any], project: dict[str, Any], told: list[str], not_told: list[str]
) -> None:
    made = Rule("mine", **{"data_class": DataClass.PRIVATE, **rule})
    passed = "\n".join(explain("https://a.example/x", Project(rules=(made,), **project)).passed)
    assert all(each in passed for each in told)
    assert not any(each in passed for each in not_told)


def test_parameters_that_another_rule_hides_are_named() -> None:
    hiding = Rule("mine", paths=("/mine/**",), data_class=DataClass.PRIVATE, parameters=("api_key",))
    project = Project(rules=(hiding, Rule("shop", paths=("/shop/**",))))
    assert "api_key" in explain("https://a.example/shop/x", project).passed[0]
    assert not any("api_key" in each for each in explain("https://a.example/mine/x", project).passed)


def test_what_other_readings_are_careful_of_is_told() -> None:
    shop = Rule("shop", paths=("/shop/**",), bypass_cookies=frozenset({"sid"}))
    other = Rule("other", paths=("/other/**",), bypass_cookies=frozenset({"wp_*"}), store_on=StoreOn.NEVER)
    explanation = explain("https://a.example/shop/..%2Fother/x", Project(rules=(shop, other)))
    assert [each.name for each in explanation.verdicts if each.applies] == ["shop"]
    [reading] = explanation.readings
    assert all(each in reading for each in ("bypass_cookies has wp_*, too", "store_on is 'never'"))
    assert "sid or wp_*" in explanation.passed[0]


def test_a_content_has_no_key_where_its_url_may_say_otherwise() -> None:
    project = Project(rules=(Rule("graphql", paths=("/graphql",), body=KeyBody.GRAPHQL),))
    content, fields = b'{"query": "{ a }"}', {"content-type": "application/json"}

    def key(query: str) -> str:
        url = f"https://a.example/graphql{query}"
        return explain(url, project, "POST", content=content, fields=fields).key

    assert key("")
    assert not key("?query=mutation{a}")


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        pytest.param(Rule(), "in Workers KV, authenticated where STORE_KEYS is set", id="public"),
        pytest.param(
            Rule(data_class=DataClass.PRIVATE, cookies=("sid",)),
            "in Workers KV, encrypted where STORE_KEYS is set",
            id="private",
        ),
        pytest.param(Rule(seal=Seal.NONE), "in Workers KV, without a seal", id="open"),
        pytest.param(Rule(store_on=StoreOn.NEVER), "in the memory of isolates alone", id="in memory"),
        pytest.param(Rule(data_class=DataClass.NEVER), "nowhere: it passes through", id="never"),
    ],
)
def test_it_is_told_where_a_response_lies(rule: Rule, kept: str) -> None:
    assert explain("https://a.example/x", Project(rules=(rule,))).kept == kept


def test_it_is_told_what_hooks_see() -> None:
    rule = Rule(paths=("/x",), hook_request_bytes=10, hook_response_bytes=20)
    told = explain("https://a.example/x", Project(rules=(rule,)))
    assert [line.rpartition("to ")[2] for line in told.hooks] == ["10 bytes", "20 bytes"]
    assert explain("https://a.example/y", Project(rules=(rule,))).hooks == ()
