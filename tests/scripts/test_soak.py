"""A short run of the soak; `scripts/soak` takes ten minutes."""

from __future__ import annotations

import pytest

from scripts.runtime import soak, soak_log

pytestmark = pytest.mark.alone


def test_fifteen_seconds_of_faults_and_purges_make_no_wrong_answer() -> None:
    report = soak.soak(15, clients=20, seed=5)

    assert (report.wrong, report.hangs) == ([], [])
    assert report.hits > report.answers / 10
    assert report.faults
    assert report.purges
    assert soak.table(report).endswith("good")
    assert {name: held.end.pending <= 5 for name, held in report.held.items()} == {
        "edge": True,
        "twin": True,
    }


def test_purges_are_seen_while_the_processes_of_the_log_fail() -> None:
    report = soak_log.soak_log(60, purges=15, seed=3)

    assert (report.late, report.lost) == ([], [])
    assert report.is_good
    assert soak_log.table(report).endswith("good")
