"""For how long a value counts as what."""

import math
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

from origin_sdk.layers.errors import InvalidFamily

__all__ = ["ANSWERS", "Freshness", "Policy", "SingleFlight", "Windows"]

SingleFlight: TypeAlias = Literal["processes", "process"]
Values: TypeAlias = Literal["shared", "copied", "frozen"]

XFETCH_REACH = 8.0
"""Below ``exp(-8)``, one in three thousand, an early refresh isn't drawn for at all."""

_SECONDS = ("lifetime", "error_lifetime", "stale", "fail_safe", "throttle", "xfetch")
_SECONDS_OR_NONE = ("memory_lifetime", "none_lifetime", "soft_timeout", "hard_timeout")


class Freshness(Enum):
    """What may be done with a stored value at a moment."""

    FRESH = "fresh"
    EARLY = "early"
    """Fresh, and to be refreshed behind the caller's back."""
    STALE = "stale"
    """May be answered with while it is refreshed."""
    LAST_RESORT = "last-resort"
    """May stand in if loading fails."""
    GONE = "gone"


ANSWERS = frozenset({Freshness.FRESH, Freshness.EARLY, Freshness.STALE})
"""What a caller is answered with."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Seconds after freshness ends: stale-while-revalidate, and fail-safe; ``spread`` is XFetch's.

    ``ahead`` is how long before the end a read starts a refresh.
    """

    stale: float = 0.0
    fail_safe: float = 0.0
    spread: float = 0.0
    ahead: float = 0.0
    is_soft: bool = False
    """Whether freshness was ended by a soft invalidation."""

    def softened(self) -> "Windows":
        """Return the windows of what was invalidated softly."""
        return _softened(self)

    def state(self, fresh_until: float, now: float, fraction: float) -> Freshness:
        """Judge a value; ``fraction`` is a random number from 0 up to 1."""
        remaining = fresh_until - now
        if remaining > 0:
            # Vattani et al., Optimal Probabilistic Cache Stampede Prevention
            is_drawn = self.spread > 0 and -self.spread * math.log(1.0 - fraction) >= remaining
            return Freshness.EARLY if is_drawn or remaining <= self.ahead else Freshness.FRESH
        if -remaining < self.stale:
            return Freshness.STALE
        return Freshness.LAST_RESORT if -remaining < self.fail_safe else Freshness.GONE

    @property
    def unquestioned_seconds(self) -> float:
        """For how long before the end of freshness a hit has to be judged."""
        return max(self.ahead, self.spread * XFETCH_REACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a family of keys is cached; all times in seconds.

    * ``lifetime``: how long a value is fresh, less up to the fraction ``jitter``; ``memory_lifetime`` bounds
      it in this process. ``none_lifetime`` is that of ``None``, ``error_lifetime`` that of an exception of
      the types ``errors`` (in memory alone). 0 stores nothing.
    * ``stale``: answered with after that, while one caller's refresh runs in the background.
    * ``fail_safe``: how long after freshness a value may stand in for a loader that fails; it is tried again
      after ``throttle``.
    * ``refresh_ahead``: a read after this fraction of the lifetime starts a refresh. ``xfetch``: beta of
      probabilistic early refresh, 1 being the paper's.
    * ``soft_timeout``: how long a caller waits for the loader if there is a stale value; ``hard_timeout``: in
      any case. The loader goes on, and what it returns late is kept.
    * ``single_flight``: one load a key among all ``processes``, or in each ``process``; a call may choose for
      itself. The lock in Redis is renewed while the load goes on: that of a process that died is gone after
      ``lock`` seconds. Nobody waits for other processes longer than ``wait``.
    * ``values``: in this process all callers share one object, or each gets one ``copied`` for it; ``frozen``
      refuses types whose values could be changed.
    """

    lifetime: float = 60.0
    memory_lifetime: float | None = None
    none_lifetime: float | None = None
    error_lifetime: float = 0.0
    errors: tuple[type[Exception], ...] = ()
    jitter: float = 0.05
    stale: float = 0.0
    fail_safe: float = 0.0
    throttle: float = 5.0
    refresh_ahead: float | None = None
    xfetch: float = 0.0
    soft_timeout: float | None = None
    hard_timeout: float | None = None
    single_flight: SingleFlight = "processes"
    lock: float = 2.0
    wait: float = 30.0
    values: Values = "shared"

    def __post_init__(self) -> None:
        for name in (*_SECONDS, *_SECONDS_OR_NONE):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0) and (value is not None or name in _SECONDS):
                raise InvalidFamily(f"{name} is {value!r}: seconds from 0 on are needed")
        if not (_is_number(self.jitter) and 0 <= self.jitter < 1):
            raise InvalidFamily(f"jitter is {self.jitter!r}: a fraction of the lifetime is needed, below 1")
        ahead = self.refresh_ahead
        if ahead is not None and not (_is_number(ahead) and 0 < ahead < 1):
            raise InvalidFamily(f"refresh_ahead is {ahead!r}: a fraction between 0 and 1 is needed")
        for name, known in (("values", get_args(Values)), ("single_flight", get_args(SingleFlight))):
            if getattr(self, name) not in known:
                raise InvalidFamily(f"{name} is {getattr(self, name)!r}: one of {', '.join(known)} is needed")
        if not all(_is_number(each) and each > 0 for each in (self.lock, self.wait)):
            raise InvalidFamily(f"lock is {self.lock!r} and wait {self.wait!r}: both have to be above 0")

    def lifetime_of(self, value: object, chosen: float | None, fraction: float) -> float:
        """Return how long ``value`` is fresh: what the loader chose, or this policy's, with jitter."""
        lifetime = chosen
        if lifetime is None:
            lifetime = (
                self.lifetime if value is not None or self.none_lifetime is None else self.none_lifetime
            )
        return lifetime * (1.0 - self.jitter * fraction)

    @property
    def outlives_callers(self) -> bool:
        """Whether a load may go on when its caller has long had an answer."""
        times = (self.stale, self.xfetch, self.refresh_ahead, self.soft_timeout, self.hard_timeout)
        return any(times)

    @property
    def windows_of_all(self) -> Windows | None:
        """The windows that all values have in memory, or None if they depend on the value."""
        if self.xfetch or self.refresh_ahead is not None or self.memory_lifetime is not None:
            return None
        return self.windows(0.0, 0.0)

    def windows(self, lifetime: float, load_seconds: float) -> Windows:
        """Return the windows of a value that took ``load_seconds`` to load."""
        ahead = 0.0 if self.refresh_ahead is None else lifetime * (1.0 - self.refresh_ahead)
        return _shared(self.stale, self.fail_safe, self.xfetch * load_seconds, ahead)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@lru_cache(maxsize=1024)
def _softened(windows: Windows) -> Windows:
    return Windows(windows.stale, windows.fail_safe, is_soft=True)


@lru_cache(maxsize=1024)
def _shared(stale: float, fail_safe: float, spread: float, ahead: float) -> Windows:
    """Return one object for all values alike: a million entries share it."""
    return Windows(stale, fail_safe, spread, ahead)
