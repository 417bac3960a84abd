from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.policy.relay import http_date
from origin_sdk_wire.choices import Profile
from origin_sdk_wire.freshness import current_age_ms, freshness_of, initial_age_ms
from origin_sdk_wire.lifetimes import parse_date
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings

NOW = 1_795_744_800_000  # 27 November 2026
STRICT = Settings(profile=Profile.RFC9111, stale_if_error=0, heuristic_fraction=0.1, lifetime_jitter=0.0)
DAY = 86_400


def moment(year: int, *rest: int) -> int:
    return int(datetime(year, *rest, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", moment(1994, 11, 6, 8, 49, 37), id="the fixed form"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", moment(1994, 11, 6, 8, 49, 37), id="RFC 850"),
        pytest.param("Sun Nov  6 08:49:37 1994", moment(1994, 11, 6, 8, 49, 37), id="asctime"),
        pytest.param("Sun Nov 16 08:49:37 1994", moment(1994, 11, 16, 8, 49, 37), id="asctime, two digits"),
        pytest.param("sun, 06 nov 1994 08:49:37 gmt", moment(1994, 11, 6, 8, 49, 37), id="in lower case"),
        pytest.param("SUN, 06 NOV 1994 08:49:37 GMT", moment(1994, 11, 6, 8, 49, 37), id="in upper case"),
        pytest.param("Friday, 27-Nov-26 02:00:00 GMT", NOW // 1000, id="two digits of this year"),
        pytest.param("Saturday, 27-Nov-76 02:00:00 GMT", moment(2076, 11, 27, 2), id="50 years ahead"),
        pytest.param(
            "Sunday, 27-Nov-77 02:00:00 GMT", moment(1977, 11, 27, 2), id="51 years ahead is the past"
        ),
        pytest.param("Sat, 29 Feb 2020 00:00:00 GMT", moment(2020, 2, 29), id="a leap day"),
        pytest.param("Tue, 29 Feb 2000 00:00:00 GMT", moment(2000, 2, 29), id="a leap day of a century"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", 0, id="the epoch"),
        pytest.param("Wed, 31 Dec 1969 23:59:59 GMT", -1, id="before the epoch"),
        pytest.param("Sat, 31 Dec 2016 23:59:60 GMT", moment(2017, 1, 1), id="a leap second"),
        pytest.param(
            "  Sun, 06 Nov 1994 08:49:37 GMT\t", moment(1994, 11, 6, 8, 49, 37), id="with space around"
        ),
        pytest.param(
            "Sun, 06 Nov 1994 08:49:37 GMT, Mon, 07 Nov 1994 08:49:37 GMT",
            moment(1994, 11, 6, 8, 49, 37),
            id="the first of two",
        ),
        pytest.param("Fri, 29 Feb 2019 00:00:00 GMT", None, id="no leap day"),
        pytest.param("Thu, 29 Feb 1900 00:00:00 GMT", None, id="no leap day of a century"),
        pytest.param("Mon, 31 Apr 2020 00:00:00 GMT", None, id="the 31st of April"),
        pytest.param("Sun, 00 Nov 1994 08:49:37 GMT", None, id="the 0th"),
        pytest.param("Sun, 06 Foo 1994 08:49:37 GMT", None, id="no month"),
        pytest.param("Sun, 06 Nov 1994 24:00:00 GMT", None, id="the 24th hour"),
        pytest.param("Sun, 06 Nov 1994 08:60:00 GMT", None, id="the 60th minute"),
        pytest.param("Sun, 06 Nov 1994 08:49:61 GMT", None, id="the 61st second"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 UTC", None, id="another zone"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +0000", None, id="an offset"),
        pytest.param("Sun, 06 Nov 1994 08:49:37", None, id="no zone"),
        pytest.param("Sun, 6 Nov 1994 08:49:37 GMT", None, id="a one-digit day"),
        pytest.param("Sun, 06 Nov 1994 8:49:37 GMT", None, id="a one-digit hour"),
        pytest.param("Sun, 06-Nov-1994 08:49:37 GMT", None, id="hyphens"),
        pytest.param("1994-11-06T08:49:37Z", None, id="ISO 8601"),
        pytest.param("784111777", None, id="a number"),
        pytest.param("0", None, id="zero"),
        pytest.param("", None, id="nothing"),
        pytest.param("x" * 10_000, None, id="a long text"),
        pytest.param("Sun, 0\u0666 Nov 1994 08:49:37 GMT", None, id="digits of another script"),
    ],
)
def test_parse_date(value: str, expected: int | None) -> None:
    assert parse_date(value, NOW) == expected


MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2399, 12, 31))  # noqa: DTZ001 - as it wants them


