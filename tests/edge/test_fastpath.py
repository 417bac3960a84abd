"""What the fast path repeats is what the full path would answer, whatever happened in between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.relay import http_date
from origin_sdk_edge.ports import StoredValue
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import (
    EVERYTHING,
    Lane,
    Mark,
    group_mark,
    host_mark,
    prefix_index_mark,
    prefix_mark,
    prefix_marks,
    url_mark,
    value_of,
    written_keys,
)
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.examples import examples
from tests.edge.fakes import START_MS, FakeEdge, FakeResponse, Sent

HOST = "http://api.example"
PATHS = ("/plain", "/plain?b=2&a=1", "/vary", "/big", "/short", "/keyed", "/cookie", "/deep/er/one", "/few")
RULES = (
    Rule(name="keyed", paths=("/keyed",), fields=("x-tenant",)),
    Rule(name="cookie", paths=("/cookie",), cookies=("lang",)),
    Rule(name="members", paths=("/short",), bypass_cookies=frozenset({"lang"}), ignore_cookies=True),
    Rule(
        name="few",
        paths=("/few",),
        languages=("en", "de"),
        media_types=("text/html", "text/csv"),
        fields=("x-device",),
        device_field="x-device",
        ignore_origin=True,
    ),
)


def _marks(path: str) -> list[str]:
    """Name the marks that a response falls under, and of what is beside it."""
    target = parse_target(f"{HOST}{path}")
    beside = prefix_mark(parse_target(f"{HOST}/beside"))
    return [
        EVERYTHING,
        group_mark("all"),
        host_mark("api.example"),
        url_mark(target),
        *prefix_marks(target),
        beside,
    ]


@dataclass(frozen=True)
class Get:
    path: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Wait:
    ms: int


@dataclass(frozen=True)
class Purge:
    name: str
    lane: Lane


Steps: TypeAlias = list[Get | Wait | Purge]


def _optional(name: str, *values: str) -> st.SearchStrategy[dict[str, str]]:
    return st.sampled_from([{}, {}, *({name: value} for value in values)])


SELECTING = ("accept-language", "accept-encoding", "accept", "x-tenant", "cookie", "user-agent")
REQUEST_FIELDS = st.tuples(
    _optional("accept-language", "de", "en", 'de, "x":1', "DE"),
    _optional("accept-encoding", "gzip", "br, gzip", "identity"),
    _optional("x-tenant", "a", "b"),
    _optional("accept", "text/csv", "*/*"),
    _optional("sec-ch-ua-mobile", "?1"),
    _optional("x-device", "desktop", "mobile"),
    _optional("origin", "https://a.example", "https://b.example"),
    _optional("cookie", "lang=de", "lang=en; x=1", "x=2"),
    _optional("cache-control", "no-cache", "max-age=1", "only-if-cached"),
    _optional("if-none-match", '"v"', '"other"'),
    _optional("range", "bytes=0-3"),
    _optional("authorization", "Bearer t"),
    _optional("pragma", "no-cache"),
).map(lambda parts: {"user-agent": '"range":"x"', **{k: v for part in parts for k, v in part.items()}})


USUAL_FIELDS = REQUEST_FIELDS.map(lambda fields: {k: v for k, v in fields.items() if k in SELECTING})


@dataclass(frozen=True)
class Differing:
    """A request as the usual one but for these fields."""

    fields: Mapping[str, str]


@cache  # to make a strategy takes longer than to draw by it
def _others(path: str) -> st.SearchStrategy[list[Get | Differing | Wait | Purge]]:
    step = st.one_of(
        st.builds(Differing, REQUEST_FIELDS),
        st.builds(Get, st.just(path), REQUEST_FIELDS),
        st.builds(Wait, st.sampled_from([1, 400, 999, 1000, 2500, 3400, 4000, 4600, 30_000])),
        st.builds(Purge, st.sampled_from(_marks(path)), st.sampled_from(list(Lane))),
    )
    return st.lists(step, max_size=4)


@st.composite
def _steps(draw: st.DrawFn, path: str) -> Steps:
    """Draw requests for one URL: the same thrice, so that it is repeated, then some that differ a little."""
    usual = draw(USUAL_FIELDS)
    steps: Steps = []
    for _ in range(draw(st.integers(1, 6))):
        steps += [Get(path, usual)] * 3
        steps += [
            Get(path, {**usual, **step.fields}) if isinstance(step, Differing) else step
            for step in draw(_others(path))
        ]
    return steps


def answer_of(edge_ms: int, request: RequestFacts) -> FakeResponse:
    path = request.target.path
    body = (
        (b'{"big": "' + b"x" * 6000 + b'"}')
        if path == "/big"
        else f"{path} {sorted(request.fields.items())}".encode()
    )
    fields = {
        "content-type": "application/json",
        "cache-control": f"public, max-age={2 if path == '/short' else 20}, stale-while-revalidate=5",
        "content-length": str(len(body)),
        "date": http_date(edge_ms),
        "etag": '"v"',
        "cache-groups": '"all"',
    }
    if path == "/vary":
        fields["vary"] = "Accept-Language"
    return FakeResponse(200, fields, body)


async def _run(steps: Steps, configured: Settings) -> int:
    edge = FakeEdge(configured, lambda request: answer_of(edge.timing.ms, request))
    repeated = 0
    for step in steps:
        if isinstance(step, Wait):
            edge.timing.ms += step.ms
        elif isinstance(step, Purge):
            purge(edge, step)
        else:
            repeated += await _get(edge, step)
    assert edge.faults == []
    return repeated


def purge(edge: FakeEdge, step: Purge) -> None:
    names = [step.name, *([prefix_index_mark("api.example")] if step.name.startswith("prefix/") else [])]
    for key in written_keys(names, step.lane):
        edge.store.values[key] = StoredValue(None, value_of(key, Mark(edge.timing.ms, "p")))


async def _get(edge: FakeEdge, step: Get) -> int:
    url = HOST + step.path
    by_fast_path = edge.repeated(url, step.fields)
    if by_fast_path is None:
        edge.remember(url, step.fields, await edge.full("GET", url, step.fields))
        return 0
    by_full_path: Sent = (await edge.full("GET", url, step.fields)).response
    assert by_fast_path == by_full_path
    return 1


@pytest.mark.parametrize("refresh_ahead", [0.0, 0.5])
@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
@settings(max_examples=examples(40), deadline=None)
def test_what_is_repeated_is_what_would_be_decided(
    path: str, refresh_ahead: float, data: st.DataObject
) -> None:
    interval = data.draw(st.sampled_from([0.0, 0.0, 2.0]))
    configured = Settings(
        origin="http://origin", rules=RULES, refresh_ahead=refresh_ahead, client_refresh_interval=interval
    )
    asyncio.run(_run(data.draw(_steps(path)), configured))


PLAIN = Get("/plain", {"user-agent": "plain"})
DEEP = Get("/deep/er/one", {"user-agent": "deep"})
DEEP_AGAIN = Get("/deep/er/one", {"pragma": "no-cache"})

GUEST, MEMBER = Get("/short", {}), Get("/short", {"cookie": "lang=de"})

THIRD_IS_REPEATED: Steps = [PLAIN, PLAIN, PLAIN, PLAIN]


@pytest.mark.parametrize(
    ("steps", "repeated"),
    [
        pytest.param(THIRD_IS_REPEATED, 1, id="a hit is repeated once it was decided twice"),
        pytest.param([*THIRD_IS_REPEATED, Wait(21_000), PLAIN], 1, id="not after the freshness lifetime"),
        pytest.param([*THIRD_IS_REPEATED, Wait(4_900), PLAIN], 1, id="not once marks are to be read again"),
        pytest.param([*THIRD_IS_REPEATED, Wait(-70_000), PLAIN], 1, id="not once the clock was set back"),
        pytest.param([*THIRD_IS_REPEATED, Get("/plain", {"range": "bytes=0-1"})], 1, id="not for a range"),
        pytest.param([*THIRD_IS_REPEATED, Get("/plain", {"x": "y"})], 2, id="whatever doesn't select"),
        pytest.param([*[GUEST] * 4, MEMBER], 1, id="not for a cookie that passes by"),
    ],
)
def test_when_a_decision_is_repeated(steps: Steps, repeated: int) -> None:
    configured = Settings(origin="http://origin", rules=RULES, lifetime_jitter=0.0)
    assert asyncio.run(_run(steps, configured)) == repeated


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("name", _marks(DEEP.path))
def test_what_is_repeated_lasts_no_longer_than_what_is_known_of_marks(name: str, lane: Lane) -> None:
    # That any prefix was purged was read; which, not yet.
    steps: Steps = [
        DEEP,
        DEEP,
        DEEP,
        Wait(400),
        DEEP,
        DEEP_AGAIN,
        DEEP,
        DEEP,
        DEEP,
        Wait(4000),
        Purge(name, lane),
    ]
    steps += [*[DEEP] * 5, Wait(400), *[DEEP] * 3]
    configured = Settings(origin="http://origin", refresh_ahead=0.5, client_refresh_interval=0)
    asyncio.run(_run(steps, configured))


def test_many_values_that_mean_the_same_repeat_one_decision() -> None:
    asked = ["de", "de-AT", "DE", "de, en;q=0.1", "fr, de"]
    steps: Steps = [Get("/few", {"accept-language": value, "origin": f"https://{value}"}) for value in asked]
    configured = replace(Settings(origin="http://origin", rules=RULES), lifetime_jitter=0.0)
    assert asyncio.run(_run(steps, configured)) == 2


def test_an_invalidation_in_the_isolate_ends_what_is_repeated() -> None:
    async def run() -> None:
        edge = FakeEdge(Settings(origin="http://origin"), lambda request: answer_of(START_MS, request))
        for _ in range(3):
            await _get(edge, PLAIN)
        assert edge.repeated(f"{HOST}/plain", PLAIN.fields)
        await edge.full("POST", f"{HOST}/plain", {})
        assert edge.repeated(f"{HOST}/plain", PLAIN.fields) is None

    asyncio.run(run())


def test_long_texts_of_clients_are_not_kept() -> None:
    async def run() -> None:
        edge = FakeEdge(Settings(origin="http://origin"), lambda request: answer_of(START_MS, request))
        long = Get("/plain?" + "x" * 2000, {})
        for _ in range(4):
            await _get(edge, long)
        assert not edge.fast_path.knows(HOST + long.path)

    asyncio.run(run())


def test_what_is_repeated_without_the_log_says_so_until_it_is_back() -> None:
    async def run() -> None:
        edge = FakeEdge(
            replace(Settings(origin="http://origin"), lifetime_jitter=0.0),
            lambda request: answer_of(START_MS, request),
        )
        log = edge.storage.marks.table.log
        log.due_ms = START_MS + 60_000  # there is a log, which was asked, and didn't answer
        for _ in range(3):
            await _get(edge, PLAIN)

        def said() -> bool:
            sent = edge.repeated(f"{HOST}/plain", PLAIN.fields)
            assert sent
            return "; log=unavailable;" in sent.fields["cache-status"]

        assert said()
        edge.timing.ms += 1000
        log.good_until_ms = START_MS + 60_000
        assert not said()

    asyncio.run(run())
