import threading

import pytest

from origin_sdk._cloudflare.budget import LONGEST_BLOCK_SECONDS, RateBudget, retry_after_seconds


def taken_within(budget: RateBudget, seconds: float, step: float = 0.25) -> int:
    """Count how many requests go through if one is tried as often as possible."""
    taken, now = 0, 0.0
    while now < seconds:
        while budget.take(now) == 0:
            taken += 1
        now += step
    return taken


def test_no_five_minutes_see_more_than_cloudflare_allows() -> None:
    assert taken_within(RateBudget(), 300) <= 1200


def test_nearly_all_that_cloudflare_allows_can_be_used() -> None:
    assert taken_within(RateBudget(), 3000) >= 10 * 1050


def test_the_burst_goes_at_once_and_then_a_wait_is_named() -> None:
    budget = RateBudget(requests=1200, burst=3)
    assert [budget.take(0.0) for _ in range(3)] == [0, 0, 0]
    wait = budget.take(0.0)
    assert wait == pytest.approx(300 / 1197)
    assert budget.take(wait + 0.001) == 0


@pytest.mark.parametrize(
    ("field", "wait"),
    [
        pytest.param('"default";r=0;t=30', 30.0, id="nothing left: until the window ends"),
        pytest.param('"default";r=1;t=30', 0.0, id="one left: it may be used"),
        pytest.param('"default";r=0;t=9999', LONGEST_BLOCK_SECONDS, id="never longer than Cloudflare blocks"),
        pytest.param("nonsense", 0.0, id="what can't be read says nothing"),
    ],
)
def test_what_the_api_says_is_left_counts(field: str, wait: float) -> None:
    budget = RateBudget()
    budget.learn({"ratelimit": field}, 0.0)
    assert budget.take(0.0) == wait


def test_after_the_last_one_that_is_left_it_is_waited() -> None:
    budget = RateBudget()
    budget.learn({"ratelimit": '"default";r=1;t=30'}, 0.0)
    assert budget.take(0.0) == 0
    assert budget.take(0.0) > 0


def test_a_block_holds_everyone() -> None:
    budget = RateBudget()
    budget.block(120, 0.0)
    assert budget.take(0.0) == 120
    assert budget.take(119.0) == 1
    assert budget.take(120.0) == 0


def test_clients_with_one_token_share_a_budget() -> None:
    assert RateBudget.shared("one token") is RateBudget.shared("one token")
    assert RateBudget.shared("one token") is not RateBudget.shared("another token")


def test_threads_together_take_no_more_than_there_is() -> None:
    budget = RateBudget(burst=100)
    taken: list[float] = []

    def take() -> None:
        taken.extend(wait for _ in range(50) if (wait := budget.take(0.0)) == 0)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 100


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("300", 300.0), ("0", 0.0), ("", None), ("soon", None), ("-1", None), ("9" * 12, None)],
)
def test_retry_after_is_read_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": value}) == seconds
