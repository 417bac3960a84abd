from __future__ import annotations

from collections.abc import Mapping

import pytest

from origin_sdk_edge.purge_log.ledger import BACKLOG, Ledger, Limits
from origin_sdk_wire.purge_log.entries import Purged, Switch, SwitchKind, entry_key
from origin_sdk_wire.purge_log.messages import parse_page, parse_state
from origin_sdk_wire.purge_log.metadata import MAX_ENTRIES_PAGE, metadata_of
from tests.edge.purge_log.sqlite import Sqlite

NOW = 1_795_744_800_000
HOUR = 3_600_000
LIMITS = Limits(window_ms=HOUR, reader_ms=3000, entries=6000, questions_a_second=3)


def _ledger(database: Sqlite | None = None, now_ms: int = NOW) -> Ledger:
    return Ledger(database or Sqlite(), LIMITS, now_ms, "history")


def _purge(entry_id: str, moment_ms: int = NOW) -> Purged:
    return Purged(entry_id, moment_ms, (f"group/{entry_id}",))


def _listed(*entries: Purged | Switch) -> Mapping[str, object]:
    return {entry_key(entry): metadata_of(entry) for entry in entries}


def _ids(ledger: Ledger, since: int, now_ms: int = NOW) -> list[str]:
    return [entry.id for entry in ledger.page(since, "fra", now_ms).entries]


# Entries


def test_entries_are_numbered_as_they_come() -> None:
    ledger = _ledger()
    assert ledger.tell([_purge("a"), _purge("b", NOW - 5)], NOW) == 2
    assert _ids(ledger, 0) == ["a", "b"]
    assert _ids(ledger, 1) == ["b"]
    assert _ids(ledger, 2) == []


def test_a_page_reads_back_as_text() -> None:
    ledger = _ledger()
    ledger.tell([_purge("a"), Switch("s", NOW, SwitchKind.BYPASS, NOW + 1, "rule")], NOW)
    page = ledger.page(0, "fra", NOW)
    assert parse_page(str(page)) == page


@pytest.mark.parametrize(
    ("again_ms", "told"),
    [
        pytest.param(NOW, ["a", "b"], id="the same"),
        pytest.param(NOW - 1, ["a", "b"], id="an earlier moment"),
        pytest.param(NOW + 1, ["b", "a"], id="a later moment is news"),
    ],
)
def test_an_entry_that_comes_again_counts_once(again_ms: int, told: list[str]) -> None:
    ledger = _ledger()
    ledger.tell([_purge("a"), _purge("b"), _purge("a", again_ms)], NOW)
    assert _ids(ledger, 0) == told
    assert [entry.moment_ms for entry in ledger.page(0, "fra", NOW).entries if entry.id == "a"] == [
        max(again_ms, NOW)
    ]


def test_long_answers_come_in_pages() -> None:
    ledger = _ledger()
    ledger.tell([_purge(f"{number}") for number in range(MAX_ENTRIES_PAGE + 5)], NOW)
    first = ledger.page(0, "fra", NOW)
    assert (len(first.entries), first.next, first.more) == (MAX_ENTRIES_PAGE, MAX_ENTRIES_PAGE, True)
    last = ledger.page(first.next, "fra", NOW)
    assert (len(last.entries), last.next, last.more) == (5, MAX_ENTRIES_PAGE + 5, False)


def test_who_begins_is_told_of_the_last_entries_alone_and_vouched_for_these() -> None:
    ledger = _ledger()
    ledger.tell([_purge(f"{number}", NOW + number) for number in range(BACKLOG + 10)], NOW)
    page = ledger.page(0, "fra", NOW)
    assert page.entries[0].id == "10"
    assert page.covers_from_ms == NOW + 10


def test_a_number_of_a_lost_history_begins_anew() -> None:
    ledger = _ledger()
    ledger.tell([_purge("a")], NOW)
    page = ledger.page(500, "fra", NOW)
    assert (page.since, page.next, len(page.entries)) == (0, 1, 1)


def test_what_is_older_than_the_window_is_dropped_and_its_number_not_used_again() -> None:
    ledger = _ledger()
    ledger.tell([_purge("old"), Switch("on", NOW, SwitchKind.BYPASS, NOW + 9 * HOUR)], NOW)
    assert ledger.tell([_purge("new", NOW + 2 * HOUR)], NOW + 2 * HOUR) == 3
    assert _ids(ledger, 0, NOW + 2 * HOUR) == ["on", "new"]


def test_the_oldest_is_dropped_where_there_is_too_much_and_not_vouched_for() -> None:
    ledger = _ledger()
    ledger.listed({}, NOW - HOUR, NOW - HOUR)
    ledger.tell([_purge(f"{number}", NOW + number) for number in range(LIMITS.entries + 10)], NOW + 20_000)
    page = ledger.page(1, "fra", NOW)
    assert page.entries[0].id == "10"
    assert page.covers_from_ms == NOW + 10


# What it vouches for


def test_nothing_is_vouched_for_before_kv_was_listed() -> None:
    ledger = _ledger()
    ledger.tell([_purge("a")], NOW)
    assert ledger.page(0, "fra", NOW).known_ms == 0


def test_what_was_purged_before_there_was_a_log_is_not_vouched_for() -> None:
    ledger = _ledger()
    ledger.listed(_listed(_purge("a", NOW - 5000)), NOW, NOW)
    page = ledger.page(0, "fra", NOW)
    assert (page.covers_from_ms, page.known_ms, len(page.entries)) == (NOW, NOW, 1)


