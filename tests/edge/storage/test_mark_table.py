"""What an isolate knows of marks, where that sends it on, and what it still knows of those that it forgot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import VALID, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.storage.mark_table import MarkTable
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import (
    EVERYTHING,
    SHARED,
    Lane,
    group_mark,
    host_group_mark,
    host_groups_mark,
    host_mark,
    lane_name,
    prefix_index_mark,
    prefix_mark,
    url_mark,
)
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import DEFAULT_RULE
from tests.edge.fakes import START_MS

TARGET = parse_target("http://a.example/x/y")
REQUEST = RequestFacts("GET", TARGET, {})
LOOKUP = Lookup(REQUEST, REQUEST, DEFAULT_RULE, "r2/http/a.example/x/y", ())
BIRTH_MS = START_MS
RECORD = Record(200, BIRTH_MS, BIRTH_MS, 0, (), ("g",))
PREFIXES, HOST_GROUPS = prefix_index_mark("a.example"), host_groups_mark("a.example")
ROOTS = {lane_name(SHARED, Lane.SOFT), lane_name(group_mark("g"), Lane.SOFT)}


def table() -> MarkTable:
    return MarkTable(5000, Memory(32 * 1024 * 1024))


def lanes(known: MarkTable, record: Record = RECORD) -> set[str]:
    return {lane for lane, _ in known.deciding(TARGET, record)}


def learn(known: MarkTable, name: str, moment_ms: int, read_ms: int, lane: Lane = Lane.SOFT) -> None:
    known.learn(lane_name(name, lane), moment_ms, read_ms)


def test_one_key_for_all_and_one_for_each_group_decide_where_nothing_was_purged() -> None:
    assert lanes(table()) == ROOTS


def test_what_the_shared_mark_tells_of_is_read_only_where_it_covers() -> None:
    known = table()
    learn(known, SHARED, BIRTH_MS, BIRTH_MS + 10)
    told = [EVERYTHING, host_mark("a.example"), url_mark(TARGET)]
    told += [prefix_index_mark("a.example"), host_groups_mark("a.example")]
    assert lanes(known) == ROOTS | {lane_name(name, Lane.SOFT) for name in told}
    assert lanes(known, replace(RECORD, birth_ms=BIRTH_MS + 1)) == ROOTS


@pytest.mark.parametrize(("moved_ms", "is_known"), [(BIRTH_MS - 1, True), (BIRTH_MS, False)])
def test_that_it_lies_ahead_of_a_new_response_is_no_news(moved_ms: int, *, is_known: bool) -> None:
    known = table()
    learn(known, SHARED, BIRTH_MS + 3_600_000, moved_ms)
    assert (known.known_until(TARGET, RECORD) == BIRTH_MS) is is_known


@pytest.mark.parametrize(
    ("index", "told"),
    [
        pytest.param(PREFIXES, prefix_mark(parse_target("http://a.example/x")), id="prefix"),
        pytest.param(HOST_GROUPS, host_group_mark("a.example", "g"), id="group of the host"),
    ],
)
def test_an_index_tells_of_more_and_has_no_hard_lane(index: str, told: str) -> None:
    known = table()
    learn(known, SHARED, BIRTH_MS, BIRTH_MS + 10)
    learn(known, index, BIRTH_MS, BIRTH_MS + 10)
    assert lane_name(told, Lane.SOFT) in lanes(known)
    assert lane_name(index, Lane.HARD) not in lanes(known)


def test_the_hard_lane_is_read_only_where_the_soft_one_covers_and_since_then() -> None:
    known, group, read_ms = table(), group_mark("g"), BIRTH_MS + 10
    learn(known, SHARED, 0, read_ms)
    learn(known, group, BIRTH_MS, read_ms)
    learn(known, group, 0, read_ms - 1, Lane.HARD)  # read before the purge was seen
    assert known.outdated(known.deciding(TARGET, RECORD), read_ms) == [lane_name(group, Lane.HARD)]
    assert known.known_until(TARGET, RECORD) == 0
    learn(known, group, 0, read_ms, Lane.HARD)
    assert known.outdated(known.deciding(TARGET, RECORD), read_ms) == []
    assert known.known_until(TARGET, RECORD) == read_ms


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("name", [EVERYTHING, url_mark(TARGET), group_mark("g"), prefix_mark(TARGET)])
def test_what_this_isolate_purges_takes_effect_at_once(name: str, lane: Lane) -> None:
    known = table()
    for own in (name, SHARED, prefix_index_mark("a.example")):
        known.write(own, lane, BIRTH_MS)
    verdict = known.verdict(LOOKUP, RECORD)
    assert (verdict.soft_ms, verdict.hard_ms) == (BIRTH_MS, BIRTH_MS if lane is Lane.HARD else 0)
    assert known.verdict(LOOKUP, replace(RECORD, birth_ms=BIRTH_MS + 1)) is VALID


def test_a_later_soft_purge_takes_no_hard_one_back() -> None:
    known, group = table(), group_mark("g")
    known.write(group, Lane.HARD, BIRTH_MS)
    known.write(group, Lane.SOFT, BIRTH_MS + 5)
    assert known.verdict(LOOKUP, RECORD).hard_ms == BIRTH_MS
    assert known.verdict(LOOKUP, replace(RECORD, birth_ms=BIRTH_MS + 1)).hard_ms == 0


def test_one_reader_is_enough() -> None:
    known = table()
    wanted = known.outdated(known.deciding(TARGET, RECORD), BIRTH_MS)
    assert known.claim(wanted, BIRTH_MS) == wanted
    assert known.claim(wanted, BIRTH_MS + 500) == []
    assert known.claim(wanted, BIRTH_MS + 1500) == wanted


@pytest.mark.parametrize("is_claimed", [False, True], ids=["forgotten", "forgotten and met again"])
def test_a_mark_that_was_forgotten_is_read_before_what_it_covers_is_used(*, is_claimed: bool) -> None:
    known, group = MarkTable(5000, Memory(0)), group_mark("g")
    known.write(group, Lane.SOFT, BIRTH_MS + 1)
    for number in range(3):  # more characters than a table takes
        known.learn(f"s/{number}{'x' * 1_000_000}", 0, BIRTH_MS + 2)
    if is_claimed:
        known.claim([lane_name(group, Lane.SOFT)], BIRTH_MS + 3)

    assert known.known_until(TARGET, RECORD) == 0
    assert known.known_until(TARGET, replace(RECORD, birth_ms=BIRTH_MS + 2)) == BIRTH_MS + 2
