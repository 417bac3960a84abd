"""What is new in a reading, however isolates come, go and forget."""

from __future__ import annotations

import pytest

from origin_sdk.dashboard.tallies import MOST_SERIES, MOST_URLS, Readings, Tally, UrlSums
from origin_sdk_wire.exposition import Document, Isolate, UrlCount
from origin_sdk_wire.metrics import Counts

NOW_MS = 1_764_355_000_000
LABELS = ("h", "default", "fresh", "memory", "2xx")


def isolate(
    requests: int, id_: str = "a", age_s: int = 60, urls: tuple[UrlCount, ...] = (), at_s: int = 0
) -> Isolate:
    counts = Counts()
    counts.add("requests", LABELS, requests)
    counts.set("memory_bytes", 1000 + requests)
    counted_ms = NOW_MS + at_s * 1000
    return Isolate(id_, "FRA", counted_ms - age_s * 1000, counted_ms, counts, urls)


def document(*isolates: Isolate, at_s: int = 0) -> Document:
    return Document(NOW_MS + at_s * 1000, "EdgeCache", isolates)


@pytest.mark.parametrize(
    ("readings", "gained"),
    [
        pytest.param([[isolate(5)]], [5], id="a young isolate's first reading counts"),
        pytest.param(
            [[isolate(5, age_s=7200)]], [0], id="an old isolate's doesn't: when that was isn't known"
        ),
        pytest.param([[isolate(5, age_s=7200)], [isolate(9)]], [0, 4], id="but what comes after it does"),
        pytest.param([[isolate(5)], [isolate(5)]], [5, 0], id="nothing new"),
        pytest.param([[isolate(5)], [isolate(2, "b")]], [5, 2], id="another isolate answers"),
        pytest.param(
            [[isolate(5)], [isolate(2, "b")], [isolate(6)]], [5, 2, 1], id="and the first one again"
        ),
        pytest.param([[isolate(5), isolate(3, "b")]], [8], id="many at once"),
        pytest.param([[]], [0], id="none"),
    ],
)
def test_what_is_new_in_a_reading(readings: list[list[Isolate]], gained: list[int]) -> None:
    known = Readings()
    assert [known.gained(document(*each)).counts.total("requests") for each in readings] == gained


def test_what_was_read_before_a_restart_is_not_counted_again() -> None:
    again = Readings([isolate(5)])
    assert again.gained(document(isolate(7))).counts.total("requests") == 2


def test_an_isolate_that_is_silent_for_a_day_is_forgotten() -> None:
    known = Readings()
    known.gained(document(isolate(5)))
    known.gained(document(isolate(1, "b", at_s=90_000), at_s=90_000))
    returned = known.gained(document(isolate(7, age_s=90_060, at_s=90_000), at_s=90_000))
    assert returned.counts.total("requests") == 0


@pytest.mark.parametrize(
    ("before", "now", "requests", "origin"),
    [
        pytest.param(None, UrlCount("/a", "r", 9, 90, 2, 0.5), 9, 2, id="new"),
        pytest.param(
            UrlCount("/a", "r", 4, 40, 1, 0.1), UrlCount("/a", "r", 9, 90, 3, 0.5), 5, 2, id="more of it"
        ),
        pytest.param(
            None, UrlCount("/a", "r", 9, 30, 1, 0.5, inherited=6), 3, 1, id="it took another one's place"
        ),
        pytest.param(
            UrlCount("/a", "r", 4, 40, 1, 0.1),
            UrlCount("/a", "r", 12, 20, 1, 0.2, inherited=10),
            2,
            1,
            id="it lost its place and came back",
        ),
    ],
)
def test_a_urls_requests_are_its_own(
    before: UrlCount | None, now: UrlCount, requests: int, origin: int
) -> None:
    sums = UrlSums.since(now, before)
    assert (sums.requests, sums.origin_requests) == (requests, origin)


def test_gauges_are_the_latest_and_counters_add_up() -> None:
    total = Tally.sum([Tally(isolate(5).counts), Tally(isolate(2).counts)])
    assert total.counts.total("requests") == 7
    assert total.counts.value("memory_bytes") == 1002


def test_a_step_has_a_bound() -> None:
    step = Tally()
    for number in range(MOST_SERIES + 100):
        more = Tally(urls={f"/{number}": UrlSums("r", number)})
        more.counts.add("expiries", (f"rule-{number}",))
        step.add(more)
    assert len(step.counts.series["expiries"]) == MOST_SERIES
    assert len(step.urls) <= MOST_URLS
    assert f"/{MOST_SERIES + 99}" in step.urls
