"""Cloudflare's limit on API requests, kept before Cloudflare enforces it.

Past 1,200 requests in five minutes every API call of the account's user is blocked for five minutes, the
dashboard's too.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import ClassVar

from origin_sdk._process.forks import renew_after_fork

__all__ = ["LONGEST_BLOCK_SECONDS", "RateBudget", "retry_after_seconds"]

LONGEST_BLOCK_SECONDS = 300.0
"""Cloudflare's block; a longer ``Retry-After`` is not waited for."""

_LEAST_WAIT_SECONDS = 0.001
"""A wait that rounding made too short to move a clock would be asked for again and again."""

_RATELIMIT = re.compile(r'^\s*"[^"]*"\s*;\s*r=(\d{1,9})\s*;\s*t=(\d{1,9})')


@dataclass(eq=False)
class RateBudget:
    """A token bucket: ``requests`` for each ``seconds``, fed back by what the API says is left.

    Safe to share between threads and tasks: no call waits; the caller does, and asks again.
    """

    requests: int = 1200
    seconds: float = 300.0
    burst: int = 100
    """The size of a burst; the rest is spread evenly.

    No window of ``seconds`` sees more than ``requests``.
    """
    _tokens: float = field(init=False)
    _filled_at: float | None = field(default=None, init=False)
    _blocked_until: float = field(default=0.0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    _shared: ClassVar[dict[str, "RateBudget"]] = {}

    def __post_init__(self) -> None:
        """Fill the bucket."""
        self._tokens = float(self.burst)
        renew_after_fork(self)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Be sent to another process as a bucket of the same size."""
        return type(self), (self.requests, self.seconds, self.burst)

    def renew(self) -> None:
        """Free the lock in a forked process: the thread that held it isn't there."""
        self._lock = Lock()

    @classmethod
    def shared(cls, token: str) -> "RateBudget":
        """Return the one budget of all clients of this process that use ``token``."""
        return cls._shared.setdefault(hashlib.sha256(token.encode()).hexdigest(), cls())

    @classmethod
    def unlimited(cls) -> "RateBudget":
        """Return a budget for an API that counts nothing, such as the local one."""
        return cls(requests=10**10, burst=10**9)

    def take(self, now: float) -> float:
        """Take one request out and return 0, or return the seconds after which to ask again.

        ``now`` is monotonic.
        """
        with self._lock:
            self._refill(now)
            if now < self._blocked_until:
                return self._blocked_until - now
            if self._tokens >= 1:
                self._tokens -= 1
                return 0.0
            return max(_LEAST_WAIT_SECONDS, (1 - self._tokens) / self._rate)

    def learn(self, fields: Mapping[str, str], now: float) -> None:
        """Take over what a reply's ``Ratelimit`` field says is left, if that is less than believed."""
        found = _RATELIMIT.match(fields.get("ratelimit", ""))
        if not found:
            return
        left, seconds = int(found[1]), min(float(found[2]), LONGEST_BLOCK_SECONDS)
        with self._lock:
            self._refill(now)
            self._tokens = min(self._tokens, float(left))
            if left == 0:
                self._blocked_until = max(self._blocked_until, now + seconds)

    def block(self, seconds: float, now: float) -> None:
        """Let nobody through for ``seconds``: the API said so."""
        with self._lock:
            self._blocked_until = max(self._blocked_until, now + seconds)

    @property
    def _rate(self) -> float:
        return (self.requests - self.burst) / self.seconds

    def _refill(self, now: float) -> None:
        if self._filled_at is not None:
            grown = max(0.0, now - self._filled_at) * self._rate
            self._tokens = min(float(self.burst), self._tokens + grown)
        self._filled_at = now


def retry_after_seconds(fields: Mapping[str, str]) -> float | None:
    """Return the delay that a reply asks for; ``None`` if it names none in seconds, as Cloudflare does."""
    value = fields.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
