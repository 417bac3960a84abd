"""How far this machine's clock is from Cloudflare's, as far as replies tell."""

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from threading import Lock

from origin_sdk._cloudflare.effects import Reply
from origin_sdk._process.forks import renew_after_fork

__all__ = ["Skew"]


@dataclass(eq=False)
class Skew:
    """The seconds by which Cloudflare's clock is ahead, as an interval that each reply's ``Date`` narrows.

    ``Date`` tells whole seconds, so one reply bounds the difference to a second and the time that it took.
    Replies that contradict what was believed, because a clock was set, restart the interval.
    """

    has_asked: bool = field(default=False, init=False)
    """Whether any reply came, with a date or without."""
    _low: float = field(default=float("-inf"), init=False)
    _high: float = field(default=float("inf"), init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Let a forked process have a lock of its own."""
        renew_after_fork(self)

    def renew(self) -> None:
        """Free the lock in a forked process: the thread that held it isn't there."""
        self._lock = Lock()

    @property
    def seconds(self) -> float:
        """The smallest difference that all replies agree with: 0 while nothing shows one."""
        return min(max(0.0, self._low), self._high)

    @property
    def is_known(self) -> bool:
        """Whether any reply carried a date."""
        return self._low != float("-inf")

    @property
    def most_seconds(self) -> float:
        """The greatest difference that replies leave open; -infinity while none carried a date."""
        return self._high if self.is_known else float("-inf")

    def learn(self, reply: Reply) -> None:
        """Narrow the interval by a reply's ``Date``, if it has one."""
        self.has_asked = True
        date = _seconds(reply.fields.get("date", ""))
        if date is None:
            return
        low, high = date - reply.received_at, date + 1 - reply.sent_at
        with self._lock:
            low_of_both, high_of_both = max(low, self._low), min(high, self._high)
            agrees = low_of_both <= high_of_both
            self._low, self._high = (low_of_both, high_of_both) if agrees else (low, high)


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
