from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.policy.ranges import completed, completing_fields, join_of, range_fields, requested
from origin_sdk_wire.parts import Part, content_part
from origin_sdk_wire.record import Record

NOW = 1_795_744_800_000
DATE, THEN = "Fri, 27 Nov 2026 02:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("bytes 0-4/10", Part(0, 5, 10), id="a part"),
        pytest.param("bytes 0-9/10", Part(0, 10, 10), id="all of it"),
        pytest.param("bytes 3-4/*", Part(3, 5, None), id="of unknown length"),
        pytest.param("Bytes 0-4/10", Part(0, 5, 10), id="in another case"),
        pytest.param("bytes 4-0/10", None, id="backwards"),
        pytest.param("bytes 0-10/10", None, id="beyond the end"),
        pytest.param("bytes */10", None, id="unsatisfied"),
        pytest.param("lines 0-4/10", None, id="another unit"),
        pytest.param("bytes=0-4/10", None, id="an equals sign"),
        pytest.param("bytes 0-4", None, id="no length"),
        pytest.param("", None, id="none"),
    ],
)
def test_content_part(value: str, expected: Part | None) -> None:
    assert content_part({"content-range": value}) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("bytes=0-3", (0, 4), id="the first bytes"),
        pytest.param("bytes=9-9", (9, 10), id="the last byte"),
        pytest.param("bytes=7-", (7, 10), id="to the end"),
        pytest.param("bytes=-3", (7, 10), id="the last bytes"),
        pytest.param("bytes=-10", (0, 10), id="as many last bytes as there are"),
        pytest.param("bytes=-11", (0, 10), id="more last bytes than there are"),
        pytest.param("bytes=8-99", (8, 10), id="beyond the end"),
        pytest.param("bytes=0-" + "9" * 5000, (0, 10), id="a last byte of 5000 digits"),
        pytest.param("bytes=" + "9" * 5000 + "-", (0, 0), id="a first byte of 5000 digits"),
        pytest.param("bytes=10-", (0, 0), id="not satisfiable"),
        pytest.param("bytes=-0", (0, 0), id="no last bytes"),
        pytest.param("bytes=5-3", None, id="backwards"),
        pytest.param("bytes=-", None, id="without numbers"),
        pytest.param("bytes=0-1,3-4", None, id="several"),
        pytest.param("bytes=a-b", None, id="letters"),
        pytest.param("bytes=\u0661-\u0662", None, id="digits of another script"),
        pytest.param("lines=0-1", None, id="another unit"),
        pytest.param("", None, id="none"),
    ],
)
def test_requested(value: str, expected: tuple[int, int] | None) -> None:
    assert requested({"range": value}, {}, 10, NOW) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("bytes=0-3", (0, 4), id="both ends are given"),
        pytest.param("bytes=7-", None, id="the end isn't known"),
        pytest.param("bytes=-3", None, id="the beginning isn't known"),
        pytest.param("bytes=3-1", None, id="backwards"),
    ],
)
def test_requested_of_unknown_length(value: str, expected: tuple[int, int] | None) -> None:
    assert requested({"range": value}, {}, None, NOW) == expected


STRONG = {"etag": '"a"', "last-modified": THEN, "date": DATE}


@pytest.mark.parametrize(
    ("condition", "stored", "holds"),
    [
        pytest.param('"a"', STRONG, True, id="the strong tag"),
        pytest.param('"b"', STRONG, False, id="another tag"),
        pytest.param('W/"a"', STRONG, False, id="a weak tag of the request's"),
        pytest.param('"a"', {"etag": 'W/"a"'}, False, id="a weak stored tag"),
        pytest.param('W/"a"', {"etag": 'W/"a"'}, False, id="weak tags never hold"),
        pytest.param(THEN, STRONG, True, id="the date"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", STRONG, True, id="the date in another form"),
        pytest.param(DATE, STRONG, False, id="a later date"),
        pytest.param(DATE, {"last-modified": DATE, "date": DATE}, False, id="a date too young to be strong"),
        pytest.param(THEN, {"last-modified": THEN}, False, id="a date that can't be told to be strong"),
        pytest.param("x", STRONG, False, id="neither"),
        pytest.param("", STRONG, False, id="empty"),
    ],
)
def test_if_range(condition: str, stored: dict[str, str], holds: bool) -> None:
    asked = requested({"range": "bytes=0-3", "if-range": condition}, stored, 10, NOW)
    assert (asked is not None) is holds


@given(st.text(), st.text(), st.text(), st.none() | st.integers(0, 10**20))
def test_no_text_breaks_a_range(value: str, condition: str, tag: str, length: int | None) -> None:
    stored = {"etag": tag, "content-range": value, "last-modified": condition}
    requested({"range": value, "if-range": condition}, stored, length, NOW)
    assert join_of(stored, stored) is None or content_part(stored)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_range_lies_in_the_body(first: int, last: int, length: int) -> None:
    asked = requested({"range": f"bytes={first}-{last}"}, {}, length, NOW)
    body = bytes(range(length))
    if first > last:
        assert asked is None
    else:
        assert asked is not None
        assert body[asked[0] : asked[1]] == body[first : last + 1]


def tagged(part: Part, tag: str = '"a"') -> dict[str, str]:
    return {"content-range": str(part), "etag": tag}


SPANS = st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda span: span[0] < span[1])


