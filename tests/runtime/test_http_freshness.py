"""RFC 9111 sections 4.2, 5.1 to 5.3 and RFC 9213: for how long a stored response is fresh."""

from __future__ import annotations

import pytest

from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REUSED,
    VALIDATED,
    Make,
    Results,
    Row,
    Value,
    asctime,
    at,
    cc,
    get,
    parameters,
    rfc850,
    says,
)
from tests.runtime.origin import ScriptedOrigin

HOUR = "max-age=3600"
HIT = [get(FETCHED), get(REUSED)]
MISS = [get(FETCHED), get(ASKED)]
EXPIRES = [get(FETCHED), get(REUSED), get(ASKED, pause=4.3)]


def lines(*pairs: tuple[str, Value]) -> list[Make]:
    """Replies with these field lines alone."""
    return [says(*pairs)]


def directives(value: str) -> list[Make]:
    return [cc(value)]


def dated(*pairs: tuple[str, Value]) -> list[Make]:
    """Replies with the current Date."""
    return [says(("Date", at(0)), *pairs)]


LIFETIMES = [
    Row("a response is reused while max-age lasts", "5.2.2.1", directives("max-age=4"), EXPIRES),
    Row("s-maxage is reused while it lasts", "5.2.2.10", directives("s-maxage=4"), EXPIRES),
    Row("s-maxage wins over a longer max-age", "5.2.2.10", directives("max-age=3600, s-maxage=0"), MISS),
    Row("s-maxage wins over a shorter max-age", "5.2.2.10", directives("max-age=0, s-maxage=3600"), HIT),
    Row("s-maxage wins wherever it stands", "5.2.2.10", directives("s-maxage=3600, max-age=0"), HIT),
    Row("s-maxage wins over Expires", "5.3", [cc("s-maxage=3600", ("Expires", at(-10)))], HIT),
    Row("max-age wins over an earlier Expires", "5.3", [cc(HOUR, ("Expires", at(-10)))], HIT),
    Row("max-age=0 wins over a later Expires", "5.3", [cc("max-age=0", ("Expires", at(3600)))], MISS),
    Row("max-age wins over an invalid Expires", "5.3", [cc(HOUR, ("Expires", "0"))], HIT),
    Row("Expires is reused while it lasts", "5.3", dated(("Expires", at(4))), EXPIRES),
    Row("Expires in the obsolete form of RFC 850", "5.3", dated(("Expires", rfc850(3600))), HIT),
    Row("Expires in the form of asctime", "5.3", dated(("Expires", asctime(3600))), HIT),
    Row("a past Expires in the form of RFC 850", "5.3", dated(("Expires", rfc850(-60))), MISS),
    Row("a past Expires in the form of asctime", "5.3", dated(("Expires", asctime(-60))), MISS),
    Row("Expires counts from Date", "4.2.1", lines(("Date", at(-3600)), ("Expires", at(-1800))), MISS),
    Row(
        "Expires counts from a Date in the future",
        "4.2.1",
        lines(("Date", at(600)), ("Expires", at(604))),
        EXPIRES,
    ),
    Row("Expires without Date counts from the arrival", "4.2.1", lines(("Expires", at(4))), EXPIRES),
    Row("Expires equal to Date is stale", "4.2.1", dated(("Expires", at(0))), MISS),
    Row("Expires: 0 is stale", "5.3", dated(("Expires", "0"), ("Last-Modified", at(-999_999))), MISS),
    Row("Expires: -1 is stale", "5.3", dated(("Expires", "-1"), ("Last-Modified", at(-999_999))), MISS),
    Row(
        "Expires with another zone is stale",
        "4.2",
        dated(("Expires", at(3600, "%a, %d %b %Y %H:%M:%S UTC"))),
        MISS,
    ),
    Row(
        "Expires with an offset is stale",
        "4.2",
        dated(("Expires", at(3600, "%a, %d %b %Y %H:%M:%S +0000"))),
        MISS,
    ),
    Row(
        "Expires without a zone is stale", "4.2", dated(("Expires", at(3600, "%a, %d %b %Y %H:%M:%S"))), MISS
    ),
    Row("Expires as ISO 8601 is stale", "4.2", dated(("Expires", at(3600, "%Y-%m-%dT%H:%M:%SZ"))), MISS),
    Row(
        "Expires with a one-digit hour is stale",
        "4.2",
        dated(("Expires", at(90_000, "%a, %d %b %Y 1:%M:%S GMT"))),
        MISS,
    ),
    Row(
        "Expires with a two-digit year in the fixed form is stale",
        "4.2",
        dated(("Expires", at(90_000, "%a, %d %b %y %H:%M:%S GMT"))),
        MISS,
    ),
    Row(
        "Expires on the 31st of February is stale",
        "4.2",
        dated(("Expires", "Mon, 31 Feb 2098 10:00:00 GMT"))[:1],
        MISS,
    ),
    Row(
        "Expires in another case",
        "4.2",
        [says(("Date", at(0)), ("Expires", at(3600, "%a, %d %b %Y %H:%M:%S gmt")))],
        HIT,
    ),
    Row(
        "of two Expires the first, if it is later",
        "4.2.1",
        dated(("Expires", at(3600)), ("Expires", at(-60))),
        [get(FETCHED), get()],
    ),
    Row(
        "of two Expires the first, if it is past",
        "4.2.1",
        dated(("Expires", at(-60)), ("Expires", at(3600))),
        MISS,
    ),
    Row("max-age=0 is stale at once", "5.2.2.1", directives("max-age=0"), MISS),
    Row("max-age overflows to a long time", "1.2.2", directives("max-age=2147483648"), HIT),
    Row(
        "max-age overflows to a long time, with 20 digits",
        "1.2.2",
        directives("max-age=99999999999999999999"),
        HIT,
    ),
    Row("max-age with 5000 digits", "1.2.2", directives("max-age=" + "9" * 5000), HIT),
    Row("s-maxage overflows", "1.2.2", directives("s-maxage=999999999999"), HIT),
    Row("max-age with leading zeros", "1.2.2", directives("max-age=003600"), HIT),
    Row("max-age as a quoted string", "5.2", directives('max-age="3600"'), HIT),
    Row("s-maxage as a quoted string", "5.2", directives('s-maxage="3600"'), HIT),
    Row("max-age=0 as a quoted string", "5.2", directives('max-age="0"'), MISS),
    Row("max-age in single quotes is stale", "4.2.1", directives("max-age='3600'"), MISS),
    Row("a negative max-age is stale", "4.2.1", directives("max-age=-3600"), MISS),
    Row("a negative s-maxage is stale", "4.2.1", directives("s-maxage=-3600, max-age=3600"), MISS),
    Row("a decimal max-age is stale", "4.2.1", directives("max-age=3600.0"), MISS),
    Row("a hexadecimal max-age is stale", "4.2.1", directives("max-age=0x3600"), MISS),
    Row("a max-age with letters is stale", "4.2.1", directives("max-age=3600s"), MISS),
    Row("a max-age in words is stale", "4.2.1", directives("max-age=hour"), MISS),
    Row("a max-age without an argument is stale", "4.2.1", [cc("max-age", ("Expires", at(3600)))], MISS),
    Row("a max-age with an empty argument is stale", "4.2.1", directives("max-age="), MISS),
    Row(
        "a space after the equals sign isn't a lifetime",
        "5.2",
        directives("max-age= 3600"),
        [get(FETCHED), get()],
    ),
    Row("directives in another case", "5.2", directives("Max-Age=3600"), HIT),
    Row("directives in capitals", "5.2", directives("MAX-AGE=3600, FOO"), HIT),
    Row("without spaces after commas", "5.2", directives("public,max-age=3600,foo"), HIT),
    Row("with spaces and tabs around commas", "5.2", directives("public \t ,\t max-age=3600 , foo"), HIT),
    Row("with empty members", "5.2", directives(",, ,max-age=3600,,"), HIT),
    Row("a comma in quotes doesn't separate", "5.2", directives('foo="a, no-store, b", max-age=3600'), HIT),
    Row("max-age in quotes is no directive", "5.2", directives('foo="max-age=3600"'), MISS),
    Row(
        "an escaped quote doesn't end a string",
        "5.2",
        directives('foo="\\", max-age=0, ", max-age=3600'),
        HIT,
    ),
    Row("a name that only ends in max-age", "5.2", directives("x-max-age=3600"), MISS),
    Row("a name that only begins with max-age", "5.2", directives("max-ages=3600"), MISS),
    Row("a longer name after max-age", "5.2", directives("max-age=3600, max-age-x=0, no-storey"), HIT),
    Row(
        "unknown directives are ignored",
        "5.2.3",
        directives('max-age=3600, community="UCI", foo, bar=1'),
        HIT,
    ),
    Row(
        "of two max-age the first, if it is longer",
        "4.2.1",
        directives("max-age=3600, max-age=0"),
        [get(FETCHED), get()],
    ),
    Row("of two max-age the first, if it is shorter", "4.2.1", directives("max-age=0, max-age=3600"), MISS),
    Row("of two equal max-age either", "4.2.1", directives("max-age=3600, max-age=3600"), HIT),
    Row(
        "two lines of Cache-Control are one list",
        "5.2",
        lines(("Cache-Control", "foo"), ("Cache-Control", HOUR)),
        HIT,
    ),
    Row(
        "no-store on the second line counts",
        "5.2",
        lines(("Cache-Control", HOUR), ("Cache-Control", "no-store")),
        MISS,
    ),
    Row("Pragma of a response means nothing", "5.4", [cc(HOUR, ("Pragma", "no-cache"))], HIT),
    Row("without any freshness information", "4.2.2", dated(), MISS),
    Row("a lifetime beside no-cache is of no use", "4.2.1", [cc("max-age=3600, no-cache")], MISS),
]

