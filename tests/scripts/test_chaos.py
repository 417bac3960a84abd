"""The chaos keeps its plan, and breaks no promise in a short run; its oracle knows one that is broken."""

import time
from pathlib import Path

import pytest

from scripts.runtime.chaos import STORES, Fault, Report, chaos, planned
from scripts.runtime.chaos_client import Board


@pytest.mark.parametrize("store", STORES)
def test_a_plan_is_the_same_for_the_same_seed_and_comes_to_every_fault(store: str) -> None:
    assert planned(store, 60, 7) == planned(store, 60, 7)
    assert planned(store, 60, 7) != planned(store, 60, 8)
    assert {fault.name for fault in planned(store, 3000, 1)} >= set(STORES[store].faults)


def test_an_oracle_holds_a_read_to_what_was_over_before(tmp_path: Path) -> None:
    file = tmp_path / "board"
    file.write_bytes(bytes(Board.SIZE))
    board, other = Board(file), Board(file)
    for at in (10.0, 20.0, 30.0):
        board.note(3, board.write(3), at)
    assert other.version(3) == 3
    assert [other.least(3, before) for before in (5.0, 10.0, 25.0, 99.0)] == [0, 1, 2, 3]
    assert other.least(4, 99.0) == 0


def test_a_report_is_bad_for_a_violation_an_error_or_calls_that_take_long() -> None:
    calls = [(float(at), 0.01) for at in range(1000)]
    assert Report(waits=calls).is_good
    assert not Report(waits=calls, violations=[{}]).is_good
    assert not Report(waits=calls, errors=["RedisError"]).is_good
    assert not Report(waits=calls[20:] + [(0.0, 1.0)] * 20).is_good
    assert not Report(waits=calls[5:] + [(0.0, 9.0)] * 5).is_good


def test_calls_count_for_the_fault_that_began_last() -> None:
    report = Report(waits=[(1.0, 0.1), (3.0, 0.3), (5.0, 0.5)], begun=[(2.0, "cut"), (4.0, "flush")])
    assert [report.quantile(1.0, fault) for fault in ("cut", "flush", "fill")] == [0.3, 0.5, 0.0]


@pytest.mark.alone
@pytest.mark.timeout(60)
def test_a_short_run_keeps_every_promise() -> None:
    names = ("cut", "freeze", "flush", "kill_client", "restart_rdb")
    faults = [Fault(3.0 + 0.5 * place, name, place) for place, name in enumerate(names)]
    began = time.monotonic()
    report = chaos("single", 13.0, 1, faults, lambda _: None)
    assert report.violations == []
    assert report.errors == []
    assert report.counts["reads"] > 200
    assert report.counts["invalidations"] > 10
    assert set(report.faults) <= set(names)
    assert time.monotonic() - began < 50
