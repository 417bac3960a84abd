"""Lifetimes and what happens at their ends, with a clock that moves when told to."""

import warnings
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from origin_sdk.layers import (
    AsyncLayeredCache,
    Family,
    InvalidFamily,
    Key,
    LayeredCache,
    LoadContext,
    LoadTimeout,
    Policy,
)
from origin_sdk.layers.values.policy import Freshness, Windows
from origin_sdk.testing import ManualClock
from tests.layers.test_breakdowns import eventually
from tests.layers.test_contract import Source


def key_with(**policy: Any) -> Key[Any]:
    return Family("timed", "{id}", policy=Policy(jitter=0, **policy)).key(id=1)


def settle(cache: Any) -> None:
    """Wait for loads in the background."""
    eventually(lambda: not len(cache.background))


@pytest.mark.parametrize(
    ("policy", "first", "seconds", "loads"),
    [
        pytest.param({"lifetime": 10}, "a", 9, 1, id="fresh until the lifetime ends"),
        pytest.param({"lifetime": 10}, "a", 10, 2, id="gone at its end"),
        pytest.param({"lifetime": 10, "none_lifetime": 2}, None, 1, 1, id="None for its own lifetime"),
        pytest.param({"lifetime": 10, "none_lifetime": 2}, None, 2, 2, id="None no longer"),
        pytest.param({"lifetime": 10, "none_lifetime": 0}, None, 0, 2, id="None not at all"),
        pytest.param({"lifetime": 10}, None, 9, 1, id="None like any value if nothing else is said"),
        pytest.param({"lifetime": 0}, "a", 0, 2, id="nothing"),
        pytest.param({"lifetime": 10, "memory_lifetime": 3}, "a", 3, 2, id="memory for less than all"),
    ],
)
def test_lifetimes(
    timed: Any, clock: ManualClock, policy: Any, first: object, seconds: float, loads: int
) -> None:
    source, key = Source(first), key_with(**policy)
    timed.get_or_load(key, source)
    clock.advance(seconds)
    timed.get_or_load(key, source)
    assert source.calls == loads


def test_a_loader_chooses_the_lifetime(timed: Any, clock: ManualClock) -> None:
    def load(context: LoadContext[str]) -> str:
        context.lifetime = 100
        return "a"

    key = key_with(lifetime=10)
    timed.get_or_load(key, load)
    clock.advance(99)
    assert timed.get(key) == "a"


@pytest.mark.parametrize(
    ("seconds", "answer"),
    [(9, "a"), (10, "a"), (14, "a"), (15, "b")],
    ids=["fresh", "stale at once", "stale to the end", "no longer stale"],
)
def test_stale_is_answered_while_it_is_refreshed(
    timed: Any, clock: ManualClock, seconds: float, answer: str
) -> None:
    source, key = Source("a", "b"), key_with(lifetime=10, stale=5)
    timed.get_or_load(key, source)
    clock.advance(seconds)
    assert timed.get_or_load(key, source) == answer
    settle(timed)
    assert timed.get_or_load(key, source) == ("a" if seconds < 10 else "b")
    assert source.calls == (1 if seconds < 10 else 2)


def test_refresh_ahead_starts_while_the_value_is_fresh(timed: Any, clock: ManualClock) -> None:
    source, key = Source("a", "b"), key_with(lifetime=10, refresh_ahead=0.8)
    timed.get_or_load(key, source)
    clock.advance(7.9)
    assert timed.get_or_load(key, source) == "a"
    assert not len(timed.background)
    clock.advance(0.2)
    assert timed.get_or_load(key, source) == "a"
    settle(timed)
    assert timed.get_or_load(key, source) == "b"


def test_fail_safe_stands_in_for_its_limit_and_tries_again_after_the_throttle(
    timed: Any, clock: ManualClock
) -> None:
    source = Source("a", RuntimeError("down"))
    key = key_with(lifetime=10, fail_safe=60, throttle=5)
    timed.get_or_load(key, source)
    clock.advance(20)
    assert [timed.get_or_load(key, source) for _ in range(3)] == ["a"] * 3
    assert source.calls == 2
    clock.advance(5)
    assert timed.get_or_load(key, source) == "a"
    assert source.calls == 3
    clock.advance(45)
    with pytest.raises(RuntimeError, match="down"):
        timed.get_or_load(key, source)


def test_fail_safe_never_revives_what_was_invalidated(timed: Any, clock: ManualClock) -> None:
    family = Family("timed", "{id}", groups=("all",), policy=Policy(lifetime=10, fail_safe=60))
    source, key = Source("a", RuntimeError("down")), family.key(id=1)
    timed.get_or_load(key, source)
    clock.advance(20)
    timed.invalidate(groups=["all"])
    with pytest.raises(RuntimeError, match="down"):
        timed.get_or_load(key, source)


def test_errors_of_named_types_are_cached(timed: Any, clock: ManualClock) -> None:
    source = Source(LookupError("no such product"), "a")
    key = key_with(errors=(LookupError,), error_lifetime=5)
    for _ in range(3):
        with pytest.raises(LookupError, match="no such product"):
            timed.get_or_load(key, source)
    assert source.calls == 1
    clock.advance(5)
    assert timed.get_or_load(key, source) == "a"


