"""What comes of an answer: used, tried again after how long, or raised as which error."""

import json
from collections.abc import Sequence

import pytest

from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.effects import Answer, Call, Failure, Pause, Reply
from origin_sdk._cloudflare.exchange import Exchange, Retries, envelope
from origin_sdk._cloudflare.skew import Skew
from origin_sdk._flow import AnyStep, drive
from origin_sdk.errors import (
    AuthenticationFailed,
    CloudflareUnavailable,
    ConnectionFailed,
    DeadlineExceeded,
    NamespaceNotFound,
    OriginSdkError,
    RateLimited,
    RequestRejected,
)
from origin_sdk.testing import ManualClock

CALL = Call("GET", "https://api.example/keys")
GOOD = Reply(200, {}, b"{}", 0.0, 0.0)
UNREACHABLE = Failure("ConnectError")


def status(code: int, **fields: str) -> Reply:
    return Reply(code, {name.replace("_", "-"): value for name, value in fields.items()}, b"", 0.0, 0.0)


def played(exchange: Exchange, answers: Sequence[Answer]) -> tuple[list[float], Answer | OriginSdkError]:
    """Answer a flow's calls in turn; return its pauses, and what came out."""
    pauses: list[float] = []
    rest = iter(answers)

    def do(step: AnyStep) -> Answer | None:
        if not isinstance(step, Pause):
            return next(rest)
        pauses.append(step.seconds)
        exchange.clock.sleep(step.seconds)
        return None

    try:
        return pauses, drive(exchange.send(CALL), do)
    except OriginSdkError as error:
        return pauses, error


def new_exchange(seconds: float | None = None, **retries: float) -> Exchange:
    return Exchange(ManualClock(), RateBudget(), Skew(), Retries(**retries), seconds)  # type: ignore[arg-type]  # numbers


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        pytest.param([GOOD], [], id="an answer is used"),
        pytest.param([UNREACHABLE, GOOD], [0.5], id="no answer is tried again"),
        pytest.param(
            [status(500), status(502), GOOD], [0.5, 1.0], id="a failure of the API is, after twice the wait"
        ),
        pytest.param([status(429), GOOD], [0.5], id="a limit without a time is backed off from"),
        pytest.param([status(429, retry_after="300"), GOOD], [300.0], id="five minutes are waited in full"),
        pytest.param([status(503, retry_after="7"), GOOD], [7.0], id="Retry-After counts on a failure too"),
    ],
)
def test_what_may_pass_is_waited_out(answers: list[Answer], pauses: list[float]) -> None:
    exchange = new_exchange()
    assert played(exchange, answers) == (pauses, GOOD)
    assert exchange.requests == len(answers)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (UNREACHABLE, ConnectionFailed),
        (status(503), CloudflareUnavailable),
        (status(429), RateLimited),
        (status(429, retry_after="301"), RateLimited),
    ],
)
def test_what_does_not_pass_is_raised(answer: Answer, error: type[OriginSdkError]) -> None:
    _, outcome = played(new_exchange(attempts=3), [answer] * 3)
    assert isinstance(outcome, error)


def test_no_attempt_is_made_beyond_the_last() -> None:
    exchange = new_exchange(attempts=3)
    played(exchange, [UNREACHABLE] * 10)
    assert exchange.requests == 3


def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    pauses, outcome = played(new_exchange(seconds=10), [status(429, retry_after="300")])
    assert pauses == []
    assert isinstance(outcome, RateLimited)


def test_the_budget_is_waited_for_before_cloudflare_says_so() -> None:
    exchange = Exchange(ManualClock(), RateBudget(requests=601, seconds=300, burst=1), Skew())
    assert played(exchange, [GOOD]) == ([], GOOD)
    pauses, _ = played(exchange, [GOOD])
    assert pauses == [pytest.approx(0.5)]


def test_a_budget_that_is_used_up_passes_the_deadline() -> None:
    budget = RateBudget()
    budget.block(100, 0.0)
    _, outcome = played(Exchange(ManualClock(), budget, Skew(), seconds=5), [])
    assert isinstance(outcome, DeadlineExceeded)


def test_one_block_holds_all_who_share_the_budget() -> None:
    clock, budget = ManualClock(), RateBudget()
    first, second = Exchange(clock, budget, Skew(), seconds=1), Exchange(clock, budget, Skew())
    played(first, [status(429, retry_after="60")])
    pauses, _ = played(second, [GOOD])
    assert pauses == [60.0]


def test_delays_differ_by_chance_up_to_a_half() -> None:
    retries = Retries()
    assert [retries.delay(2, fraction) for fraction in (0.0, 0.5, 1.0)] == [2.0, 1.5, 1.0]
    assert retries.delay(99, 0.0) == retries.longest_seconds


def refused(code: int, message: str = "no", status: int = 400) -> Reply:
    body = {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
    return Reply(status, {}, json.dumps(body).encode(), 0.0, 0.0)


@pytest.mark.parametrize(
    ("reply", "error", "named"),
    [
        pytest.param(
            refused(10000, status=401), AuthenticationFailed, "KV Storage Write", id="an unknown token"
        ),
        pytest.param(
            refused(10000, status=403), AuthenticationFailed, "permission", id="a token that may not"
        ),
        pytest.param(
            refused(10013, status=404), NamespaceNotFound, "EDGE_CACHE_NAMESPACE_ID", id="no namespace"
        ),
        pytest.param(status(404), NamespaceNotFound, "CLOUDFLARE_ACCOUNT_ID", id="a route that isn't there"),
        pytest.param(
            refused(10001, "too long"), RequestRejected, "too long", id="what the API says is passed on"
        ),
        pytest.param(
            Reply(200, {}, b"<html>", 0, 0), CloudflareUnavailable, "BASE_URL", id="not the API at all"
        ),
        pytest.param(
            Reply(200, {}, b'{"success": false, "errors": []}', 0, 0),
            RequestRejected,
            "200",
            id="a no with 200",
        ),
    ],
)
def test_a_refusal_says_whose_fault_it_is(reply: Reply, error: type[OriginSdkError], named: str) -> None:
    with pytest.raises(error, match=named):
        envelope(reply)


@pytest.mark.parametrize(
    ("seconds", "allowed"),
    [
        pytest.param(None, 30.0, id="no limit of the caller's: the call's own"),
        pytest.param(60.0, 30.0, id="more than the call may take"),
        pytest.param(5.0, 5.0, id="less: an API that hangs doesn't hold the caller"),
    ],
)
def test_an_answer_may_take_no_longer_than_there_is_left(seconds: float | None, allowed: float) -> None:
    flow = new_exchange(seconds=seconds).send(CALL)
    step = flow.send(None)
    flow.close()
    assert isinstance(step, Call)
    assert step.seconds == allowed
