"""Who waits for loads of other processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from origin_sdk.layers.process.flights import after

__all__ = ["Waiters"]


class Waiters:
    """Callers that sleep until a message says that other processes have ended their loads.

    Each is told once. Who has been told asks Redis again, so it does no harm to be told too early.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, list[Callable[[], None]]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._by_name)

    def renew(self) -> None:
        """Start over after a fork: the parent's threads don't wait here."""
        self._lock = Lock()
        self._by_name.clear()

    @contextmanager
    def expecting(self, names: Sequence[str], told: Callable[[], None]) -> Iterator[None]:
        """Within the ``with`` block, call ``told`` once other processes have ended the loads of all names."""
        tell = after(len(names), told)
        for name in names:
            self._expect(name, tell)
        try:
            yield
        finally:
            for name in names:
                self._forget(name, tell)

    def _expect(self, name: str, told: Callable[[], None]) -> None:
        with self._lock:
            self._by_name.setdefault(name, []).append(told)

    def _forget(self, name: str, told: Callable[[], None]) -> None:
        with self._lock:
            waiting = self._by_name.get(name, [])
            if told in waiting:
                waiting.remove(told)
            if not waiting:
                self._by_name.pop(name, None)

    def tell(self, names: str) -> None:
        """Tell who waits for one of the names, a line each: another process has loaded it, or given up."""
        with self._lock:
            waiting = [told for name in names.split("\n") for told in self._by_name.pop(name, ())]
        for told in waiting:
            told()

    def tell_all(self) -> None:
        """Tell all to ask again: what they wait for may have been said while nothing could be heard."""
        with self._lock:
            waiting = [told for each in self._by_name.values() for told in each]
            self._by_name.clear()
        for told in waiting:
            told()