def test_a_soft_timeout_answers_with_the_old_and_keeps_the_late(timed: Any, clock: ManualClock) -> None:
    release = Event()

    def slow(_: object) -> str:
        release.wait(10)
        return "b"

    key = key_with(lifetime=10, fail_safe=60, soft_timeout=0.01, throttle=1)
    timed.get_or_load(key, Source("a"))
    clock.advance(20)
    assert timed.get_or_load(key, slow) == "a"
    release.set()
    settle(timed)
    assert timed.get_or_load(key, Source("c")) == "b"


def test_a_hard_timeout_raises_and_keeps_the_late(timed: Any) -> None:
    release = Event()

    def slow(_: object) -> str:
        release.wait(10)
        return "b"

    key = key_with(hard_timeout=0.01)
    with pytest.raises(LoadTimeout, match=r"takes longer than 0\.01 s"):
        timed.get_or_load(key, slow)
    release.set()
    settle(timed)
    assert timed.get_or_load(key, Source("c")) == "b"


def test_an_older_value_that_is_invalidated_meanwhile_stands_in_for_nothing(
    timed: Any, clock: ManualClock
) -> None:
    """The soft timeout is over then as if it weren't there: nobody is told that the load takes too long."""
    key = key_with(lifetime=10, fail_safe=60, soft_timeout=0.5)

    def slow(_: object) -> str:
        timed.moments.add((key.name,), 0.0)
        Event().wait(0.6)  # nothing tells that the soft timeout was over
        return "b"

    timed.get_or_load(key, Source("a"))
    clock.advance(20)
    assert timed.get_or_load(key, slow) == "b"


@pytest.mark.parametrize(
    ("fraction", "remaining", "state"),
    [
        pytest.param(0.0, 0.1, Freshness.FRESH, id="drawn late"),
        pytest.param(0.5, 0.6, Freshness.EARLY, id="drawn in the middle, close to the end"),
        pytest.param(0.5, 0.8, Freshness.FRESH, id="drawn in the middle, earlier"),
        pytest.param(0.99, 4.6, Freshness.EARLY, id="drawn early"),
    ],
)
def test_xfetch_draws_by_the_time_that_a_load_takes(
    fraction: float, remaining: float, state: Freshness
) -> None:
    # -1 s * ln(1 - 0.5) = 0.69 s; ln(1 - 0.99) = 4.6 s
    assert Windows(spread=1.0).state(100.0, 100.0 - remaining, fraction) is state


def test_jitter_shortens_by_its_fraction_at_most() -> None:
    policy = Policy(lifetime=100, jitter=0.2)
    assert [policy.lifetime_of("a", None, fraction) for fraction in (0.0, 0.5, 1.0)] == [100, 90, 80]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"lifetime": -1}, "lifetime is -1"),
        ({"stale": float("inf")}, "stale is inf"),
        ({"jitter": 1}, "jitter is 1"),
        ({"refresh_ahead": 1.5}, "refresh_ahead is 1.5"),
        ({"lock": 0}, "lock is 0"),
        ({"lock": float("nan")}, "lock is nan"),
        ({"wait": "30s"}, "wait '30s'"),
        ({"lifetime": "1h"}, "lifetime is '1h'"),
        ({"lifetime": None}, "lifetime is None"),
        ({"lifetime": True}, "lifetime is True"),
        ({"stale": timedelta(hours=1)}, "stale is datetime.timedelta"),
        ({"none_lifetime": -1}, "none_lifetime is -1"),
        ({"memory_lifetime": -1}, "memory_lifetime is -1"),
        ({"soft_timeout": "fast"}, "soft_timeout is 'fast'"),
        ({"hard_timeout": float("nan")}, "hard_timeout is nan"),
        ({"jitter": None}, "jitter is None"),
        ({"refresh_ahead": "half"}, "refresh_ahead is 'half'"),
    ],
)
def test_policies_that_make_no_sense_are_refused(policy: Any, message: str) -> None:
    with pytest.raises(InvalidFamily, match=message):
        Policy(**policy)


@pytest.mark.parametrize("cache_class", [LayeredCache, AsyncLayeredCache])
@pytest.mark.parametrize(
    ("policy", "is_warned_of"),
    [
        pytest.param(Policy(stale=60), True, id="stale"),
        pytest.param(Policy(refresh_ahead=0.5), True, id="refreshed ahead"),
        pytest.param(Policy(xfetch=1.0), True, id="refreshed by chance"),
        pytest.param(Policy(fail_safe=60, soft_timeout=1.0), True, id="a soft timeout"),
        pytest.param(Policy(hard_timeout=1.0), True, id="a hard timeout"),
        pytest.param(Policy(fail_safe=60), False, id="fail-safe alone loads in the caller's sight"),
        pytest.param(Policy(), False, id="nothing of these"),
    ],
)
def test_what_a_background_load_would_keep_of_its_caller_is_warned_of(
    cache_class: Any, policy: Policy, *, is_warned_of: bool
) -> None:
    async def asynchronous(number: int, session: object) -> int:
        return number if session else 0

    def synchronous(number: int, session: object) -> int:
        return number if session else 0

    function = synchronous if cache_class is LayeredCache else asynchronous
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        cache_class().cached("{number}", ignore=["session"], policy=policy)(function)
        cache_class().cached("{number}", ignore=["session"], policy=Policy())(function)
    messages = [str(each.message) for each in warned]
    assert len(messages) == is_warned_of
    assert all("ignore=['session']" in message for message in messages)
