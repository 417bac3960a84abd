"""What of a stored response is used, asked about, and allowed to stand in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from origin_sdk_edge.policy.decision import Ask, Invalidity, Refuse, Use
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.settings import Settings
from tests.policy.tables import CC, NOW, PART, SAFE, STRICT, TAGGED, TEN, decide, stored

USES: list[object] = [
    pytest.param(TEN, 0, {}, Reason.FRESH, id="fresh"),
    pytest.param(TEN, 9, {}, Reason.FRESH, id="still fresh"),
    pytest.param(TEN, 9, {CC: "max-age=9"}, Reason.FRESH, id="as old as the client allows"),
    pytest.param(TEN, 5, {CC: "min-fresh=5"}, Reason.FRESH, id="as fresh as the client wants"),
    pytest.param(TEN, 12, {CC: "max-stale=2"}, Reason.MAX_STALE, id="as stale as the client allows"),
    pytest.param(TEN, 99, {CC: "max-stale"}, Reason.MAX_STALE, id="any staleness"),
    pytest.param(
        {CC: "max-age=10, stale-while-revalidate=5"},
        12,
        {},
        Reason.STALE_WHILE_REVALIDATE,
        id="in the window",
    ),
]


@pytest.mark.parametrize(("fields", "age", "asked", "reason"), USES)
def test_what_is_used(fields: Fields, age: int, asked: Fields, reason: Reason) -> None:
    decision = decide(stored(fields, age=age), asked)
    assert isinstance(decision, Use)
    assert decision.reason is reason
    assert decision.refresh is (reason is Reason.STALE_WHILE_REVALIDATE)


@pytest.mark.parametrize(
    ("fields", "age", "asked", "forwarded", "reason"),
    [
        pytest.param(TEN, 10, {}, FwdReason.STALE, Reason.STALE, id="as old as its lifetime"),
        pytest.param(TEN, 5, {CC: "no-cache"}, FwdReason.REQUEST, Reason.REQUEST_NO_CACHE, id="no-cache"),
        pytest.param(TEN, 5, {"pragma": "no-cache"}, FwdReason.REQUEST, Reason.REQUEST_NO_CACHE, id="Pragma"),
        pytest.param(TEN, 5, {CC: "max-age=4"}, FwdReason.REQUEST, Reason.REQUEST_MAX_AGE, id="too old"),
        pytest.param(TEN, 0, {CC: "max-age=0"}, FwdReason.REQUEST, Reason.REQUEST_MAX_AGE, id="max-age=0"),
        pytest.param(
            TEN,
            5,
            {CC: "min-fresh=6"},
            FwdReason.REQUEST,
            Reason.REQUEST_MIN_FRESH,
            id="not fresh enough",
        ),
        pytest.param(TEN, 13, {CC: "max-stale=2"}, FwdReason.STALE, Reason.STALE, id="too stale"),
        pytest.param(TEN, 13, {CC: "max-stale=x"}, FwdReason.STALE, Reason.STALE, id="an invalid max-stale"),
        pytest.param(
            {CC: "max-age=10, no-cache"}, 0, {}, FwdReason.STALE, Reason.NO_CACHE, id="its no-cache"
        ),
        pytest.param(
            {CC: "s-maxage=10"},
            12,
            {CC: "max-stale"},
            FwdReason.STALE,
            Reason.STALE,
            id="s-maxage, stale",
        ),
    ],
)
def test_what_is_asked_about(
    fields: Fields, age: int, asked: Fields, forwarded: FwdReason, reason: Reason
) -> None:
    decision = decide(stored(fields, age=age), asked)
    assert isinstance(decision, Ask)
    assert (decision.forwarded, decision.reason) == (forwarded, reason)


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        pytest.param(-60, Reason.FRESH, id="as far as clocks may differ"),
        pytest.param(-61, Reason.ABSENT, id="further"),
        pytest.param(-86_400, Reason.ABSENT, id="a day"),
    ],
)
def test_a_response_of_a_clock_that_was_ahead_isn_t_there(age: int, reason: Reason) -> None:
    decision = decide(stored(TEN, age=age))
    assert isinstance(decision, Use) is (reason is Reason.FRESH)
    assert decision.reason is reason


@pytest.mark.parametrize("ahead_ms", [-5000, -1, 0, 1, 2000])
@pytest.mark.parametrize("settings", [STRICT, SAFE], ids=["strict", "safe"])
def test_a_soft_purge_makes_stale_also_while_its_moment_lies_ahead(settings: Settings, ahead_ms: int) -> None:
    purged = Invalidity(soft_ms=NOW + ahead_ms)
    assert decide(stored(TEN, age=0), settings=settings).reason is Reason.FRESH
    decision = decide(stored(TEN, age=0), settings=settings, invalidity=purged)
    assert isinstance(decision, Ask)
    assert decision.reason is Reason.PURGED_SOFT


def test_after_a_write_nothing_is_used_before_the_origin_was_asked() -> None:
    fields = {CC: "max-age=10, stale-while-revalidate=60, stale-if-error=60", "etag": '"1"'}
    soft = Invalidity(soft_ms=NOW)
    assert decide(stored(fields), settings=SAFE, invalidity=soft).reason is Reason.STALE_WHILE_REVALIDATE
    decision = decide(stored(fields), settings=SAFE, invalidity=replace(soft, must_validate=True))
    assert isinstance(decision, Ask)
    assert (decision.reason, decision.fallback) == (Reason.PURGED_SOFT, True)
    assert decision.conditional == {"if-none-match": '"1"'}


@pytest.mark.parametrize(
    ("asked", "age", "is_used"),
    [
        pytest.param({CC: "no-cache"}, 9, True, id="no-cache, of what has just come"),
        pytest.param({CC: "no-cache"}, 10, False, id="no-cache"),
        pytest.param({CC: "max-age=0"}, 9, True, id="max-age, of what has just come"),
        pytest.param({CC: "max-age=0"}, 10, False, id="max-age"),
        pytest.param({"pragma": "no-cache"}, 9, True, id="Pragma, of what has just come"),
        pytest.param({"pragma": "no-cache"}, 10, False, id="Pragma"),
        pytest.param({"if-match": '"2"'}, 9, True, id="another tag, of what has just come"),
        pytest.param({"if-match": '"2"'}, 10, False, id="another tag"),
        pytest.param({"if-match": '"1"'}, 10, True, id="its tag"),
        pytest.param({CC: "only-if-cached, no-cache"}, 9, True, id="only-if-cached"),
        pytest.param({CC: "no-store"}, 10, True, id="no-store"),
    ],
)
def test_a_client_has_asked_anew_only_what_is_not_recent(asked: Fields, age: int, *, is_used: bool) -> None:
    record = stored({CC: "max-age=60", "etag": '"1"'}, age=age)
    assert isinstance(decide(record, asked, settings=SAFE), Use) is is_used


def test_request_directives_can_be_switched_off() -> None:
    settings = replace(STRICT, honour_request_directives=False)
    assert isinstance(decide(stored(TEN), {CC: "no-cache"}, settings=settings), Use)
    assert isinstance(decide(None, {CC: "only-if-cached"}, settings=settings), Ask)


def test_only_if_cached_never_asks() -> None:
    assert isinstance(decide(None, {CC: "only-if-cached"}), Refuse)
    assert isinstance(decide(stored(TEN, age=11), {CC: "only-if-cached"}), Refuse)
    assert isinstance(decide(stored(TEN), {CC: "only-if-cached"}), Use)


@pytest.mark.parametrize(
    ("invalidity", "reason", "keeps"),
    [
        pytest.param(Invalidity(hard_ms=NOW), Reason.PURGED_HARD, False, id="a hard purge"),
        pytest.param(Invalidity(soft_ms=NOW), Reason.PURGED_SOFT, True, id="a soft purge"),
        pytest.param(Invalidity(is_unknown=True), Reason.MARKS_UNKNOWN, True, id="marks that can't be read"),
    ],
)
def test_purges(invalidity: Invalidity, reason: Reason, *, keeps: bool) -> None:
    decision = decide(stored(TAGGED), invalidity=invalidity)
    assert isinstance(decision, Ask)
    assert decision.reason is reason
    assert bool(decision.stored) is keeps
    assert bool(decision.conditional) is keeps


def test_a_soft_purge_leaves_stale_while_revalidate_in_force() -> None:
    fields = {CC: "max-age=1000, stale-while-revalidate=60"}
    decision = decide(stored(fields, age=100), invalidity=Invalidity(soft_ms=NOW - 5000))
    assert isinstance(decision, Use)
    assert decision.refresh


@pytest.mark.parametrize(
    ("fields", "age", "settings", "fallback", "disconnected"),
    [
        pytest.param(TEN, 20, STRICT, False, True, id="stale"),
        pytest.param(TEN, 20, SAFE, True, True, id="stale, in the safe profile's window"),
        pytest.param(TEN, 90_000, SAFE, False, False, id="stale, beyond the safe profile's window"),
        pytest.param({CC: "max-age=10, stale-if-error=20"}, 20, STRICT, True, True, id="in its window"),
        pytest.param({CC: "max-age=10, stale-if-error=5"}, 20, STRICT, False, False, id="beyond its window"),
        pytest.param({CC: "max-age=10, must-revalidate"}, 20, SAFE, False, False, id="must-revalidate"),
        pytest.param({CC: "s-maxage=10"}, 20, STRICT, False, False, id="s-maxage"),
    ],
)
def test_what_may_stand_in(
    fields: Fields, age: int, settings: Settings, *, fallback: bool, disconnected: bool
) -> None:
    decision = decide(stored(fields, age=age), settings=settings)
    assert isinstance(decision, Ask)
    assert (decision.fallback, decision.when_disconnected) == (fallback, disconnected)


def test_a_stored_error_never_stands_in() -> None:
    decision = decide(stored({CC: "max-age=1, stale-if-error=99"}, age=9, status=500))
    assert isinstance(decision, Ask)
    assert not decision.when_disconnected


@pytest.mark.parametrize(
    ("asked", "conditional"),
    [
        pytest.param({"range": "bytes=0-6"}, None, id="the same range"),
        pytest.param({"range": "bytes=2-3"}, None, id="a range within it"),
        pytest.param({"range": "bytes=0-9"}, {"range": "bytes=0-9"}, id="a range beyond it"),
        pytest.param({"range": "bytes=-3"}, {"range": "bytes=-3"}, id="the last bytes"),
        pytest.param({}, {"range": "bytes=7-19", "if-range": '"a"'}, id="the whole"),
        pytest.param({"range": "lines=1"}, {"range": "lines=1"}, id="another unit"),
    ],
)
def test_a_stored_part(asked: Fields, conditional: Fields | None) -> None:
    decision = decide(stored(PART, status=206), asked)
    if conditional is None:
        assert isinstance(decision, Use)
    else:
        assert isinstance(decision, Ask)
        assert decision.reason is Reason.PARTIAL
        assert decision.conditional == conditional


def test_a_stale_part_is_asked_for_anew() -> None:
    decision = decide(stored(PART, age=99, status=206), {"range": "bytes=0-3"})
    assert isinstance(decision, Ask)
    assert decision.stored is None
    assert decision.conditional == {"range": "bytes=0-3"}
