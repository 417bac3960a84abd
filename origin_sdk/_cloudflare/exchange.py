"""One request to the API, made until it is answered: budget, retries, deadline, and what a refusal means."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from origin_sdk._cloudflare.budget import LONGEST_BLOCK_SECONDS, RateBudget, retry_after_seconds
from origin_sdk._cloudflare.effects import Call, Failure, Pause, Reply
from origin_sdk._cloudflare.skew import Skew
from origin_sdk._process.clock import Clock
from origin_sdk._values.errors import (
    AuthenticationFailed,
    CloudflareError,
    CloudflareUnavailable,
    ConnectionFailed,
    DeadlineExceeded,
    NamespaceNotFound,
    OriginSdkError,
    RateLimited,
    RequestRejected,
)

__all__ = ["Exchange", "Retries", "envelope"]

_LEAST_CALL_SECONDS = 0.1
_NAMESPACE_NOT_FOUND = 10013
_KEY_NOT_FOUND = 10009


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after how long, a request is made again.

    The delay doubles from ``first_seconds`` up to ``longest_seconds``, each time shortened at random by up to
    a half.
    """

    attempts: int = 5
    first_seconds: float = 0.5
    longest_seconds: float = 30.0

    def delay(self, attempt: int, fraction: float) -> float:
        """Return the seconds to wait after the ``attempt``-th try, counted from 0."""
        return min(self.longest_seconds, self.first_seconds * 2.0**attempt) * (1 - fraction / 2)


@dataclass
class Exchange:
    """The requests of one operation, such as a purge.

    ``seconds`` is the time for all of them together, ``None`` for as long as it takes.
    """

    clock: Clock
    budget: RateBudget
    skew: Skew
    retries: Retries = field(default_factory=Retries)
    seconds: float | None = None
    requests: int = field(default=0, init=False)
    _started_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the time."""
        self._started_at = self.clock.monotonic()

    async def send(self, call: Call | Callable[[], Call]) -> Reply:
        """Make a request, again while that can help.

        Return a reply that isn't a failure of the way or the API's own.

        A callable is asked for the request before each try, so that it can tell the moment.
        """
        attempt = 0
        while True:
            await self._await_budget()
            answer = await self.in_time(call if isinstance(call, Call) else call())
            self.requests += 1
            if isinstance(answer, Reply):
                self._learn(answer)
            if not (problem := _problem(answer)):
                assert isinstance(answer, Reply)  # noqa: S101 - what _problem lets through
                return answer
            attempt += 1
            await self.pause(self._delay(answer, attempt, problem), problem)

    async def pause(self, seconds: float, problem: OriginSdkError | None = None) -> None:
        """Wait; if the deadline would pass, raise ``problem`` or, without one, :class:`DeadlineExceeded`."""
        if self._passes_deadline(seconds):
            cause = problem or DeadlineExceeded(
                f"the timeout of {self.seconds:g} s would expire before the next request, which may go out "
                f"in {seconds:.1f} s; give a longer one"
            )
            raise cause
        await Pause(seconds)

    def backoff(self, attempt: int) -> float:
        """Return the jittered delay after the ``attempt``-th try, counted from 0."""
        return self.retries.delay(attempt, self.clock.fraction())

    async def _await_budget(self) -> None:
        while wait := self.budget.take(self.clock.monotonic()):
            await self.pause(wait)
        if self._passes_deadline(0):
            raise DeadlineExceeded(f"the timeout of {self.seconds:g} s has expired; give a longer one")

    def in_time(self, call: Call) -> Call:
        """Return the call with no more time for its answer than there is left."""
        if self.seconds is None:
            return call
        left = self._started_at + self.seconds - self.clock.monotonic()
        return call if call.seconds <= left else replace(call, seconds=max(left, _LEAST_CALL_SECONDS))

    def _passes_deadline(self, seconds: float) -> bool:
        return self.seconds is not None and self.clock.monotonic() + seconds > self._started_at + self.seconds

    def _learn(self, reply: Reply) -> None:
        self.skew.learn(reply)
        self.budget.learn(reply.fields, self.clock.monotonic())

    def _delay(self, answer: Reply | Failure | None, attempt: int, problem: OriginSdkError) -> float:
        asked = retry_after_seconds(answer.fields) if isinstance(answer, Reply) else None
        if attempt >= self.retries.attempts or (asked or 0) > LONGEST_BLOCK_SECONDS:
            raise problem
        if asked is None:
            return self.backoff(attempt - 1)
        if isinstance(problem, RateLimited):
            self.budget.block(asked, self.clock.monotonic())
        # Everyone whom the block held wakes at its end: spread them over a second.
        return min(asked + self.clock.fraction(), LONGEST_BLOCK_SECONDS + 1)


def _problem(answer: Reply | Failure | None) -> OriginSdkError | None:
    """Return the error to raise once there are no more tries; ``None`` for an answer that needs none."""
    if answer is None or isinstance(answer, Failure):
        reason = answer.reason if answer else "no answer"
        return ConnectionFailed(
            f"Cloudflare's API can't be reached: {reason}; check CLOUDFLARE_API_BASE_URL and the network"
        )
    if answer.status == 429:
        return RateLimited(
            "Cloudflare counts more than 1,200 API requests in five minutes for this token's user; wait, "
            "or purge groups and prefixes instead of single URLs",
            status=429,
        )
    if answer.status >= 500:
        return CloudflareUnavailable(
            f"Cloudflare's API answered {answer.status}; try again later", status=answer.status
        )
    return None


def envelope(reply: Reply) -> dict[str, Any]:
    """Return the API's answer as decoded JSON.

    Raises the :class:`CloudflareError` that it is, if it is one.
    """
    try:
        decoded = json.loads(reply.body)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict) or "success" not in decoded:
        if reply.status in {401, 403, 404}:
            raise refusal(reply.status, {})
        raise CloudflareUnavailable(
            f"the answer ({reply.status}) isn't Cloudflare's API's; check CLOUDFLARE_API_BASE_URL",
            status=reply.status,
        )
    if reply.status >= 400 or decoded["success"] is not True:
        raise refusal(reply.status, decoded)
    return decoded


def refusal(status: int, decoded: Mapping[str, Any]) -> CloudflareError:
    """Return the error for an answer with which the API refused."""
    errors = [error for error in decoded.get("errors") or () if isinstance(error, dict)]
    code = next((error["code"] for error in errors if isinstance(error.get("code"), int)), 0)
    said = "; ".join(str(error.get("message", ""))[:200] for error in errors) or "no reason"
    if status in {401, 403}:
        return AuthenticationFailed(
            f"Cloudflare refused the token ({status}: {said}): it needs the permission Workers KV Storage "
            "Write on this account; `origin-sdk doctor` checks it",
            status=status,
            code=code,
        )
    if code == _NAMESPACE_NOT_FOUND or (status == 404 and code != _KEY_NOT_FOUND):
        return NamespaceNotFound(
            f"Cloudflare knows no such KV namespace in this account ({said}): compare "
            "EDGE_CACHE_NAMESPACE_ID and "
            "CLOUDFLARE_ACCOUNT_ID with wrangler.toml",
            status=status,
            code=code,
        )
    return RequestRejected(
        f"Cloudflare's API refused the request ({status}, code {code}): {said}", status=status, code=code
    )
