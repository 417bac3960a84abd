"""Rows of HTTP tests: a sentence, its section, what the origin replies, what clients ask and must see.

All rows of a file run at once, each on a path of its own, so that their waits overlap.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import count
from typing import TypeAlias

import pytest

from tests.runtime.client import Response, ask
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Close, Reply, Reset, Step, chunked, head, reply, truncated

_AT_ONCE = 24
_SLACK_SECONDS = 0.7
"""A row that took longer than this, beyond its own pauses, says nothing: its responses aged meanwhile."""
_PLAYS = 6
_PATIENCE_SECONDS = 8.0
_CONDITIONS = ("If-None-Match", "If-Modified-Since")

Value: TypeAlias = "str | Callable[[float], str]"
Lines: TypeAlias = Sequence[tuple[str, Value]]
Shown: TypeAlias = "Mapping[str, str | re.Pattern[str] | None]"

_numbers = count(1)


class Outcome(Enum):
    """What the origin notices of a request."""

    FETCHED = auto()
    """It is asked, without a precondition of the cache's."""
    VALIDATED = auto()
    """It is asked with a precondition."""
    ASKED = auto()
    """It is asked, either way."""
    REUSED = auto()
    """It isn't asked."""
    REFRESHED = auto()
    """It isn't waited for, and is asked in the background."""


FETCHED, VALIDATED, ASKED, REUSED, REFRESHED = Outcome


def at(seconds: float, layout: str = "%a, %d %b %Y %H:%M:%S GMT") -> Value:
    """A date so many seconds from the moment of the reply."""
    return lambda now: datetime.fromtimestamp(now + seconds, UTC).strftime(layout)


def rfc850(seconds: float) -> Value:
    """The same, in the obsolete form with a two-digit year."""
    return at(seconds, "%A, %d-%b-%y %H:%M:%S GMT")


def asctime(seconds: float) -> Value:
    """The same, in the form of ANSI C."""
    return lambda now: time.asctime(time.gmtime(now + seconds))


Make: TypeAlias = Callable[[int, str], Reply]
"""Makes the reply of a turn to a row with a path."""


def says(
    *lines: tuple[str, Value], status: int = 200, body: bytes | None = None, reason: str | None = None
) -> Make:
    """A reply with these field lines; its body tells which reply it is, if none is given."""

    def make(turn: int, path: str) -> Reply:
        content = f"reply {turn}".encode() if body is None else body
        return reply(status, _lines(lines, path), b"" if status in {204, 304} else content, reason=reason)

    return make


def cc(value: str, *lines: tuple[str, Value], status: int = 200, body: bytes | None = None) -> Make:
    """A reply with this Cache-Control and the current Date."""
    return says(("Cache-Control", value), ("Date", at(0)), *lines, status=status, body=body)


def in_chunks(*lines: tuple[str, Value], body: Sequence[bytes] = (b"one", b"two")) -> Make:
    """A chunked reply."""
    return lambda _, path: chunked(200, _lines(lines, path), body)


def cut(*lines: tuple[str, Value]) -> Make:
    """A reply that breaks off."""
    return lambda _, path: truncated(b"half", missing=4, fields=_lines(lines, path))


def raw(*steps: Step) -> Make:
    """A reply byte by byte."""
    return lambda *_: Reply(steps)


def hang_up() -> Make:
    """No reply: the connection is closed."""
    return raw(Close())


def reset() -> Make:
    """No reply: the connection is reset."""
    return raw(Reset())


def raw_head(status: int, lines: Sequence[tuple[str, str]], body: bytes) -> Make:
    """A reply whose fields go out byte by byte."""
    return raw(head(status, [*lines, ("Content-Length", str(len(body)))]), body)


def _lines(lines: Lines, path: str) -> list[tuple[str, str]]:
    now = time.time()  # noqa: TID251 - the moment of the reply
    values = [(name, value if isinstance(value, str) else value(now)) for name, value in lines]
    return [(name, value.replace("{path}", path)) for name, value in values]


@dataclass(frozen=True, kw_only=True, slots=True)
class Do:
    """One request, after a pause, and what must come of it. ``target`` is appended to the row's path."""

    outcome: Outcome | None = None
    method: str = "GET"
    target: str = ""
    pause: float = 0.0
    sends: Lines = ()
    content: bytes = b""
    status: int | None = None
    body: bytes | None = None
    shows: Shown = field(default_factory=dict)
    origin_sees: Shown = field(default_factory=dict)
    age: tuple[int, int] | None = None
    lines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cut_short: bool = False
    cache_status: str = ""


def get(outcome: Outcome | None = None, *sends: tuple[str, Value], **others: object) -> Do:
    """A GET with these field lines."""
    return Do(outcome=outcome, sends=sends, **others)  # type: ignore[arg-type]  # Do checks them


def do(method: str, outcome: Outcome | None = None, *sends: tuple[str, Value], **others: object) -> Do:
    """A request with another method."""
    return Do(method=method, outcome=outcome, sends=sends, **others)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Row:
    """One behaviour. ``origin`` are the replies of the row's path in turn, or of several targets under it."""

    sentence: str
    section: str
    origin: Sequence[Make] | Mapping[str, Sequence[Make]]
    steps: Sequence[Do]

    @property
    def id(self) -> str:
        return f"{self.section}: {self.sentence}"


