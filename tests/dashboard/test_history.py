"""The history: what it keeps, for how long, and whose it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.dashboard.history import History
from origin_sdk.dashboard.ranges import RANGES
from origin_sdk.dashboard.tallies import Tally, UrlSums
from origin_sdk_wire.exposition import Isolate
from origin_sdk_wire.metrics import Counts

NOW = 1_764_355_000.0
HOUR = RANGES["1h"]


def counted(requests: int) -> Tally:
    step = Tally(urls={"https://h/a": UrlSums("default", requests, 10.0, 1.0, 0.25)})
    step.counts.add("requests", ("h", "default", "fresh", "memory", "2xx"), requests)
    step.counts.observe("origin_seconds", 0.03, ("default",))
    return step


def total(history: History, name: str, now: float, source: str = "s") -> float:
    span = RANGES[name]
    steps = history.steps(source, span, span.starts(now))
    return Tally.sum(steps.values()).counts.total("requests")


@pytest.mark.parametrize("name", RANGES)
def test_each_range_has_all_of_it_also_after_a_restart(tmp_path: Path, name: str) -> None:
    file = tmp_path / "new" / "history.sqlite3"
    with History(file) as history:
        history.add("s", NOW, counted(2))
        history.add("s", NOW + 1, counted(3))
        history.add("other", NOW, counted(50))
        assert total(history, name, NOW + 1) == 5
    with History(file) as history:
        history.add("s", NOW + 2, counted(4))
        assert total(history, name, NOW + 2) == 9
        [step] = history.steps("s", HOUR, HOUR.starts(NOW + 2)).values()
        assert step.urls["https://h/a"].as_row() == ["default", 9, 30.0, 3.0, 0.75]
        assert step.counts.total("origin_seconds") == 3


def test_it_is_bounded_and_keeps_the_span_before(tmp_path: Path) -> None:
    with History(tmp_path / "h", [HOUR]) as history:
        for number in range(3 * HOUR.points):
            history.add("s", NOW + number * HOUR.step, counted(1))
        assert history.rows() <= 2 * HOUR.points + 1
        last = NOW + (3 * HOUR.points - 1) * HOUR.step
        before = history.steps("s", HOUR, HOUR.starts_before(last))
        assert (total(history, "1h", last), len(before)) == (HOUR.points, HOUR.points)


def test_readings_outlive_the_program_for_a_day(tmp_path: Path) -> None:
    read = Isolate("a", "FRA", 0, round(NOW * 1000), Counts())
    with History(tmp_path / "h") as history:
        history.add("s", NOW, counted(1), [read])
    with History(tmp_path / "h") as history:
        assert [each.id for each in history.readings("s")] == ["a"]
        assert history.readings("other") == []
        history.add("s", NOW + 90_000, counted(1))
        assert history.readings("s") == []


def test_one_file_is_one_dashboards(tmp_path: Path) -> None:
    with History(tmp_path / "h") as history:
        history.add("s", NOW, counted(1))
        with pytest.raises(InvalidSettings, match=r"another dashboard uses it.*--history"):
            History(tmp_path / "h")


@pytest.mark.parametrize("content", [b"not a database at all, but some text", None])
def test_what_is_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "h"
    if content is None:
        with sqlite3.connect(file) as newer:
            newer.execute("PRAGMA user_version = 99")
            newer.execute("CREATE TABLE t (x)")
        newer.close()
    else:
        file.write_bytes(content * 100)
    was = file.read_bytes()
    with pytest.raises(InvalidSettings, match=r"can't keep the dashboard's history there.*--history"):
        History(file)
    assert file.read_bytes() == was