@given(MOMENTS)
def test_what_is_written_is_read(when: datetime) -> None:
    seconds = int((when.replace(tzinfo=UTC, microsecond=0)).timestamp())
    assert parse_date(http_date(seconds * 1000), NOW) == seconds


@given(MOMENTS)
def test_the_calendar_is_that_of_the_library(when: datetime) -> None:
    assert http_date(int(when.replace(tzinfo=UTC).timestamp()) * 1000) == when.strftime(
        "%a, %d %b %Y %H:%M:%S GMT"
    )


@given(MOMENTS.filter(lambda when: 1978 <= when.year <= 2076))
def test_every_form_means_the_same(when: datetime) -> None:
    forms = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y")
    assert len({parse_date(when.strftime(form), NOW) for form in forms}) == 1


@given(st.text(max_size=60) | st.text("0123456789 :,-abcdeGMTNovSu", max_size=60))
def test_no_text_breaks_a_date(value: str) -> None:
    assert isinstance(parse_date(value, NOW), int | None)


def ago(seconds: int) -> str:
    return http_date(NOW - seconds * 1000)


@pytest.mark.parametrize(
    ("fields", "delay_ms", "expected_ms"),
    [
        pytest.param({}, 0, 0, id="nothing is said"),
        pytest.param({}, 700, 700, id="the origin took its time"),
        pytest.param({"age": "10"}, 700, 10_700, id="the origin's age, and its time"),
        pytest.param({"date": ago(10)}, 0, 10_000, id="the date"),
        pytest.param({"date": ago(10)}, 700, 10_000, id="the date includes its time"),
        pytest.param({"date": ago(10), "age": "60"}, 0, 60_000, id="the age is larger"),
        pytest.param({"date": ago(60), "age": "10"}, 0, 60_000, id="the date is larger"),
        pytest.param({"date": ago(-60)}, 0, 0, id="a date ahead"),
        pytest.param({"date": "x"}, 0, 0, id="no date"),
        pytest.param({"age": "-1"}, 0, 0, id="a negative age"),
        pytest.param({"age": "1.5"}, 0, 0, id="a decimal age"),
        pytest.param({"age": "1, 2"}, 0, 1000, id="the first of two ages"),
        pytest.param({"age": ", 2"}, 0, 2000, id="an empty member is none"),
        pytest.param({"age": " ,\t, 2 ,, 1"}, 0, 2000, id="nor are several"),
        pytest.param({"age": ", ,"}, 0, 0, id="empty members alone"),
        pytest.param({"age": "x, 2"}, 0, 0, id="an invalid first age"),
        pytest.param({"age": "9" * 5000}, 0, 2**31 * 1000, id="an overflowing age"),
        pytest.param({"age": "0" * 30 + "7"}, 0, 7000, id="leading zeros"),
        pytest.param({"age": "\u0661"}, 0, 0, id="digits of another script"),
    ],
)
def test_initial_age(fields: dict[str, str], delay_ms: int, expected_ms: int) -> None:
    assert initial_age_ms(fields, NOW - delay_ms, NOW) == expected_ms


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**9))
def test_age_grows_with_the_clock_and_never_back(age: int, delay_ms: int, later_ms: int) -> None:
    initial_ms = initial_age_ms({"age": str(age)}, NOW - delay_ms, NOW)
    record = Record(200, NOW - delay_ms, NOW, initial_ms, ())
    assert initial_ms == age * 1000 + delay_ms
    assert current_age_ms(record, NOW + later_ms) == initial_ms + later_ms
    assert current_age_ms(record, NOW - later_ms) == initial_ms


