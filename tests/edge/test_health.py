"""When the origin is left alone: at a URL that errs, and where it is away; never for what was purged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from origin_sdk_edge.health import Health, Subject
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.relay import http_date
from origin_sdk_edge.policy.trouble import Trouble, trouble_of
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_wire.choices import Profile
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS

SETTINGS = Settings(breaker_failures=3, breaker_pause=2.0, refresh_throttle=10.0)
ONE, OTHER = Subject("one", "", "a.test"), Subject("other", "", "a.test")
AWAY, ERRS = Trouble(is_away=True), Trouble()
BUSY = Trouble(is_unavailable=True, retry_ms=30_000)


def _answer(status: int, **fields: str) -> ResponseFacts:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return ResponseFacts(status, named, START_MS, START_MS)


@pytest.mark.parametrize(
    ("outcome", "trouble"),
    [
        pytest.param(OriginFailure.UNREACHABLE, AWAY, id="no connection"),
        pytest.param(OriginFailure.TIMEOUT, AWAY, id="a timeout"),
        pytest.param(OriginFailure.TRUNCATED, ERRS, id="a body that breaks off is one answer's"),
        *(pytest.param(_answer(status), AWAY, id=f"{status}") for status in (520, 521, 522, 524, 525, 530)),
        *(pytest.param(_answer(status), ERRS, id=f"{status}") for status in (429, 500, 501, 504, 529, 599)),
        *(pytest.param(_answer(status), None, id=f"{status}") for status in (200, 301, 304, 401, 404, 410)),
        pytest.param(_answer(503, retry_after="30"), BUSY, id="503, in half a minute"),
        pytest.param(_answer(503), replace(BUSY, retry_ms=None), id="503"),
        pytest.param(_answer(503, retry_after="soon"), replace(BUSY, retry_ms=None), id="503, unreadably"),
        pytest.param(_answer(503, retry_after="9" * 40), replace(BUSY, retry_ms=3_600_000), id="for ever"),
        pytest.param(_answer(429, retry_after="5"), Trouble(retry_ms=5000), id="429, in five seconds"),
        pytest.param(
            _answer(429, retry_after=http_date(START_MS + 30_000)), Trouble(retry_ms=30_000), id="at a date"
        ),
        pytest.param(
            _answer(429, retry_after=http_date(START_MS - 30_000)), Trouble(retry_ms=0), id="at a past date"
        ),
    ],
)  # fmt: skip
def test_what_an_answer_says(outcome: ResponseFacts | OriginFailure, trouble: Trouble | None) -> None:
    assert trouble_of(outcome) == trouble


def test_a_url_that_errs_rests_alone() -> None:
    health = Health(SETTINGS, Memory(0))
    for _ in range(20):
        health.note(ONE, ERRS, START_MS)

    assert health.rests(ONE, START_MS) is Reason.THROTTLED
    assert health.rests(OTHER, START_MS) is None
    assert health.rests(ONE, START_MS + 10_000) is None


def test_an_origin_that_is_away_rests_but_for_a_try_now_and_then() -> None:
    health = Health(replace(SETTINGS, refresh_throttle=0.0), Memory(0))
    for _ in range(3):
        health.note(ONE, AWAY, START_MS)

    tries = [health.rests(OTHER, START_MS + ms) for ms in range(0, 8000, 100)]

    assert tries.count(None) == 3
    assert set(tries) == {None, Reason.BREAKER_OPEN}
    assert health.rests(replace(OTHER, origin="b.test"), START_MS) is None
    health.note(OTHER, None, START_MS)
    assert health.rests(ONE, START_MS) is None


def test_failures_that_go_on_do_not_put_off_the_next_try() -> None:
    health = Health(replace(SETTINGS, refresh_throttle=0.0), Memory(0))
    for ms in range(0, 2000, 50):
        health.note(ONE, AWAY, START_MS + ms)

    assert health.rests(OTHER, START_MS + 2200) is None


@pytest.mark.parametrize("between", [ERRS, None], ids=["an error", "a good answer"])
def test_an_origin_that_answers_in_between_is_not_away(between: Trouble | None) -> None:
    health = Health(SETTINGS, Memory(0))
    for trouble in (AWAY, AWAY, between, AWAY, AWAY):
        health.note(ONE, trouble, START_MS)

    assert health.rests(OTHER, START_MS) is None


def test_what_was_purged_softly_is_asked_for_once_whatever_rests() -> None:
    health = Health(SETTINGS, Memory(0))
    for _ in range(3):
        health.note(ONE, AWAY, START_MS)
    purged = [replace(subject, purged_ms=START_MS + 1) for subject in (ONE, OTHER)]

    assert [health.rests(subject, START_MS) for subject in purged] == [None, None]
    for subject in purged:
        health.note(subject, AWAY, START_MS)
    assert [health.rests(subject, START_MS) for subject in purged] == [Reason.THROTTLED] * 2
    assert health.rests(replace(ONE, purged_ms=START_MS + 2), START_MS) is None


def test_the_origin_is_left_alone_for_as_long_as_it_asks() -> None:
    health = Health(SETTINGS, Memory(0))
    health.note(ONE, Trouble(retry_ms=30_000), START_MS)

    assert health.rests(ONE, START_MS + 29_999) is Reason.THROTTLED
    assert health.rests(ONE, START_MS + 30_000) is None
    assert health.rests(OTHER, START_MS) is None


def test_an_origin_that_is_unavailable_everywhere_is_left_alone_until_it_answers() -> None:
    health = Health(SETTINGS, Memory(0))
    for number in range(5):
        health.note(replace(ONE, key=f"{number}"), BUSY, START_MS)

    assert health.rests(OTHER, START_MS + 29_999) is Reason.THROTTLED
    health.note(replace(ONE, key="5"), None, START_MS)
    assert health.rests(OTHER, START_MS + 1) is None


@pytest.mark.parametrize("trouble", [ERRS, BUSY, Trouble(retry_ms=3_600_000)])
def test_what_one_client_is_answered_holds_nobody_else_back(trouble: Trouble) -> None:
    health = Health(SETTINGS, Memory(0))
    for number in range(10):
        health.note(replace(ONE, voice=f" {number}"), trouble, START_MS)

    assert health.rests(ONE, START_MS) is None
    assert health.rests(OTHER, START_MS) is None
    assert health.rests(replace(ONE, voice=" 1"), START_MS) is Reason.THROTTLED


def test_the_strict_profile_knows_no_rest() -> None:
    health = Health(Settings(profile=Profile.RFC9111, refresh_throttle=0, breaker_failures=0), Memory(0))
    for trouble in (AWAY, BUSY) * 10:
        health.note(ONE, trouble, START_MS)

    assert health.rests(ONE, START_MS) is None
    assert health.rests(ONE, START_MS - 1) is None  # a clock behind the one of before, as workerd's can be


def test_what_is_remembered_is_bounded() -> None:
    memory = Memory(1024 * 1024)
    health = Health(SETTINGS, memory)
    for number in range(10_000):
        health.note(Subject(f"{number}", "", f"{number}.test"), BUSY, START_MS)

    assert memory.used_bytes <= memory.max_bytes / 8
