"""Who asks the origin for all isolates in the world, and who waits: what the one place of a key knows.

Whoever *joins* a flight leads it, if nobody does, or waits for whoever does. A leader is heard of by its
*beats*, and tells how the flight ended: with a response, which is kept for as long as KV may take to show it
elsewhere; with a failure of the origin, which those who wait share; or with neither, and all ask for
themselves. Of a leader that isn't heard of any more the first that waits takes the place.

Grants are counted, up from the clock's milliseconds. A flight that was granted after somebody joined first
brings a response that the origin was asked for after that: it is as good as one of his own, whatever was
purged before.

Nothing of it outlives the object, which is no loss: who waits then asks the origin.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.ports import Body, Signal, Timing

__all__ = ["BEAT_SECONDS", "Board", "Bounds", "Carried", "Landing", "Role", "Ticket"]

BEAT_SECONDS = 1.0
"""How often a leader is heard of."""
_LOST_MS = 4000
"""A leader that wasn't heard of for so long is replaced."""
_KEPT_MS = 65_000
"""KV may take a minute to show a response to those who looked for it in vain."""


class Role(StrEnum):
    """What somebody who joined is to do."""

    LEAD = "lead"
    """Ask the origin, and tell how that ended."""
    TAKE = "take"
    """Use what the leader got meanwhile."""
    FIND = "find"
    """Use what a leader got some time ago, if it is still fresh."""
    FAIL = "fail"
    """The leader got no answer."""
    GO = "go"
    """The answer was for the leader alone, and others will be, too: nobody need wait for another."""
    ALONE = "alone"
    """It takes too long, or too many wait: ask the origin for oneself."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A response as KV has it: ``metadata`` and ``value``; the key of its record, and its birth."""

    entry_key: str
    birth_ms: int
    metadata: str
    value: Body
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Landing:
    """How a flight ended: with a response, or a failure; with neither it has none for others.

    So it goes on for ``rest_seconds``: for so long nobody waits in vain.
    """

    carried: Carried | None = None
    failure: OriginFailure | None = None
    rest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What somebody who joined is told.

    ``number`` is that of the flight, ``granted`` the count of grants when he joined.
    """

    role: Role
    number: int = 0
    granted: int = 0
    carried: Carried | None = None
    failure: OriginFailure | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is held."""

    bytes: int = 8 * 1024 * 1024
    flights: int = 2000
    waiting: int = 1000
    waiting_for_one: int = 250


@dataclass(slots=True, eq=False)
class _Flight:
    number: int
    lost_ms: int
    landed: Signal
    waiting: int = 0
    landing: Landing | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    number: int
    landing: Landing
    until_ms: int

    @property
    def size_bytes(self) -> int:
        return self.landing.carried.size_bytes if self.landing.carried else 0


