"""Requests to the origin that are under way, for others to wait for (collapsed forwarding)."""

from dataclasses import dataclass, field

from origin_sdk_edge.fills import Fill
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.ports import OriginResponse, Signal, Timing
from origin_sdk_edge.storage.memory import Entry, Table

__all__ = ["Flight", "Flights"]

_UNSHARED_MS = 10_000
_LONGEST_MS = 60_000
"""A flight that nothing was heard of for so long was lost together with its request."""


@dataclass(slots=True, eq=False)
class Flight:
    """One request to the origin.

    Once it has landed, ``entry`` is what it stored, or ``failure`` how it failed; neither means that its
    response is for one client alone. Before, ``coming`` may be a response whose body comes in ``fill``.
    """

    timing: Timing
    started_ms: int
    number: int = 0
    """One more than that of the flight before."""
    voice: str = ""
    """On whose behalf it is: see :func:`origin_sdk_edge.policy.voice.voice_of`."""
    has_landed: bool = False
    entry: Entry | None = None
    failure: OriginFailure | None = None
    coming: Entry | None = None
    fill: Fill | None = None
    response: OriginResponse | None = None
    """What the origin sends, as soon as its fields are there."""
    _news: Signal | None = None

    @property
    def heard_ms(self) -> int:
        """When the origin was last heard of."""
        return max(self.started_ms, self.response.heard_ms if self.response else 0)

    def share(self, coming: Entry, fill: Fill) -> None:
        """Let those who wait have a response while its body comes."""
        self.coming, self.fill = coming, fill
        self.tell()

    def tell(self) -> None:
        """Let all that wait look again."""
        news, self._news = self._news, None
        if news:
            news.set()

    async def hears(self, patience_seconds: float, *, is_firm: bool) -> bool:
        """Wait for news. Patience is for silence, unless ``is_firm``; return whether it lasted."""
        while not self.has_landed:
            if self._news is None:
                self._news = self.timing.signal()
            if await self._news.wait(patience_seconds):
                return True
            if is_firm or self.timing.now_ms() - self.heard_ms >= patience_seconds * 1000:
                return False
        return True


@dataclass(slots=True)
class Flights:
    """The flights of this isolate by key.

    And the keys whose responses turned out not to be shared (hit-for-miss), where waiting for one another
    would only queue the clients up.
    """

    timing: Timing
    _unshared: Table[int]
    _flying: dict[str, Flight] = field(default_factory=dict)
    started: int = 0
    """How many there have been: a later request to the origin has a higher number."""

    def current(self, key: str, voice: str = "") -> Flight | None:
        """Return the flight to wait for, if there is one.

        A request of anybody's waits for none that one client's own fields may spoil.
        """
        flight = self._flying.get(key)
        if flight is None or (flight.voice and not voice):
            return None
        return flight if self.timing.now_ms() - flight.heard_ms <= _LONGEST_MS else None

    def start(self, key: str, voice: str = "") -> Flight:
        """Start a flight that others may wait for."""
        self.started += 1
        flight = self._flying[key] = Flight(self.timing, self.timing.now_ms(), self.started, voice)
        return flight

    def land(
        self, key: str, flight: Flight, entry: Entry | None = None, failure: OriginFailure | None = None
    ) -> None:
        """Tell those who wait how it ended."""
        flight.entry, flight.failure, flight.has_landed = entry, failure, True
        flight.coming = flight.fill = flight.response = None
        if self._flying.get(key) is flight:
            del self._flying[key]
        flight.tell()

    def is_unshared(self, key: str, voice: str = "") -> bool:
        """Whether the last response for ``key`` was for one client alone, a short while ago.

        What the origin answers to a request of anybody's counts for all, else for those of that ``voice``.
        """
        now_ms = self.timing.now_ms()
        return any(now_ms < (self._unshared.get(name) or 0) for name in {key, key + voice})

    def remember(self, key: str, voice: str = "", *, unshared: bool) -> None:
        """Remember whether responses for ``key`` may be shared."""
        name = key + voice
        if unshared:
            self._unshared.set(name, self.timing.now_ms() + _UNSHARED_MS)
            return
        for known in {key, name}:
            self._unshared.drop(known)
