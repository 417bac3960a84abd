"""How long a caller waits for a load, of one key or of many, and what it gets if that takes longer.

Until ``soft_timeout`` is over, if an older value may stand in then, and until ``hard_timeout`` in any case.
Whether it may is asked again when the time has come: it may have been invalidated meanwhile, or be too old.
Then the caller goes on waiting.
"""

import math

from origin_sdk.layers.errors import LoadTimeout
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.rules.claims import Filling
from origin_sdk.layers.rules.judge import Judge
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.policy import Freshness, Policy

__all__ = ["Patience", "has_timeout", "seconds_between"]


def has_timeout(policy: Policy) -> bool:
    """Whether callers may leave before a load has ended, so that it has to run elsewhere."""
    return policy.soft_timeout is not None or policy.hard_timeout is not None


class Patience:
    """Of one caller, for one key. All times are seconds since it began to wait."""

    __slots__ = ("_filling", "_judge", "hard", "soft")

    def __init__(self, judge: Judge, filling: Filling) -> None:
        self._judge = judge
        self._filling = filling
        policy, previous = judge.families.policy(filling.key), filling.previous
        has_spare = previous is not None and judge.freshness(previous) is not Freshness.GONE
        self.soft = policy.soft_timeout if has_spare and policy.soft_timeout is not None else math.inf
        self.hard = math.inf if policy.hard_timeout is None else policy.hard_timeout

    def until(self, spent: float) -> float:
        """Return when there is something to decide next; infinity if that is when the load has ended."""
        return min((end for end in (self.soft, self.hard) if end > spent), default=math.inf)

    def spare(self, spent: float) -> MemoryEntry | None:
        """Return an older value to answer with now, if it is time; None to go on waiting.

        Raises LoadTimeout.
        """
        if spent < min(self.soft, self.hard):
            return None
        key, judge = self._filling.key, self._judge
        entry = judge.spare(key, self._filling.previous)
        if entry is not None:
            judge.stats.count("soft-timeout", key.family.name, key.name)
        elif spent >= self.hard:
            raise _too_long(key, self.hard)
        return entry


def seconds_between(spent: float, until: float) -> float | None:
    """Return for how long to wait from one time to another; None to wait without end."""
    return None if until == math.inf else until - spent


def _too_long(key: AnyKey, seconds: float) -> LoadTimeout:
    return LoadTimeout(f"{key}: the loader takes longer than {seconds} s; its result will be kept")
