from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.policy.validation import (
    can_freshen,
    conditional_fields,
    freshened,
    head_agrees,
    is_not_modified,
    weakly_equal,
)
from origin_sdk_wire.choices import Profile
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings

NOW = 1_795_744_800_000
THEN, AFTER, BEFORE = (f"Sun, 06 Nov 1994 08:49:3{second} GMT" for second in (7, 8, 6))


@pytest.mark.parametrize(
    ("tags", "etag", "expected"),
    [
        pytest.param('"a"', '"a"', True, id="the same"),
        pytest.param('"b"', '"a"', False, id="another"),
        pytest.param('W/"a"', '"a"', True, id="weak asked, strong stored"),
        pytest.param('"a"', 'W/"a"', True, id="strong asked, weak stored"),
        pytest.param('W/"a"', 'W/"a"', True, id="both weak"),
        pytest.param('"x","a"', '"a"', True, id="the last of a list"),
        pytest.param('"a" , "x"', '"a"', True, id="the first of a list"),
        pytest.param('"x", W/"a", "y"', '"a"', True, id="in the middle of a list"),
        pytest.param("*", '"a"', True, id="any"),
        pytest.param("*", None, True, id="any, without a tag"),
        pytest.param('"a"', None, False, id="without a tag"),
        pytest.param('"a,b"', '"a,b"', True, id="a comma in it"),
        pytest.param('"x,"a"', '"a"', False, id="in the middle of something else"),
        pytest.param('"aa"', '"a"', False, id="longer"),
        pytest.param('"a', '"a"', False, id="unclosed"),
        pytest.param("a", '"a"', False, id="without quotes"),
        pytest.param('""', '""', True, id="empty"),
    ],
)
def test_if_none_match(tags: str, etag: str | None, expected: bool) -> None:
    stored = {} if etag is None else {"etag": etag}
    assert is_not_modified({"if-none-match": tags}, stored, NOW) is expected


@pytest.mark.parametrize(
    ("since", "stored", "expected"),
    [
        pytest.param(THEN, {"last-modified": THEN}, True, id="the same"),
        pytest.param(AFTER, {"last-modified": THEN}, True, id="later"),
        pytest.param(BEFORE, {"last-modified": THEN}, False, id="earlier"),
        pytest.param("x", {"last-modified": THEN}, False, id="no date"),
        pytest.param(THEN, {"last-modified": "x"}, False, id="no stored date"),
        pytest.param(THEN, {"date": THEN}, True, id="the date stands in"),
        pytest.param(BEFORE, {"date": THEN}, False, id="the date stands in, earlier"),
        pytest.param(THEN, {}, False, id="nothing to compare with"),
    ],
)
def test_if_modified_since(since: str, stored: dict[str, str], expected: bool) -> None:
    assert is_not_modified({"if-modified-since": since}, stored, NOW) is expected


def test_if_none_match_comes_first() -> None:
    stored = {"etag": '"a"', "last-modified": THEN}
    assert not is_not_modified({"if-none-match": '"b"', "if-modified-since": AFTER}, stored, NOW)
    assert is_not_modified({"if-none-match": '"a"', "if-modified-since": BEFORE}, stored, NOW)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        pytest.param({"etag": '"a"'}, {"if-none-match": '"a"'}, id="a tag"),
        pytest.param({"last-modified": THEN}, {"if-modified-since": THEN}, id="a date"),
        pytest.param(
            {"etag": '"a"', "last-modified": THEN},
            {"if-none-match": '"a"', "if-modified-since": THEN},
            id="both",
        ),
        pytest.param({"etag": ""}, {}, id="an empty tag"),
        pytest.param({}, {}, id="neither"),
    ],
)
def test_conditional_fields(stored: dict[str, str], expected: dict[str, str]) -> None:
    assert conditional_fields(stored) == expected


def not_modified(fields: dict[str, str]) -> ResponseFacts:
    return ResponseFacts(304, fields, NOW, NOW)


