"""What the verbs become: one table for the rules, one suite over the three frameworks."""

import logging
from typing import Any

import pytest

from origin_sdk.errors import InvalidRequest, NotCacheable
from origin_sdk.responses import (
    Draft,
    Exchanged,
    Finished,
    add_groups,
    belongs_to_user,
    cache_for,
    drafting,
    finish,
    invalidate,
)

CACHED = {"cache-control": "public, max-age=0", "cdn-cache-control": "max-age=60"}
SHARED = {**CACHED, "cdn-cache-control": "public, max-age=60"}


def draft_of(**said: Any) -> Draft:
    with drafting() as draft:
        if "cache_for" in said:
            cache_for(60, **said["cache_for"])
        add_groups(*said.get("groups", ()))
        invalidate(*said.get("invalidated", ()))
        if "owner" in said:
            belongs_to_user(said["owner"])
    return draft


def exchanged(method: str = "GET", status: int = 200, **more: Any) -> Exchanged:
    return Exchanged(method, more.pop("request", {}), status, more.pop("response", {}), **more)


@pytest.mark.parametrize(
    ("said", "exchange", "fields"),
    [
        pytest.param({}, exchanged(body=b"x"), {}, id="nothing said, nothing set"),
        pytest.param({"cache_for": {}}, exchanged(), CACHED, id="for the edge; browsers ask again"),
        pytest.param(
            {"cache_for": {"browser": 10, "stale_while_revalidate": 5, "stale_if_error": 7}},
            exchanged(),
            {
                "cache-control": "public, max-age=10",
                "cdn-cache-control": "max-age=60, stale-while-revalidate=5, stale-if-error=7",
            },
            id="with windows",
        ),
        pytest.param({"cache_for": {}}, exchanged(status=404), {}, id="an absence isn't kept"),
        pytest.param(
            {"cache_for": {"negative": 5}},
            exchanged(status=404),
            {"cache-control": "public, max-age=0", "cdn-cache-control": "max-age=5"},
            id="unless said so",
        ),
        pytest.param({"cache_for": {"negative": 5}}, exchanged(status=500), {}, id="an error never"),
        pytest.param({"cache_for": {}}, exchanged("POST"), {}, id="nor the answer to a write"),
        pytest.param(
            {"cache_for": {}, "groups": ["a", "b", "a"]},
            exchanged(response={"cache-groups": '"c"'}),
            {**CACHED, "cache-groups": '"c", "a", "b"'},
            id="groups, merged with those that are there",
        ),
        pytest.param(
            {"cache_for": {}},
            exchanged(body=b"x"),
            {**CACHED, "etag": '"7d2e5ddb24aff9d99d1c6df5"'},
            id="an ETag of a body at hand",
        ),
        pytest.param(
            {"cache_for": {}}, exchanged(response={"etag": '"1"'}), CACHED, id="the origin's own ETag stays"
        ),
        pytest.param(
            {"owner": "the basket"}, exchanged(), {"cache-control": "private, no-store"}, id="a user's own"
        ),
        pytest.param(
            {"owner": "the basket", "cache_for": {}},
            exchanged(status=403),
            {"cache-control": "private, no-store", "cdn-cache-control": "private, no-store"},
            id="also where nothing is cacheable",
        ),
        pytest.param(
            {"owner": "the basket"},
            exchanged(
                status=404, response={"cdn-cache-control": "max-age=60", "surrogate-control": "max-age=9"}
            ),
            {
                "cache-control": "private, no-store",
                "cdn-cache-control": "private, no-store",
                "surrogate-control": "private, no-store",
            },
            id="whatever it says of shared caches by hand",
        ),
        pytest.param(
            {"cache_for": {"vary": ["X-Tenant", "accept"]}},
            exchanged(response={"vary": "Accept, Origin"}),
            {**CACHED, "vary": "accept, Origin, X-Tenant"},
            id="with what it depends on in Vary, once",
        ),
        pytest.param(
            {"cache_for": {"for_everyone": True}},
            exchanged(response={"vary": "Cookie, Origin"}),
            {**SHARED, "vary": "Origin"},
            id="for everyone, without the cookie in Vary",
        ),
        pytest.param(
            {"cache_for": {"for_everyone": True}},
            exchanged(response={"vary": "cookie"}),
            {**SHARED, "vary": ""},
            id="and without a Vary that is empty",
        ),
        pytest.param(
            {"invalidated": ["a", "b"]},
            exchanged("PUT"),
            {"cache-group-invalidation": '"a", "b"'},
            id="a write names what it changed",
        ),
        pytest.param({"invalidated": ["a"]}, exchanged("PUT", 409), {}, id="a failed write changed nothing"),
        pytest.param(
            {"cache_for": {"for_everyone": True}},
            exchanged(request={"authorization": "Bearer x"}),
            SHARED,
            id="the same for everyone, in spite of Authorization",
        ),
    ],
)
def test_the_fields_of_a_response(said: dict[str, Any], exchange: Exchanged, fields: dict[str, str]) -> None:
    finished = finish(draft_of(**said), exchange, strict=True)
    if "etag" in fields:
        fields = {**fields, "etag": finished.fields["etag"]}
    assert finished == Finished(fields)


