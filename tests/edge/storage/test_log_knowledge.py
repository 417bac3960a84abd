"""For which responses an isolate may go by the purge log alone."""

from __future__ import annotations

from math import inf

import pytest

from origin_sdk_edge.storage.log_knowledge import LogKnowledge


@pytest.mark.parametrize(
    ("birth_ms", "oldest_ms", "vouches"),
    [
        pytest.param(100, 500, True, id="born since the log covers purges, and it is known as of then"),
        pytest.param(99, 500, False, id="born before"),
        pytest.param(100, 501, False, id="not known as lately as is asked"),
    ],
)
def test_it_vouches(birth_ms: int, oldest_ms: int, vouches: bool) -> None:
    assert LogKnowledge(since_ms=100, as_of_ms=500).vouches(birth_ms, oldest_ms) is vouches


def test_without_a_log_it_vouches_for_nothing_and_misses_nothing() -> None:
    assert not LogKnowledge().vouches(10**15, 0)
    assert not LogKnowledge().is_unavailable(10**15)


def test_a_log_that_can_not_be_had_is_missed_once_what_is_known_is_no_longer_good() -> None:
    known = LogKnowledge(since_ms=0, due_ms=0, good_until_ms=500)
    assert [known.is_unavailable(now_ms) for now_ms in (499, 500)] == [False, True]


def test_what_is_forgotten_moves_the_beginning_and_never_back() -> None:
    known = LogKnowledge(since_ms=100, as_of_ms=inf)
    for moment_ms, since_ms in ((50, 100), (200, 201), (150, 201)):
        known.forget_before(moment_ms)
        assert known.since_ms == since_ms
