from collections.abc import Mapping

import pytest

from origin_sdk_wire.bounds import purge_bound_seconds
from origin_sdk_wire.directives import (
    parse_cache_control,
    request_directives,
    response_directives,
    withdrawn_by_invalid,
)
from origin_sdk_wire.vary import varies_on_everything


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, {}, id="no field, no directives"),
        pytest.param({"cache-control": "max-age=60"}, {"max-age": "60"}, id="Cache-Control governs"),
        pytest.param(
            {"cache-control": "max-age=60, private", "cdn-cache-control": "max-age=5"},
            {"max-age": "5"},
            id="a targeted field governs alone",
        ),
        pytest.param(
            {"cache-control": "max-age=60", "cdn-cache-control": "Max-Age=5"},
            {"max-age": "60"},
            id="a targeted field that isn't a Dictionary is ignored",
        ),
        pytest.param(
            {"cache-control": "max-age=60", "cdn-cache-control": ""},
            {"max-age": "60"},
            id="an empty targeted field is ignored",
        ),
        pytest.param(
            {"cache-control": "max-age=60", "cdn-cache-control": " "},
            {"max-age": "60"},
            id="a targeted field of spaces is ignored",
        ),
        pytest.param(
            {"cdn-cache-control": "no-store=?0, max-age=5"},
            {"max-age": "5"},
            id="a directive that is false isn't there",
        ),
        pytest.param(
            {"cdn-cache-control": 'no-cache, private="a, b"'},
            {"no-cache": None, "private": "a, b"},
            id="a directive may have fields",
        ),
        pytest.param({"cdn-cache-control": "max-age=1.5"}, {"max-age": "\x00"}, id="a Decimal is no delta"),
        pytest.param({"pragma": "no-cache"}, {}, id="Pragma means nothing in a response"),
    ],
)
def test_response_directives(fields: Mapping[str, str], expected: Mapping[str, str | None]) -> None:
    assert response_directives(fields).arguments == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, {}, id="no field, no directives"),
        pytest.param({"cache-control": "max-age=0"}, {"max-age": "0"}, id="Cache-Control counts"),
        pytest.param({"pragma": "No-Cache"}, {"no-cache": None}, id="Pragma counts for itself"),
        pytest.param({"pragma": "x"}, {}, id="another Pragma means nothing"),
        pytest.param({"pragma": "x-no-cache"}, {}, id="nor does one that only holds the word"),
        pytest.param(
            {"pragma": "no-cache", "cache-control": "max-age=9"},
            {"max-age": "9"},
            id="Pragma doesn't count beside Cache-Control",
        ),
        pytest.param({"cdn-cache-control": "no-store"}, {}, id="a targeted field is for responses"),
    ],
)
def test_request_directives(fields: Mapping[str, str], expected: Mapping[str, str | None]) -> None:
    assert request_directives(fields).arguments == expected


@pytest.mark.parametrize(
    ("value", "lifetime", "window"),
    [
        pytest.param("a=60", 60, 60, id="seconds"),
        pytest.param("b=60", None, None, id="another directive"),
        pytest.param("a", 0, None, id="a missing argument is stale, and no window"),
        pytest.param("a=-1", 0, None, id="a negative one too"),
        pytest.param("a=1.5", 0, None, id="a fraction too"),
        pytest.param("a=soon", 0, None, id="a word too"),
        pytest.param("a=\u0661", 0, None, id="digits of another script too"),
        pytest.param("a =60", 0, None, id="a space before the equals sign too"),
        pytest.param("a=007", 7, 7, id="zeros before it"),
        pytest.param("a=2147483649", 2**31, 2**31, id="an overflow is 2^31 (RFC 9111 section 1.2.2)"),
        pytest.param("a=" + "9" * 99, 2**31, 2**31, id="however large"),
    ],
)
def test_seconds(value: str, lifetime: int | None, window: int | None) -> None:
    directives = parse_cache_control(value)
    assert directives.lifetime("a") == lifetime
    assert directives.window("a") == window