AGES = [
    Row(
        "Age is sent with a reused response",
        "5.1",
        directives(HOUR),
        [get(FETCHED), get(REUSED, pause=2.1, age=(2, 4))],
    ),
    Row(
        "Age of the origin is added to",
        "4.2.3",
        [cc(HOUR, ("Age", "1000"))],
        [get(FETCHED, age=(1000, 1001)), get(REUSED, pause=1.1, age=(1001, 1003))],
    ),
    Row("Age that uses up max-age", "4.2.3", [cc(HOUR, ("Age", "3600"))], MISS),
    Row("Age that exceeds max-age", "4.2.3", [cc(HOUR, ("Age", "7200"))], MISS),
    Row("Age that exceeds s-maxage", "4.2.3", [cc("s-maxage=3600", ("Age", "7200"))], MISS),
    Row("Age that exceeds Expires", "4.2.3", dated(("Expires", at(3600)), ("Age", "7200")), MISS),
    Row("Age that leaves some of max-age", "4.2.3", [cc(HOUR, ("Age", "3596"))], EXPIRES),
    Row("Age: 0", "5.1", [cc(HOUR, ("Age", "0"))], HIT),
    Row("Age with leading zeros", "5.1", [cc(HOUR, ("Age", "0007200"))], MISS),
    Row("an overflowing Age is old", "1.2.2", [cc(HOUR, ("Age", "99999999999999999999"))], MISS),
    Row("an Age of 2147483649 is old", "1.2.2", [cc(HOUR, ("Age", "2147483649"))], MISS),
    Row("an Age of 5000 digits is old", "1.2.2", [cc(HOUR, ("Age", "9" * 5000))], MISS),
    Row("a negative Age is ignored", "5.1", [cc(HOUR, ("Age", "-7200"))], HIT),
    Row("a decimal Age is ignored", "5.1", [cc(HOUR, ("Age", "7200.0"))], HIT),
    Row("an Age in words is ignored", "5.1", [cc(HOUR, ("Age", "old"))], HIT),
    Row(
        "an Age with a parameter is ignored", "5.1", [cc(HOUR, ("Age", "7200;foo=1"))], [get(FETCHED), get()]
    ),
    Row("a quoted Age is ignored", "5.1", [cc(HOUR, ("Age", '"7200"'))], HIT),
    Row("of two Age lines the first, if it is old", "5.1", [cc(HOUR, ("Age", "7200"), ("Age", "0"))], MISS),
    Row("of two Age lines the first, if it is young", "5.1", [cc(HOUR, ("Age", "0"), ("Age", "7200"))], HIT),
    Row("of a list of ages the first", "5.1", [cc(HOUR, ("Age", "7200, 0"))], MISS),
    Row("an old Date counts as age", "4.2.3", lines(("Cache-Control", HOUR), ("Date", at(-7200))), MISS),
    Row(
        "an old Date is shown as age",
        "4.2.3",
        lines(("Cache-Control", HOUR), ("Date", at(-600))),
        [get(FETCHED), get(REUSED, age=(599, 602))],
    ),
    Row(
        "the larger of Age and Date counts",
        "4.2.3",
        lines(("Cache-Control", HOUR), ("Date", at(-10)), ("Age", "600")),
        [get(FETCHED), get(REUSED, age=(600, 602))],
    ),
    Row(
        "an old Date in the form of RFC 850",
        "4.2.3",
        lines(("Cache-Control", HOUR), ("Date", rfc850(-600))),
        [get(FETCHED), get(REUSED, age=(599, 602))],
    ),
    Row(
        "an old Date in the form of asctime",
        "4.2.3",
        lines(("Cache-Control", HOUR), ("Date", asctime(-600))),
        [get(FETCHED), get(REUSED, age=(599, 602))],
    ),
    Row(
        "a Date in the future is no age",
        "4.2.3",
        lines(("Cache-Control", HOUR), ("Date", at(7200))),
        [get(FETCHED), get(REUSED, age=(0, 1))],
    ),
    Row(
        "without Date the arrival counts",
        "4.2.3",
        lines(("Cache-Control", HOUR)),
        [get(FETCHED), get(REUSED, age=(0, 1))],
    ),
    Row("an invalid Date is no age", "4.2.3", lines(("Cache-Control", HOUR), ("Date", "yesterday")), HIT),
    Row(
        "Date stays that of the origin",
        "6.6.1 of 9110",
        lines(("Cache-Control", HOUR), ("Date", "Sun, 06 Nov 2094 08:49:37 GMT")),
        [get(FETCHED), get(REUSED, shows={"Date": "Sun, 06 Nov 2094 08:49:37 GMT"})],
    ),
    Row(
        "the time that the origin took counts as age",
        "4.2.3",
        lines(("Cache-Control", HOUR)),
        [get(FETCHED), get(REUSED, age=(0, 1))],
    ),
]