@given(SPANS, SPANS)
def test_a_join_has_the_bytes_of_both(old: tuple[int, int], new: tuple[int, int]) -> None:
    whole = bytes(range(12))
    stored, received = whole[slice(*old)], whole[slice(*new)]
    join = join_of(tagged(Part(*old, 12)), tagged(Part(*new, 12)))
    if join is None:
        assert new[0] > old[1] or old[0] > new[1]
    else:
        assert stored[: join.head] + received + stored[join.tail :] == whole[join.part.start : join.part.end]
        assert join.part.is_whole == (join.part.size_bytes == 12)


@pytest.mark.parametrize(
    ("stored", "received"),
    [
        pytest.param(tagged(Part(0, 5, 10)), tagged(Part(5, 10, 10), '"b"'), id="another tag"),
        pytest.param(tagged(Part(0, 5, 10), 'W/"a"'), tagged(Part(5, 10, 10), 'W/"a"'), id="weak tags"),
        pytest.param(tagged(Part(0, 5, 10), ""), tagged(Part(5, 10, 10), ""), id="no tags"),
        pytest.param(tagged(Part(0, 5, 10)), tagged(Part(5, 11, 11)), id="another length"),
        pytest.param(tagged(Part(0, 5, None)), tagged(Part(5, 10, None)), id="unknown lengths"),
        pytest.param(tagged(Part(0, 5, 10)), tagged(Part(6, 10, 10)), id="a gap"),
        pytest.param(tagged(Part(0, 5, 10)), {"etag": '"a"'}, id="no part"),
    ],
)
def test_what_isnt_joined(stored: dict[str, str], received: dict[str, str]) -> None:
    assert join_of(stored, received) is None


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        pytest.param(tagged(Part(0, 5, 10)), "bytes=5-9", id="the end is missing"),
        pytest.param(tagged(Part(5, 10, 10)), "bytes=0-4", id="the beginning is missing"),
        pytest.param(tagged(Part(2, 5, 10)), None, id="both are missing"),
        pytest.param(tagged(Part(0, 10, 10)), None, id="nothing is missing"),
        pytest.param(tagged(Part(0, 5, None)), None, id="it isn't known what is missing"),
        pytest.param(tagged(Part(0, 5, 10), 'W/"a"'), None, id="a weak tag"),
        pytest.param({"etag": '"a"'}, None, id="no part"),
    ],
)
def test_completing(stored: dict[str, str], expected: str | None) -> None:
    asked = completing_fields(stored)
    assert asked == ({} if expected is None else {"range": expected, "if-range": '"a"'})


def test_range_fields() -> None:
    assert range_fields({"range": "bytes=0-1", "if-range": '"a"', "x": "y"}) == {
        "range": "bytes=0-1",
        "if-range": '"a"',
    }
    assert range_fields({"if-range": '"a"'}) == {}


def test_a_part_is_complete_with_the_bytes_that_it_announces() -> None:
    part, whole = (("content-range", f"bytes 0-4/{length}") for length in (10, 5))
    assert completed(Record(206, NOW, NOW, 0, (part,), body_bytes=4)) is None
    assert completed(Record(206, NOW, NOW, 0, (part,), body_bytes=5)) == Record(
        206, NOW, NOW, 0, (part,), body_bytes=5
    )
    assert completed(Record(206, NOW, NOW, 0, (whole,), body_bytes=5)) == Record(
        200, NOW, NOW, 0, (), body_bytes=5
    )
    assert completed(Record(200, NOW, NOW, 0, (), body_bytes=4)) == Record(200, NOW, NOW, 0, (), body_bytes=4)