@pytest.mark.parametrize(
    ("value", "names", "is_unqualified"),
    [
        pytest.param("private", frozenset(), True, id="without fields"),
        pytest.param('private="X-A, x-b"', frozenset({"x-a", "x-b"}), False, id="with fields"),
        pytest.param("private=x-a", frozenset({"x-a"}), False, id="with one as a token"),
        pytest.param('private=""', frozenset(), True, id="with an empty list"),
        pytest.param('private="x-a', frozenset(), True, id="with an argument that can't be read"),
        pytest.param("public", frozenset(), False, id="not at all"),
    ],
)
def test_qualified_directives(value: str, names: frozenset[str], is_unqualified: bool) -> None:
    directives = parse_cache_control(value)
    assert directives.field_names("private") == names
    assert directives.unqualified("private") is is_unqualified
    assert ("private" in directives) == value.startswith("private")
    assert directives


@pytest.mark.parametrize(
    ("value", "name", "is_permitted"),
    [
        pytest.param("public", "public", True, id="public"),
        pytest.param("PUBLIC, public", "public", True, id="public twice"),
        pytest.param("public=bad", "public", False, id="public with an argument"),
        pytest.param('public=""', "public", False, id="public with an empty argument"),
        pytest.param("public=", "public", False, id="public with no argument after the sign"),
        pytest.param("public, public=bad", "public", False, id="public, once with an argument"),
        pytest.param("public;max-age=60", "public", False, id="public before a semicolon"),
        pytest.param("max-age=60; public", "public", False, id="public after a semicolon"),
        pytest.param("max-age=60 public", "public", False, id="public without a comma before it"),
        pytest.param('x="public"', "public", False, id="public in a quoted string"),
        pytest.param('x="a, public, max-age=60', "public", False, id="public after a quote never closed"),
        pytest.param('", public', "public", False, id="public after a lone quote"),
        pytest.param('public, x="', "public", True, id="public before a quote never closed"),
        pytest.param('public, x="a, public', "public", False, id="public on both sides of one"),
        pytest.param("s-maxage=60", "s-maxage", True, id="seconds"),
        pytest.param('s-maxage="60"', "s-maxage", True, id="seconds in quotes"),
        pytest.param("s-maxage", "s-maxage", False, id="s-maxage without seconds"),
        pytest.param("s-maxage=-1", "s-maxage", False, id="s-maxage with seconds below 0"),
        pytest.param("s-maxage=60, s-maxage=x", "s-maxage", False, id="s-maxage, once unreadable"),
        pytest.param("must-understand=1", "must-understand", False, id="must-understand with an argument"),
        pytest.param("stale-if-error=1d", "stale-if-error", False, id="a window with a unit"),
    ],
)
def test_a_permission_is_believed_only_where_it_is_well_formed(
    value: str, name: str, is_permitted: bool
) -> None:
    assert parse_cache_control(value).permits(name) is is_permitted


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        "{}=bad",
        "{}=true",
        "{}=1",
        '{}="',
        '"{}"',
        '"{}',
        "{};max-age=60",
        "max-age=60;{}",
        "max-age=60 {}",
        'x="a, {}, max-age=60',
        "max-age=60, {}=x=y",
        "{}, {}=x",
        "{}=x-a, {}",
        "@{}",
    ],
)
@pytest.mark.parametrize("name", ["no-store", "private", "no-cache", "must-revalidate"])
def test_what_withdraws_counts_also_where_it_is_malformed(value: str, name: str) -> None:
    directives = parse_cache_control(value.replace("{}", name.upper()))
    assert name in directives
    assert directives.unqualified(name) or name not in {"private", "no-cache"} or value == "{}=bad"


