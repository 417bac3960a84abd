"""From what is stored, or has just come, to the answer for one request."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from origin_sdk_edge.policy.answer import (
    BodyKind,
    answer_from,
    answers_range,
    code_by_fields,
    code_of_failure,
    without_content,
)
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.fields import combined
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.record import Record

NOW_MS = 1_795_744_800_000
TARGET = parse_target("https://api.example/a")
FIELDS = (
    ("content-type", "text/plain"),
    ("content-location", "/a.txt"),
    ("etag", '"1"'),
    ("content-length", "10"),
)


def request(method: str = "GET", **fields: str) -> RequestFacts:
    return RequestFacts(method, TARGET, {name.replace("_", "-"): value for name, value in fields.items()})


def record(status: int = 200, fields: tuple[tuple[str, str], ...] = FIELDS, coding: str = "") -> Record:
    return Record(status, NOW_MS - 5000, NOW_MS - 5000, 0, fields, (), body_bytes=10, coding=coding)


@pytest.mark.parametrize(
    ("stored", "asked", "status", "body", "part"),
    [
        pytest.param(record(), request(), 200, BodyKind.AS_STORED, None, id="the whole"),
        pytest.param(record(), request("HEAD"), 200, BodyKind.NONE, None, id="HEAD has no content"),
        pytest.param(record(204), request(), 204, BodyKind.NONE, None, id="nor has 204"),
        pytest.param(record(), request(if_none_match='"1"'), 304, BodyKind.NONE, None, id="not modified"),
        pytest.param(record(), request(if_match='"2"'), 412, BodyKind.NONE, None, id="another is wanted"),
        pytest.param(record(), request(range="bytes=2-4"), 206, BodyKind.DECODED, (2, 5), id="a range"),
        pytest.param(record(), request(range="bytes=10-"), 416, BodyKind.NONE, None, id="a range beyond"),
        pytest.param(record(404), request(if_none_match="*"), 404, BodyKind.AS_STORED, None, id="no success"),
        pytest.param(
            record(coding="gzip"), request(accept_encoding="gzip"), 200, BodyKind.AS_STORED, None, id="coded"
        ),
        pytest.param(record(coding="gzip"), request(), 200, BodyKind.DECODED, None, id="decoded for others"),
    ],
)
def test_a_stored_response_answers(
    stored: Record, asked: RequestFacts, status: int, body: BodyKind, part: tuple[int, int] | None
) -> None:
    answer = answer_from(stored, combined(stored.fields), asked, NOW_MS)
    assert (answer.status, answer.body, answer.part) == (status, body, part)
    assert ("age", "5") in answer.fields


def test_what_is_coded_here_varies_and_has_a_weak_tag() -> None:
    stored = record(coding="gzip")
    fields = dict(
        answer_from(stored, combined(stored.fields), request(accept_encoding="gzip"), NOW_MS).fields
    )
    assert (fields["etag"], fields["vary"], fields["content-encoding"]) == (
        'W/"1"',
        "Accept-Encoding",
        "gzip",
    )


@pytest.mark.parametrize(
    ("accepted", "etag"),
    [pytest.param("gzip", 'W/"1"', id="who has the coded one"), pytest.param("br", '"1"', id="who has not")],
)
def test_a_304_has_the_tag_of_the_200_in_its_place(accepted: str, etag: str) -> None:
    asked, stored = request(accept_encoding=accepted, if_none_match='W/"1"'), record(coding="gzip")
    answer = answer_from(stored, combined(stored.fields), asked, NOW_MS)
    fields = dict(answer.fields)
    assert (answer.status, fields["etag"], fields["vary"]) == (304, etag, "Accept-Encoding")
    assert "content-encoding" not in fields


@pytest.mark.parametrize(
    ("status", "method", "fields", "code"),
    [
        pytest.param(200, "GET", {"if-none-match": '"1"'}, 304, id="not modified"),
        pytest.param(200, "GET", {"if-match": '"2"'}, 412, id="another is wanted"),
        pytest.param(200, "GET", {}, None, id="no precondition"),
        pytest.param(200, "HEAD", {"if-none-match": '"1"'}, None, id="HEAD is the origin's to answer"),
        pytest.param(404, "GET", {"if-none-match": '"1"'}, None, id="no success"),
    ],
)
def test_what_has_just_come_answers_preconditions(
    status: int, method: str, fields: Mapping[str, str], code: int | None
) -> None:
    response = ResponseFacts(status, {"etag": '"1"'}, NOW_MS, NOW_MS)
    assert code_by_fields(response, RequestFacts(method, TARGET, fields)) == code


def test_only_what_describes_content_is_left_out() -> None:
    assert without_content(
        [*FIELDS, ("content-security-policy", "default-src 'self'"), ("content-encoding", "br")]
    ) == [("content-location", "/a.txt"), ("etag", '"1"'), ("content-security-policy", "default-src 'self'")]


def test_a_part_answers_only_ranges_within_it() -> None:
    stored = record(206, (*FIELDS, ("content-range", "bytes 2-5/10")))
    fields = combined(stored.fields)
    assert answers_range(stored, fields, request(range="bytes=3-4"), NOW_MS)
    assert not answers_range(stored, fields, request(range="bytes=0-4"), NOW_MS)
    assert not answers_range(stored, fields, request(), NOW_MS)


@pytest.mark.parametrize(
    ("failure", "code"),
    [(OriginFailure.TIMEOUT, 504), (OriginFailure.UNREACHABLE, 502), (OriginFailure.TRUNCATED, 502)],
)
def test_a_failed_origin_is_a_gateway_error(failure: OriginFailure, code: int) -> None:
    assert code_of_failure(failure) == code