def lifetime(fields: dict[str, str], *, status: int = 200, rule: Rule | None = None) -> float:
    record = Record(status, NOW, NOW, 0, tuple(fields.items()))
    return freshness_of(record, fields, rule or Rule(), STRICT).lifetime_ms / 1000


CC = "cache-control"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        pytest.param({CC: "max-age=60"}, 60, id="max-age"),
        pytest.param({CC: "max-age=60, s-maxage=30"}, 30, id="s-maxage before max-age"),
        pytest.param({CC: "max-age=60", "expires": ago(-90)}, 60, id="max-age before Expires"),
        pytest.param({"expires": ago(-90)}, 90, id="Expires from the arrival"),
        pytest.param({"expires": ago(-90), "date": ago(10)}, 100, id="Expires from Date"),
        pytest.param({"expires": ago(90)}, 0, id="a past Expires"),
        pytest.param({"expires": "0", "last-modified": ago(10 * DAY)}, 0, id="an invalid Expires"),
        pytest.param({CC: "max-age=x", "last-modified": ago(10 * DAY)}, 0, id="an invalid max-age"),
        pytest.param({CC: "max-age=9999999999"}, 2**31, id="an overflow"),
        pytest.param({CC: "s-maxage=x, max-age=60"}, 0, id="an invalid s-maxage doesn't fall back"),
        pytest.param({"last-modified": ago(1000)}, 100, id="a tenth of the age"),
        pytest.param({"last-modified": ago(1000), "date": ago(500)}, 50, id="a tenth of the age at Date"),
        pytest.param({"last-modified": ago(1000 * DAY)}, DAY, id="no more than a day"),
        pytest.param({"last-modified": ago(-10)}, 0, id="modified in the future"),
        pytest.param({}, 0, id="nothing"),
        pytest.param({"cdn-cache-control": "max-age=5", CC: "s-maxage=60"}, 5, id="targeted"),
        pytest.param({"cdn-cache-control": "foo", CC: "s-maxage=60"}, 0, id="targeted, without a lifetime"),
        pytest.param(
            {"cdn-cache-control": "foo", "expires": ago(-90)}, 0, id="targeted, Expires doesn't count"
        ),
        pytest.param({"cdn-cache-control": ",", CC: "s-maxage=60"}, 60, id="targeted, broken"),
        pytest.param({"cdn-cache-control": 'max-age="5"', CC: "max-age=60"}, 0, id="targeted, a string"),
    ],
)
def test_lifetime(fields: dict[str, str], seconds: int) -> None:
    assert lifetime(fields) == seconds


@pytest.mark.parametrize("status", [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501])
def test_heuristic_statuses(status: int) -> None:
    assert lifetime({"last-modified": ago(1000)}, status=status) == 100


@pytest.mark.parametrize("status", [201, 302, 303, 307, 400, 403, 500, 502, 503, 504])
def test_other_statuses_need_public(status: int) -> None:
    assert lifetime({"last-modified": ago(1000)}, status=status) == 0
    assert lifetime({"last-modified": ago(1000), CC: "public"}, status=status) == 100


LASTING = Rule("a lifetime", lifetime=7)
BY_DEFAULT = Rule("a default lifetime", default_lifetime=7)