@pytest.mark.parametrize(
    ("targeted", "withdrawn"),
    [
        pytest.param("no-store;;", {"no-store"}, id="no-store"),
        pytest.param("Private, &&&", {"private"}, id="private"),
        pytest.param("max-age=9;;", set(), id="nothing that permits"),
        pytest.param("no-store", set(), id="nothing in a valid field"),
    ],
)
@pytest.mark.parametrize("name", ["cdn-cache-control", "cloudflare-cdn-cache-control"])
def test_what_an_invalid_targeted_field_withdraws(targeted: str, withdrawn: set[str], name: str) -> None:
    fields = {name: targeted, "cache-control": "max-age=60"}
    assert withdrawn_by_invalid(fields) == withdrawn
    assert response_directives(fields).arguments.get("max-age", "60") == "60"


def test_the_names_of_repeated_qualified_directives_all_count() -> None:
    assert parse_cache_control('private="x-a", private="x-b"').field_names("private") == {"x-a", "x-b"}


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        pytest.param("*", True, id="a star"),
        pytest.param("accept, *", True, id="a star among names"),
        pytest.param("accept", False, id="a name"),
        pytest.param("", False, id="nothing"),
        pytest.param(",,accept,", False, id="empty members"),
        pytest.param("Cookie Accept", True, id="a comma that is missing"),
        pytest.param("Cookie;q=1", True, id="a parameter"),
        pytest.param('"Cookie"', True, id="a name in quotes"),
        pytest.param('"Cookie, Accept', True, id="a quote that isn't closed"),
        pytest.param("Accept: x", True, id="a colon"),
        pytest.param("accept,\u00e9", True, id="a letter that isn't ASCII"),
        pytest.param("[accept]", True, id="brackets"),
    ],
)
def test_varies_on_everything(vary: str, expected: bool) -> None:
    assert varies_on_everything({"vary": vary}) is expected


def test_the_bound_of_a_purge_is_kvs_own_time_and_that_of_known_marks() -> None:
    assert purge_bound_seconds() == 65
    assert purge_bound_seconds(2) == 62


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"cloudflare-cdn-cache-control": "max-age=60"}, {"max-age": "60"}, id="Cloudflare's own"
        ),
        pytest.param(
            {"cloudflare-cdn-cache-control": "max-age=60", "cdn-cache-control": "max-age=5"},
            {"max-age": "60"},
            id="comes before CDN-Cache-Control",
        ),
        pytest.param(
            {"cdn-cache-control": "max-age=5", "surrogate-control": "max-age=60"},
            {"max-age": "5"},
            id="which comes before Surrogate-Control",
        ),
        pytest.param(
            {"surrogate-control": "max-age=60, stale-if-error=5", "cache-control": "private, max-age=1"},
            {"max-age": "60", "stale-if-error": "5"},
            id="which comes before Cache-Control",
        ),
        pytest.param(
            {"surrogate-control": "max-age=60+30"}, {"max-age": "60"}, id="with its own extension of max-age"
        ),
        pytest.param(
            {"surrogate-control": "no-store;other, max-age=60"}, {"max-age": "60"}, id="but for other targets"
        ),
        pytest.param(
            {"surrogate-control": 'content="ESI/1.0"', "cache-control": "no-store, max-age=60"},
            {"content": "ESI/1.0", "no-store": None},
            id="and lifts no prohibition that it doesn't speak of",
        ),
        pytest.param(
            {"cloudflare-cdn-cache-control": "max-age = 60", "cdn-cache-control": "max-age=5"},
            {"max-age": "5"},
            id="an invalid one is ignored",
        ),
        pytest.param(
            {"cloudflare-cdn-cache-control": "no-store, max age", "surrogate-control": "max-age=60"},
            {"max-age": "60"},
            id="whatever it withdraws",
        ),
    ],
)
def test_the_order_of_targeted_fields(fields: dict[str, str], expected: dict[str, str | None]) -> None:
    directives = response_directives(fields)
    assert directives.arguments == expected
    assert directives.is_targeted
