"""Which answer of the origin ends, replaces or keeps what is stored, and for how long the origin rests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from origin_sdk_wire.marks import Lane
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.edge import eventually, new_path, running
from tests.runtime.edge import get as ask
from tests.runtime.http_rows import (
    ASKED,
    FETCHED,
    REFRESHED,
    REUSED,
    Do,
    Make,
    Results,
    Row,
    Shown,
    Value,
    at,
    cc,
    do,
    get,
    hang_up,
    parameters,
    says,
)
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Reply, reply

OVER = 2.2
ETAG = ("ETag", '"a"')
KEPT = b"reply 1"
STORED = cc("max-age=1, stale-if-error=600", ETAG)
REFRESHABLE = cc("max-age=1, stale-while-revalidate=600, stale-if-error=600", ETAG)
DOWN = says(status=503)
LOCATION = ("Location", "/login")
PART = ("Content-Range", "bytes 0-6/7")
PARTS = ("Content-Type", "multipart/byteranges; boundary=x")

ENDS: Mapping[str, Make] = {
    "200 private": cc("private"),
    "200 no-store": cc("no-store"),
    "200 private, with a lifetime": cc("private, max-age=60"),
    "200 without a lifetime": says(),
    "200 Vary: *": cc("max-age=60", ("Vary", "*")),
    "an endless stream": cc("max-age=60", ("Content-Type", "text/event-stream")),
    "204 no-store": cc("no-store", status=204),
    "a part with no-store that wasn't asked for": cc("no-store", PART, status=206),
    "such a part for one client": cc("private, max-age=60", PART, status=206),
    "parts with no-store": cc("no-store", PARTS, status=206),
    "226 no-store": cc("no-store", status=226),
    "a redirect that isn't stored": says(LOCATION, status=302),
    "a permanent redirect with no-store": cc("no-store", LOCATION, status=301),
    "401": says(("WWW-Authenticate", "Basic"), status=401),
    "403": says(status=403),
    "403 with a lifetime": cc("public, max-age=60", status=403),
    "451": says(status=451),
    "404 without a lifetime": says(status=404),
    "410 no-store": cc("no-store", status=410),
    "304 no-store": cc("no-store", ETAG, status=304),
    "304 private": cc("private", ETAG, status=304),
    "304 Vary: *": cc("max-age=60", ETAG, ("Vary", "*"), status=304),
}
KEEPS: Mapping[str, Make] = {
    f"{status} {value}": cc(value, status=status)
    for status, value in [
        (400, "public, max-age=60"),
        (405, "public, max-age=60"),
        (408, "no-store"),
        (422, "no-store"),
        (428, "public, max-age=60"),
        (431, "public, max-age=60"),
        (416, "no-store"),
    ]
} | {
    "a part that wasn't asked for": cc("max-age=60", PART, status=206),
    "parts with a lifetime": cc("max-age=60", PARTS, status=206),
}
FAILURES = (429, *range(500, 506), 508, 511, *range(520, 528), 530, 599, 101, 600, 999)
HIDDEN: Shown = {"CDN-Cache-Control": None, "Cache-Groups": None}


def turns(*makes: Make) -> list[Make]:
    return list(makes)


ENDINGS = [
    *(
        Row(
            f"{name} ends what is stored",
            "4.3.3",
            turns(STORED, make, DOWN),
            [get(FETCHED, body=KEPT), get(ASKED, pause=OVER), get(ASKED, status=503)],
        )
        for name, make in ENDS.items()
    ),
    *(
        Row(
            f"{name} to a refresh in the background ends it",
            "4.3.3",
            turns(REFRESHABLE, make, DOWN),
            [get(FETCHED), get(REFRESHED, body=KEPT, pause=OVER), get(ASKED, status=503)],
        )
        for name, make in ENDS.items()
    ),
    *(
        Row(
            f"{name} to HEAD ends it",
            "4.3.5",
            turns(STORED, ENDS[name], DOWN),
            [
                get(FETCHED),
                Do(outcome=ASKED, method="HEAD", pause=OVER),
                get(ASKED, status=503),
            ],
        )
        for name in ("200 private", "403", "404 without a lifetime", "a redirect that isn't stored")
    ),
    Row(
        "an answer that may be stored takes its place",
        "4.3.3",
        turns(STORED, STORED, DOWN),
        [get(FETCHED), get(ASKED, pause=OVER), get(ASKED, pause=OVER, body=b"reply 2")],
    ),
    Row(
        "404 with a lifetime takes its place",
        "4.3.3",
        turns(STORED, cc("max-age=60", status=404), DOWN),
        [get(FETCHED), get(ASKED, pause=OVER, status=404), get(REUSED, status=404)],
    ),
    Row(
        "what was withdrawn may be stored again",
        "4.3.3",
        turns(STORED, cc("private"), STORED, DOWN),
        [
            get(FETCHED),
            get(ASKED, pause=OVER),
            get(FETCHED, pause=1.5, body=b"reply 3"),
            get(ASKED, pause=OVER, body=b"reply 3"),
        ],
    ),
    Row(
        "what a request says of itself ends nothing",
        "5.2.1.5",
        turns(STORED, STORED, DOWN),
        [
            get(FETCHED),
            get(ASKED, ("Cache-Control", "no-store"), pause=OVER, body=b"reply 2"),
            get(status=200),
        ],
    ),
    Row(
        "an answer to a range that withdraws ends it",
        "14.2 of 9110",
        turns(STORED, cc("no-store", PART, status=206), DOWN),
        [get(FETCHED), get(ASKED, ("Range", "bytes=0-6"), pause=OVER, status=206), get(ASKED, status=503)],
    ),
    Row(
        "a 304 that answers no precondition ends nothing",
        "15.4.5 of 9110",
        turns(cc("max-age=1, stale-if-error=600"), says(status=304), DOWN),
        [get(FETCHED), get(ASKED, pause=OVER), get(ASKED, status=200, body=KEPT)],
    ),
    Row(
        "what only the bearer of credentials hears ends nothing",
        "3.5",
        turns(STORED, cc("private"), DOWN),
        [
            get(FETCHED),
            get(ASKED, ("Authorization", "Bearer x"), pause=OVER, body=b"reply 2"),
            get(ASKED, status=200, body=KEPT),
        ],
    ),
]

FAILING = [
    *(
        Row(
            f"{name} keeps what is stored",
            "4.3.3",
            turns(STORED, make, DOWN),
            [get(FETCHED), get(ASKED, pause=OVER), get(ASKED, status=200, body=KEPT)],
        )
        for name, make in KEEPS.items()
    ),
    *(
        Row(
            f"{status} is answered with what is stored, and kept to",
            "4.3.3",
            turns(STORED, cc("public, max-age=60", status=status), DOWN),
            [
                get(FETCHED),
                get(ASKED, pause=OVER, status=200, body=KEPT),
                get(ASKED, status=200, body=KEPT),
            ],
        )
        for status in FAILURES
    ),
    *(
        Row(
            f"{status} is never stored",
            f"RFC 6585 section {section}",
            turns(cc(value, ("Retry-After", "1"), status=status), cc("max-age=60")),
            [get(FETCHED, status=status), get(FETCHED, status=200), get(REUSED, status=200)],
        )
        for status, section in ((428, 3), (429, 4), (431, 5), (511, 6))
        for value in ("public, max-age=60",)
    ),
]

FAILING += [
    Row(
        f"{method} answered {status} is a bad gateway's",
        "15 of 9110",
        turns(cc("max-age=60", ("CDN-Cache-Control", "max-age=60"), ("Cache-Groups", '"g"'), status=status)),
        [do(method, ASKED, status=502, shows=HIDDEN, cache_status=f"fwd=.*fwd-status={status}")] * 2,
    )
    for method in ("GET", "HEAD", "POST")
    for status in (101, 600, 999)
]

RESTING = [
    Row(
        f"{status} is left alone for as long as it asks, {name}",
        "10.2.3 of 9110",
        turns(STORED, says(("Retry-After", value), status=status), cc("max-age=60")),
        [
            get(FETCHED),
            get(ASKED, pause=OVER, status=200, body=KEPT),
            get(REUSED, status=200, body=KEPT, cache_status="detail=throttled"),
            get(ASKED, pause=4.2, body=b"reply 3"),
        ],
    )
    for status in (429, 503, 522)
    for name, value in (("in seconds", "3"), ("as a date", at(3)))
]

AN_ORIGIN, ANOTHER = ("Origin", "https://a.example"), ("Origin", "https://b.example")
ALLOWED = {"Access-Control-Allow-Origin": "https://a.example"}


def cors(lifetime: int, *lines: tuple[str, Value]) -> Make:
    return cc(
        f"max-age={lifetime}",
        ("Vary", "Origin"),
        ("Access-Control-Allow-Origin", "https://a.example"),
        *lines,
    )


VARIANTS = [
    Row(
        "a response that forgot Vary stands beside those that didn't",
        "4.1",
        turns(cors(60), cc("max-age=60"), cc("max-age=60", ("Vary", "Origin"))),
        [
            get(FETCHED, AN_ORIGIN, shows=ALLOWED),
            get(FETCHED, body=b"reply 2", shows={"Access-Control-Allow-Origin": None}),
            get(REUSED, AN_ORIGIN, body=b"reply 1", shows=ALLOWED),
            get(REUSED, body=b"reply 2"),
            get(REUSED, AN_ORIGIN, body=b"reply 1", shows=ALLOWED),
        ],
    ),
    Row(
        "whichever came last",
        "4.1",
        turns(cc("max-age=1"), cors(60), cc("max-age=60")),
        [
            get(FETCHED),
            get(FETCHED, AN_ORIGIN, pause=OVER, shows=ALLOWED),
            get(FETCHED, body=b"reply 3"),
            get(REUSED, AN_ORIGIN, body=b"reply 2", shows=ALLOWED),
            get(REUSED, body=b"reply 3"),
        ],
    ),
    Row(
        "an absence that forgot Vary doesn't end the variants",
        "4.1",
        turns(cors(60), cc("max-age=60", status=404)),
        [get(FETCHED, AN_ORIGIN), get(FETCHED, status=404), get(REUSED, AN_ORIGIN, shows=ALLOWED)],
    ),
    Row(
        "several sets of names",
        "4.1",
        turns(cors(60), cc("max-age=60", ("Vary", "Accept-Language")), cc("max-age=60")),
        [
            get(FETCHED, AN_ORIGIN, shows=ALLOWED),
            get(FETCHED, ("Accept-Language", "de")),
            get(FETCHED, ("Accept-Language", "en")),
            get(REUSED, ("Accept-Language", "de"), body=b"reply 2"),
            get(REUSED, ("Accept-Language", "en"), body=b"reply 3"),
        ],
    ),
]
SAFE_VARIANTS = [
    Row(
        "a response that forgot Vary is for requests like its own",
        "4.1",
        turns(cors(60), cc("max-age=60"), cc("max-age=60", ("Vary", "Origin"))),
        [
            get(FETCHED, AN_ORIGIN),
            get(FETCHED),
            get(FETCHED, ANOTHER, body=b"reply 3"),
            get(REUSED, body=b"reply 2"),
        ],
    ),
]

RULED = [
    *(
        Row(
            f"a rule's lifetime isn't for {status}",
            "rules",
            turns(says(LOCATION, status=status), says(status=200)),
            [get(FETCHED, status=status), get(FETCHED, status=200)],
        )
        for status in (302, 303, 307, 400, 401, 403, 404, 405, 410, 414, 429, 451, 500, 501, 503)
    ),
    *(
        Row(
            f"but for {status}",
            "rules",
            turns(says(LOCATION, status=status), says(status=500)),
            [get(FETCHED, status=status), get(REUSED, status=status)],
        )
        for status in (200, 203, 204, 299, 301, 308)
    ),
    *(
        Row(
            f"{status} goes by what it says itself",
            "rules",
            turns(cc("max-age=3, public", LOCATION, status=status), cc("max-age=60")),
            [get(FETCHED, status=status), get(REUSED), get(ASKED, pause=4.2, status=200)],
        )
        for status in (302, 404)
    ),
]
CAUTION = [
    *(
        Row(
            f"{status} with max-age isn't for everyone",
            "safe",
            turns(cc("max-age=60", status=status), cc("max-age=60")),
            [get(FETCHED, status=status, cache_status="detail=client-error"), get(FETCHED, status=200)],
        )
        for status in (400, 401, 403, 405, 414, 422, 451)
    ),
    *(
        Row(
            f"{status} that says {value} is",
            "safe",
            turns(cc(value, status=status), cc("max-age=60")),
            [get(FETCHED, status=status), get(REUSED, status=status)],
        )
        for status, value in (
            (400, "public, max-age=60"),
            (403, "s-maxage=60"),
            (404, "max-age=60"),
            (410, "max-age=60"),
        )
    ),
    Row(
        "what only the sender of a key of its own hears ends nothing",
        "safe",
        turns(STORED, says(status=403), DOWN),
        [
            get(FETCHED),
            get(ASKED, ("X-API-Key", "wrong"), pause=OVER, status=403),
            get(ASKED, status=200, body=KEPT),
        ],
    ),
    Row(
        "a cookie for one client says nothing of what is stored",
        "safe",
        turns(STORED, cc("max-age=60", ("Set-Cookie", "a=1")), DOWN),
        [get(FETCHED), get(ASKED, pause=OVER), get(ASKED, status=200, body=KEPT)],
    ),
    Row(
        "no answer at all keeps it, too",
        "safe",
        turns(STORED, hang_up(), DOWN),
        [get(FETCHED), get(pause=OVER, body=KEPT), get(ASKED, status=200, body=KEPT)],
    ),
    Row(
        "a 304 that sets a cookie validates, and the cookie is for its client alone",
        "safe",
        turns(STORED, cc("max-age=60", ETAG, ("Set-Cookie", "a=1"), status=304), DOWN),
        [
            get(FETCHED),
            get(ASKED, pause=OVER, body=KEPT, shows={"Set-Cookie": "a=1"}, cache_status="detail=validated"),
            get(REUSED, body=KEPT, shows={"Set-Cookie": None}),
        ],
    ),
    Row(
        "what age used up is told apart from what has no lifetime",
        "safe",
        turns(cc("max-age=60", ("Age", "100")), says()),
        [get(ASKED, cache_status="detail=expired"), get(ASKED, cache_status="detail=no-freshness")],
    ),
    Row(
        "nor is no-cache without a validator",
        "safe",
        turns(cc("no-cache")),
        [get(ASKED, cache_status="detail=no-cache")],
    ),
]

STRICT: Mapping[str, Json] = {"PROFILE": "rfc9111", "REFRESH_THROTTLE": 0}
BY_RULE: Json = {"path": "/row/*", "lifetime": "5m"}
HARMFUL: Json = {"path": "/harmful", "key_fields": ["User-Agent"]}
PRIVATE: Json = {"path": "/mine-*", "data_class": "private", "key_fields": ["X-User"]}
SAFE: Mapping[str, Json] = {"REFRESH_THROTTLE": 0, "MARK_INTERVAL": "300ms", "RULES": [PRIVATE]}


def _strictly(row: Row) -> Row:
    """RFC 5861 knows server errors alone, so that the strict profile passes 429 on."""
    if not row.sentence.startswith("429 is answered"):
        return row
    first, second, third = row.steps
    return replace(row, steps=[first, replace(second, status=429, body=None), third])


TABLES: Mapping[str, tuple[Mapping[str, Json], list[Row], float]] = {
    "safe": (SAFE, [*ENDINGS, *FAILING, *RESTING, *VARIANTS, *SAFE_VARIANTS, *CAUTION], 0.0),
    "strict": (STRICT, [*ENDINGS[::2], *map(_strictly, FAILING[::3]), *VARIANTS], 0.0),
    "kv": ({**SAFE, "MEMORY_BYTES": 0, "MARK_INTERVAL": 0}, [*ENDINGS[::6], *VARIANTS, *SAFE_VARIANTS], 0.4),
    "ruled": ({**SAFE, "RULES": [BY_RULE, HARMFUL]}, RULED, 0.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("succession")


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, folder: Path) -> Iterator[Workerd]:
    workers = {name: variables for name, (variables, *_) in TABLES.items()}
    workers["elsewhere"] = SAFE
    with running(folder, running_origin, workers) as workerd:
        yield workerd


@pytest.fixture(scope="module")
def results(edge: Workerd, running_origin: ScriptedOrigin) -> Callable[[str], Results]:
    @cache
    def played(table: str) -> Results:
        _, rows, pause_seconds = TABLES[table]
        return Results(edge.url(table), running_origin, rows, pause_seconds)

    return played


@pytest.mark.parametrize(
    ("table", "row"),
    [
        pytest.param(name, row, id=f"{name}: {row.id}")
        for name, (_, rows, _) in TABLES.items()
        for row in rows
        if parameters(rows)
    ],
)
def test_succession(table: str, row: Row, results: Callable[[str], Results]) -> None:
    results(table).check(row)


@pytest.mark.parametrize(
    "withdrawn",
    [
        pytest.param(reply(200, [("Cache-Control", "private")], b"own"), id="private"),
        pytest.param(reply(403, [], b"no"), id="refused"),
        pytest.param(reply(404, [], b"gone"), id="gone"),
    ],
)
def test_what_ends_in_one_isolate_ends_in_the_others(
    edge: Workerd, origin: ScriptedOrigin, withdrawn: Reply
) -> None:
    path, stored = new_path(), reply(200, [("Cache-Control", "max-age=2, stale-if-error=600")], b"stored")
    origin.on(path, stored, withdrawn, reply(503, [], b"down"))
    assert ask(edge.url("safe"), path).body == b"stored"
    assert eventually(lambda: ask(edge.url("elsewhere"), path), "a hit").body == b"stored"
    eventually(lambda: ask(edge.url("safe"), path).body != b"stored", "the answer that ends it")

    eventually(lambda: ask(edge.url("elsewhere"), path).status == 503, "the end elsewhere")
    writes = [key for key in edge.store().keys("m2/") if path in key]
    assert len(writes) == len(Lane)


def test_one_users_answer_ends_what_is_stored_for_this_user(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("mine")
    stored, down = reply(200, [("Cache-Control", "max-age=1, stale-if-error=600")], b"mine"), reply(503)
    ann, bob = ("X-User", "ann"), ("X-User", "bob")
    turns: dict[str | None, Iterator[Reply]] = {
        "ann": iter([stored, reply(403, [], b"no"), down]),
        "bob": iter([stored, down]),
    }
    origin.decide(path, lambda request: next(turns[request.value("X-User")], down))
    for user in (ann, bob):
        assert ask(edge.url("safe"), path, user).body == b"mine"

    eventually(lambda: ask(edge.url("safe"), path, ann).status == 403, "the refusal")

    assert ask(edge.url("safe"), path, ann).status == 503
    assert ask(edge.url("safe"), path, bob).body == b"mine"
    assert not [key for key in edge.store().keys("m2/") if path in key]


def test_a_rule_that_mostly_harms_is_named_in_the_log(
    edge: Workerd, origin: ScriptedOrigin, folder: Path
) -> None:
    path = new_path()
    origin.on(path, reply(200))
    assert ask(edge.url("ruled"), path).status == 200
    warning = "edge cache: RULES[1].key_fields = 'user-agent': has about as many values as there are clients"
    log = folder / "workerd.log"
    eventually(lambda: warning in log.read_text(encoding="utf-8", errors="replace"), "the warning")
