import pytest

from cachewire.settings import Rule
from origin_sdk._edge.explanation import explain
from origin_sdk._values.project import Project

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