@pytest.mark.parametrize(
    ("rule", "fields", "status", "seconds"),
    [
        pytest.param(Rule(lifetime=7), {CC: "max-age=60"}, 200, 7, id="a rule's lifetime wins"),
        pytest.param(Rule(default_lifetime=7), {CC: "max-age=60"}, 200, 60, id="a default gives way"),
        pytest.param(Rule(default_lifetime=7), {}, 200, 7, id="a default fills in"),
        pytest.param(Rule(default_lifetime=7), {}, 404, 0, id="a default isn't for errors"),
        *(
            pytest.param(rule, {CC: "max-age=60"}, status, seconds, id=f"{rule.name} and {status}")
            for rule, own in ((LASTING, 7), (BY_DEFAULT, 60))
            for status, seconds in ((299, own), (301, own), (308, own), (302, 60), (307, 60), (401, 60))
        ),
        *(
            pytest.param(rule, {}, status, 0, id=f"{rule.name} isn't for {status}")
            for rule in (LASTING, BY_DEFAULT)
            for status in (302, 303, 307, 400, 401, 403, 410, 429, 451, 500, 503)
        ),
        pytest.param(
            Rule(negative_lifetimes=MappingProxyType({404: 9})), {}, 404, 9, id="errors have their own"
        ),
    ],
)
def test_lifetime_by_rule(rule: Rule, fields: dict[str, str], status: int, seconds: int) -> None:
    assert lifetime(fields, status=status, rule=rule) == seconds


@pytest.mark.parametrize(
    ("directives", "forbids", "while_revalidate", "if_error"),
    [
        pytest.param("max-age=1", False, 0, 0, id="no window"),
        pytest.param(
            "max-age=1, stale-while-revalidate=5, stale-if-error=6", False, 5000, 6000, id="windows"
        ),
        pytest.param("max-age=1, stale-while-revalidate=x", False, 0, 0, id="an invalid window"),
        pytest.param("must-revalidate, stale-while-revalidate=5", True, 0, 0, id="must-revalidate"),
        pytest.param("proxy-revalidate, stale-if-error=5", True, 0, 0, id="proxy-revalidate"),
        pytest.param("no-cache, stale-if-error=5", True, 0, 0, id="no-cache"),
        pytest.param('no-cache="x", stale-if-error=5', False, 0, 5000, id="no-cache with field names"),
        pytest.param("s-maxage=1", True, 0, 0, id="s-maxage"),
        pytest.param(
            "s-maxage=1, stale-while-revalidate=5", False, 5000, 0, id="s-maxage with a window of its own"
        ),
    ],
)
def test_windows(directives: str, forbids: bool, while_revalidate: int, if_error: int) -> None:
    fields = {CC: directives}
    freshness = freshness_of(Record(200, NOW, NOW, 0, tuple(fields.items())), fields, Rule(), STRICT)
    assert freshness.forbids_stale is forbids
    assert freshness.stale_while_revalidate_ms == while_revalidate
    assert freshness.stale_if_error_ms == if_error


@pytest.mark.parametrize(
    ("directives", "forbids"),
    [
        pytest.param("s-maxage=1", False, id="s-maxage, which only implies it, gives way"),
        pytest.param("s-maxage=1, must-revalidate", True, id="what says so itself doesn't"),
        pytest.param("proxy-revalidate", True, id="nor by its other name"),
    ],
)
def test_a_window_by_rule(directives: str, forbids: bool) -> None:
    fields = {CC: directives}
    rule = Rule(stale_if_error=60)
    freshness = freshness_of(Record(200, NOW, NOW, 0, tuple(fields.items())), fields, rule, STRICT)
    assert freshness.forbids_stale is forbids
    assert freshness.stale_if_error_ms == (0 if forbids else 60_000)


@given(st.integers(0, 10**13), st.floats(0, 0.99))
def test_jitter_shortens_by_its_share_at_most(birth_ms: int, jitter: float) -> None:
    fields = {CC: "max-age=1000"}
    record = Record(200, birth_ms, birth_ms, 0, tuple(fields.items()))
    freshness = freshness_of(record, fields, Rule(), Settings(lifetime_jitter=jitter))
    assert 1_000_000 * (1 - jitter) - 1 <= freshness.lifetime_ms <= 1_000_000
    assert freshness == freshness_of(record, fields, Rule(), Settings(lifetime_jitter=jitter))


def test_the_epoch_of_the_tests_is_what_it_says() -> None:
    assert http_date(NOW) == "Fri, 27 Nov 2026 02:00:00 GMT"
    assert datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(0) == datetime(2026, 11, 27, 2, tzinfo=UTC)