UNSHAREABLE = [
    pytest.param(
        {"cache_for": {}}, exchanged(sets_cookies=True), "Set-Cookie", id="a cookie, in the framework"
    ),
    pytest.param(
        {"cache_for": {}}, exchanged(response={"set-cookie": "a=b"}), "Set-Cookie", id="a cookie, in a field"
    ),
    pytest.param({"cache_for": {}, "owner": "the basket"}, exchanged(), "the basket", id="a user's own"),
    pytest.param(
        {"cache_for": {}}, exchanged(request={"authorization": "x"}), "Authorization", id="Authorization"
    ),
    pytest.param({"cache_for": {}}, exchanged(uses_session=True), "session", id="a session that was used"),
    pytest.param(
        {"cache_for": {}},
        exchanged(response={"cache-control": "private"}),
        "private",
        id="said to be private",
    ),
    pytest.param(
        {"cache_for": {}}, exchanged(response={"cache-control": "no-store"}), "no-store", id="and no-store"
    ),
    pytest.param({"cache_for": {}}, exchanged(response={"vary": "*"}), "Vary", id="for no request"),
]


@pytest.mark.parametrize(("said", "exchange", "named"), UNSHAREABLE)
def test_what_must_not_be_shared_is_an_error_in_development(
    said: dict[str, Any], exchange: Exchanged, named: str
) -> None:
    with pytest.raises(NotCacheable, match=named):
        finish(draft_of(**said), exchange, strict=True)


@pytest.mark.parametrize(("said", "exchange", "named"), UNSHAREABLE)
def test_and_private_in_production(
    said: dict[str, Any], exchange: Exchanged, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "origin_sdk"):
        finished = finish(draft_of(**said), exchange, strict=False)
    assert finished.fields["cache-control"] == finished.fields["cdn-cache-control"] == "private, no-store"
    assert named in caplog.text


def test_invalidating_in_a_response_to_get_is_an_error() -> None:
    with pytest.raises(NotCacheable, match="RFC 9875"):
        finish(draft_of(invalidated=["a"]), exchanged(), strict=True)


@pytest.mark.parametrize(
    ("if_none_match", "matches"),
    [
        ('"1"', True),
        ('W/"1"', True),
        ('"0", "1"', True),
        ("*", True),
        ('"2"', False),
        ("1", False),
        ("", False),
    ],
)
def test_a_validator_that_matches_makes_a_304(if_none_match: str, matches: bool) -> None:
    exchange = exchanged(request={"if-none-match": if_none_match}, response={"etag": '"1"'})
    assert finish(draft_of(cache_for={}), exchange, strict=True).not_modified is matches


@pytest.mark.parametrize(
    "verb", [lambda: cache_for(1), lambda: add_groups("a"), belongs_to_user, lambda: invalidate("a")]
)
def test_outside_of_a_response_the_verbs_say_what_is_missing(verb: Any) -> None:
    with pytest.raises(InvalidRequest, match="middleware"):
        verb()


@pytest.mark.parametrize("vary", ["Accept-Language", ["a b"], [""], ["a,b"]])
def test_what_names_no_field_is_not_put_into_vary(vary: Any) -> None:
    with drafting(), pytest.raises(InvalidRequest, match="names no field"):
        cache_for(60, vary=vary)


@pytest.mark.parametrize("group", ["", " a", "x" * 257, "größe"])
def test_groups_that_cannot_be_sent_are_refused_where_they_are_said(group: str) -> None:
    with drafting(), pytest.raises(InvalidRequest):
        add_groups(group)
