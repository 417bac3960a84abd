"""One request and what becomes of it: noted where it happens, counted and timed once it is answered."""

from dataclasses import dataclass

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.ports import Background, Read, Work
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.metrics import Tier

__all__ = ["Exchange"]

_STANDING_IN = frozenset(
    {
        Reason.STALE_WHILE_REVALIDATE,
        Reason.STALE_IF_ERROR,
        Reason.MAX_STALE,
        Reason.SLOW_ORIGIN,
        Reason.THROTTLED,
        Reason.BREAKER_OPEN,
    }
)


@dataclass(slots=True, eq=False)
class Exchange:
    """A request on its way to its response. ``run`` starts work behind it, as a background does.

    Times are milliseconds: when it began, and how long it waited for KV, for the origin, and for another
    request's answer.
    """

    background: Background
    began_ms: int
    request: RequestFacts | None = None
    rule: str = "default"
    found_in: Tier | None = None
    """Where it was looked for last; ``None`` where the cache took no part."""
    store_ms: int = 0
    origin_ms: int = 0
    shared_ms: int = 0
    status: Status | None = None
    code: int = 0
    size_bytes: int = 0
    is_own: bool = False
    """Whether the answer is the Worker's own."""
    is_for_edge: bool = False
    """Whether an edge gets the answer, and not a client."""
    flights_before: int | None = None
    """How many flights this isolate had begun when it turned out that the origin is to be asked."""
    read: Read | None = None
    """What was read of KV for it before it came here."""

    def run(self, work: Work) -> None:
        """Start ``work`` and keep it alive."""
        self.background.run(work)

    def answer(self, status: Status | None, code: int, size_bytes: int, *, is_own: bool = False) -> None:
        """Note what the client is sent."""
        self.status, self.code, self.size_bytes, self.is_own = status, code, size_bytes, is_own

    @property
    def reason(self) -> str:
        """Why the cache did what it did: the detail of Cache-Status."""
        return self.status.detail if self.status else "hook-answer"

    @property
    def tier(self) -> Tier:
        """Where the answer came from."""
        status = self.status
        if status is None or self.is_own:
            return Tier.OWN
        if status.detail == Reason.FRESH:
            return self.found_in or Tier.KV
        if status.detail in _STANDING_IN:
            return Tier.STALE
        if status.detail == Reason.VALIDATED:
            return Tier.VALIDATED
        if status.collapsed:
            return Tier.COLLAPSED
        return Tier.PASS if self.found_in is None else Tier.MISS
