"""What an isolate knows by the purge log, so that marks needn't be read."""

from dataclasses import dataclass
from math import inf

__all__ = ["LogKnowledge"]


@dataclass(slots=True)
class LogKnowledge:
    """For which responses the log vouches; without a log for none.

    Of a response whose birth isn't before ``since_ms`` all purges are known, as surely as by marks that were
    read at ``as_of_ms``. Both are milliseconds since the epoch.
    """

    since_ms: float = inf
    as_of_ms: float = 0
    due_ms: float = inf
    """When it is time to ask what is new."""
    good_until_ms: float = 0
    """When it is no longer enough to know it as of ``as_of_ms``."""

    def vouches(self, birth_ms: int, oldest_ms: int) -> bool:
        """Whether all purges of a response are known as of ``oldest_ms``."""
        return birth_ms >= self.since_ms and oldest_ms <= self.as_of_ms

    def is_unavailable(self, now_ms: int) -> bool:
        """Whether there is a log, and it can't be had."""
        return now_ms >= self.good_until_ms and self.due_ms < inf

    def forget_before(self, moment_ms: int) -> None:
        """Vouch for nothing that isn't younger than this: a purge of that time isn't known any more."""
        self.since_ms = max(self.since_ms, moment_ms + 1)
