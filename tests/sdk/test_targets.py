from dataclasses import replace

import pytest

from origin_sdk._values.targets import Purge
from origin_sdk.errors import InvalidRequest
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import url_mark
from origin_sdk_wire.rules import KeyRule

SHARED = "m2/s/shared"

RULES = (KeyRule(paths=("/search/**",), query_drop=("utm_*",), query_sort=True),)


@pytest.mark.parametrize(
    ("targets", "marks"),
    [
        pytest.param({"groups": "a"}, ["m2/s/group/a"], id="one text is one group, not its letters"),
        pytest.param(
            {"groups": ["a", "b", "a"]}, ["m2/s/group/a", "m2/s/group/b"], id="duplicates are merged"
        ),
        pytest.param(
            {"groups": "a", "hard": True},
            ["m2/h/group/a", "m2/s/group/a"],
            id="a hard purge has its own lane",
        ),
        pytest.param(
            {"urls": ["https://a.example/x", "http://A.example:80/y/../x"]},
            [SHARED, "m2/s/url/a.example/x"],
            id="http and https, and all spellings, are one mark",
        ),
        pytest.param(
            {"urls": "a.example/x"}, [SHARED, "m2/s/url/a.example/x"], id="the scheme may be left out"
        ),
        pytest.param(
            {"urls": "a.example/search/x?b=1&utm_source=y&a=2"},
            [SHARED, "m2/s/url/a.example/search/x?a=2&b=1"],
            id="a URL is marked as the rule keys it",
        ),
        pytest.param(
            {"hosts": "A.Example:8443"},
            [SHARED, "m2/s/host/a.example:8443"],
            id="a host with its port",
        ),
        pytest.param(
            {"hosts": "https://a.example/"},
            [SHARED, "m2/s/host/a.example"],
            id="a host given as a URL",
        ),
        pytest.param(
            {"prefixes": ["a.example/x/", "a.example/y"]},
            [SHARED, "m2/s/prefix/a.example/x", "m2/s/prefix/a.example/y", "m2/s/prefixes/a.example"],
            id="prefixes come before the index that leads to them",
        ),
        pytest.param(
            {"prefixes": "a.example"},
            [SHARED, "m2/s/prefix/a.example", "m2/s/prefixes/a.example"],
            id="the root",
        ),
        pytest.param(
            {"everything": True, "groups": "a", "urls": "a.example/"},
            [SHARED, "m2/s/everything"],
            id="everything holds the rest",
        ),
    ],
)
def test_the_marks_of_a_purge(targets: dict[str, object], marks: list[str]) -> None:
    assert list(Purge.of(**targets).marks(RULES)) == marks  # type: ignore[arg-type]  # a table of arguments


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        pytest.param({}, "nothing to purge", id="nothing"),
        pytest.param({"urls": []}, "nothing to purge", id="no URL of a list"),
        pytest.param({"urls": "ftp://a.example/"}, "ftp", id="another scheme"),
        pytest.param({"urls": "https://u:p@a.example/"}, "user information", id="user information"),
        pytest.param({"urls": "/only/a/path"}, "no valid host", id="a path alone"),
        pytest.param({"groups": " a"}, "' a'", id="a group with a space at its end"),
        pytest.param({"groups": ""}, "''", id="a group without a name"),
        pytest.param({"groups": "x" * 257}, "256", id="a group that no response can carry"),
        pytest.param({"hosts": "a.example/x"}, "prefix", id="a host with a path"),
        pytest.param({"prefixes": "a.example/x?y"}, "query", id="a prefix with a query"),
        pytest.param(
            {"prefixes": "a.example" + "/x" * 17}, "segments", id="a prefix too deep to be looked for"
        ),
        pytest.param({"groups": "a", "delete": True}, "hard=True", id="deleting what is only to be stale"),
    ],
)
def test_what_cannot_be_purged_is_refused_with_the_value_named(
    targets: dict[str, object], named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        Purge.of(**targets)  # type: ignore[arg-type]  # a table of arguments


def test_the_part_that_needs_some_marks() -> None:
    purge = Purge.of(
        urls="a.example/search/x?utm_a=1", groups=["a", "b"], prefixes="a.example/p", hosts="a.example"
    )
    part = purge.only(["m2/s/url/a.example/search/x", "m2/s/group/b", "m2/s/prefixes/a.example"], RULES)
    assert part == Purge.of(urls="a.example/search/x?utm_a=1", groups="b", prefixes="a.example/p")
    assert purge.only([]).is_empty


def test_a_purge_survives_being_kept_as_json() -> None:
    purge = Purge.of(
        urls="a.example/x", groups=["g"], prefixes="a.example/p", hard=True, delete=True, reason="why"
    )
    assert Purge.from_json(purge.as_json()) == purge


def test_json_of_a_newer_version_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="regions"):
        Purge.from_json({"groups": ["a"], "regions": ["eu"]})


@pytest.mark.parametrize(
    ("purge", "text"),
    [
        (Purge.of(groups="a"), "soft: group a"),
        (Purge.of(prefixes="a.example/p", hard=True), "hard: prefix https://a.example/p"),
        (Purge.of(urls=["a.example/1", "a.example/2"], hosts="b.example"), "soft: 2 urls, host b.example"),
        (Purge.of(everything=True), "soft: everything"),
    ],
)
def test_a_purge_in_words(purge: Purge, text: str) -> None:
    assert str(purge) == text


def test_soft_and_hard_are_not_merged() -> None:
    with pytest.raises(InvalidRequest, match="merged"):
        Purge.of(groups="a").merged_with(Purge.of(groups="b", hard=True))


@pytest.mark.parametrize(
    ("url", "queries"),
    [
        pytest.param("https://a.test/shop/1?id=1&x=2", ["id=1"], id="as it is spelt"),
        pytest.param("https://a.test/SHOP/1?id=1&x=2", ["id=1&x=2", "id=1"], id="upper case"),
        pytest.param("https://a.test//shop/1?id=1&x=2", ["id=1&x=2", "id=1"], id="an empty segment"),
        pytest.param("https://a.test/shop%2F1?id=1&x=2", ["id=1&x=2", "id=1"], id="an encoded slash"),
        pytest.param("https://a.test/SHOP/1", [None], id="no query"),
        pytest.param("https://a.test/other?id=1&x=2", ["id=1&x=2"], id="no rule"),
    ],
)
def test_a_purge_reaches_what_the_rule_of_another_reading_keyed(url: str, queries: list[str | None]) -> None:
    rules = (KeyRule(paths=("/shop/**",), query_keep=("id",)),)
    target = parse_target(url)
    names = [url_mark(replace(target, query=query)) for query in queries]
    assert list(Purge.of(urls=[url]).marks(rules)) == [SHARED, *(f"m2/s/{name}" for name in names)]


def test_a_line_of_a_log_shows_no_query() -> None:
    assert str(Purge.of(urls=["https://a.example/x?api_key=s3cr3t"])) == "soft: url https://a.example/x?…"
    assert str(Purge.of(urls=["https://a.example/x"], hard=True)) == "hard: url https://a.example/x"
