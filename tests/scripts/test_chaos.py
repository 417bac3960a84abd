"""The chaos keeps its plan and breaks no promise in a short run; it finds, and shrinks, what is broken."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest

from scripts.runtime.chaos import Trial, all_faults, main, planned
from scripts.runtime.chaos_client import Board
from scripts.runtime.chaos_report import Report, told
from scripts.runtime.chaos_shrink import shrunk
from scripts.runtime.chaos_stores import STORES, Fault
from scripts.runtime.paths import ROOT


@pytest.mark.parametrize("store", STORES)
def test_a_plan_is_the_same_for_the_same_seed_and_comes_to_every_fault(store: str) -> None:
    assert planned(store, 60, 7) == planned(store, 60, 7)
    assert planned(store, 60, 7) != planned(store, 60, 8)
    assert {fault.name for fault in planned(store, 3000, 1)} == set(all_faults(store))
    assert {fault.name for fault in planned(store, 300, 1, ["stall_client"])} == {"stall_client"}


def test_an_oracle_holds_a_read_to_what_was_over_before(tmp_path: Path) -> None:
    file = tmp_path / "board"
    file.write_bytes(bytes(Board.SIZE))
    board, other = Board(file), Board(file)
    for at in (10.0, 20.0, 30.0):
        board.note(3, board.write(3), at)
    assert other.version(3) == 3
    assert [other.least(3, before) for before in (5.0, 10.0, 25.0, 99.0)] == [0, 1, 2, 3]
    assert other.least(4, 99.0) == 0


def calls(*waits: float) -> list[tuple[float, float, str]]:
    return [(float(at), wait, "item") for at, wait in enumerate(waits)]


def wrong(at: float) -> dict[str, Any]:
    history = [
        (at - 4, "invalidated", 6),
        (at - 3, "read item", 6),
        (at - 3, "read item", 6),
        (at, "read item", 6),
    ]
    read = {"process": 1, "item": 3, "through": "item", "version": 6, "least": 7, "is_own": True, "at": at}
    return {**read, "whole_for": 9.0, "link": [], "history": history}


def test_a_report_is_bad_for_a_violation_an_error_or_calls_that_take_long() -> None:
    good = [0.01] * 1000
    assert Report(waits=calls(*good)).is_good
    assert not Report(waits=calls(*good), violations=[wrong(1.0)]).is_good
    assert not Report(waits=calls(*good), errors=["RedisError"]).is_good
    assert not Report(waits=calls(*good[2:], 1.0, 1.0)).is_good
    assert not Report(waits=calls(*good, *good, *good, 9.0)).is_good


def test_calls_count_for_the_fault_that_began_last() -> None:
    report = Report(waits=calls(0.0, 0.1, 0.0, 0.3, 0.0, 0.5), begun=[(2.0, "cut"), (4.0, "flush")])
    assert [report.quantile(1.0, fault) for fault in ("cut", "flush", "fill")] == [0.3, 0.5, 0.0]


def test_a_wrong_read_is_told_with_what_was_seen_and_broken_before_it() -> None:
    report = Report(violations=[wrong(20.0)], begun=[(3.0, "cut"), (17.5, "flush")])
    lines = "\n".join(told("single", report))
    assert "1 x item older than its own invalidation, after flush" in lines
    assert "-4.000 s  invalidated 6" in lines
    assert "-3.000 s  read item 6 (2 times)" in lines
    assert "-2.500 s  fault: flush" in lines
    assert "cut" not in lines


@dataclass(frozen=True)
class Scripted:
    """A run that breaks a promise a second after all of certain faults, the first few times by chance not."""

    guilty: frozenset[str]
    store: str = "single"
    seconds: float = 100.0
    seed: int = 1
    luck: list[bool] = field(default_factory=list)

    def lasting(self, seconds: float) -> Self:
        return replace(self, seconds=seconds)

    def run(self, faults: Sequence[Fault], _: Callable[[str], None]) -> Report:
        is_broken = self.guilty <= {fault.name for fault in faults} and not (self.luck and self.luck.pop())
        report = Report(begun=[(fault.at, fault.name) for fault in faults])
        if is_broken:
            last = max((fault.at for fault in faults if fault.name in self.guilty), default=5.0)
            report.violations.append(wrong(last + 1))
        return report


@pytest.mark.parametrize(
    ("guilty", "luck"),
    [
        pytest.param({"c"}, [], id="one fault"),
        pytest.param({"b", "g"}, [], id="two that lie apart"),
        pytest.param({"a", "c", "h"}, [True, False, True], id="three, not every time"),
        pytest.param(set(), [], id="none: it is broken anyway"),
    ],
)
def test_what_failed_is_shrunk_to_the_faults_that_it_takes(guilty: set[str], luck: list[bool]) -> None:
    trial = Scripted(frozenset(guilty), luck=[*luck, *[False] * 99])
    faults = [Fault(4.0 + 10 * place, name, place) for place, name in enumerate("abcdefgh")]
    first, *lines = shrunk(trial, faults, Scripted(frozenset(guilty)).run(faults, print), lambda _: None)
    assert first == f"the least that breaks it has {len(guilty)} of 8 faults:"
    assert [part.split(":")[1] for part in lines[0].partition("--replay")[2].split()] == sorted(guilty)
    assert float(lines[0].split()[6]) < 25


def test_what_is_shrunk_can_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Sequence[Fault]] = []

    def run(_: Trial, faults: Sequence[Fault], __: object) -> Report:
        ran.append(faults)
        return Report()

    monkeypatch.setattr(Trial, "run", run)
    main(["--store", "single", "--seconds", "20", "--replay", "4.0:flush:17", "8.0:cut:3"])
    main(["--store", "single", "--replay"])
    assert ran == [[Fault(4.0, "flush", 17), Fault(8.0, "cut", 3)], []]


@pytest.mark.alone
@pytest.mark.timeout(90)
def test_a_short_run_keeps_every_promise() -> None:
    names = ("cut", "freeze", "flush", "kill_client", "fork_client", "restart_rdb")
    faults = [Fault(3.0 + 0.5 * place, name, place) for place, name in enumerate(names)]
    began = time.monotonic()
    report = Trial("single", 13.0, 1).run(faults, lambda _: None)
    assert report.violations == []
    assert report.errors == []
    assert report.counts["reads"] > 200
    assert report.counts["invalidations"] > 10
    assert set(report.faults) <= set(names)
    assert time.monotonic() - began < 80


@pytest.mark.alone
@pytest.mark.timeout(60)
def test_a_short_run_over_other_code_finds_the_rule_that_is_broken_there(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "origin_sdk", tmp_path / "origin_sdk", ignore=shutil.ignore_patterns("__pycache__")
    )
    moments = tmp_path / "origin_sdk/layers/process/moments.py"
    rule = "if known and known[0] > seq:"
    assert rule in moments.read_text()
    moments.write_text(moments.read_text().replace(rule, "if known and known[0] > seq + 1_000_000:"))
    report = Trial("single", 6.0, 1, tmp_path).run([], lambda _: None)
    assert report.violations
    assert not report.is_good