def test_the_window_moves_on() -> None:
    ledger = _ledger()
    ledger.listed({}, NOW, NOW)
    later_ms = NOW + 3 * HOUR
    ledger.listed({}, later_ms, later_ms)
    assert ledger.page(0, "fra", later_ms).covers_from_ms == later_ms - HOUR


def test_an_entry_that_cannot_be_read_ends_what_is_vouched_for() -> None:
    ledger = _ledger()
    ledger.listed({}, NOW - 600_000, NOW)
    broken = {entry_key(_purge("x", NOW - 60_000)): {"at": "never"}, "p2/strange": None}
    ledger.listed(broken, NOW, NOW)
    assert ledger.page(0, "fra", NOW).covers_from_ms == NOW


def test_it_is_known_after_an_eviction_what_was_vouched_for() -> None:
    database = Sqlite()
    ledger = _ledger(database)
    ledger.listed({}, NOW - 90_000, NOW)
    ledger.listed(_listed(_purge("a")), NOW, NOW)
    again = Ledger(database, LIMITS, NOW + 1000, "another")
    page = again.page(0, "fra", NOW + 1000)
    assert (page.log, page.covers_from_ms, page.known_ms) == ("history", NOW - 90_000, NOW)


# Listing


def test_kv_is_listed_every_two_seconds_by_one_at_a_time() -> None:
    ledger = _ledger()
    assert ledger.listing(NOW)
    assert not ledger.listing(NOW + 5000)
    ledger.listed({}, NOW, NOW + 5000)
    assert ledger.listing(NOW + 5000)
    ledger.unlisted()
    assert not ledger.listing(NOW + 6999)
    assert ledger.listing(NOW + 7000)
    assert ledger.listing(NOW + 17_000)  # the last one was lost


def test_what_may_have_come_late_is_listed_again() -> None:
    ledger = _ledger()
    assert ledger.listing(NOW) == ("p2/2992908", "p2/2992907", *[f"p2/299290{n}" for n in range(6, 1, -1)])
    ledger.listed({}, NOW, NOW)
    assert ledger.listing(NOW + 3000) == ("p2/2992908", "p2/2992907")
    ledger.listed({}, NOW + 300_000, NOW)
    assert ledger.listing(NOW + 303_000) == ("p2/2992908",)


# Questions


def test_questions_are_bounded() -> None:
    ledger = _ledger()
    assert [ledger.may_ask(NOW) for _ in range(5)] == [True, True, True, False, False]
    assert ledger.may_ask(NOW + 1000)


def test_a_nonce_counts_once_until_its_request_is_too_old() -> None:
    ledger = _ledger()
    assert ledger.is_fresh_nonce("n", NOW + 10, NOW)
    assert not ledger.is_fresh_nonce("n", NOW + 10, NOW + 10)
    assert ledger.is_fresh_nonce("n", NOW + 30, NOW + 11)


def test_an_entry_is_visible_once_each_location_that_reads_has_had_time_for_it() -> None:
    ledger = _ledger(now_ms=NOW - 60_000)
    ledger.page(0, "fra", NOW)
    ledger.page(0, "osa", NOW)
    ledger.tell([_purge("a")], NOW)
    assert ledger.visibility(["a", "b"], NOW).unknown == ("b",)
    ledger.page(0, "fra", NOW + 1000)
    assert ledger.visibility(["a"], NOW + 2000).behind == ("fra", "osa")
    ledger.page(1, "osa", NOW + 2000)
    assert ledger.visibility(["a"], NOW + 4000).behind == ("osa",)
    ledger.page(1, "fra", NOW + 4500)
    assert ledger.visibility(["a"], NOW + 5000).is_visible
    assert ledger.visibility(["a"], NOW + 60_000).readers == 0  # nobody relies on anything


def test_nothing_is_visible_before_it_is_known_who_reads() -> None:
    ledger = _ledger()
    ledger.tell([_purge("a")], NOW)
    assert ledger.visibility(["a"], NOW + 1000).behind == ("*",)
    assert ledger.visibility(["a"], NOW + 3000).is_visible


def test_many_ids_are_asked_about_in_parts() -> None:
    ledger = _ledger()
    ids = [f"{number}" for number in range(120)]
    ledger.tell(map(_purge, ids[:110]), NOW)
    assert ledger.visibility(ids, NOW).unknown == tuple(ids[110:])


def test_the_latest_switch_of_a_place_is_shown_while_it_is_on() -> None:
    ledger = _ledger()
    ledger.tell([Switch("a", NOW, SwitchKind.BYPASS, NOW + 1000, by="ann", why="bug")], NOW)
    ledger.tell([Switch("b", NOW, SwitchKind.BYPASS, NOW + 1000, "search")], NOW)
    state = ledger.state(NOW)
    assert [(switch.id, switch.rule, switch.by) for switch in state.switches] == [
        ("a", "", "ann"),
        ("b", "search", ""),
    ]
    assert parse_state(str(state)) == state
    ledger.tell([Switch("c", NOW + 1, SwitchKind.BYPASS, NOW + 1)], NOW)
    assert [switch.id for switch in ledger.state(NOW + 1).switches] == ["b"]
    assert ledger.state(NOW + 1000).switches == ()