class Board:
    """The flights of one place."""

    def __init__(self, timing: Timing, bounds: Bounds = Bounds()) -> None:
        self._timing = timing
        self._bounds = bounds
        self._granted = 0
        self._waiting = 0
        self._kept_bytes = 0
        self._flying: dict[str, _Flight] = {}
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def join(self, key: str, since_ms: int, patience_seconds: float) -> Ticket:
        """Say what to do for a response of ``key``, at once or within ``patience_seconds``.

        One whose birth isn't after ``since_ms`` is none.
        """
        now_ms = self._timing.now_ms()
        # An object that begins anew hears of flights that the one before granted: they are no later.
        granted = self._granted = max(self._granted, now_ms)
        until_ms = now_ms + int(patience_seconds * 1000)
        if (kept := self._kept_of(key, now_ms)) and _is_news(kept.landing, since_ms):
            return _ticket(kept.landing, kept.number, granted, Role.FIND)
        flight = self._flying.get(key)
        if flight is None:
            return self._grant(key, granted, now_ms)
        bounds = self._bounds
        if flight.waiting >= bounds.waiting_for_one or self._waiting >= bounds.waiting:
            return Ticket(Role.ALONE, granted=granted)
        self._count(flight, 1)
        try:
            return await self._awaited(flight, granted, until_ms)
        finally:
            self._count(flight, -1)

    def _grant(self, key: str, granted: int, now_ms: int) -> Ticket:
        if len(self._flying) >= self._bounds.flights:
            self._drop_lost(now_ms)
        if len(self._flying) >= self._bounds.flights:
            return Ticket(Role.ALONE, granted=granted)
        self._granted += 1
        self._flying[key] = _Flight(self._granted, now_ms + _LOST_MS, self._timing.signal())
        return Ticket(Role.LEAD, self._granted, granted)

    def _count(self, flight: _Flight, more: int) -> None:
        flight.waiting += more
        self._waiting += more

    async def _awaited(self, flight: _Flight, granted: int, until_ms: int) -> Ticket:
        while flight.landing is None:
            now_ms = self._timing.now_ms()
            if now_ms >= flight.lost_ms:
                self._granted += 1
                flight.number, flight.lost_ms = self._granted, now_ms + _LOST_MS
                return Ticket(Role.LEAD, flight.number, granted)
            if now_ms >= until_ms:
                return Ticket(Role.ALONE, granted=granted)
            # One more, as a timer may be early.
            await flight.landed.wait((min(flight.lost_ms, until_ms) - now_ms + 1) / 1000)
        return _ticket(flight.landing, flight.number, granted, Role.TAKE)

    def beat(self, key: str, number: int) -> None:
        """Hear of the leader of a flight."""
        flight = self._flying.get(key)
        if flight and flight.number == number:
            flight.lost_ms = self._timing.now_ms() + _LOST_MS

    def land(self, key: str, number: int, landing: Landing) -> None:
        """Take in how a flight ended. A response is welcome of a leader, too, that was replaced meanwhile."""
        flight = self._flying.get(key)
        is_current = flight is not None and flight.number == number
        if not (is_current or landing.carried):
            return
        self._keep(key, number, landing)
        if flight:
            del self._flying[key]
            if not is_current:
                flight.number = number
            flight.landing = landing
            flight.landed.set()

    # What is kept

    def _keep(self, key: str, number: int, landing: Landing) -> None:
        now_ms = self._timing.now_ms()
        kept_ms = _KEPT_MS if landing.carried else int(landing.rest_seconds * 1000)
        self._drop(key)
        kept = _Kept(number, landing, now_ms + kept_ms)
        if kept.size_bytes > self._bounds.bytes:
            return
        self._kept[key] = kept
        self._kept_bytes += kept.size_bytes
        while self._kept_bytes > self._bounds.bytes or len(self._kept) > self._bounds.flights:
            self._drop(next(iter(self._kept)))

    def _kept_of(self, key: str, now_ms: int) -> _Kept | None:
        while self._kept and now_ms >= next(iter(self._kept.values())).until_ms:
            self._drop(next(iter(self._kept)))
        kept = self._kept.get(key)
        if kept and now_ms >= kept.until_ms:
            self._drop(key)
            return None
        return kept

    def _drop(self, key: str) -> None:
        if kept := self._kept.pop(key, None):
            self._kept_bytes -= kept.size_bytes

    def _drop_lost(self, now_ms: int) -> None:
        lost = [key for key, each in self._flying.items() if now_ms >= each.lost_ms and not each.waiting]
        for key in lost:
            del self._flying[key]


def _is_news(landing: Landing, since_ms: int) -> bool:
    return landing.carried is None or landing.carried.birth_ms > since_ms


def _ticket(landing: Landing, number: int, granted: int, of_carried: Role) -> Ticket:
    if landing.carried:
        return Ticket(of_carried, number, granted, landing.carried)
    role = Role.FAIL if landing.failure else Role.GO
    return Ticket(role, number, granted, failure=landing.failure)