def parameters(rows: Sequence[Row]) -> list[object]:
    """The rows as parameters of a test, under their sentences."""
    ids = [row.id for row in rows]
    assert len(set(ids)) == len(ids), [one for one in ids if ids.count(one) > 1]
    return [pytest.param(row, id=row.id) for row in rows]


class Results:
    """What came of the rows of a file."""

    def __init__(
        self, url: str, origin: ScriptedOrigin, rows: Sequence[Row], pause_seconds: float = 0.0
    ) -> None:
        """Play the rows, with a pause before each step, for what happens in the background."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = pool.map(lambda row: _played(row, url, origin, pause_seconds), rows)
            self._failures = {row.id: failure for row, failure in zip(rows, outcomes, strict=True)}

    def check(self, row: Row) -> None:
        """Fail if the row did."""
        if (failure := self._failures[row.id]) is not None:
            pytest.fail(failure, pytrace=False)


def _played(row: Row, url: str, origin: ScriptedOrigin, pause_seconds: float) -> str | None:
    """Return what failed; a play that a busy machine held up doesn't count, and is begun anew."""
    failure: str | None = None
    for _ in range(_PLAYS):
        started = time.monotonic()
        failure = _play_once(row, url, origin, pause_seconds)
        pauses = sum(step.pause + pause_seconds for step in row.steps)
        if failure is None or time.monotonic() - started - pauses < _SLACK_SECONDS:
            return failure
    return f"{failure}\n  (held up by a busy machine {_PLAYS} times)"


def _play_once(row: Row, url: str, origin: ScriptedOrigin, pause_seconds: float) -> str | None:
    path = f"/row/{next(_numbers)}"
    replies = row.origin if isinstance(row.origin, Mapping) else {"": row.origin}
    for target, makes in replies.items():
        origin.decide((path + target).partition("?")[0], _script(makes, path))
    story: list[str] = [row.id]
    for number, step in enumerate(row.steps, 1):
        time.sleep(pause_seconds)
        try:
            _play(step, number, path, url, origin, story)
        except (AssertionError, OSError) as error:
            return "\n".join([*story, f"  -> {type(error).__name__}: {error}"])
    return None


def _script(makes: Sequence[Make], path: str) -> Callable[[Request], Reply]:
    turns = count(1)

    def answer(_: Request) -> Reply:
        turn = next(turns)
        return makes[min(turn, len(makes)) - 1](turn, path)

    return answer


def _play(step: Do, number: int, path: str, url: str, origin: ScriptedOrigin, story: list[str]) -> None:
    time.sleep(step.pause)
    plain = path + step.target.partition("?")[0]
    before = len(origin.requests(plain))
    lines = _lines(step.sends, path)
    response = ask(url, path + step.target, method=step.method, fields=lines, body=step.content)
    story.append(f"  {number}. {step.method} {lines} = {response.status} {_told(response)}")
    if step.outcome is REFRESHED:
        origin.wait_for_requests(before + 1, plain)
        time.sleep(0.3)
    else:
        _check_asked(step, origin.requests(plain)[before:])
    _check_response(step, response, path)


def _told(response: Response) -> str:
    shown = [f"{name}: {value}" for name, value in response.fields if name.lower() != "content-type"]
    return f"{shown} {response.body[:60]!r}"


def _check_asked(step: Do, asked: Sequence[Request]) -> None:
    if step.outcome is None:
        return
    if step.outcome is REUSED:
        assert not asked, f"the origin was asked: {asked}"
        return
    assert asked, "the origin was not asked"
    sent = asked[-1]
    has_condition = any(sent.value(name) is not None for name in _CONDITIONS)
    if step.outcome is not ASKED:
        assert has_condition == (step.outcome is VALIDATED), f"the origin was asked {sent.fields}"
    for name, expected in step.origin_sees.items():
        assert _fits(expected, sent.value(name)), f"the origin saw {name}: {sent.value(name)}, not {expected}"


def _check_response(step: Do, response: Response, path: str) -> None:
    assert response.complete != step.cut_short, "the response is cut short, or should be"
    if step.status is not None:
        assert response.status == step.status, f"status {response.status}, not {step.status}"
    if step.body is not None:
        assert response.body == step.body, f"body {response.body!r}, not {step.body!r}"
    for name, expected in step.shows.items():
        shown = response.value(name)
        assert _fits(expected, shown, path), f"{name}: {shown!r}, not {expected!r}"
    for name, values in step.lines.items():
        assert response.values(name) == list(values), f"{name}: {response.values(name)}, not {values}"
    if step.cache_status:
        shown = response.value("Cache-Status") or ""
        assert re.search(step.cache_status, shown), f"Cache-Status: {shown}, not {step.cache_status}"
    if step.age is not None:
        least, most = step.age
        age = response.value("Age")
        assert age is not None, "no Age"
        assert least <= int(age) <= most, f"Age: {age}, not {least} to {most}"


def _fits(expected: str | re.Pattern[str] | None, value: str | None, path: str = "") -> bool:
    if expected is None or value is None:
        return value is expected
    return (
        bool(expected.search(value))
        if isinstance(expected, re.Pattern)
        else expected.replace("{path}", path) == value
    )
