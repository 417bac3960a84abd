"""One load a key in a process: who comes later waits for who came first."""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from threading import Lock
from typing import Protocol, TypeVar

from origin_sdk.layers.errors import LoadCycle
from origin_sdk.layers.process.load_graph import LoadNode, ended, gave_up, waiting_for
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.values.families import AnyKey

__all__ = ["TRIES", "Flight", "Flights", "after", "follow"]

TRIES = 3
"""How often to follow others whose loads are invalidated, before a load of one's own."""


class CanBeSet(Protocol):
    """An event, of a thread or of a loop."""

    def set(self) -> None:
        """Wake who waits."""
        ...


Waiter = TypeVar("Waiter", bound=CanBeSet)


class Flight:
    """A load under way, or done: with an entry, an error, or neither if whoever led it was cancelled.

    ``is_absent`` tells that a loader of many left the key out.
    """

    __slots__ = ("entry", "error", "is_absent", "is_done", "node", "seq", "waiters")

    def __init__(self, seq: int, node: LoadNode) -> None:
        self.seq = seq
        self.node = node
        self.is_absent = False
        self.is_done = False
        self.entry: MemoryEntry | None = None
        self.error: Exception | None = None
        self.waiters: list[Callable[[], None]] | None = None

    def tell(self, told: Callable[[], None]) -> None:
        """Call ``told`` at the end."""
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(told)


class Flights:
    """The loads under way, by key."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._flights: dict[str, Flight] = {}
        self._lock = Lock()

    def renew(self) -> None:
        """Start over after a fork: nothing is in flight."""
        self._lock = Lock()
        self._flights.clear()

    def join(self, key: AnyKey, make: Callable[[], Waiter]) -> tuple[Flight, Waiter | None]:
        """Return the key's flight, and for a follower what it waits for: None leads.

        A load that began before an invalidation isn't joined after it. Raises LoadCycle.
        """
        with self._lock:
            flight, leads = self._of(key)
            self._ask_for(key, flight, leads=leads)
            if leads:
                return flight, None
            waiter = make()
            flight.tell(waiter.set)
            return flight, waiter

    def _ask_for(self, key: AnyKey, flight: Flight, *, leads: bool) -> None:
        try:
            waiting_for(flight.node)
        except LoadCycle:
            if leads:
                del self._flights[key.name]
            raise

    def new_flight(self, key: AnyKey) -> Flight:
        """Return a flight that nobody joins."""
        return Flight(self._moments.seq, LoadNode(key.name, self))

    def _of(self, key: AnyKey) -> tuple[Flight, bool]:
        """Return the key's flight, and whether it begins just now."""
        flight = self._flights.get(key.name)
        if flight is None or self._moments.covers((key.name, *key.groups), flight.seq):
            flight = self._flights[key.name] = self.new_flight(key)
            return flight, True
        return flight, False

    def join_all(self, keys: Iterable[AnyKey]) -> tuple[dict[str, Flight], dict[str, Flight]]:
        """Return by name the flights that the caller leads from now on, and those that others lead.

        Who leads has to end all of them before waiting for others: so nobody waits in a circle. Raises
        LoadCycle, and leads none, where the loaders do.
        """
        led: dict[str, Flight] = {}
        followed: dict[str, Flight] = {}
        with self._lock:
            for key in keys:
                flight, leads = self._of(key)
                try:
                    self._ask_for(key, flight, leads=leads)
                except LoadCycle as error:
                    cycle = error
                    break
                (led if leads else followed)[key.name] = flight
            else:
                return led, followed
            for name in led:
                del self._flights[name]
        for flight in led.values():
            self._end(flight, None, cycle)
        raise cycle

    def when_all(self, flights: Sequence[Flight], told: Callable[[], None]) -> None:
        """Call ``told`` once all have ended."""
        with self._lock:
            pending = [flight for flight in flights if not flight.is_done]
            tell = after(len(pending), told)
            for flight in pending:
                flight.tell(tell)
        if not pending:
            told()

    def finish(
        self,
        key: AnyKey,
        flight: Flight,
        entry: MemoryEntry | None = None,
        error: BaseException | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        """End a flight, and tell who waits."""
        with self._lock:
            if self._flights.get(key.name) is flight:
                del self._flights[key.name]
        self._end(flight, entry, error, is_absent=is_absent)

    def _end(
        self,
        flight: Flight,
        entry: MemoryEntry | None,
        error: BaseException | None,
        *,
        is_absent: bool = False,
    ) -> None:
        with self._lock:
            flight.entry = entry
            # An error that isn't an Exception is the leader's own: someone else leads then.
            flight.error = error if isinstance(error, Exception) else None
            flight.is_absent = is_absent
            flight.is_done = True
            waiters = flight.waiters
        ended(flight.node)
        for told in waiters or ():
            told()

    def __len__(self) -> int:
        return len(self._flights)


class Event(Protocol):
    """What a task waits for."""

    async def wait(self, seconds: float | None) -> bool:
        """Wait, and say whether it was set in time."""
        ...


async def follow(flight: Flight, ended: Event, seconds: float | None) -> bool:
    """Wait for a flight's end; say whether it came in time.

    Who is cancelled counts as waiting no more: its loader may go on, and be waited for by that load.
    """
    try:
        return await ended.wait(seconds)
    except BaseException:
        gave_up(flight.node)
        raise


def after(calls: int, told: Callable[[], None]) -> Callable[[], None]:
    """Return what calls ``told`` when it has been called ``times`` times, by whichever threads."""
    following = count(1).__next__

    def tell() -> None:
        if following() == calls:
            told()

    return tell
