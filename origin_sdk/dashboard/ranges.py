"""The ranges that a person may look at, and how finely each is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["DEFAULT_RANGE", "RANGES", "Range"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Range:
    """A span of time up to now, in steps of ``step`` seconds."""

    name: str
    title: str
    seconds: int
    step: int

    @property
    def points(self) -> int:
        """How many steps it has."""
        return self.seconds // self.step

    def starts(self, now: float) -> range:
        """Return when its steps start, in seconds since the epoch; the last step holds ``now``."""
        last = int(now) // self.step * self.step
        return range(last - (self.points - 1) * self.step, last + 1, self.step)

    def starts_before(self, now: float) -> range:
        """Return the starts of the same span before it, to compare with."""
        mine = self.starts(now)
        return range(mine.start - self.seconds, mine.start, self.step)


RANGES: Mapping[str, Range] = MappingProxyType(
    {
        each.name: each
        for each in (
            Range("10m", "10 minutes", 10 * _MINUTE, 5),
            Range("1h", "hour", _HOUR, 20),
            Range("6h", "6 hours", 6 * _HOUR, 2 * _MINUTE),
            Range("24h", "day", _DAY, 10 * _MINUTE),
            Range("7d", "week", 7 * _DAY, _HOUR),
            Range("30d", "month", 30 * _DAY, 4 * _HOUR),
            Range("90d", "3 months", 90 * _DAY, 12 * _HOUR),
        )
    }
)
"""By name. Analytics Engine keeps three months."""

DEFAULT_RANGE = "1h"