@pytest.mark.parametrize(
    ("stored", "new", "expected"),
    [
        pytest.param({"etag": '"a"'}, {"etag": '"a"'}, True, id="the strong tag"),
        pytest.param({"etag": '"a"'}, {"etag": '"b"'}, False, id="another strong tag"),
        pytest.param({"etag": 'W/"a"'}, {"etag": 'W/"a"'}, True, id="the weak tag"),
        pytest.param({"etag": 'W/"a"'}, {"etag": '"a"'}, False, id="strong, where the stored one is weak"),
        pytest.param({"etag": '"a"'}, {"etag": 'W/"a"'}, True, id="weak, where the stored one is strong"),
        pytest.param({"etag": '"a"'}, {"etag": 'W/"b"'}, False, id="another weak tag"),
        pytest.param({}, {"etag": '"a"'}, False, id="a tag where none is stored"),
        pytest.param({"last-modified": THEN}, {"last-modified": THEN}, True, id="the date"),
        pytest.param({"last-modified": THEN}, {"last-modified": AFTER}, False, id="another date"),
        pytest.param({"etag": '"a"'}, {}, True, id="no validators"),
    ],
)
def test_can_freshen(stored: dict[str, str], new: dict[str, str], expected: bool) -> None:
    assert can_freshen(stored, not_modified(new)) is expected


STORED = Record(
    200,
    NOW - 9000,
    NOW - 8000,
    500,
    (
        ("etag", '"a"'),
        ("x-a", "old"),
        ("content-encoding", "br"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ),
    ("g",),
    7,
)


def test_freshening_replaces_fields_by_name_and_keeps_the_body() -> None:
    settings = Settings(profile=Profile.RFC9111)
    fields = {"etag": '"a"', "x-a": "new", "x-b": "1", "content-encoding": "gzip", "content-length": "99"}
    response = ResponseFacts(304, fields | {"age": "5"}, NOW - 100, NOW, ("c=3",))
    record = freshened(STORED, response, Rule(), settings)
    assert dict(record.fields) == {
        "etag": '"a"',
        "x-a": "new",
        "x-b": "1",
        "content-encoding": "br",
        "set-cookie": "c=3",
    }
    assert [value for name, value in record.fields if name == "set-cookie"] == ["c=3"]
    assert (record.status, record.body_bytes, record.groups) == (200, 7, ("g",))
    assert (record.birth_ms, record.response_ms, record.initial_age_ms) == (NOW - 100, NOW, 5100)


def test_freshening_stores_no_cookie_in_the_safe_profile() -> None:
    record = freshened(STORED, ResponseFacts(304, {}, NOW, NOW, ("c=3",)), Rule(), Settings())
    assert "c=3" not in dict(record.fields).values()


def test_freshening_takes_new_groups_where_there_are_any() -> None:
    response = not_modified({"cache-groups": '"h"'})
    assert freshened(STORED, response, Rule(), Settings()).groups == ("h",)


def test_freshening_keeps_the_groups_that_the_body_names() -> None:
    rule, fields = Rule(groups_from=("id",)), (*STORED.fields, ("cache-groups", '"of-fields"'))
    stored = replace(STORED, fields=fields, groups=("of-fields", "of-body"))
    response = not_modified({"cache-groups": '"h"'})
    assert freshened(stored, response, rule, Settings()).groups == ("h", "of-body")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"etag": '"a"', "content-length": "7"}, True, id="tag and length agree"),
        pytest.param({}, True, id="nothing is said"),
        pytest.param({"etag": '"b"'}, False, id="another tag"),
        pytest.param({"content-length": "8"}, False, id="another length"),
        pytest.param({"last-modified": THEN}, False, id="a date where none is stored"),
    ],
)
def test_head_agrees(fields: dict[str, str], expected: bool) -> None:
    assert head_agrees(STORED, dict(STORED.fields), ResponseFacts(200, fields, NOW, NOW)) is expected


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_a_precondition(one: str, other: str) -> None:
    request = {"if-none-match": one, "if-modified-since": other}
    is_not_modified(request, {"etag": other, "last-modified": one}, NOW)
    assert weakly_equal(one, other) == weakly_equal(other, one)