LONG_AGO = ("Last-Modified", at(-100 * 86_400))
HEURISTIC_STATUSES = (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)
OTHER_STATUSES = (201, 202, 299, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599)

HEURISTICS = [
    *(
        Row(
            f"{status} may be reused for a share of its age",
            "4.2.2",
            [says(("Date", at(0)), LONG_AGO, status=status)],
            HIT,
        )
        for status in HEURISTIC_STATUSES
    ),
    *(
        Row(
            f"{status} may not be reused by its age",
            "4.2.2",
            [says(("Date", at(0)), LONG_AGO, status=status)],
            [get(FETCHED), get(ASKED)],
        )
        for status in OTHER_STATUSES
    ),
    *(
        Row(
            f"{status} may be reused by its age where it is public",
            "4.2.2",
            [cc("public", LONG_AGO, status=status)],
            HIT,
        )
        for status in (201, 202, 299, 302, 400, 403, 599)
    ),
    Row(
        "what was modified just now isn't reused",
        "4.2.2",
        dated(("Last-Modified", at(-1))),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row(
        "a Last-Modified in the future is no age",
        "4.2.2",
        dated(("Last-Modified", at(3600))),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row("an invalid Last-Modified is no age", "4.2.2", dated(("Last-Modified", "long ago")), MISS),
    Row("an ETag alone gives no lifetime", "4.2.2", dated(("ETag", '"a"')), [get(FETCHED), get(VALIDATED)]),
    Row(
        "explicit freshness leaves no room for it",
        "4.2.2",
        [cc("max-age=0", LONG_AGO)],
        [get(FETCHED), get(VALIDATED)],
    ),
    Row("no-cache forbids it", "5.2.2.4", [cc("no-cache", LONG_AGO)], [get(FETCHED), get(VALIDATED)]),
    Row("no-store forbids it", "5.2.2.5", [cc("no-store", LONG_AGO)], MISS),
    Row("private forbids it", "5.2.2.7", [cc("private", LONG_AGO)], MISS),
    Row("must-revalidate allows it", "5.2.2.2", [cc("must-revalidate", LONG_AGO)], HIT),
    Row("unknown directives allow it", "4.2.2", [cc("foo", LONG_AGO)], HIT),
    Row("Age counts against it", "4.2.3", dated(LONG_AGO, ("Age", "999999")), [get(FETCHED), get(VALIDATED)]),
]


def targeted(value: str, *others: tuple[str, Value]) -> list[Make]:
    return [says(("CDN-Cache-Control", value), ("Date", at(0)), *others)]


NO_STORE = ("Cache-Control", "no-store")
LONG = ("Cache-Control", HOUR)

TARGETED = [
    Row("max-age is reused while it lasts", "9213 2.2", targeted("max-age=4"), EXPIRES),
    Row(
        "it wins over a shorter Cache-Control",
        "9213 2.2",
        targeted(HOUR, ("Cache-Control", "max-age=0")),
        HIT,
    ),
    Row("it wins over a longer Cache-Control", "9213 2.2", targeted("max-age=0", LONG), MISS),
    Row("it wins over s-maxage", "9213 2.2", targeted("max-age=0", ("Cache-Control", "s-maxage=3600")), MISS),
    Row("it wins over no-store in Cache-Control", "9213 2.2", targeted(HOUR, NO_STORE), HIT),
    Row(
        "it wins over private in Cache-Control", "9213 2.2", targeted(HOUR, ("Cache-Control", "private")), HIT
    ),
    Row(
        "it wins over no-cache in Cache-Control",
        "9213 2.2",
        targeted(HOUR, ("Cache-Control", "no-cache")),
        HIT,
    ),
    Row("its no-store wins over Cache-Control", "9213 2.2", targeted("no-store", LONG), MISS),
    Row("its private wins over Cache-Control", "9213 2.2", targeted("private", LONG), MISS),
    Row(
        "its no-cache wins over Cache-Control",
        "9213 2.2",
        targeted("no-cache", LONG, ("ETag", '"a"')),
        [get(FETCHED), get(VALIDATED)],
    ),
    Row("it wins over Expires", "9213 2.2", targeted(HOUR, ("Expires", at(-10))), HIT),
    Row("it alone leaves Expires out", "9213 2.2", targeted("foo", ("Expires", at(3600))), MISS),
    Row("an unknown member alone leaves Cache-Control out", "9213 2.2", targeted("none", LONG), MISS),
    Row("no-store and max-age together aren't stored", "9213 2.2", targeted("no-store, max-age=3600"), MISS),
    Row("an empty field is as none", "9213 2.1", targeted("", LONG), HIT),
    Row("an empty field leaves no-store in force", "9213 2.1", targeted("", NO_STORE), MISS),
    Row(
        "a field that isn't a dictionary is as none",
        "9213 2.1",
        targeted("max-age=3600, =", ("Cache-Control", "max-age=0")),
        MISS,
    ),
    Row("a bad field leaves Cache-Control in force", "9213 2.1", targeted("no-store, &&&", LONG), HIT),
    Row("a trailing comma makes it bad", "9213 2.1", targeted("max-age=3600,", NO_STORE), MISS),
    Row("capitals in a key make it bad", "9213 2.1", targeted("Max-Age=3600", NO_STORE), MISS),
    Row("an unclosed string makes it bad", "9213 2.1", targeted('max-age=3600, foo="bar', NO_STORE), MISS),
    Row("a space around = makes it bad", "9213 2.1", targeted("max-age = 3600", NO_STORE), MISS),
    Row("a space after = makes it bad", "9213 2.1", targeted("max-age= 3600", NO_STORE), MISS),
    Row("parameters are ignored", "9213 2.1", targeted("max-age=3600;foo=bar;baz, foo;a=1"), HIT),
    Row("spaces and tabs around commas", "9213 2.1", targeted("foo \t,\t max-age=3600"), HIT),
    Row(
        "of a repeated key the last counts, if it is longer",
        "9213 2.1",
        targeted("max-age=0, max-age=3600"),
        HIT,
    ),
    Row(
        "of a repeated key the last counts, if it is shorter",
        "9213 2.1",
        targeted("max-age=3600, max-age=0"),
        MISS,
    ),
    Row("two lines are one dictionary", "9213 2.1", targeted("foo", ("CDN-Cache-Control", HOUR)), HIT),
    Row("a string is no max-age", "9213 2.1", targeted('max-age="3600"', LONG), MISS),
    Row("a decimal is no max-age", "9213 2.1", targeted("max-age=3600.0", LONG), MISS),
    Row("a token is no max-age", "9213 2.1", targeted("max-age=hour", LONG), MISS),
    Row("an inner list is no max-age", "9213 2.1", targeted("max-age=(3600)", LONG), MISS),
    Row("a negative max-age is stale", "9213 2.1", targeted("max-age=-3600", LONG), MISS),
    Row("a max-age without a value is stale", "9213 2.1", targeted("max-age", LONG), MISS),
    Row("a key of false isn't there", "9213 2.1", targeted("no-store=?0, max-age=3600"), HIT),
    Row(
        "a member of another type is ignored",
        "9213 2.1",
        targeted("foo=:YWJj:, bar=(1 2), baz=@1, max-age=3600"),
        HIT,
    ),
    Row("s-maxage in it counts", "9213 2.2", targeted("max-age=0, s-maxage=3600"), HIT),
    Row(
        "a max-age of 16 digits makes it bad",
        "9213 2.1",
        targeted("max-age=9999999999999999", NO_STORE),
        MISS,
    ),
    Row("a max-age of 15 digits is long", "9213 2.1", targeted("max-age=999999999999999", NO_STORE), HIT),
    Row(
        "it is passed on",
        "9213 3",
        targeted(HOUR),
        [get(FETCHED, shows={"CDN-Cache-Control": HOUR}), get(REUSED, shows={"CDN-Cache-Control": HOUR})],
    ),
    Row(
        "another cache's field means nothing",
        "9213 2.2",
        [says(("Example-Cache-Control", "no-store"), LONG)],
        HIT,
    ),
    Row("Age counts against it", "9213 2.3", targeted(HOUR, ("Age", "7200")), MISS),
]

ROWS = [*LIFETIMES, *AGES, *HEURISTICS, *TARGETED]


@pytest.fixture(scope="module")
def results(strict_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(strict_url, running_origin, ROWS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_freshness(row: Row, results: Results) -> None:
    results.check(row)
