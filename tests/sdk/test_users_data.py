"""What was read of a request decides for whom the response may be: in each framework, on every status."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.sdk.accessors import ACCESSORS
from tests.sdk.reading_apps import FRAMEWORKS, ON_THE_WAY_OUT, PARAMETERS, TRACED

ROOT = Path(__file__).resolve().parents[2]
NEUTRAL = ("nothing", "the URL", "a condition")
"""What is in the key of a cache, or doesn't change what a response shows."""
IN_ALL = (
    *NEUTRAL,
    *("a cookie", "all cookies", "the field cookie", "whether there is a cookie"),
    *("a key", "a key, raw", "a key, through a middleware outside", ON_THE_WAY_OUT, "authorization"),
    "a language",
    *("every field", "every field, raw", "every value", "the session", "the address", "a forwarded address"),
)
IN_DJANGO = (
    *("a signed cookie", "messages, in a cookie", "a key, as the server has it", "what is accepted"),
    *("the session's key", "the session, asynchronously", "the user", "the user of the server"),
    *("the user, logged before", "the user, logged before, asynchronously"),
    *(TRACED, "the user, traced before"),
)
READ = {
    "FastAPI": (
        *(*IN_ALL, *PARAMETERS, "every value, raw", "the session, raw", "the user"),
        *("the address, raw", "the address, of a copied scope"),
    ),
    "Django": (*IN_ALL, *IN_DJANGO),
    "Django, asynchronous": (*IN_ALL, *(each for each in IN_DJANGO if each != "a key, as the server has it")),
    "Flask": (
        *IN_ALL,
        *("a cookie, in a template", "the user of the server", "the address, raw", "what a server put there"),
    ),
}
SAID = (
    *("cache_for", "in Vary", "in Vary by hand", "for everyone", "a user's own", "a user's own, no more"),
    *("aside", "public by hand", "at the edge by hand", "nothing"),
)
STORABLE = ("200", "203", "301", "302", "404", "410")
STATUSES = (*STORABLE, "401", "403", "500", "503")
NAMED = ("cookie", "key", "authorization", "language")


def expected(read: str, said: str, status: str, who: str) -> Literal["private", "shared", "nothing"]:
    """Say what shared caches must be told, by the rule as a person would put it."""
    if said.startswith("a user's own"):
        return "private"
    is_personal = read not in {*NEUTRAL, TRACED} and (
        said != "aside" or "outside" in read or read in PARAMETERS
    )
    can_be_named = any(word in read for word in NAMED) and "session" not in read
    if said == "for everyone" or (said.startswith("in Vary") and can_be_named):
        is_personal = False
    if who == "a bearer" and said in {"cache_for", "aside"}:
        is_personal = True
    if said in {"nothing", "public by hand", "at the edge by hand"}:
        by_hand = said != "nothing"
        if is_personal and (by_hand or int(status) >= 300):
            return "private"
        return "shared" if by_hand else "nothing"
    if is_personal:
        return "private"
    return "shared" if status in STORABLE else "nothing"


Row = tuple[str, str, str, str, str]
LATE = ("a cookie", "a key", "authorization", "every field", "the session", "a forwarded address")


def production_rows(framework: str) -> list[Row]:
    """Return each thing read with each thing said, on the statuses where that matters."""
    few = ("200", "403") if framework == "Django, asynchronous" else ("200", "403", "404")
    rows = [
        (read, said, status, "whole", "a user")
        for read in READ[framework]
        for said in SAID
        for status in (STATUSES if said == "cache_for" and "async" not in framework else few)
    ]
    rows += [
        (read, "nothing", status, "whole", "a user") for read in IN_ALL for status in ("301", "404", "500")
    ]
    rows += [
        (read, "cache_for", "200", "whole", who)
        for read in READ[framework]
        for who in ("a stranger", "a bearer")
    ]
    rows += [
        (read, said, status, kind, "a user")
        for read in READ[framework]
        for said in ("cache_for", "a user's own")
        for status, kind in (("200", "parts"), ("200", "head"), ("404", "parts"))
    ]
    if not framework.startswith("Django"):
        rows += [(read, "nothing", "403", "exception", "a user") for read in READ[framework]]
    return rows


def development_rows(framework: str) -> list[Row]:
    return [
        (read, said, status, "whole", "a user")
        for read in READ[framework]
        for said, status in (
            ("cache_for", "200"),
            ("cache_for", "404"),
            ("cache_for", "403"),
            ("public by hand", "200"),
        )
    ]


def late_rows() -> list[Row]:
    return [
        (read, said, "200", "stream", "a user")
        for read in (*NEUTRAL, *LATE)
        for said in ("cache_for", "for everyone", "in Vary", "nothing")
    ]


def accessor_rows(framework: str) -> list[Row]:
    return [(expression, "cache_for", "200", "whole", "a user") for expression in ACCESSORS[framework]]


@dataclass(frozen=True)
class Answers:
    """What one framework made of all rows."""

    production: list[tuple[Row, str]]
    development: list[tuple[Row, str]]
    accessors: dict[str, tuple[str, str]]
    """By expression, what became of it in production and in development."""


@pytest.fixture(scope="module", params=FRAMEWORKS)
def answers(request: pytest.FixtureRequest) -> Answers:
    """Ask an application of one framework all that there is to ask, in one process."""
    framework = str(request.param)
    more = accessor_rows(framework)
    rows = {
        "lenient": more + production_rows(framework) + late_rows(),
        "strict": more + development_rows(framework),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "tests.sdk.reading_apps", framework],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    found = json.loads(ran.stdout)
    both = {mode: list(zip(rows[mode], found[mode], strict=True))[len(more) :] for mode in rows}
    made = dict(zip(ACCESSORS[framework], zip(found["lenient"], found["strict"], strict=False), strict=False))
    return Answers(both["lenient"], both["strict"], made)


def test_in_production_what_was_read_and_not_named_makes_a_response_private(answers: Answers) -> None:
    wrong = [
        (row, got)
        for row, got in answers.production
        if row[3] != "stream" and got != expected(row[0], row[1], row[2], row[4])
    ]
    assert wrong == []


def test_in_development_it_is_an_error_that_names_the_line(answers: Answers) -> None:
    for row, got in answers.development:
        read, said, status, _, who = row
        is_applied = status in STORABLE if said == "cache_for" else status == "200"
        if expected(read, said, status, who) == "private" and is_applied:
            assert "reading_apps.py:" in got or "<template>:" in got, row
            assert "for_everyone=True" in got
        else:
            assert got == expected(read, said, status, who), row


def test_every_way_to_read_something_counts_as_what_it_reads(
    answers: Answers, request: pytest.FixtureRequest
) -> None:
    what = ACCESSORS[request.node.callspec.params["answers"]]
    wrong = [
        (expression, what[expression], *got)
        for expression, got in answers.accessors.items()
        if (got != ("shared", "shared") if not what[expression] else not _is_personal(what[expression], *got))
    ]
    assert wrong == []


def _is_personal(what: str, in_production: str, in_development: str) -> bool:
    return in_production == "private" and f"{what} was read" in in_development


def test_a_body_that_reads_it_on_its_way_to_the_edge_is_cut_off(answers: Answers) -> None:
    for row, got in answers.production:
        read, said, _, kind, _ = row
        if kind != "stream":
            continue
        if read in NEUTRAL or said in {"for everyone", "nothing"}:
            assert got == ("nothing" if said == "nothing" else "shared"), row
        elif said == "in Vary" and any(word in read for word in NAMED):
            assert got == "shared", row
        else:
            assert "cut off" in got, row
            assert "reading_apps.py:" in got, row
