"""What the short path answers out of KV is what the full path would answer, and nothing is read twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin_sdk_edge.policy.decision import VALID, Lookup, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_bare_request, on_request
from origin_sdk_edge.policy.reuse import on_stored, while_fresh
from origin_sdk_edge.ports import StoredValue
from origin_sdk_wire.choices import Profile, StoreOn
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import freshness_of
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import Lane, url_mark
from origin_sdk_wire.purge_log.entries import Switch, SwitchKind
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.examples import examples
from tests.edge.fakes import START_MS, FakeEdge, FakeResponse, FakeStore, FakeTiming, LateBackground, Sent
from tests.edge.test_fastpath import (
    GUEST,
    HOST,
    MEMBER,
    PATHS,
    REQUEST_FIELDS,
    RULES,
    Get,
    Purge,
    Steps,
    Wait,
    answer_of,
    purge,
)
from tests.wire.test_prepared import RECORDS, RULES_OF_LIFETIMES, SETTINGS_OF_LIFETIMES


class CountingStore(FakeStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    async def read(self, key: str) -> StoredValue | None:
        self.reads[key] += 1
        return await super().read(key)


@cache  # to make a strategy takes longer than to draw by it
def _steps(path: str) -> st.SearchStrategy[Steps]:
    waits = st.builds(Wait, st.sampled_from([1, 999, 1000, 2500, 4000, 4600, 19_000, 30_000]))
    gets = st.builds(Get, st.just(path), REQUEST_FIELDS)
    purges = st.builds(Purge, st.just(url_mark(parse_target(HOST + path))), st.sampled_from(list(Lane)))
    return st.lists(st.one_of(gets, gets, gets, gets, waits, purges), min_size=3, max_size=10)


async def _run(steps: Steps, configured: Settings) -> tuple[int, CountingStore]:
    """Take the steps without memory, so that KV has to answer; return how often the short path did."""
    store = CountingStore()
    edge = FakeEdge(
        replace(configured, memory_bytes=0), lambda request: answer_of(edge.timing.ms, request), store=store
    )
    answered = 0
    for step in steps:
        if isinstance(step, Wait):
            edge.timing.ms += step.ms
        elif isinstance(step, Purge):
            purge(edge, step)
        else:
            answered += await _get(edge, step)
    assert edge.faults == []
    return answered, store


async def _get(edge: FakeEdge, step: Get) -> int:
    url = HOST + step.path
    read, behind = await edge.read(url, step.fields), LateBackground()
    served = edge.short(url, step.fields, read, behind) if read else None
    # Before anything that is done behind the response: marks that are read ahead may tell of a purge.
    by_full_path: Sent = (await edge.full("GET", url, step.fields, read)).response
    await behind.done()
    assert served is None or served.response == by_full_path
    return int(served is not None)


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data(), profile=st.sampled_from(Profile), key_version=st.sampled_from(["", "", "2"]))
@settings(max_examples=examples(20), deadline=None)
def test_what_the_short_path_answers_is_what_would_be_decided(
    path: str, data: st.DataObject, profile: Profile, key_version: str
) -> None:
    configured = Settings(origin="http://origin", rules=RULES, profile=profile, key_version=key_version)
    asyncio.run(_run(data.draw(_steps(path)), configured))


PLAIN = Get("/plain", {"user-agent": "plain"})
OTHER = Get("/plain", {"user-agent": "other", "accept-encoding": "gzip", "x": "y"})
CODED = Get("/big", {"accept-encoding": "br, gzip"})
VARYING = Get("/vary", {"accept-language": "de"})
KEYED = Get("/keyed", {"x-tenant": "a"})


@pytest.mark.parametrize(
    ("steps", "answered"),
    [
        pytest.param([PLAIN, PLAIN], 1, id="what KV holds"),
        pytest.param([PLAIN, OTHER], 1, id="whatever doesn't select"),
        pytest.param([CODED, CODED], 1, id="the cache's own coding, for who accepts it"),
        pytest.param([CODED, Get("/big", {})], 0, id="not for who doesn't"),
        pytest.param([VARYING, VARYING], 0, id="not what varies"),
        pytest.param([KEYED, KEYED], 0, id="not under an identity"),
        pytest.param([GUEST, GUEST], 1, id="who has no cookie that passes by"),
        pytest.param([GUEST, MEMBER], 0, id="not who has one"),
        pytest.param([PLAIN, Get("/plain", {"range": "bytes=0-1"})], 0, id="not a range"),
        pytest.param([PLAIN, Get("/plain", {"if-none-match": '"v"'})], 0, id="not a precondition"),
        pytest.param([PLAIN, Wait(4_999), PLAIN], 1, id="while the marks are known"),
        pytest.param([PLAIN, Wait(21_000), PLAIN], 0, id="not what is stale"),
    ],
)
def test_what_the_short_path_answers(steps: Steps, answered: int) -> None:
    configured = Settings(origin="http://origin", rules=RULES, lifetime_jitter=0.0)
    assert asyncio.run(_run(steps, configured))[0] == answered


@pytest.mark.parametrize("kind", [SwitchKind.BYPASS, SwitchKind.STALE])
def test_switches_of_the_purge_log_are_for_the_full_path(kind: SwitchKind) -> None:
    async def run() -> None:
        edge = FakeEdge(
            Settings(origin="http://origin", memory_bytes=0), lambda request: answer_of(START_MS, request)
        )
        await _get(edge, PLAIN)
        assert await edge.read(HOST + PLAIN.path, {})
        edge.handler.switches.learn(Switch("1", START_MS, kind, START_MS + 60_000, seconds=5))
        assert await edge.read(HOST + PLAIN.path, {}) is None

    asyncio.run(run())


@pytest.mark.parametrize(
    "get", [pytest.param(get, id=get.path) for get in (PLAIN, VARYING, Get("/short", {}), CODED)]
)
def test_a_record_is_read_once_whichever_path_answers(get: Get) -> None:
    async def run() -> Counter[str]:
        store = CountingStore()
        configured = Settings(origin="http://origin", memory_bytes=0, lifetime_jitter=0.0)
        edge = FakeEdge(configured, _answer, store=store)
        for wait_ms in (0, 100, 3_000, 100):
            edge.timing.ms += wait_ms
            url, before, behind = HOST + get.path, store.reads.copy(), LateBackground()
            read = await edge.read(url, get.fields)
            if read is None or edge.short(url, get.fields, read, behind) is None:
                await edge.full("GET", url, get.fields, read)
            await behind.done()
            assert max((store.reads - before).values(), default=0) <= 1
        return store.reads

    def _answer(request: RequestFacts) -> FakeResponse:
        return answer_of(START_MS, request)

    assert asyncio.run(run())


@pytest.mark.parametrize("path", ["/plain", "/big", "/short", "/vary"])
@given(data=st.data(), writer=RULES_OF_LIFETIMES, reader=RULES_OF_LIFETIMES)
@settings(max_examples=examples(20), deadline=None)
def test_what_was_prepared_by_some_rules_changes_no_answer_by_any(
    path: str, data: st.DataObject, writer: Rule, reader: Rule
) -> None:
    read_by, steps = data.draw(st.sampled_from([reader, writer])), data.draw(_steps(path))

    async def run() -> None:
        first, timing = Settings(origin="http://origin", rules=(writer,)), FakeTiming()
        second = replace(first, rules=(read_by,))
        store = FakeStore()
        await FakeEdge(first, _of(timing), timing=timing, store=store).full("GET", HOST + path, {})
        bare = FakeStore()
        bare.values = {key: _without_prepared(value) for key, value in store.values.items()}
        # Each has a clock of its own, which writes may move, too.
        clocks = FakeTiming(timing.ms), FakeTiming(timing.ms)
        edges = [
            FakeEdge(second, _of(clock), timing=clock, store=each)
            for clock, each in zip(clocks, (store, bare), strict=True)
        ]
        for step in steps:
            if isinstance(step, Wait):
                for clock in clocks:
                    clock.ms += step.ms
            elif isinstance(step, Get):
                sent = [await _sent(edge, step) for edge in edges]
                assert sent[0] == sent[1]

    asyncio.run(run())


def _of(timing: FakeTiming) -> Callable[[RequestFacts], FakeResponse]:
    return lambda request: answer_of(timing.ms, request)


def _without_prepared(value: StoredValue) -> StoredValue:
    metadata = value.metadata
    kept = {k: v for k, v in metadata.items() if k != "p"} if isinstance(metadata, dict) else metadata
    return StoredValue(kept, value.body)


async def _sent(edge: FakeEdge, step: Get) -> Sent:
    url, behind = HOST + step.path, LateBackground()
    read = await edge.read(url, step.fields)
    served = edge.short(url, step.fields, read, behind) if read else None
    served = served or await edge.full("GET", url, step.fields, read)
    await behind.done()
    sent: Sent = served.response
    return sent


_URLS = st.one_of(
    st.sampled_from([HOST + path for path in (*PATHS, "/KEYED", "/keyed/", "/plain.css", "/%70lain")]),
    st.from_regex(r"https?://[a-z]{1,3}(:80)?/[a-z%/;.]{0,8}(\?[a-z=&]{0,5})?", fullmatch=True),
)


@given(url=_URLS, profile=st.sampled_from(Profile), key_version=st.sampled_from(["", "2"]))
@settings(max_examples=examples(50), deadline=None)
def test_a_bare_request_is_looked_up_as_any_other(url: str, profile: Profile, key_version: str) -> None:
    rules = (*RULES, Rule(name="sorted", paths=("/deep/**",), query_sort=True))
    configured = Settings(origin="http://origin", rules=rules, profile=profile, key_version=key_version)
    target = parse_target(url)
    expected = on_request(RequestFacts("GET", target, {}), configured, START_MS)
    assert on_bare_request(target, configured) in (None, expected)


@given(RECORDS, RULES_OF_LIFETIMES, SETTINGS_OF_LIFETIMES, st.integers(0, 10**8))
@settings(max_examples=examples(50), deadline=None)
def test_what_is_used_while_it_is_fresh_is_what_the_policy_uses(
    record: Record, rule: Rule, configured: Settings, later_ms: int
) -> None:
    fields, now_ms = combined(record.fields), record.response_ms + later_ms
    freshness = freshness_of(record, fields, rule, configured)
    request = RequestFacts("GET", parse_target(HOST), {})
    lookup = Lookup(request, request, rule, "key", ())
    decision = on_stored(lookup, record, fields, VALID, now_ms, configured)
    is_fresh = isinstance(decision, Use) and decision.reason is Reason.FRESH
    assert while_fresh(record, freshness, now_ms) == (decision if is_fresh else None)


def test_nothing_is_read_of_kv_for_what_a_rule_keeps_in_memory() -> None:
    rule = Rule(name="here", store_on=StoreOn.NEVER)
    edge = FakeEdge(Settings(origin="http://origin", rules=(rule,)), lambda _: FakeResponse(200, {}))
    assert asyncio.run(edge.read(HOST + PLAIN.path, {})) is None
